"""Latency gauge: time the policy takes per frame against the frame budget, with a histogram where there is room.

The mean does not matter: a late frame is a missed frame, so the gauge shows the p99 and the maximum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from exphil_core.melee.frames import FRAME_MS
from exphil_core.render.gauge import LatencySample, gauge_lines
from exphil_core.replays.text import sanitise
from exphil_core.runs.records import LatencyEvent
from exphil_tui.model.run_state import RunState
from exphil_tui.services.pilots import CORES, PilotSnapshot
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, PanelContent, TextPanel, wrapped

RUN_LATENCY_MAX_AGE_S = 25.0
"""Age in seconds from which the run's last `latency` event counts as old; a run writes one every 10 s."""

_WHAT_FOR = (
    "It plays clips of games that the run does not learn from, in real time and with the newest weights, and shows "
    f"whether the policy could act in a frame's {FRAME_MS:.2f} ms."
)

_MOST_WORDS = 3
"""Maximum lines of `sentence` below a measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaugeReading:
    latency: LatencyEvent | None = None
    moments: Sequence[LatencySample] = ()
    stale: str = ""
    """Age of a measurement that is not current: "stopped 12 s ago". Empty if it is current."""
    sentence: str = ""
    """Why there is nothing newer, and what the user can do."""
    look: str = "dim"
    """Look of `sentence`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotProcessState:
    """State of the pilot that this workbench starts."""

    ours: bool = False
    """True while the pilot starts, plays or ends."""
    ending: bool = False
    problem: str = ""
    """Why it exited unexpectedly; empty otherwise."""


def gauge_reading(
    pilot: PilotSnapshot,
    state: RunState,
    *,
    doing: PilotProcessState,
    run_alive: bool,
    now: float,
    glyphs: Glyphs,
) -> GaugeReading:
    """Return the pilot's own measurement; without one, the run's last `latency` event."""
    sentence, look = _why_nothing(pilot, doing)
    latency = pilot.latency or state.latency
    if latency is None:
        return GaugeReading(sentence=sentence, look=look)
    ago = max(0.0, now - _seconds(latency.ts))
    if pilot.latency is not None:
        current, moments = pilot.fresh, pilot.moments
        held_up = state.latency.snapshot_ms if state.latency is not None else None
        latency = msgspec.structs.replace(latency, snapshot_ms=held_up)
    else:
        current, moments = run_alive and ago < RUN_LATENCY_MAX_AGE_S, state.moments
    if pilot.loading is not None:
        return GaugeReading(latency=latency, moments=moments, sentence=sentence, look=look)
    if current:
        return GaugeReading(latency=latency, moments=moments)
    stale = f"stopped {fmt.duration(ago, glyphs)} ago"
    return GaugeReading(latency=latency, moments=moments, stale=stale, sentence=sentence, look=look)


def _why_nothing(pilot: PilotSnapshot, doing: PilotProcessState) -> tuple[str, str]:
    """Return why there is no current measurement, as a sentence, and its look."""
    if doing.ending:
        return "The pilot is stopping.", "dim"
    if pilot.loading is not None:
        return f"loading step {pilot.loading:,}", "accent"
    if pilot.alive:
        since = " yet" if pilot.latency is None else " since"
        return pilot.warning or f"The pilot is running; it has not played{since}.", "dim"
    if doing.ours:
        return "Starting the pilot: loading weights and a replay.", "dim"
    if doing.problem:
        return f"{doing.problem} (g restarts it)", "warn"
    cost = CORES if pilot.latency is None or pilot.latency.cpu is None else pilot.latency.cpu
    offer = f"no pilot running: g starts one; it uses about {cost:.1f} of a core"
    return (offer if pilot.latency else f"{offer}. {_WHAT_FOR}"), "dim"


def _seconds(ts: str) -> float:
    """Convert an ISO timestamp to seconds since 1970; 0 if it is invalid."""
    try:
        return datetime.fromisoformat(ts).timestamp()
    except (ValueError, OverflowError):
        return 0.0


class Gauge(TextPanel):
    TITLE = "gauge"
    BINDING_GROUP_TITLE = "Gauge"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="-none")
        self._reading = GaugeReading()

    def show(self, gauge_reading: GaugeReading) -> None:
        if gauge_reading == self._reading:
            return
        self._reading = gauge_reading
        self.set_class(gauge_reading.latency is None, "-none")
        self.update()

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        gauge_reading = self._reading
        words: list[Line] = [
            ((f"  {text}", gauge_reading.look),)
            for text in wrapped(gauge_reading.sentence, max(10, width - 4))
            if text
        ]
        if gauge_reading.latency is None:
            return PanelContent(lines=tuple(words))
        # One row is the title.
        room = max(1, self.size.height - 1)
        words = words[: min(_MOST_WORDS, room)]
        gauge = gauge_lines(
            gauge_reading.latency,
            gauge_reading.moments,
            width=width,
            height=room - len(words),
            ascii=glyphs.ascii,
            stale=gauge_reading.stale,
        )
        return PanelContent(lines=(*gauge, *words), notes=_notes(gauge_reading.latency, glyphs))


def _notes(latency: LatencyEvent, glyphs: Glyphs) -> tuple[str, ...]:
    """Return the notes of the title, longest first: backbone and CPU use."""
    cores = "" if latency.cpu is None else f"{latency.cpu:.2f} of a core"
    kind = sanitise(latency.backbone)
    if latency.window_size is not None:
        kind += f", window {latency.window_size}"
    return (f"{kind} {glyphs.bullet} {cores}", cores) if cores else (kind,)
