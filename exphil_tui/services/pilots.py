"""Follow, start and stop the pilot beside a run.

The pilot may also have been started by the run itself or by another workbench; all are followed by their files. A
pilot started here exits when its standard input closes, so also when the workbench dies.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from exphil_core.pilot.directory import PilotDirectory, command
from exphil_core.render.gauge import LatencySample, samples_after
from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.log_tail import last_lines
from exphil_core.runs.records import LatencyEvent, LoadingWeights, Record, Warned, decode, showable
from exphil_core.runs.tail import Tail

CORES = 0.7
"""Approximate CPU cores used by a pilot with a 20-million-parameter policy on CPU."""

SLOWDOWN_NOTE = (
    "A run that trains on all cores slows down more, on two cores to 40 % of its speed: its threads wait for the one "
    "that shares a core with the pilot. A run started with --pilot cpu reserves a core for its pilot."
)
"""Measured: docs/WORKBENCH.md."""

FRESH_SECONDS = 2.0
"""A pilot without a new measurement for this long is not fresh."""

EXIT_TIMEOUT_S = 1.0
"""How long a pilot may take to exit after its standard input closes, before it is killed."""

_MAX_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotSnapshot:
    alive: bool = False
    latency: LatencyEvent | None = None
    """The newest measurement, of the current pilot or the previous one."""
    moments: tuple[LatencySample, ...] = ()
    fresh: bool = False
    """True if the pilot is alive and the newest measurement is at most `FRESH_SECONDS` old."""
    warning: str = ""
    """The pilot's last warning since its last measurement, which says why it is not playing."""
    loading: int | None = None
    """Step of the weights that the pilot loads between two clips; None while it plays."""


class PilotFollower:
    """Follows a pilot's files. Call it from a thread: disk reads may be slow."""

    def __init__(self, run: RunDirectory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = PilotDirectory(run)
        self._tail: Tail[Record] = Tail(self.directory.events_path, decode=decode)
        self._clock = clock
        self._last_update = float("-inf")
        self._snapshot = PilotSnapshot()

    def poll(self) -> PilotSnapshot:
        """Read new events and return the current state.

        Raises:
            OSError: The files cannot be read.
        """
        latency, moments, warning = self._snapshot.latency, self._snapshot.moments, self._snapshot.warning
        loading = self._snapshot.loading
        while records := self._tail.read():
            for record in records:
                if isinstance(record, LatencyEvent):
                    latency, moments, warning = record, samples_after(moments, record), ""
                    loading = None
                elif isinstance(record, LoadingWeights):
                    loading = record.step
                elif isinstance(record, Warned):
                    warning = sanitise(record.message, limit=_MAX_CHARS)
        if latency is not self._snapshot.latency:
            self._last_update = self._clock()
            latency = showable(latency)
        alive = self.directory.alive()
        self._snapshot = PilotSnapshot(
            alive=alive,
            latency=latency,
            moments=moments,
            fresh=alive and self._clock() - self._last_update < FRESH_SECONDS,
            warning=warning,
            loading=loading if alive else None,
        )
        return self._snapshot


class PilotProcess:
    """A pilot process of this workbench; at most one runs at a time."""

    def __init__(self, run: RunDirectory, *, command: Callable[..., list[str]] = command) -> None:
        self.directory = PilotDirectory(run)
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._end_requested = False

    async def play(self) -> str:
        """Start the pilot and wait for it to exit. If cancelled, end it.

        Returns:
            Why it exited, as a sentence; empty if `end` was called or it exited with code 0.
        """
        self._end_requested = False
        name = self.directory.run.name
        try:
            self.directory.path.mkdir(exist_ok=True)
            with self.directory.log_path.open("ab") as log:
                start = log.tell()
                process = await asyncio.create_subprocess_exec(
                    *self._command(self.directory.run, until="stdin"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            return f"The pilot of {name} cannot be started: {error.filename}: {error.strerror}."
        self._process = process
        try:
            code = await process.wait()
        finally:
            self._process = None
            await _close(process)
        if code == 0 or self._end_requested:
            return ""
        output = last_lines(self.directory.log_path, 1, after=start) or [f"exit code {code}, no output"]
        return f"The pilot of {name} exited: {output[-1].strip()}"

    def end(self) -> None:
        """Ask the pilot to exit; `play` returns when it has."""
        self._end_requested = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()


async def _close(process: asyncio.subprocess.Process) -> None:
    """Close the pilot's standard input; kill it if it does not exit within `EXIT_TIMEOUT_S`."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), EXIT_TIMEOUT_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    finally:
        # An unclosed transport raises a warning after the event loop has closed.
        process._transport.close()  # type: ignore[attr-defined]
