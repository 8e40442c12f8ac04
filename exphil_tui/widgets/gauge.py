"""The gauge: what the policy takes for a frame of the game, against the time that it has.

In: a `Reading`: the newest measurement, or why there is none. Out: a panel; with much room, a histogram too. What a
reader gets wrong: the mean does not matter. A frame that comes too late is a frame not played, so the slowest in a
hundred and the slowest of all are what is looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from exphil_core.melee.frames import FRAME_MS
from exphil_core.replays.text import sanitise
from exphil_core.runs.gauge import Moment, gauge_lines
from exphil_core.runs.records import Latency
from exphil_tui import figures
from exphil_tui.glyphs import Glyphs
from exphil_tui.pilots import CORES, PilotSight
from exphil_tui.state import RunState
from exphil_tui.widgets.text_panel import Line, Picture, TextPanel, wrapped

PASSED_ON_S = 25.0
"""Without one of the run's own `latency` events for as long as this, the last is not of now: they come every ten."""

_WHAT_FOR = (
    "It plays a replay that the run does not learn from, in real time and with the newest weights, and shows whether "
    f"the policy could act in a frame's {FRAME_MS:.2f} ms."
)

_MOST_WORDS = 3
"""Lines of a sentence that take the place of what is below a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    latency: Latency | None = None
    moments: Sequence[Moment] = ()
    stale: str = ""
    """Why what was measured is not of now: "stopped 12 s ago"."""
    sentence: str = ""
    """Why there is nothing newer, and what a person can do."""
    look: str = "dim"
    """Of the sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotDoing:
    """Of a pilot that this workbench starts."""

    ours: bool = False
    """It plays, or is being started or ended."""
    ending: bool = False
    problem: str = ""
    """Why it ended, where nobody asked."""


def reading(
    pilot: PilotSight, state: RunState, *, doing: PilotDoing, run_alive: bool, now: float, glyphs: Glyphs
) -> Reading:
    """What the pilot's own file tells; where there is none, what the run passed on in its history."""
    sentence, look = _why_nothing(pilot, doing)
    latency = pilot.latency or state.latency
    if latency is None:
        return Reading(sentence=sentence, look=look)
    ago = max(0.0, now - _seconds(latency.ts))
    if pilot.latency is not None:
        current, moments = pilot.fresh, pilot.moments
        held_up = state.latency.snapshot_ms if state.latency is not None else None
        latency = msgspec.structs.replace(latency, snapshot_ms=held_up)
    else:
        current, moments = run_alive and ago < PASSED_ON_S, state.moments
    if current:
        return Reading(latency=latency, moments=moments)
    stale = f"stopped {figures.duration(ago, glyphs)} ago"
    return Reading(latency=latency, moments=moments, stale=stale, sentence=sentence, look=look)


def _why_nothing(pilot: PilotSight, doing: PilotDoing) -> tuple[str, str]:
    """In a sentence, and how that looks."""
    if doing.ending:
        return "The pilot is ending.", "dim"
    if pilot.alive:
        since = " yet" if pilot.latency is None else " since"
        return pilot.warning or f"The pilot is there; it has not played{since}.", "dim"
    if doing.ours:
        return "A pilot is starting: it reads the weights and a replay.", "dim"
    if doing.problem:
        return f"{doing.problem} (g starts another)", "warn"
    cost = CORES if pilot.latency is None or pilot.latency.cpu is None else pilot.latency.cpu
    offer = f"no pilot: g starts one; it takes about {cost:.1f} of a core"
    return (offer if pilot.latency else f"{offer}. {_WHAT_FOR}"), "dim"


def _seconds(ts: str) -> float:
    """Since 1970; 0 where it is no time."""
    try:
        return datetime.fromisoformat(ts).timestamp()
    except (ValueError, OverflowError):
        return 0.0


class Gauge(TextPanel):
    TITLE = "gauge"
    BINDING_GROUP_TITLE = "Gauge"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="-none")
        self._reading = Reading()

    def show(self, reading: Reading) -> None:
        if reading == self._reading:
            return
        self._reading = reading
        self.set_class(reading.latency is None, "-none")
        self.update()

    def picture(self, width: int, glyphs: Glyphs) -> Picture:
        reading = self._reading
        words: list[Line] = [
            ((f"  {text}", reading.look),) for text in wrapped(reading.sentence, max(10, width - 4)) if text
        ]
        if reading.latency is None:
            return Picture(lines=tuple(words))
        # Below the title.
        room = max(1, self.size.height - 1)
        words = words[: min(_MOST_WORDS, room)]
        drawn = gauge_lines(
            reading.latency,
            reading.moments,
            width=width,
            height=room - len(words),
            ascii=glyphs.ascii,
            stale=reading.stale,
        )
        return Picture(lines=(*drawn, *words), notes=_notes(reading.latency, glyphs))


def _notes(latency: Latency, glyphs: Glyphs) -> tuple[str, ...]:
    """What plays and what it takes, the longest first."""
    cores = "" if latency.cpu is None else f"{latency.cpu:.2f} of a core"
    kind = sanitise(latency.backbone)
    if latency.window_size is not None:
        kind += f", window {latency.window_size}"
    return (f"{kind} {glyphs.bullet} {cores}", cores) if cores else (kind,)
