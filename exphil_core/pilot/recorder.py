"""Background thread of a pilot: writes what it records while it plays, and checks that the run still exists.

A separate thread writes to disk, because a slow disk must not delay a frame.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from exphil_core.errors import ExphilError
from exphil_core.pilot.directory import PilotDirectory, Until
from exphil_core.runs.events import EventLog

if TYPE_CHECKING:
    from exphil_core.pilot.latency_window import LatencySnapshot
    from exphil_core.pilot.player import PlayedFrame

EVENTS_BYTES = 4 << 20
"""Size of the event file after which a new one replaces it."""

LOOK_SECONDS = 1.0
"""Interval between checks whether the run still exists."""

CPU_SECONDS = 1.0
"""Interval over which CPU use is averaged."""


class PilotStop:
    """Stop flag with a reason; calling it returns whether to stop."""

    def __init__(self) -> None:
        self.why = ""

    def __call__(self) -> bool:
        return bool(self.why)


class Recorder:
    """Background thread: writes everything the pilot records while it plays, and checks that the run exists."""

    def __init__(self, pilot: PilotDirectory, stop: PilotStop, until: Until | None) -> None:
        self._pilot, self._stop, self._until = pilot, stop, until
        self._log = EventLog(pilot.events_path)
        self._waiting: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._complained: set[str] = set()
        self._cpu: float | None = None
        self._cpu_read = (time.monotonic(), 0.0)
        self._thread = threading.Thread(target=self._work, name="notes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if self._until == "stdin":
            threading.Thread(target=self._follow_input, name="stdin", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        with suppress(OSError):
            self._log.close()

    def write(self, note: Callable[[], object]) -> None:
        """Queue a write; the thread performs them in order."""
        self._waiting.put(note)

    def event(self, kind: str, **fields: object) -> None:
        if self._pilot.events_path.exists() and self._pilot.events_path.stat().st_size > EVENTS_BYTES:
            self._log.close()
            self._pilot.events_path.unlink(missing_ok=True)
            self._log = EventLog(self._pilot.events_path)
        self._log.append(kind, **fields)

    def latency(self, snapshot: "LatencySnapshot", played: "PlayedFrame", facts: dict[str, object]) -> None:
        self.event(
            "latency",
            **facts,
            step=played.step,
            weights=f"{played.weights:016x}",
            game=played.game,
            character=played.character,
            frame_index=played.frame_index,
            cpu=self._cores_in_use(),
            **snapshot.fields(),
        )

    def _work(self) -> None:
        looked = time.monotonic()
        while True:
            with suppress(queue.Empty):
                note = self._waiting.get(timeout=LOOK_SECONDS)
                if note is None:
                    return
                self._guard(note)
            if time.monotonic() - looked >= LOOK_SECONDS:
                looked = time.monotonic()
                self._guard(self._look)

    def _look(self) -> None:
        run = self._pilot.run
        if not (run.path / "run.toml").exists():
            self._stop.why = f"{run.path} was deleted"
        elif self._until == "run" and not run.alive():
            self._stop.why = "the run has ended"

    def _follow_input(self) -> None:
        with suppress(OSError):
            # os.read, not a buffered file: interpreter shutdown would wait for the buffer's lock.
            while os.read(0, 4096):
                pass
        self._stop.why = "its standard input ended"

    def _cores_in_use(self) -> float | None:
        """Return the cores in use, averaged over at least `CPU_SECONDS`."""
        read, before = self._cpu_read
        now = time.monotonic()
        if now - read < CPU_SECONDS:
            return self._cpu
        seconds = time.process_time()
        if before:
            self._cpu = round((seconds - before) / (now - read), 3)
        self._cpu_read = (now, seconds)
        return self._cpu

    def _guard(self, work: Callable[[], object]) -> None:
        """Run `work` and print each error once: a full disk or a deleted folder must not stop play."""
        try:
            work()
        except (OSError, ExphilError) as error:
            said = f"the pilot of run {self._pilot.run.name}: {error}"
            if said not in self._complained:
                self._complained.add(said)
                print(said, file=sys.stderr, flush=True)
