"""The pilot beside a run, as the workbench sees, starts and ends it.

In: a run directory. Out: a `PilotSight` at every look; a process that lives as long as who asked for it. What a
reader gets wrong: a pilot may also be the run's own or another workbench's. Each is followed alike, by its files; and
one that is started here ends with its standard input, so also where the workbench dies.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.gauge import Moment, moments_after
from exphil_core.runs.log_end import last_lines
from exphil_core.runs.pilot import PilotDirectory, command
from exphil_core.runs.records import Latency, Record, Warned, decode, showable
from exphil_core.runs.tail import Tail

CORES = 0.7
"""Of a core, about: what a pilot takes with a policy of twenty million parameters on a processor."""

SLOWED = (
    "A run that trains on every core slows down by more, on two cores to two fifths: its threads wait for the one "
    "whose core the pilot takes. Started with --pilot cpu, a run leaves its pilot a core."
)
"""Measured: docs/WORKBENCH.md."""

FRESH_SECONDS = 2.0
"""Without a sample for as long as this, a pilot is silent."""

PATIENCE_SECONDS = 1.0
"""For a pilot whose starter goes away, before it is killed."""

_SENTENCE_LETTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotSight:
    alive: bool = False
    latency: Latency | None = None
    """The newest measurement, of this pilot or the last."""
    moments: tuple[Moment, ...] = ()
    fresh: bool = False
    """A measurement came in the last seconds."""
    warning: str = ""
    """What the pilot said since its last measurement: why it waits."""


class PilotWatch:
    """Follows a pilot's files. It is looked at from a thread, for a disk may be slow."""

    def __init__(self, run: RunDirectory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.directory = PilotDirectory(run)
        self._tail: Tail[Record] = Tail(self.directory.events_path, decode=decode)
        self._clock = clock
        self._heard = float("-inf")
        self._sight = PilotSight()

    def look(self) -> PilotSight:
        """How it stands now. OSError where its files cannot be read."""
        latency, moments, warning = self._sight.latency, self._sight.moments, self._sight.warning
        while records := self._tail.read():
            for record in records:
                if isinstance(record, Latency):
                    latency, moments, warning = record, moments_after(moments, record), ""
                elif isinstance(record, Warned):
                    warning = sanitise(record.message, limit=_SENTENCE_LETTERS)
        if latency is not self._sight.latency:
            self._heard = self._clock()
            latency = showable(latency)
        alive = self.directory.alive()
        self._sight = PilotSight(
            alive=alive,
            latency=latency,
            moments=moments,
            fresh=alive and self._clock() - self._heard < FRESH_SECONDS,
            warning=warning,
        )
        return self._sight


class PilotProcess:
    """A pilot of our own: at most one at a time."""

    def __init__(self, run: RunDirectory, *, command: Callable[..., list[str]] = command) -> None:
        self.directory = PilotDirectory(run)
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._asked = False

    async def play(self) -> str:
        """Starts it and waits for its end: why it ended, in a sentence, where nobody asked. Cancelled, it ends it."""
        self._asked = False
        name = self.directory.run.name
        try:
            self.directory.path.mkdir(exist_ok=True)
            with self.directory.log_path.open("ab") as log:
                begins = log.tell()
                process = await asyncio.create_subprocess_exec(
                    *self._command(self.directory.run, until="stdin"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            return f"A pilot of {name} cannot be started: {error.filename}: {error.strerror}."
        self._process = process
        try:
            code = await process.wait()
        finally:
            self._process = None
            await _left_alone(process)
        if code == 0 or self._asked:
            return ""
        said = last_lines(self.directory.log_path, 1, after=begins) or [f"exit code {code}, without a word"]
        return f"The pilot of {name} ended: {said[-1].strip()}"

    def end(self) -> None:
        """Asks it to end; `play` returns when it has."""
        self._asked = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()


async def _left_alone(process: asyncio.subprocess.Process) -> None:
    """Its standard input ends, and soon it does too."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    finally:
        # Else its pipe would complain once the event loop is gone.
        process._transport.close()  # type: ignore[attr-defined]
