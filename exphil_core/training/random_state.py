"""torch's global random state, which dropout draws from: the one of a run's steps, and none for anybody else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class StepRandomness:
    """The random state of a run's steps, put in place for each of them.

    What is drawn between two steps, by an evaluation or by a listener, has no effect on what is learned.
    """

    def __init__(self, device: torch.device) -> None:
        """Goes on from the global state as it is."""
        self._device = device
        self.state: Mapping[str, Tensor] = _state(device)
        """By `cpu` and `cuda`: what a checkpoint keeps, and where a resumed run goes on."""

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """For a step."""
        torch.set_rng_state(self.state["cpu"])
        if self._device.type == "cuda" and "cuda" in self.state:
            torch.cuda.set_rng_state(self.state["cuda"], self._device)
        yield
        self.state = _state(self._device)


def _state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


@contextmanager
def preserved_rng() -> Iterator[None]:
    """The global random state is afterwards what it was before, on every device."""
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
