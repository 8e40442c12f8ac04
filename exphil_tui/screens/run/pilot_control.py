"""Starts, stops and follows the pilot beside a run."""

import asyncio
from contextlib import suppress

from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import RunDirectory
from exphil_tui.model.run_state import RunState
from exphil_tui.services.pilots import CORES, SLOWDOWN_NOTE, PilotFollower, PilotProcess, PilotSnapshot
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.gauge import GaugeReading, PilotProcessState, gauge_reading

_MAX_CHARS = 400


class PilotControl:
    """The pilot of a run, started here or elsewhere."""

    def __init__(self, run: RunDirectory) -> None:
        self._follower = PilotFollower(run)
        self._process = PilotProcess(run)
        self._process_state = PilotProcessState()
        self.snapshot = PilotSnapshot()

    @property
    def ours(self) -> bool:
        """Whether this screen's own pilot is starting, playing or ending."""
        return self._process_state.ours

    @property
    def alive(self) -> bool:
        return self.snapshot.alive

    async def poll(self) -> None:
        """Read the pilot's files in a thread; keep the last snapshot if they cannot be read."""
        with suppress(OSError):
            self.snapshot = await asyncio.to_thread(self._follower.poll)

    def mark_started(self) -> None:
        """Show the pilot as starting, before `play` runs."""
        self._process_state = PilotProcessState(ours=True)

    async def play(self) -> str:
        """Run a pilot until it exits; return why it failed, or an empty string."""
        try:
            problem = sanitise(await self._process.play(), limit=_MAX_CHARS)
        finally:
            self._process_state = PilotProcessState()
        if problem:
            self._process_state = PilotProcessState(problem=problem)
        return problem

    def end(self) -> None:
        """Ask this screen's own pilot to exit."""
        self._process.end()
        self._process_state = PilotProcessState(ours=True, ending=True)

    async def end_other(self) -> bool:
        """Ask a pilot that was started elsewhere to exit; return False if it is on another machine."""
        return await asyncio.to_thread(self._follower.directory.stop)

    def reading(self, state: RunState, *, run_alive: bool, now: float, glyphs: Glyphs) -> GaugeReading:
        """Return the gauge reading from the pilot's own events, or from the run's if there are none."""
        return gauge_reading(
            self.snapshot, state, doing=self._process_state, run_alive=run_alive, now=now, glyphs=glyphs
        )


def start_sentence(*, trains_on_cpu: bool) -> str:
    """Return the notification about what a pilot costs; `trains_on_cpu`: whether the run needs the same cores."""
    cost = f"Starting a pilot: it plays beside the run at 60 FPS and uses about {CORES} of a core."
    note = f" {SLOWDOWN_NOTE}" if trains_on_cpu else ""
    return f"{cost} g stops it, and so does leaving this screen.{note}"
