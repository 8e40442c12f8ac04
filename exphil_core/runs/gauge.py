"""The gauge: what a policy takes for a frame, on a scale that stands still, as lines of text.

In: the newest `latency` record and the moments before it. Out: lines of (text, look), for whoever draws them. What a
reader gets wrong: the scale is from 0 to 25 ms whatever is measured, with the budget of a frame at the same place, so
that two gauges can be compared by eye; and a frame may miss its deadline though it took less than the budget, where
it began late.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from exphil_core.melee.characters import CHARACTERS
from exphil_core.melee.frames import FRAME_MS, FRAMES_PER_SECOND
from exphil_core.replays.text import sanitise
from exphil_core.runs.records import Latency

SCALE_MS = 25.0

BINS_PER_BUDGET = 20
"""Of a record's histogram, which reaches to twice the budget; its last bin also holds all that took longer."""

MISSED_SHARE = 0.01
"""Deadlines that may be missed by what counts as in time."""

NARROW = 0.1
"""Share of the budget: with less headroom it is only just in time."""

KEPT = 600
"""Moments that are kept at most."""

FULL = 16
"""Lines from which on there is a histogram, and a strip of several rows."""

Part = tuple[str, str]
"""Text and its look: dim, strong, good, warn, bad, rule, or empty."""

Line = tuple[Part, ...]

_STRIP_FRAMES = 600
"""As many as the percentiles are of, at least, are in the strip."""

_END = f"{SCALE_MS:.0f} ms"

_LEFT = 2
"""Blanks before every line."""

_BINS_SHOWN = round(SCALE_MS / FRAME_MS * BINS_PER_BUDGET)
_BIN_LOOKS = ("good",) * BINS_PER_BUDGET + ("bad",) * (_BINS_SHOWN - BINS_PER_BUDGET)
_LEAST_HISTOGRAM, _MOST_HISTOGRAM = 5, 20
_AIRY, _TALL = 24, 32
"""Lines from which on there is room between the parts, and for a strip twice as high."""


