"""The picture of a chart: lines and levels between two axes, with a legend, as a `Canvas`.

In: a `Plot` and a size in cells. Out: a `Picture`. Pure: nothing here knows of a widget, a key or a colour. What a
reader gets wrong: an ink is only a number; the functions `ink_of_...` say which is whose, and the widget has a
style for each.

From below to above: the grid, raw points, the cursor, levels, lines, letters. Each hides what lies below it in the
cells that it touches.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from rich.cells import cell_len, set_cell_size

from exphil_tui.glyphs import UNICODE, Glyphs
from exphil_tui.widgets.axes import Axis, Tick, apart, axis_around, exact, label, round_step, short
from exphil_tui.widgets.braille import DOTS_HIGH, DOTS_WIDE, Canvas, Thinning, thin
from exphil_tui.widgets.view import EVERYTHING, Extent, View

_SAMPLE: Final = 2048
"""Raw values that are looked at to choose the range of y."""
_TRIMMED_FROM: Final = 500
"""Raw values from which the wildest hundredth may lie outside the range of y."""
_RAW_PER_COLUMN: Final = 3
"""Raw points that are drawn for a column of dots, beside its least and its most."""
_SMALLEST, _LARGEST = 1e-300, 1e300
"""What lies beyond counts as 0, and as infinite."""
_PATCH: Final = 3
"""Cells of a cloud that have one colour together: what a terminal is sent is mostly changes of colour."""
TURN: Final = 3
"""Cells for which a line that lies on another has its own colour there."""
_GAP: Final = 2
"""Cells between two labels."""

_Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    name: str
    x: np.ndarray
    """[N], ascending."""
    y: np.ndarray
    """[N]; a value that is not finite is a gap."""
    smooth: np.ndarray | None
    """[N], drawn as the line, with y as dim points below it. None: y itself is the line."""
    colour: str
    mark: str
    """One letter, so that colour is never alone."""

    def __post_init__(self) -> None:
        assert len(self.x) == len(self.y) == len(self.curve), self.name

    @property
    def curve(self) -> np.ndarray:
        return self.y if self.smooth is None else self.smooth


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A horizontal reference."""

    name: str
    y: float
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    lines: Sequence[Line] = ()
    levels: Sequence[Level] = ()
    title: str = ""
    x_title: str = ""
    y_title: str = ""
    view: View = EVERYTHING
    log_x: bool = False
    log_y: bool = False
    cursor: float | None = None
    """x of the vertical line that reads values."""
    lettered: bool = False
    """Put the marks along the lines, for a terminal that shows no colour."""
    glyphs: Glyphs = UNICODE


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    canvas: Canvas
    x_axis: Axis | None
    y_axis: Axis | None
    """None where there was nothing to show."""
    left: int
    """The first cell of the plot in a row, and how many there are."""
    columns: int


class Ink(IntEnum):
    NOTHING = 0
    TITLE = 1
    TEXT = 2
    MUTED = 3
    GRID = 4
    CURSOR = 5


def ink_of_raw(line: int) -> int:
    return len(Ink) + 3 * line


def ink_of_line(line: int) -> int:
    return len(Ink) + 3 * line + 1


def ink_of_mark(line: int) -> int:
    return len(Ink) + 3 * line + 2


def ink_of_level(lines: int, level: int) -> int:
    return len(Ink) + 3 * lines + level


