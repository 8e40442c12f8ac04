"""Saves the weights that are played for a run's pilot, as long as there is one.

In: between two steps, a way to get the playing weights. Out: the pilot's weights file every so many seconds, and one
warning where that fails. What a reader gets wrong: only a copy within memory holds the training up; hashing and
writing are another thread's. Nothing here draws a random number, changes a tensor of the run or ends it.
"""

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from exphil_core.errors import DiskFullError
from exphil_core.models.weights import write_weights
from exphil_core.runs.pilot import PilotDirectory

ASK_SECONDS = 1.0
"""Between two looks for a pilot at least."""

ROOM = 6
"""Sizes of the weights that must be free on the disk: one is written, and the run's next checkpoint, which comes to
five with its optimiser, goes first."""


class Publisher:
    """Of one run. The training thread calls it."""

    def __init__(
        self,
        pilot: PilotDirectory,
        *,
        every_seconds: float,
        emit: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pilot = pilot
        self._every = every_seconds
        self._emit = emit
        self._clock = clock
        self.snapshot_ms: float | None = None
        """For how long the last copy held the training up."""
        self._asked: float | None = None
        self._copied: float | None = None
        self._step: int | None = None
        """Of the last copy."""
        self._copy: dict[str, Tensor] = {}
        """Its memory is kept: to get fresh memory takes longer than to fill it."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._writing: Future[None] | None = None
        self._warned = False

    def between_steps(self, step: int, playing_weights: Callable[[], Mapping[str, Tensor]]) -> None:
        """Saves the weights of `step`, where it is time and somebody plays them."""
        if step == self._step or not self._is_due():
            return
        began = self._clock()
        self._copy_from(playing_weights())
        self._step, self._copied = step, self._clock()
        self.snapshot_ms = (self._copied - began) * 1e3
        self._writing = self._thread.submit(self._write, step)

    def close(self) -> None:
        """Returns when what was begun is written."""
        self._thread.shutdown(wait=True)

    def _is_due(self) -> bool:
        now = self._clock()
        if self._copied is not None and now - self._copied < self._every:
            return False
        if self._asked is not None and now - self._asked < ASK_SECONDS:
            return False
        if self._writing is not None and not self._writing.done():
            return False
        self._asked = now
        if self._pilot.alive():
            return True
        self._copy = {}
        return False

    @torch.no_grad()
    def _copy_from(self, weights: Mapping[str, Tensor]) -> None:
        if not self._copy:
            self._copy = {name: torch.empty_like(tensor) for name, tensor in weights.items()}
        for name, tensor in weights.items():
            self._copy[name].copy_(tensor)

    def _write(self, step: int) -> None:
        path = self._pilot.weights_path
        try:
            weights = {name: tensor.cpu() for name, tensor in self._copy.items()}
            size = sum(tensor.nbytes for tensor in weights.values())
            free = shutil.disk_usage(path.parent).free
            if free < ROOM * size:
                raise DiskFullError(
                    f"{path}: {free / 2**20:,.0f} MiB are free on the disk, and the run's next checkpoint wants them"
                )
            write_weights(path, weights, step=step)
        except Exception as error:
            self._warn(
                f"the weights for the pilot cannot be saved ({error}): it plays on with those that it has, and the "
                "run goes on"
            )

    def _warn(self, message: str) -> None:
        if self._warned:
            return
        self._warned = True
        try:
            self._emit("warning", code="pilot_weights", message=message)
        except Exception as error:
            # Where events cannot be written either, the training thread finds out for itself.
            print(f"{message} ({error})", file=sys.stderr, flush=True)
