"""Random numbers of training: torch's global state, one for a run's steps, and seeds derived for one purpose."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum

import torch
from torch import Tensor


class SeedPurpose(IntEnum):
    """What a step's seed is used for besides torch's global state; each purpose has its own random stream."""

    HIDDEN = 0
    GUESSED = 1
    REPLACED = 2
    DELAYED = 3


def derive_seed(seed: int, purpose: SeedPurpose) -> int:
    """Return the seed of the stream for `purpose`."""
    return seed * len(SeedPurpose) + purpose


class StepRandomness:
    """The random state of a run's training steps, installed for each of them.

    Random numbers drawn between two steps, by an evaluation or a callback, do not change what is learned.
    """

    def __init__(self, device: torch.device) -> None:
        """Start from the current global state."""
        self._device = device
        self.state: Mapping[str, Tensor] = _state(device)
        """By device type, `cpu` and `cuda`; saved in checkpoints and restored by a resume."""

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Install the state for one step, and store the new state afterwards."""
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
    """Restore the global random state of every device afterwards."""
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
