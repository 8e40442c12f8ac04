"""Latency gauge: frame times of a policy on a fixed scale, as lines of (text, look).

The scale is always 0 to 25 ms with the frame budget at the same place, so that two gauges can be compared by eye. A
frame that began late may miss its deadline even if it took less than the budget.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from exphil_core.melee.characters import CHARACTERS
from exphil_core.melee.frames import FRAME_MS, FRAMES_PER_SECOND
from exphil_core.render.dial import ASCII, LEFT, UNICODE, Dial, GaugeGlyphs, Line
from exphil_core.render.strip import NARROW, StripColumn, high_strip, low_strip
from exphil_core.replays.text import sanitise
from exphil_core.runs.records import LatencyEvent

MISSED_SHARE = 0.01
"""Share of deadlines that may be missed and still count as in time."""

KEPT = 600
"""Maximum number of moments kept."""

FULL = 16
"""Height in lines from which the gauge shows a histogram and a strip of several rows."""

_STRIP_FRAMES = 600
"""Minimum number of frames in the strip, the same as in the percentiles."""

_LEAST_HISTOGRAM, _MOST_HISTOGRAM = 5, 20
_SPACED_HEIGHT, _TALL_STRIP_HEIGHT = 24, 32
"""Heights in lines from which the gauge has blank lines between its parts, and a strip twice as high."""

_TITLES = {character.name: character.title for character in CHARACTERS}


class LatencySample(NamedTuple):
    """A few consecutive frames, represented by the slowest of them."""

    number: int
    """Counts from 0."""
    until: int
    """Frames played up to its end."""
    slowest_ms: float
    missed: bool
    """Whether one of them was done only after the next tick."""


def samples_after(moments: Sequence[LatencySample], latency: LatencyEvent) -> tuple[LatencySample, ...]:
    """Append the moment of a record and keep the newest `KEPT`; restart if the frame count fell (another pilot)."""
    last = moments[-1] if moments else None
    played = last.until if last else 0
    until = played + latency.frames if latency.total_frames is None else latency.total_frames
    if until < played:
        return samples_after((), latency)
    if until == played:
        return tuple(moments)
    # Records may be forwarded only now and then; such a record covers all frames since the previous one.
    apart = last is not None and until - played >= latency.frames
    if latency.recent_max_ms is None or apart:
        slowest, missed = latency.max_ms, latency.missed
    else:
        slowest, missed = latency.recent_max_ms, latency.recent_missed or 0
    moment = LatencySample(
        number=last.number + 1 if last else 0,
        until=until,
        slowest_ms=math.inf if slowest is None else slowest,
        missed=missed > 0,
    )
    return (*moments[-(KEPT - 1) :], moment)


def samples_of(took_ms: Iterable[float], missed: Iterable[bool]) -> tuple[LatencySample, ...]:
    """Return one moment per frame, in order."""
    return tuple(
        LatencySample(number=index, until=index + 1, slowest_ms=took, missed=late)
        for index, (took, late) in enumerate(zip(took_ms, missed, strict=True))
    )


def gauge_lines(
    latency: LatencyEvent,
    moments: Sequence[LatencySample],
    *,
    width: int,
    height: int,
    ascii: bool,
    stale: str = "",
) -> tuple[Line, ...]:
    """Draw the gauge in at most `height` lines.

    `stale` says why the values are not current, such as "stopped 12 s ago"; the gauge is then dim.
    """
    glyphs = ASCII if ascii else UNICODE
    room = max(20, width - 2 * LEFT)
    scale = Dial(room, glyphs)
    dial = [scale.labels(), scale.bar(latency.p50_ms, latency.p95_ms, _verdict(latency)[1])]
    summary = [
        *flow(_figures(latency, glyphs), room),
        *flow(_verdict_phrases(latency, glyphs, stale), room),
    ]
    facts = flow(_facts(latency), room, between=f" {glyphs.bullet} ")
    columns = _columns(moments, room)
    if height < FULL:
        lines = [*dial, *summary, *low_strip(columns, room, glyphs), *facts]
    else:
        between: list[Line] = [()] if height >= _SPACED_HEIGHT else []
        strip = high_strip(columns, room, glyphs, rows=2 if height >= _TALL_STRIP_HEIGHT else 1)
        if strip:
            strip.append(_strip_words(moments, room, len(columns), glyphs))
        left = height - len(dial) - len(summary) - len(strip) - 3 * len(between)
        facts = facts[: max(2, left - _LEAST_HISTOGRAM)]
        shape = scale.histogram(latency.histogram, rows=min(_MOST_HISTOGRAM, left - len(facts)))
        lines = [*shape, *dial, *between, *summary, *between, *strip, *between, *facts]
    if stale:
        lines = [tuple((text, look if text == stale else "dim") for text, look in line) for line in lines]
    return tuple(lines[:height])


def flow(phrases: Sequence[Line], width: int, *, between: str = "   ") -> list[Line]:
    """Lay out phrases over as many lines as needed, without breaking any."""
    lines: list[Line] = []
    used = 0
    for phrase in phrases:
        length = sum(len(text) for text, _ in phrase)
        if lines and used + len(between) + length <= width:
            lines[-1] += ((between, "dim"), *phrase)
            used += len(between) + length
        else:
            lines.append(((" " * LEFT, ""), *phrase))
            used = length
    return lines


def _columns(moments: Sequence[LatencySample], room: int) -> list[StripColumn]:
    """Return columns of the newest moments, the newest last; each shows the slowest of the moments it covers."""
    if not moments:
        return []
    # Grouped by number, so that a column covers the same moments while the strip scrolls.
    together = _moments_a_column(moments, room)
    groups = [list(group) for _, group in groupby(moments, key=lambda moment: moment.number // together)]
    return [
        StripColumn(max(moment.slowest_ms for moment in group), any(moment.missed for moment in group))
        for group in groups[-room:]
    ]


def _moments_a_column(moments: Sequence[LatencySample], room: int) -> int:
    return max(1, math.ceil(_STRIP_FRAMES / _frames_a_moment(moments) / room))


def _frames_a_moment(moments: Sequence[LatencySample]) -> float:
    first, last = moments[0], moments[-1]
    return (
        (last.until - first.until) / (last.number - first.number)
        if last.number > first.number
        else last.until
    )


def _strip_words(moments: Sequence[LatencySample], room: int, columns: int, glyphs: GaugeGlyphs) -> Line:
    frames = _moments_a_column(moments, room) * _frames_a_moment(moments)
    phrases = (
        f"last {frames * columns / FRAMES_PER_SECOND:.0f} s",
        f"each column the slowest of {frames:.0f} frames" if frames > 1 else "each column a frame",
        f"{glyphs.level} budget",
        f"{glyphs.missed} missed",
    )
    return ((" " * LEFT + f" {glyphs.bullet} ".join(phrases), "dim"),)


def _figures(latency: LatencyEvent, glyphs: GaugeGlyphs) -> list[Line]:
    keyed = (
        (f"{glyphs.notch} p50 ", latency.p50_ms),
        (f"{glyphs.widths[8]} p95 ", latency.p95_ms),
        ("p99 ", latency.p99_ms),
        ("max ", latency.max_ms),
    )
    phrases: list[Line] = []
    for name, value in keyed:
        late = value is not None and value > FRAME_MS
        unit: Line = ((" ms", "dim"),) if name == "max " else ()
        phrases.append(((name, "dim"), (_ms(value, glyphs), "bad" if late else "strong"), *unit))
    return phrases


def _verdict_phrases(latency: LatencyEvent, glyphs: GaugeGlyphs, stale: str) -> list[Line]:
    verdict, look = _verdict(latency)
    missed: Line = (
        (f"{glyphs.missed} missed ", "dim"),
        (f"{latency.missed:,}", "bad" if latency.missed else "strong"),
        (f"/{latency.frames:,}", "dim"),
    )
    if latency.total_frames is not None and latency.total_missed is not None:
        missed = (*missed, (f", {latency.total_missed:,}/{latency.total_frames:,} in total", "dim"))
    skipped: list[Line] = []
    if latency.skipped or latency.total_skipped:
        number = latency.skipped or 0
        skipped = [(("skipped ", "dim"), (f"{number:,}", "bad" if number else "strong"))]
        if latency.total_skipped is not None:
            skipped[0] = (*skipped[0], (f", {latency.total_skipped:,} in total", "dim"))
    phrases: list[Line] = []
    if stale:
        phrases.append(((stale, "warn"),))
    elif verdict:
        phrases.append(((f"{glyphs.signs[_VERDICTS.index(verdict)]} {verdict}", look),))
    if latency.p99_ms is not None:
        phrases.append((("headroom ", "dim"), (f"{_ms(FRAME_MS - latency.p99_ms, glyphs)} ms", look)))
    return [*phrases, missed, *skipped]


_VERDICTS = ("in time", "just in time", "not in time")


def _verdict(latency: LatencyEvent) -> tuple[str, str]:
    """Return the verdict and its look; an empty verdict if nothing was measured."""
    if latency.p99_ms is None or not latency.frames:
        return "", "dim"
    if latency.p99_ms >= FRAME_MS or latency.missed > MISSED_SHARE * latency.frames:
        return _VERDICTS[2], "bad"
    if latency.p99_ms > (1 - NARROW) * FRAME_MS:
        return _VERDICTS[1], "warn"
    return _VERDICTS[0], "good"


def _facts(latency: LatencyEvent) -> list[Line]:
    """List what was measured and how, as far as the record says, most important first."""
    threads = "" if latency.threads is None else f", {_counted(latency.threads, 'thread')}"
    facts = ["encode + step + sample + decode", f"on {sanitise(latency.device)}{threads}"]
    if latency.step is not None:
        facts.append(f"weights of step {latency.step:,}")
    facts.append(f"at {FRAMES_PER_SECOND} Hz")
    if latency.late_p99_ms is not None:
        facts.append(f"wake-up {latency.late_p99_ms:.2f} ms late (p99), not included")
    if latency.realtime is not None:
        facts.append("with real-time priority" if latency.realtime else "without real-time priority")
    if latency.cpu is not None:
        facts.append(f"uses {latency.cpu:.2f} of a core")
    if latency.snapshot_ms is not None:
        facts.append(f"copying weights paused training for {latency.snapshot_ms:.1f} ms")
    kind = sanitise(latency.backbone)
    facts.append(kind if latency.window_size is None else f"{kind}, window {latency.window_size}")
    if latency.character:
        facts.append(f"as {_TITLES.get(latency.character) or sanitise(latency.character)}")
    return [((fact, "dim"),) for fact in facts]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _ms(value: float | None, glyphs: GaugeGlyphs) -> str:
    """Format with three digits: `6.42`, `16.7`, `120`."""
    if value is None:
        return glyphs.dash
    return f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"
