"""Heartbeat thread of a run: writes status.json and `resources` events and polls commands while the trainer is busy.

It beats every two seconds, also during long evaluations and while paused. Errors here never end the run. Each is
printed once on stderr; if it matters, the training thread fails too and ends the run with its reason.
"""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.resources import Usage

EVERY_SECONDS = 2.0
RESOURCES_SECONDS = 5.0

_LOOK_SECONDS = 0.1


class Heartbeat:
    """The thread; a context manager that runs it while the block runs."""

    def __init__(
        self,
        run: RunDirectory,
        *,
        emit: Callable[..., None],
        usage: Usage | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._emit = emit
        self._usage = usage or Usage()
        self._clock = clock
        self.poll: Callable[[], None] = lambda: None
        """Called several times a second."""
        self.poll_pilot: Callable[[], None] = lambda: None
        """Called as often as `look`."""
        self.on_run_deleted: Callable[[], None] = lambda: None
        """Called on each beat after the run's directory was deleted."""
        self._state = "starting"
        before = run.status()
        self._step = 0 if before is None else before.step
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._reported_errors: set[str] = set()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the thread; nothing is written after this."""
        self._over.set()
        self._thread.join()

    def say(self, state: str, step: int | None = None) -> None:
        """Set the run's state. A new state is written at once, a new step with the next beat."""
        changed = state != self._state
        self._state = state
        if step is not None:
            self._step = step
        if changed:
            self._guard(self._write)

    def measure_gpu(self, gpu: Callable[[], Mapping[str, object]]) -> None:
        """Set the callback for the GPU fields of a `resources` event."""
        self._usage.gpu = gpu

    def _beat(self) -> None:
        now = self._clock()
        written, measured = now, now - RESOURCES_SECONDS + 1.0
        while not self._over.wait(_LOOK_SECONDS):
            self._guard(self.poll)
            self._guard(self.poll_pilot)
            now = self._clock()
            if now - written >= EVERY_SECONDS:
                written = now
                self._guard(self._write)
                self._guard(self._notice_deletion)
            # Not before the run has begun: its events start with `run_started`.
            if self._state != "starting" and now - measured >= RESOURCES_SECONDS:
                measured = now
                self._guard(self._measure)

    def _write(self) -> None:
        with self._writing:
            self._run.write_status(self._state, self._step)

    def _measure(self) -> None:
        self._emit("resources", **self._usage.read())

    def _notice_deletion(self) -> None:
        if not (self._run.path / "run.toml").exists():
            self.on_run_deleted()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            said = f"the heartbeat of run {self._run.name}: {error}"
            if said not in self._reported_errors:
                self._reported_errors.add(said)
                print(said, file=sys.stderr, flush=True)
