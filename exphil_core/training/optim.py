"""The optimiser: AdamW with selective weight decay, warm-up, cosine decay and EMA.

The cosine has no horizon of its own. It follows `progress`, the finished share of the run, so a run limited by
time anneals by time, and a resumed run stays on the same curve. The optimiser's state is saved and restored bit
for bit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from exphil_core.config.preset import TrainConfig

_SLOTS = ("exp_avg", "exp_avg_sq")
_BETAS = (0.9, 0.98)


def learning_rate(config: TrainConfig, *, step: int, progress: float) -> float:
    """Return the learning rate of the next update.

    Args:
        step: updates finished so far.
        progress: finished share of the run, 0 to 1.
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return config.lr * warm * (config.lr_final_ratio + (1 - config.lr_final_ratio) * cosine)


def _decaying(model: nn.Module) -> set[str]:
    """Return the names of the parameters with weight decay: matrices other than embedding tables and `A_log`.

    Decay would only shrink an embedding table's rare rows. Zero is no neutral value of a state space's `A_log`:
    it is a decay rate of 1.
    """
    tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and parameter not in tables and not name.endswith("A_log")
    }


@dataclass(slots=True)
class Optimizer:
    """AdamW and an exponential moving average (EMA) of the weights.

    AdamW is torch's function. Building its class imports the compiler, which takes each process more than a second.
    """

    model: nn.Module
    config: TrainConfig
    groups: list[tuple[float, list[Tensor]]] = field(init=False)
    """Weight decay and the parameters that have it."""
    state: dict[Tensor, dict[str, Tensor]] = field(init=False, default_factory=dict)
    """By parameter, from its first update on: `step`, `exp_avg` and `exp_avg_sq`."""
    average: dict[str, Tensor] = field(init=False)
    """EMA weights by parameter name; empty when `ema_decay` is 0."""

    def __post_init__(self) -> None:
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        decaying = _decaying(self.model)
        self.groups = [
            (self.config.weight_decay, [p for name, p in named if name in decaying]),
            (0.0, [p for name, p in named if name not in decaying]),
        ]
        self.average = {name: p.detach().clone() for name, p in named} if self.config.ema_decay else {}

    def clip(self) -> Tensor:
        """Clip gradients to `max_grad_norm`; return their global norm before clipping, a scalar."""
        return nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm, foreach=True)

    def step(self, *, step: int, progress: float) -> float:
        """Take one update and clear the gradients; return the learning rate that was used."""
        rate = learning_rate(self.config, step=step, progress=progress)
        for weight_decay, parameters in self.groups:
            self._update(parameters, rate, weight_decay)
        self.model.zero_grad(set_to_none=True)
        self._average(step)
        return rate

    @torch.no_grad()
    def _update(self, parameters: list[Tensor], rate: float, weight_decay: float) -> None:
        updated = [parameter for parameter in parameters if parameter.grad is not None]
        for parameter in updated:
            if parameter not in self.state:
                slots = {slot: torch.zeros_like(parameter) for slot in _SLOTS}
                # On the parameter's device, as the fused update wants it.
                self.state[parameter] = {"step": torch.zeros((), device=parameter.device), **slots}
        states = [self.state[parameter] for parameter in updated]
        adamw(
            updated,
            [parameter.grad for parameter in updated if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            # Fused: one pass over the weights, which on a CPU takes a quarter of the time of separate passes.
            fused=True,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=rate,
            weight_decay=weight_decay,
            eps=1e-8,
            maximize=False,
        )

    def _average(self, step: int) -> None:
        if not self.average:
            return
        # Short memory at first, or the random initialisation would dominate the average.
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        names = list(self.average)
        parameters = dict(self.model.named_parameters())
        torch._foreach_lerp_(
            [self.average[name] for name in names],
            [parameters[name].detach() for name in names],
            1 - decay,
        )

    def eval_weights(self) -> dict[str, Tensor]:
        """Return the state dict that is evaluated, played and exported: EMA weights where EMA is on."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        # A parameter shared by two modules has two names here; its average is stored under the first.
        return {
            name: self.average.get(names.get(tensor, name), tensor.detach())
            for name, tensor in self.model.state_dict(keep_vars=True).items()
        }

    def state_tensors(self) -> dict[str, Tensor]:
        """Return everything that a resume needs besides the evaluation weights, by flat name."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            if self.average:
                tensors[f"parameter/{name}"] = parameter.detach()
            state = self.state.get(parameter, {})
            for slot in _SLOTS:
                if slot in state:
                    tensors[f"{slot}/{name}"] = state[slot]
            if "step" in state:
                tensors[f"step/{name}"] = state["step"].reshape(1)
        return tensors

    def load_state_tensors(self, tensors: Mapping[str, Tensor], playing: Mapping[str, Tensor]) -> None:
        """Restore what `state_tensors` and `eval_weights` returned.

        Raises:
            KeyError: a tensor is missing.
        """
        self.model.load_state_dict(dict(playing), strict=True)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, average in self.average.items():
                average.copy_(playing[name])
                parameters[name].copy_(tensors[f"parameter/{name}"])
        for name, parameter in parameters.items():
            if f"step/{name}" not in tensors:
                continue
            self.state[parameter] = {
                "step": tensors[f"step/{name}"].reshape(()).to(parameter.device).clone(),
                **{slot: tensors[f"{slot}/{name}"].to(parameter.device).clone() for slot in _SLOTS},
            }