def draw(plot: Plot, width: int, height: int, thinning: Thinning | None = None) -> Picture:
    """`thinning`: of the pictures before; it saves looking at old points again and changes nothing else."""
    thinning = thinning or Thinning()
    thinning.begin()
    page = Canvas(width, height)
    header = 1 if height >= 7 else 0
    keys = _legend(plot, width, 0 if height < 6 else 1 if height < 14 else 2 if height < 30 else 3)
    top = header + (max(key.row for key in keys) + 1 if keys else 0)
    for key in keys:
        page.text(key.column, header + key.row, key.text, ink_of_line(key.line))
        page.text(key.column, header + key.row, key.text[:1], ink_of_mark(key.line))
    footer = 2 if height >= top + 4 else 0
    rows = height - top - footer

    extent = extent_of(plot)
    axis = None if extent is None else plot.view.axis(extent)
    # The labels of y tell how wide the plot is, and what is seen tells the labels. Mostly they need four letters.
    left, columns = _across(width, 4)
    seen = None if axis is None else _Seen(plot, axis, columns, thinning)
    sentence = _why_nothing(plot, seen)
    if header:
        _draw_header(page, plot, extent, seen)
    if seen is None or sentence is not None:
        _draw_sentence(page, sentence or "", top, height - top)
        return Picture(canvas=page, x_axis=None, y_axis=None, left=0, columns=width)

    y_axis = axis_around(*seen.y_range, log=plot.log_y)
    ticks = _y_ticks(y_axis, rows)
    left, columns = _across(width, max((4, *(len(tick.label) for _, tick in ticks))))
    if columns < 1 or rows < 1:
        return Picture(canvas=page, x_axis=None, y_axis=None, left=0, columns=width)
    if columns != seen.columns:
        seen = _Seen(plot, seen.axis, columns, thinning)

    frame = _Frame(plot=plot, x=seen.axis, y=y_axis, columns=columns, rows=rows)
    page.cover(_plotted(frame, seen, ticks), left, top)
    _draw_y_axis(page, ticks, left - 1, top, rows, plot.glyphs)
    if footer:
        _draw_x_axis(page, frame, left, top + rows)
    if left + columns < width:
        _draw_marks(page, frame, seen, left + columns + 1, top)
    return Picture(canvas=page, x_axis=seen.axis, y_axis=y_axis, left=left, columns=columns)


def extent_of(plot: Plot) -> Extent | None:
    """From the first to the last x of all lines; None without a point."""
    ends = []
    for line in plot.lines:
        begin = int(np.searchsorted(line.x, _SMALLEST)) if plot.log_x else 0
        if begin < len(line.x):
            ends.append((float(line.x[begin]), float(line.x[-1])))
    if not ends:
        return None
    first, last = min(first for first, _ in ends), max(last for _, last in ends)
    if plot.log_x:
        first, last = float(np.log10(first)), float(np.log10(last))
    return Extent(first=first, last=last, log=plot.log_x)


def reading(line: Line, at: float, tolerance: float) -> tuple[float, float] | None:
    """The finite point nearest to `at`; None further than `tolerance` before the first or behind the last."""
    if not len(line.x) or not line.x[0] - tolerance <= at <= line.x[-1] + tolerance:
        return None
    middle = int(np.searchsorted(line.x, at))
    # Gaps are short as a rule: look at a few points around before at all of them.
    for reach in (16, len(line.x)):
        begin = max(0, middle - reach)
        near = slice(begin, middle + reach)
        found = np.flatnonzero(np.isfinite(line.curve[near]))
        if found.size:
            index = begin + int(found[np.abs(line.x[near][found] - at).argmin()])
            return float(line.x[index]), float(line.curve[index])
    return None


