"""The state that training carries: what the backbone remembers of every lane's game, from one step to the next.

In: the state after a forward pass. Out: the same, without gradients, before the lanes' next one; and as flat
tensors for a checkpoint. What a reader gets wrong: each of the `accumulation` forward passes of a step has its
own lanes (`dataset/lanes.py`), so it has its own state. Clearing it where a lane begins a game is the
backbone's doing, by the batch's `reset`.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from exphil_core.config.preset import TrainConfig
from exphil_core.errors import CheckpointError
from exphil_core.models.policy import Policy


class CarriedState:
    """Nothing at all where `train.carry_state` is off: every forward pass then starts from nothing."""

    def __init__(self, policy: Policy, config: TrainConfig) -> None:
        self._accumulation = config.accumulation
        count = config.accumulation if config.carry_state else 0
        # Not None: the first pass of a run then takes the way of all others.
        self._states: list[Any] = [policy.initial_state(config.batch_size) for _ in range(count)]

    def before(self, drawn: int) -> Any:
        """The state to go on from with the batch of this number."""
        return self._states[drawn % self._accumulation] if self._states else None

    def after(self, drawn: int, state: Any) -> None:
        """Takes the state that the batch left behind."""
        if self._states:
            self._states[drawn % self._accumulation] = type(state)(*[part.detach() for part in state])

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by `PASS/NAME`; empty where nothing is carried."""
        return {
            f"{number}/{name}": part
            for number, state in enumerate(self._states)
            for name, part in state._asdict().items()
        }

    def load(self, tensors: Mapping[str, Tensor], *, where: str) -> None:
        """Restores what `tensors` gave. CheckpointError where it was carried otherwise than this run carries."""
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
                    "train.accumulation or the backbone are not as they were; set them back in run.toml, or start "
                    "a new run"
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