_TITLES = {character.name: character.title for character in CHARACTERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letters:
    widths: str
    """A cell from empty to full, from the left."""
    heights: str
    """From the bottom."""
    notch: str
    beyond: str
    upright: str
    level: str
    missed: str
    bullet: str
    dash: str
    signs: tuple[str, str, str]
    """Of in time, just in time, not in time."""


_UNICODE = _Letters(
    widths=" ▏▎▍▌▋▊▉█",
    heights=" ▁▂▃▄▅▆▇█",
    notch="┃",
    beyond="▶",
    upright="│",
    level="┄",
    missed="▾",
    bullet="•",
    dash="–",
    signs=("✓", "≈", "✗"),
)
_ASCII = _Letters(
    widths="    #####",
    heights=" .:-=+*##",
    notch="+",
    beyond=">",
    upright="|",
    level="-",
    missed="v",
    bullet="*",
    dash="-",
    signs=("*", "~", "!"),
)


class Moment(NamedTuple):
    """A few frames after each other, by the slowest of them."""

    number: int
    """From 0."""
    until: int
    """Frames that were played by then."""
    slowest_ms: float
    missed: bool
    """One of them was done only after the next tick."""


def moments_after(moments: Sequence[Moment], latency: Latency) -> tuple[Moment, ...]:
    """With the one that a record adds, the newest `KEPT`; a count of frames that fell is another pilot's."""
    last = moments[-1] if moments else None
    played = last.until if last else 0
    until = played + latency.frames if latency.total_frames is None else latency.total_frames
    if last is not None and until < played:
        return moments_after((), latency)
    if last is not None and until == played:
        return tuple(moments)
    # A record that is passed on only now and then speaks for all the frames since the one before.
    apart = last is not None and until - played >= latency.frames
    if latency.recent_max_ms is None or apart:
        slowest, missed = latency.max_ms, latency.missed
    else:
        slowest, missed = latency.recent_max_ms, latency.recent_missed or 0
    moment = Moment(
        number=last.number + 1 if last else 0,
        until=until,
        slowest_ms=math.inf if slowest is None else slowest,
        missed=missed > 0,
    )
    return (*moments[-(KEPT - 1) :], moment)


def moments_of(took_ms: Iterable[float], missed: Iterable[bool]) -> tuple[Moment, ...]:
    """Of single frames, in order."""
    return tuple(
        Moment(number=index, until=index + 1, slowest_ms=took, missed=late)
        for index, (took, late) in enumerate(zip(took_ms, missed, strict=True))
    )


def gauge_lines(
    latency: Latency, moments: Sequence[Moment], *, width: int, height: int, ascii: bool, stale: str = ""
) -> tuple[Line, ...]:
    """At most `height` lines. `stale`: why this is not of now, such as "stopped 12 s ago"; then it is dim."""
    letters = _ASCII if ascii else _UNICODE
    room = max(20, width - 2 * _LEFT)
    scale = _Scale(room, letters)
    dial = [scale.labels(), scale.bar(latency)]
    said = [*flow(_figures(latency, letters), room), *flow(_judged(latency, letters, stale), room)]
    facts = flow(_facts(latency), room, between=f" {letters.bullet} ")
    if height < FULL:
        lines = [*dial, *said, *_low_strip(moments, room, letters), *facts]
    else:
        between: list[Line] = [()] if height >= _AIRY else []
        strip = _high_strip(moments, room, letters, rows=2 if height >= _TALL else 1)
        left = height - len(dial) - len(said) - len(strip) - 3 * len(between)
        facts = facts[: max(2, left - _LEAST_HISTOGRAM)]
        shape = scale.histogram(latency.histogram, rows=min(_MOST_HISTOGRAM, left - len(facts)))
        lines = [*shape, *dial, *between, *said, *between, *strip, *between, *facts]
    if stale:
        lines = [tuple((text, look if text == stale else "dim") for text, look in line) for line in lines]
    return tuple(lines[:height])


def flow(phrases: Sequence[Line], width: int, *, between: str = "   ") -> list[Line]:
    """Phrases on as many lines as they take; none of them is broken."""
    lines: list[Line] = []
    used = 0
    for phrase in phrases:
        length = sum(len(text) for text, _ in phrase)
        if lines and used + len(between) + length <= width:
            lines[-1] += ((between, "dim"), *phrase)
            used += len(between) + length
        else:
            lines.append(((" " * _LEFT, ""), *phrase))
            used = length
    return lines


# The dial.


class _Scale:
    """0 to 25 ms in cells, and between two of them the line at the budget."""

    def __init__(self, room: int, letters: _Letters) -> None:
        # The budget lies between two cells where they are a multiple of three, and so does each bin where of thirty.
        room -= len(_END)
        step = _BINS_SHOWN if room >= _BINS_SHOWN else 3
        self._cells = room // step * step
        self._budget = self._cells * 2 // 3
        self._letters = letters

    def labels(self) -> Line:
        budget = f"{FRAME_MS:.2f} ms"
        row = list(" " * (self._cells + len(_END)))
        at = self._budget - len(budget) // 2
        row[at : at + len(budget)] = budget
        row[self._cells :] = _END
        for ms in (0, 10, 5, 20, 15):
            place = round(self._place(ms)) + (ms > FRAME_MS)
            around = row[max(0, place - 2) : place + 4]
            if all(letter == " " for letter in around):
                row[place : place + len(str(ms))] = str(ms)
        text = "".join(row).rstrip()
        return (
            (" " * _LEFT + text[:at], "dim"),
            (budget, "strong"),
            (text[at + len(budget) :], "dim"),
        )

    def bar(self, latency: Latency) -> Line:
        """Full up to the p95, with a notch at the p50."""
        letters, p50_ms, p95_ms = self._letters, latency.p50_ms, latency.p95_ms
        full = 0.0 if p95_ms is None else max(self._place(p95_ms), 0.2)
        look = _verdict(latency)[1]
        cells = [(_filled(letters.widths, 8 * (full - cell)), look) for cell in range(self._cells)]
        if p95_ms is not None and p95_ms > SCALE_MS:
            cells[-1] = (letters.beyond, look)
        if p50_ms is not None and p50_ms <= SCALE_MS:
            cells[min(self._cells - 1, int(self._place(p50_ms)))] = (letters.notch, "strong")
        return self._divided(cells)

    def histogram(self, counts: Sequence[int], *, rows: int) -> list[Line]:
        """What frames took, standing on the scale; none where its bins are another version's or there is no room."""
        if len(counts) != 2 * BINS_PER_BUDGET or not any(counts) or self._cells % _BINS_SHOWN or rows < 3:
            return []
        most = max(1, *counts[:_BINS_SHOWN])
        # Rounded up: one frame of six hundred can be seen.
        heights = [math.ceil(8 * (rows - 1) * count / most) for count in counts[:_BINS_SHOWN]]
        lines = []
        for row in reversed(range(rows - 1)):
            cells = [
                (self._cells // _BINS_SHOWN * _filled(self._letters.heights, height - 8 * row), look)
                for height, look in zip(heights, _BIN_LOOKS, strict=True)
            ]
            lines.append(self._divided(cells))
        over, beyond = sum(counts[BINS_PER_BUDGET:]), sum(counts[_BINS_SHOWN:])
        within = f"{sum(counts[:BINS_PER_BUDGET]):,} frames in the budget "
        too_long = f" {over:,} over" + (f", {beyond:,} of them beyond {SCALE_MS:.0f} ms" if beyond else "")
        heading: Line = (
            (" " * _LEFT + within.rjust(self._budget)[-self._budget :], "dim"),
            (self._letters.upright, "strong"),
            (too_long, "bad" if over else "dim"),
        )
        return [heading, *lines]

    def _place(self, ms: float) -> float:
        return min(max(ms, 0.0), SCALE_MS) / SCALE_MS * self._cells

    def _divided(self, cells: Sequence[Part]) -> Line:
        """With the line of the budget, which lies behind two thirds of them."""
        middle = len(cells) * 2 // 3
        line = (self._letters.upright, "strong")
        return ((" " * _LEFT, ""), *_joined([*cells[:middle], line, *cells[middle:]]))


def _joined(cells: Sequence[Part]) -> Line:
    """Neighbours of the same look as one part."""
    groups = groupby(cells, key=lambda cell: cell[1])
    return tuple(("".join(letter for letter, _ in group), look) for look, group in groups)


def _filled(letters: str, eighths: float) -> str:
    """The letter of a cell that is this full."""
    return letters[min(8, max(0, round(eighths)))]


# The strip.


class _Column(NamedTuple):
    slowest_ms: float
    missed: bool

    @property
    def look(self) -> str:
        if self.slowest_ms > FRAME_MS:
            return "bad"
        return "warn" if self.slowest_ms > (1 - NARROW) * FRAME_MS else "good"

    def eighths(self, budget: int, top: int) -> int:
        """Its height; what is over the budget is higher than `budget`, and nothing else is."""
        if self.slowest_ms <= FRAME_MS:
            return max(1, math.ceil(self.slowest_ms / FRAME_MS * budget))
        over = (min(self.slowest_ms, SCALE_MS) - FRAME_MS) / (SCALE_MS - FRAME_MS)
        return budget + max(1, math.ceil(over * (top - budget)))


def _columns(moments: Sequence[Moment], room: int) -> list[_Column]:
    """Of the newest moments, the newest last, by the slowest of what each column covers."""
    if not moments:
        return []
    # By number, so that a column covers the same moments while the strip moves on.
    together = _moments_a_column(moments, room)
    groups = [list(group) for _, group in groupby(moments, key=lambda moment: moment.number // together)]
    return [
        _Column(max(moment.slowest_ms for moment in group), any(moment.missed for moment in group))
        for group in groups[-room:]
    ]


def _moments_a_column(moments: Sequence[Moment], room: int) -> int:
    return max(1, math.ceil(_STRIP_FRAMES / _frames_a_moment(moments) / room))


def _frames_a_moment(moments: Sequence[Moment]) -> float:
    first, last = moments[0], moments[-1]
    return (
        (last.until - first.until) / (last.number - first.number)
        if last.number > first.number
        else last.until
    )


def _marks(columns: Sequence[_Column], room: int, letters: _Letters) -> Line:
    """Above the columns that missed a deadline."""
    marks = "".join(letters.missed if column.missed else " " for column in columns)
    return ((" " * _LEFT + marks.rjust(room), "bad"),)


def _low_strip(moments: Sequence[Moment], room: int, letters: _Letters) -> list[Line]:
    """Marks and one row."""
    columns = _columns(moments, room)
    if not columns:
        return []
    cells = [(letters.heights[column.eighths(5, 8)], column.look) for column in columns]
    return [_marks(columns, room, letters), ((" " * (_LEFT + room - len(cells)), ""), *_joined(cells))]


def _high_strip(moments: Sequence[Moment], room: int, letters: _Letters, *, rows: int) -> list[Line]:
    """Marks, `rows` above the budget, its line, twice as many below it, and what that is."""
    columns = _columns(moments, room)
    if not columns:
        return []
    empty = room - len(columns)
    heights = [column.eighths(16 * rows, 24 * rows) for column in columns]
    drawn: list[list[Part]] = []
    for row in reversed(range(3 * rows)):
        cells = [_filled(letters.heights, height - 8 * row) for height in heights]
        looks = [column.look for column in columns]
        drawn.append([(" " * empty, ""), *zip(cells, looks, strict=True)])
    over = (letters.heights[8], "bad")
    level = (letters.level, "strong")
    crossed = [over if column.slowest_ms > FRAME_MS else level for column in columns]
    drawn.insert(rows, [level] * empty + crossed)
    return [
        _marks(columns, room, letters),
        *(((" " * _LEFT, ""), *_joined(cells)) for cells in drawn),
        ((" " * _LEFT + _strip_words(moments, room, len(columns), letters), "dim"),),
    ]


def _strip_words(moments: Sequence[Moment], room: int, columns: int, letters: _Letters) -> str:
    frames = _moments_a_column(moments, room) * _frames_a_moment(moments)
    phrases = (
        f"last {frames * columns / FRAMES_PER_SECOND:.0f} s",
        f"each column the slowest of {frames:.0f} frames" if frames > 1 else "each column a frame",
        f"{letters.level} budget",
        f"{letters.missed} missed",
    )
    return f" {letters.bullet} ".join(phrases)


# The words.


def _figures(latency: Latency, letters: _Letters) -> list[Line]:
    keyed = (
        (f"{letters.notch} p50 ", latency.p50_ms),
        (f"{letters.widths[8]} p95 ", latency.p95_ms),
        ("p99 ", latency.p99_ms),
        ("max ", latency.max_ms),
    )
    phrases: list[Line] = []
    for name, value in keyed:
        late = value is not None and value > FRAME_MS
        unit: Line = ((" ms", "dim"),) if name == "max " else ()
        phrases.append(((name, "dim"), (_ms(value, letters), "bad" if late else "strong"), *unit))
    return phrases


def _judged(latency: Latency, letters: _Letters, stale: str) -> list[Line]:
    verdict, look = _verdict(latency)
    missed: Line = (
        (f"{letters.missed} missed ", "dim"),
        (f"{latency.missed:,}", "bad" if latency.missed else "strong"),
        (f"/{latency.frames:,}", "dim"),
    )
    if latency.total_frames is not None and latency.total_missed is not None:
        missed = (*missed, (f", {latency.total_missed:,}/{latency.total_frames:,} in all", "dim"))
    phrases: list[Line] = []
    if stale:
        phrases.append(((stale, "warn"),))
    elif verdict:
        phrases.append(((f"{letters.signs[_VERDICTS.index(verdict)]} {verdict}", look),))
    if latency.p99_ms is not None:
        phrases.append((("headroom ", "dim"), (f"{_ms(FRAME_MS - latency.p99_ms, letters)} ms", look)))
    return [*phrases, missed]


_VERDICTS = ("in time", "just in time", "not in time")


def _verdict(latency: Latency) -> tuple[str, str]:
    """In words, and its look; nothing where nothing was measured."""
    if latency.p99_ms is None or not latency.frames:
        return "", "dim"
    if latency.p99_ms >= FRAME_MS or latency.missed > MISSED_SHARE * latency.frames:
        return _VERDICTS[2], "bad"
    if latency.p99_ms > (1 - NARROW) * FRAME_MS:
        return _VERDICTS[1], "warn"
    return _VERDICTS[0], "good"


def _facts(latency: Latency) -> list[Line]:
    """What was measured, of what, and what that costs: as much as the record tells, what matters most first."""
    threads = "" if latency.threads is None else f", {_counted(latency.threads, 'thread')}"
    facts = ["encode + step + sample + decode", f"on {sanitise(latency.device)}{threads}"]
    if latency.step is not None:
        facts.append(f"weights of step {latency.step:,}")
    facts.append(f"at {FRAMES_PER_SECOND} Hz")
    if latency.late_p99_ms is not None:
        facts.append(f"woken {latency.late_p99_ms:.2f} ms late (p99), apart from this")
    if latency.realtime is not None:
        facts.append("with real-time priority" if latency.realtime else "without real-time priority")
    if latency.cpu is not None:
        facts.append(f"takes {latency.cpu:.2f} of a core")
    if latency.snapshot_ms is not None:
        facts.append(f"copying the weights held the training up for {latency.snapshot_ms:.1f} ms")
    kind = sanitise(latency.backbone)
    facts.append(kind if latency.window_size is None else f"{kind}, window {latency.window_size}")
    if latency.character:
        facts.append(f"as {_TITLES.get(latency.character) or sanitise(latency.character)}")
    return [((fact, "dim"),) for fact in facts]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _ms(value: float | None, letters: _Letters) -> str:
    """Three figures: `6.42`, `16.7`, `120`."""
    if value is None:
        return letters.dash
    return f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"