def _across(width: int, labels: int) -> tuple[int, int]:
    """The first cell of the plot in a row and how many there are, beside labels of y and marks where they fit."""
    left = labels + 2 if labels + 12 <= width else 1
    return left, max(width - left - (2 if width - left >= 20 else 0), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SeenLine:
    curve: _Points
    """Thinned."""
    raw: _Points | None
    """Thinned; None where the values are the line."""
    cloud: _Points
    """Every so many raw points, as x and y."""


class _Seen:
    """What of a plot's data lies in the view, thinned for so many cells."""

    def __init__(self, plot: Plot, axis: Axis, columns: int, thinning: Thinning) -> None:
        self.axis, self.columns = axis, columns
        self.lines: list[_SeenLine] = []
        self.points = 0
        self.hidden = 0
        """Values that have no place on a logarithmic y."""
        edges = axis.edges(DOTS_WIDE * columns)
        ends = []
        for line in plot.lines:
            begin, end = (int(place) for place in np.searchsorted(line.x, edges[[0, -1]]))
            self.points += end - begin
            values = line.y
            curve = thinning.thin(line.x, line.curve, edges)
            raw = None if line.smooth is None else thinning.thin(line.x, values, edges)
            if plot.log_y and any((thinned < _SMALLEST).any() for _, thinned in (curve, raw or curve)):
                self.hidden += int((values[begin:end] < _SMALLEST).sum())
                values = _above_zero(values)
                curve = thin(line.x, _above_zero(line.curve), edges)
                raw = None if raw is None else thin(line.x, values, edges)
            some = _some(begin, end, _RAW_PER_COLUMN * DOTS_WIDE * columns)
            self.lines.append(_SeenLine(curve=curve, raw=raw, cloud=(line.x[some], values[some])))
            ends.append(_ends(curve[1][(curve[0] >= 0) & (curve[0] < DOTS_WIDE * columns)]))
            if raw is not None:
                ends.append(_ends(_without_wildest(values[begin:end])))
        self.anything = any(found is not None for found in ends)
        levels = np.array([level.y for level in plot.levels], float)
        ends.append(_ends(_above_zero(levels) if plot.log_y else levels))
        bottom = min((found[0] for found in ends if found is not None), default=1.0)
        top = max((found[1] for found in ends if found is not None), default=2.0)
        self.y_range = (float(np.log10(bottom)), float(np.log10(top))) if plot.log_y else (bottom, top)


def _above_zero(values: np.ndarray) -> np.ndarray:
    return np.where(values >= _SMALLEST, values, np.nan)


def _some(begin: int, end: int, most: int) -> slice:
    """Every 2nd, 4th, 8th ... of points; which is a matter of their index alone, so that a point once drawn stays."""
    each = 1
    while end - begin > each * max(most, 1):
        each *= 2
    return slice(-(-begin // each) * each, end, each)


def _ends(values: np.ndarray) -> tuple[float, float] | None:
    """The least and the most of what is finite, and not so large that a range of it would not be."""
    finite = values[np.abs(values) <= _LARGEST]
    return (float(finite.min()), float(finite.max())) if len(finite) else None


def _without_wildest(raw: np.ndarray) -> np.ndarray:
    """A sample of many values without the hundredth at each end; all of a few."""
    if len(raw) < _TRIMMED_FROM:
        return raw
    sample = raw[:: -(-len(raw) // _SAMPLE)]
    sample = sample[np.isfinite(sample)]
    cut = len(sample) // 100
    return np.partition(sample, (cut, len(sample) - 1 - cut))[cut : len(sample) - cut] if cut else sample


def _why_nothing(plot: Plot, seen: _Seen | None) -> str | None:
    """The sentence that stands where there is nothing to draw."""
    if seen is None:
        if any(len(line.x) for line in plot.lines):
            return f"No {plot.x_title or 'x'} above 0 yet, and a logarithmic axis begins there. x makes it linear."
        return "No data yet."
    if seen.points == 0:
        return "No points here. 0 shows everything, End the newest."
    if seen.anything:
        return None
    if plot.log_y and seen.hidden:
        return "No value above 0 here, and a logarithmic axis begins there. y makes it linear."
    return "Every value here is NaN or infinite."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """Where data lie in the plot."""

    plot: Plot
    x: Axis
    y: Axis
    columns: int
    rows: int

    @property
    def wide(self) -> int:
        return DOTS_WIDE * self.columns

    @property
    def high(self) -> int:
        return DOTS_HIGH * self.rows

    @property
    def cursor(self) -> int | None:
        """The column of dots of the plot's cursor; None where it is not seen."""
        if self.plot.cursor is None:
            return None
        dot = float(self.x.dots(np.array(self.plot.cursor, float), self.wide))
        return int(dot) if 0 <= dot < self.wide else None

    def down(self, y: np.ndarray) -> np.ndarray:
        """Rows of dots from the top."""
        return self.high - 1 - np.floor(self.y.dots(y, self.high))

    def row(self, y: float) -> int | None:
        """The cell; None off the plot."""
        dot = float(self.down(np.array(y, float)))
        return int(dot) // DOTS_HIGH if 0 <= dot < self.high else None

    @property
    def tolerance(self) -> float:
        """How far from a point the cursor still reads it, at the cursor's place."""
        if self.plot.cursor is None:
            return 0.0
        at = self.x.units(np.array(self.plot.cursor, float))
        near = self.x.values(at + np.array((-1, 1)) * 2 * (self.x.high - self.x.low) / self.wide)
        return float(near[1] - near[0]) / 2


def _plotted(frame: _Frame, seen: _Seen, ticks: Sequence[tuple[int, Tick]]) -> Canvas:
    plot = frame.plot
    below, above, levels = (Canvas(frame.columns, frame.rows) for _ in range(3))
    if not plot.glyphs.ascii:
        for dot, _ in ticks:
            below.plot(*_dashes(frame, dot, 1, 4), Ink.GRID)
    below.cover(_clouds(frame, seen))
    if frame.cursor is not None:
        upright = Canvas(frame.columns, frame.rows)
        upright.line(frame.cursor, 0, frame.cursor, frame.high - 1, Ink.CURSOR)
        below.cover(upright)
    for index, level in enumerate(plot.levels):
        ink, row = ink_of_level(len(plot.lines), index), frame.row(level.y)
        if row is not None and plot.glyphs.ascii:
            levels.text(0, row, ("--  " * frame.columns)[: frame.columns].rstrip(), ink)
        elif row is not None:
            levels.plot(*_dashes(frame, float(frame.down(np.array(level.y, float))), 4, 8), ink)
    below.cover(levels)
    drawn = [(columns, frame.down(values)) for columns, values in (line.curve for line in seen.lines)]
    above.cover(_braided(frame, drawn))
    _draw_names(above, frame)
    if plot.lettered:
        _draw_letters(above, frame, drawn)
    if plot.cursor is not None and frame.cursor is not None:
        _draw_crossings(above, frame, plot.cursor, frame.cursor // DOTS_WIDE)
    below.cover(above)
    return below


def _dashes(frame: _Frame, row: float, on: int, period: int) -> tuple[np.ndarray, np.ndarray]:
    columns = np.arange(frame.wide)
    columns = columns[columns % period < on].astype(float)
    return columns, np.full(len(columns), row)


def _clouds(frame: _Frame, seen: _Seen) -> Canvas:
    """The raw points of all lines: the least and the most of each column of dots, and of the others some.

    A patch has the colour of the line with most dots in it, the last of several.
    """
    clouds = Canvas(frame.columns, frame.rows)
    most = np.zeros((frame.rows, frame.columns), np.intp)
    patches = np.arange(0, frame.columns, _PATCH)
    for index, line in enumerate(seen.lines):
        if line.raw is None:
            continue
        (columns, least_and_most), (x, y) = line.raw, line.cloud
        cloud = Canvas(frame.columns, frame.rows)
        cloud.plot(
            np.concatenate((columns, frame.x.dots(x, frame.wide))),
            frame.down(np.concatenate((least_and_most, y))),
            1,
        )
        clouds.masks |= cloud.masks
        # Of each patch, for every one of its cells.
        dots = np.add.reduceat(np.bitwise_count(cloud.masks), patches, axis=1, dtype=np.intp)
        dots = np.repeat(dots, np.diff(np.append(patches, frame.columns)), axis=1)
        clouds.inks[(dots >= most) & (dots > 0)] = ink_of_raw(index)
        most = np.maximum(most, dots)
    clouds.inks[clouds.masks == 0] = Ink.NOTHING
    if frame.plot.glyphs.ascii:
        # Shapes would look like lines: a cloud is points.
        for letter, cells in ((".", clouds.masks != 0), (":", np.bitwise_count(clouds.masks) > 3)):
            clouds.letters[cells] = ord(letter)
    return clouds


def _braided(frame: _Frame, drawn: Sequence[_Points]) -> Canvas:
    """All lines. In cells that several go through they take turns, so that one that lies on another is seen too."""
    lines = Canvas(frame.columns, frame.rows)
    through = np.zeros((len(drawn), frame.rows, frame.columns), bool)
    for index, (columns, rows) in enumerate(drawn):
        alone = Canvas(frame.columns, frame.rows)
        alone.polyline(columns, rows, 1)
        through[index] = alone.masks != 0
        lines.masks |= alone.masks
    turn = np.arange(frame.columns) // TURN % np.maximum(through.sum(axis=0), 1)
    for index, on_turn in enumerate(through & (np.cumsum(through, axis=0) - 1 == turn)):
        lines.inks[on_turn] = ink_of_line(index)
    return lines


def _draw_names(canvas: Canvas, frame: _Frame) -> None:
    """The name of each level on its dashes, as far to the right as nothing else stands."""
    for index, level in enumerate(frame.plot.levels):
        row = frame.row(level.y)
        if row is None:
            continue
        for text in (f" {level.name} {short(level.y)} ", f" {level.name} "):
            width = cell_len(text)
            places = range(frame.columns - width, -1, -1)
            column = next((column for column in places if canvas.is_free(column, row, width)), None)
            if column is not None:
                canvas.text(column, row, text, ink_of_level(len(frame.plot.lines), index))
                break


def _draw_letters(canvas: Canvas, frame: _Frame, drawn: Sequence[_Points]) -> None:
    period = max(12, frame.columns // 3)
    for index, (columns, rows) in enumerate(drawn):
        if len(columns):
            offset = 4 + period * index // len(drawn)
            cells = np.arange(offset, frame.columns - 2, period)
            dots = np.interp(cells * DOTS_WIDE, columns, rows, left=np.nan, right=np.nan)
            for cell, dot in zip(cells.tolist(), dots.tolist(), strict=True):
                _put(canvas, cell, dot, frame.plot.lines[index].mark, index)


def _draw_crossings(canvas: Canvas, frame: _Frame, at: float, column: int) -> None:
    """The mark of each line where the cursor reads it."""
    for index, line in enumerate(frame.plot.lines):
        found = reading(line, at, frame.tolerance)
        if found is not None:
            _put(canvas, column, float(frame.down(np.array(found[1]))), line.mark, index)


def _put(canvas: Canvas, column: int, dot: float, mark: str, line: int) -> None:
    if 0 <= dot < canvas.dots_high:
        canvas.text(column, int(dot) // DOTS_HIGH, mark, ink_of_mark(line))


def _draw_marks(page: Canvas, frame: _Frame, seen: _Seen, column: int, top: int) -> None:
    """The mark of each line beside its right end; two that would stand in one row make room for each other."""
    wanted = []
    for index, (columns, values) in enumerate(line.curve for line in seen.lines):
        near = (columns >= frame.wide * 7 // 8) & (columns < frame.wide) & np.isfinite(values)
        if near.any():
            last = values[near][-1]
            dot = float(frame.down(last))
            if 0 <= dot < frame.high:
                # In the order of their values, even where they share a dot.
                wanted.append((dot, -float(last), index, frame.plot.lines[index].mark))
    wanted = sorted(wanted)[: frame.rows]
    rows = [int(dot) // DOTS_HIGH for dot, *_ in wanted]
    for index in range(1, len(rows)):
        rows[index] = max(rows[index], rows[index - 1] + 1)
    limit = frame.rows - 1
    for index in range(len(rows) - 1, -1, -1):
        rows[index] = min(rows[index], limit)
        limit = rows[index] - 1
    for row, (*_, index, mark) in zip(rows, wanted, strict=True):
        page.text(column, top + row, mark, ink_of_mark(index))


def _y_ticks(axis: Axis, rows: int) -> list[tuple[int, Tick]]:
    """With the row of dots of each, such that no two labels touch."""
    high, gap = DOTS_HIGH * rows, 1 if rows > 6 else 0
    scale = high / (axis.high - axis.low)
    for most in range(min(max(rows // 2, 2), 9), 0, -1):
        placed: list[tuple[int, Tick]] = []
        crowded = False
        for tick in axis.ticks(most):
            dot = min(max(high - 1 - int((tick.at - axis.low) * scale), 0), high - 1)
            if placed and placed[-1][0] // DOTS_HIGH - dot // DOTS_HIGH <= gap:
                crowded = True
            else:
                placed.append((dot, tick))
        # Within a decade round numbers stand closer the larger they are: some of the upper ones may be left out.
        if not crowded or (axis.log and axis.high - axis.low < 1):
            return placed
    return []


def _draw_y_axis(
    page: Canvas, ticks: Sequence[tuple[int, Tick]], column: int, top: int, rows: int, glyphs: Glyphs
) -> None:
    upright, ticked = ("|", "+") if glyphs.ascii else ("│", "┤")
    for row in range(rows):
        page.text(column, top + row, upright, Ink.GRID)
    for dot, tick in ticks:
        row = top + dot // DOTS_HIGH
        page.text(column - 1 - len(tick.label), row, tick.label, Ink.MUTED)
        page.text(column, row, ticked, Ink.GRID)


def _draw_x_axis(page: Canvas, frame: _Frame, left: int, row: int) -> None:
    plot, columns = frame.plot, frame.columns
    corner, flat, ticked = ("+", "-", "+") if plot.glyphs.ascii else ("└", "─", "┬")
    page.text(left - 1, row, corner + flat * columns, Ink.GRID)
    room = page.columns - left
    wide = cell_len(plot.x_title)
    taken: list[tuple[int, int]] = []
    if wide < left - 1:
        page.text(left - 2 - wide, row + 1, plot.x_title, Ink.MUTED)
    elif wide <= room // 4:
        page.text(left + room - wide, row + 1, plot.x_title, Ink.MUTED)
        taken.append((room - wide, room))
    if plot.cursor is not None and frame.cursor is not None:
        text = exact(plot.cursor)
        column = frame.cursor // DOTS_WIDE
        begin = min(max(column - len(text) // 2, 0), room - len(text))
        if not taken or begin + len(text) < taken[0][0]:
            page.text(left + begin, row + 1, text, Ink.CURSOR)
            taken.append((begin, begin + len(text)))
        page.text(left + column, row, ticked, Ink.CURSOR)
    for tick, column, begin in _x_ticks(frame):
        page.text(left + column, row, ticked, Ink.GRID)
        end = begin + len(tick.label)
        if all(end + _GAP <= other[0] or other[1] + _GAP <= begin for other in taken):
            page.text(left + begin, row + 1, tick.label, Ink.MUTED)


def _x_ticks(frame: _Frame) -> list[tuple[Tick, int, int]]:
    """With the cell of each and the cell at which its label begins, such that no two labels touch."""
    smallest = 1.0 if all(_is_whole(line.x) for line in frame.plot.lines) else 0.0
    room = frame.columns + 2
    for most in range(min(max(4, frame.columns // 5), 12), 0, -1):
        placed = []
        for tick in frame.x.ticks(most, smallest=smallest):
            share = (tick.at - frame.x.low) / (frame.x.high - frame.x.low)
            column = min(int(share * frame.columns), frame.columns - 1)
            begin = min(max(column - len(tick.label) // 2, 0), room - len(tick.label))
            placed.append((tick, column, begin))
        if apart([(begin, begin + len(tick.label)) for tick, _, begin in placed], _GAP):
            return placed
    return []


def _is_whole(x: np.ndarray) -> bool:
    return not len(x) or bool(x[0] == np.floor(x[0]) and x[-1] == np.floor(x[-1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """An entry of the legend; its text begins with the mark."""

    column: int
    row: int
    line: int
    text: str


def _legend(plot: Plot, width: int, rows: int) -> list[_Key]:
    """Mark, name and value of each line: the names shortened, then left out, until all fit in so many rows."""
    values = [_value_of(plot, line) for line in plot.lines]
    longest = max((cell_len(line.name) for line in plot.lines), default=0)
    for room in (longest, *(room for room in (16, 12, 9, 7, 5, 4, 3) if room < longest), 0):
        names = [_shortened(line.name, room, plot.glyphs) for line in plot.lines]
        texts = [
            " ".join(part for part in (line.mark, name, value) if part)
            for line, name, value in zip(plot.lines, names, values, strict=True)
        ]
        keys = _flowed(texts, width)
        if keys and keys[-1].row < rows:
            return keys
    return [key for key in _flowed([line.mark for line in plot.lines], width) if key.row < rows]


def _flowed(texts: Sequence[str], width: int) -> list[_Key]:
    """In one row if they fit, else below each other in columns."""
    if not texts:
        return []
    widths = [cell_len(text) for text in texts]
    if sum(widths) + 3 * (len(texts) - 1) <= width:
        starts = [sum(widths[:index]) + 3 * index for index in range(len(texts))]
        places = [(start, 0) for start in starts]
    else:
        cell = max(widths) + 3
        across = max(1, (width + 3) // cell)
        places = [(index % across * cell, index // across) for index in range(len(texts))]
    return [
        _Key(column=column, row=row, line=index, text=text)
        for index, ((column, row), text) in enumerate(zip(places, texts, strict=True))
    ]


def _value_of(plot: Plot, line: Line) -> str:
    """At the cursor, else the newest; as wide as most are, so that the legend stands still."""
    if not len(line.x):
        return plot.glyphs.dash.ljust(5)
    at = float(line.x[-1]) if plot.cursor is None else plot.cursor
    # Without an axis at hand: a thousandth of the line is about a dot.
    found = reading(line, at, float(line.x[-1] - line.x[0]) / 1000)
    return (plot.glyphs.dash if found is None else short(found[1])).ljust(5)


def _shortened(name: str, room: int, glyphs: Glyphs) -> str:
    if cell_len(name) <= room:
        return name
    return set_cell_size(name, room - 1).rstrip() + glyphs.ellipsis if room > 1 else ""


def _draw_header(page: Canvas, plot: Plot, extent: Extent | None, seen: _Seen | None) -> None:
    """The title, what y is, and on the right what is unusual about the view."""
    page.text(0, 0, plot.title, Ink.TITLE)
    used = cell_len(plot.title) + 2 if plot.title else 0
    page.text(used, 0, plot.y_title, Ink.MUTED)
    used += cell_len(plot.y_title) + _GAP
    notes = []
    if seen is not None and plot.cursor is not None:
        notes.append(f"{plot.x_title or 'x'} {exact(plot.cursor)}")
    if seen is not None and seen.hidden:
        notes.append(f"{exact(seen.hidden)} not above 0")
    scales = [name for name, log in (("x", plot.log_x), ("y", plot.log_y)) if log]
    if scales:
        notes.append(f"log {' and '.join(scales)}")
    if seen is not None and extent is not None and plot.view.span is not None:
        low, high, last = seen.axis.values(np.array((seen.axis.low, seen.axis.high, extent.last))).tolist()
        digits = round_step((high - low) / 100)
        low, high, last = (label(end, digits) for end in (low, high, last))
        notes.append(f"newest, from {low}" if plot.view.follows else f"{low} to {high} of {last}")
    between = " | " if plot.glyphs.ascii else " · "
    while notes and used + cell_len(between.join(notes)) > page.columns:
        notes.pop()
    text = between.join(notes)
    page.text(page.columns - cell_len(text), 0, text, Ink.TEXT)


def _draw_sentence(page: Canvas, sentence: str, top: int, rows: int) -> None:
    lines = textwrap.wrap(sentence, max(page.columns - 4, 1))[: max(rows, 0)]
    for index, line in enumerate(lines):
        page.text((page.columns - len(line)) // 2, top + (rows - len(lines)) // 2 + index, line, Ink.MUTED)
