"""Recurrent state carried from one training step to the next: the backbone's state of every stream's game.

Each of the `grad_accum_steps` forward passes of a step has its own streams (`dataset/stateful_batches.py`), so it
has its own state. The backbone clears a stream's state where a game begins, by the batch's `reset`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from exphil_core.config.preset import TrainConfig
from exphil_core.errors import CheckpointError
from exphil_core.models.policy import Policy


class RecurrentState:
    """The backbone's state of each forward pass of a step; empty where `train.carry_state` is off."""

    def __init__(self, policy: Policy, config: TrainConfig) -> None:
        self._grad_accum_steps = config.grad_accum_steps
        count = config.grad_accum_steps if config.carry_state else 0
        # Not None, so that a run's first pass takes the same code path as all others.
        self._states: list[Any] = [policy.initial_state(config.batch_size) for _ in range(count)]

    def before(self, drawn: int) -> Any:
        """Return the state for the batch numbered `drawn`; None where no state is carried."""
        return self._states[drawn % self._grad_accum_steps] if self._states else None

    def after(self, drawn: int, state: Any) -> None:
        """Store the state left by the batch numbered `drawn`, without gradients."""
        if self._states:
            self._states[drawn % self._grad_accum_steps] = type(state)(*[part.detach() for part in state])

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by `PASS/NAME`; empty where no state is carried."""
        return {
            f"{number}/{name}": part
            for number, state in enumerate(self._states)
            for name, part in state._asdict().items()
        }

    def load(self, tensors: Mapping[str, Tensor], *, where: str) -> None:
        """Restore what `tensors` returned.

        Raises:
            CheckpointError: state is missing, unexpected or of another shape than this run carries.
        """
        wanted = self.tensors()
        if tensors and not wanted:
            raise CheckpointError(
                f"{where} holds a carried state, but train.carry_state is off: set it back to true in run.toml, or "
                "start a new run"
            )
        if wanted and not tensors:
            raise CheckpointError(
                f"{where} holds no carried state, but train.carry_state is on: set it back to false in run.toml, or "
                "start a new run"
            )
        for name in sorted(wanted.keys() | tensors.keys()):
            found, expected = (_shape(group.get(name)) for group in (tensors, wanted))
            if found != expected:
                raise CheckpointError(
                    f"{where}: the carried state's {name} is {found} and should be {expected}: train.batch_size, "
                    "train.grad_accum_steps or the backbone have changed; set them back in run.toml, or "
                    "start a new run"
                )
        self._states = [
            type(state)(
                *[
                    tensors[f"{number}/{name}"].to(part.device)
                    for name, part in zip(state._fields, state, strict=True)
                ]
            )
            for number, state in enumerate(self._states)
        ]


def _shape(part: Tensor | None) -> str:
    return "absent" if part is None else f"{str(part.dtype).removeprefix('torch.')} {list(part.shape)}"
