"""The optimiser: AdamW with decay where it belongs, warm-up and cosine over the run's true length, EMA.

In: a policy and the train section of a preset. Out: an `Optimizer` whose whole state can be saved and restored
bit for bit. What a reader gets wrong: the cosine has no horizon of its own. It is a function of `progress`, the
share of the run that is done, so a run limited by time anneals by its time and a resumed run goes on where it was.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from exphil_core.config.preset import TrainConfig

_SLOTS = ("exp_avg", "exp_avg_sq")


def learning_rate(config: TrainConfig, *, step: int, progress: float) -> float:
    """The rate of the update that follows `step` finished ones, with `progress` (0 to 1) of the run done."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return config.lr * warm * (config.lr_final + (1 - config.lr_final) * cosine)


def _decaying(model: nn.Module) -> set[str]:
    """Names of the matrices; biases, gains and embedding tables don't decay (a rare row would only shrink), nor does
    a state space's `A_log`: at zero it forgets, at a rate of 1, like at any other value."""
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and parameter not in tables and not name.endswith("A_log")
    }


@dataclass(slots=True)
class Optimizer:
    """AdamW and an exponential moving average of the weights."""

    model: nn.Module
    config: TrainConfig
    adam: torch.optim.AdamW = field(init=False)
    average: dict[str, Tensor] = field(init=False)
    """The averaged weights by parameter name; empty when `ema_decay` is 0."""

    def __post_init__(self) -> None:
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        decaying = _decaying(self.model)
        decayed = [p for name, p in named if name in decaying]
        plain = [p for name, p in named if name not in decaying]
        groups = [
            {"params": decayed, "weight_decay": self.config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        # Fused: one pass over the weights, on a CPU in a quarter of the time of one pass per operation.
        self.adam = torch.optim.AdamW(groups, lr=self.config.lr, betas=(0.9, 0.98), eps=1e-8, fused=True)
        self.average = {name: p.detach().clone() for name, p in named} if self.config.ema_decay else {}

    def clip(self) -> Tensor:
        """The global gradient norm (before clipping), a scalar; gradients are clipped to `clip_norm`."""
        return nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm, foreach=True)

    def step(self, *, step: int, progress: float) -> float:
        """Take one update; returns the learning rate that was used."""
        rate = learning_rate(self.config, step=step, progress=progress)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        self._average(step)
        return rate

    def _average(self, step: int) -> None:
        if not self.average:
            return
        # A young average would be dominated by the random start: its memory grows with the run.
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        names = list(self.average)
        parameters = dict(self.model.named_parameters())
        torch._foreach_lerp_(
            [self.average[name] for name in names],
            [parameters[name].detach() for name in names],
            1 - decay,
        )

    def playing_weights(self) -> dict[str, Tensor]:
        """The state dict that is evaluated, saved for play and exported: averaged where EMA is on."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        # A parameter that two modules share stands under both names, and is averaged under the first.
        return {
            name: self.average.get(names.get(tensor, name), tensor.detach())
            for name, tensor in self.model.state_dict(keep_vars=True).items()
        }

    def state_tensors(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs beside the playing weights, by flat name."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            if self.average:
                tensors[f"parameter/{name}"] = parameter.detach()
            state = self.adam.state.get(parameter, {})
            for slot in _SLOTS:
                if slot in state:
                    tensors[f"{slot}/{name}"] = state[slot]
            if "step" in state:
                tensors[f"step/{name}"] = state["step"].reshape(1)
        return tensors

    def load_state_tensors(self, tensors: Mapping[str, Tensor], playing: Mapping[str, Tensor]) -> None:
        """Restore what `state_tensors` and `playing_weights` gave. KeyError where a tensor is missing."""
        self.model.load_state_dict(dict(playing), strict=True)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, average in self.average.items():
                average.copy_(playing[name])
                parameters[name].copy_(tensors[f"parameter/{name}"])
        for name, parameter in parameters.items():
            if f"step/{name}" not in tensors:
                continue
            self.adam.state[parameter] = {
                "step": tensors[f"step/{name}"].reshape(()).to(parameter.device).clone(),
                **{slot: tensors[f"{slot}/{name}"].to(parameter.device).clone() for slot in _SLOTS},
            }
