"""The thread that says a run is alive while its trainer is busy: status.json, `resources` events, a look at commands.

In: how the run stands, from the training thread, whenever that changes. Out: a heartbeat every two seconds, also
during long evaluations and while paused. What a reader gets wrong: nothing that goes wrong here ends the run. It is
said once on stderr; what matters will fail in the training thread, too, and end the run with its reason.
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
        self.look: Callable[[], None] = lambda: None
        """Called many times a second."""
        self.look_at_pilot: Callable[[], None] = lambda: None
        """Called as often."""
        self.gone: Callable[[], None] = lambda: None
        """Called while the run's directory is found deleted."""
        self._state = "starting"
        before = run.status()
        self._step = 0 if before is None else before.step
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._complained: set[str] = set()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """After this nothing is written any more."""
        self._over.set()
        self._thread.join()

    def say(self, state: str, step: int | None = None) -> None:
        """How the run stands from now on. Another state is on the disk at once, another step with the next beat."""
        changed = state != self._state
        self._state = state
        if step is not None:
            self._step = step
        if changed:
            self._guard(self._write)

    def measure_gpu(self, gpu: Callable[[], Mapping[str, object]]) -> None:
        """What else a `resources` event says."""
        self._usage.gpu = gpu

    def _beat(self) -> None:
        now = self._clock()
        written, measured = now, now - RESOURCES_SECONDS + 1.0
        while not self._over.wait(_LOOK_SECONDS):
            self._guard(self.look)
            self._guard(self.look_at_pilot)
            now = self._clock()
            if now - written >= EVERY_SECONDS:
                written = now
                self._guard(self._write)
                self._guard(self._notice_deletion)
            # Not before the run has begun: its history opens with `run_started`.
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
            self.gone()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            said = f"the heartbeat of run {self._run.name}: {error}"
            if said not in self._complained:
                self._complained.add(said)
                print(said, file=sys.stderr, flush=True)
