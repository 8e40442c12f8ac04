"""Publish a run's evaluation weights for its pilot, the real-time player beside the run.

Only the copy within memory delays training; another thread hashes and writes. Nothing here draws a random
number, changes a tensor of the run or ends it.
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
from exphil_core.pilot.directory import PilotDirectory

ASK_SECONDS = 1.0
"""Minimum time between two checks for a live pilot."""

ROOM = 6
"""Free disk space required, in sizes of the weights: one for this file, and five for the run's next checkpoint
with its optimiser state, which takes precedence."""


class Publisher:
    """Write the pilot's weights file every `every_seconds` while a pilot is alive.

    Only the training thread calls it. The first failure is reported as a warning event, later ones are silent.
    """

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
        """How long the last copy delayed training."""
        self._asked: float | None = None
        self._copied: float | None = None
        self._step: int | None = None
        """Step of the last copy."""
        self._copy: dict[str, Tensor] = {}
        """Buffer that is reused: allocating fresh memory takes longer than filling it."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._writing: Future[None] | None = None
        self._warned = False

    def between_steps(self, step: int, eval_weights: Callable[[], Mapping[str, Tensor]]) -> None:
        """Start publishing the weights of `step` if the interval has passed and a pilot is alive."""
        if step == self._step or not self._is_due():
            return
        began = self._clock()
        self._copy_from(eval_weights())
        self._step, self._copied = step, self._clock()
        self.snapshot_ms = (self._copied - began) * 1e3
        self._writing = self._thread.submit(self._write, step)

    def close(self) -> None:
        """Wait for a write in progress and stop the thread."""
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
                    f"{path}: {free / 2**20:,.0f} MiB are free on the disk, and the run's next checkpoint needs them"
                )
            write_weights(path, weights, step=step)
        except Exception as error:
            self._warn(
                f"the weights for the pilot cannot be saved ({error}): it keeps its current weights, and the run "
                "continues"
            )

    def _warn(self, message: str) -> None:
        if self._warned:
            return
        self._warned = True
        try:
            self._emit("warning", code="pilot_weights", message=message)
        except Exception as error:
            # If the event file cannot be written, the training thread runs into the same error itself.
            print(f"{message} ({error})", file=sys.stderr, flush=True)
