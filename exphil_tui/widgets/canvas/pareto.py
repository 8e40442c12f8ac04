"""Scatter plot of loss against p99 latency, one letter per variant, with the Pareto front.

The best variants are at the bottom left. Error bars are the standard deviation over seeds, not a confidence
interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
from rich.cells import cell_len

from exphil_tui.theme.palette import BAD, SeriesStyle
from exphil_tui.widgets.canvas.axes import Axis, axis_around
from exphil_tui.widgets.canvas.braille import DOTS_HIGH, DOTS_WIDE, Canvas
from exphil_tui.widgets.canvas.canvas_widget import CanvasWidget, Look
from exphil_tui.widgets.text_panel import fitted, wrapped

_NEAR = 0.4
"""Share of the frame budget from which the budget line is shown; further away it would squeeze all points
together.
"""
_ROOM = 0.12
"""Free share of the range on both sides, for the names."""
_LONGEST = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoPoint:
    name: str
    mark: SeriesStyle
    p99_ms: float
    loss: float
    """Mean over seeds."""
    deviation: float | None
    on_pareto_front: bool


class ParetoInk(IntEnum):
    NOTHING = 0
    TITLE = 1
    MUTED = 2
    GRID = 3
    FRONT = 4
    BUDGET = 5


def ink_of(point: int) -> int:
    return len(ParetoInk) + 3 * point


def ink_of_bar(point: int) -> int:
    return len(ParetoInk) + 3 * point + 1


def ink_of_name(point: int) -> int:
    return len(ParetoInk) + 3 * point + 2


class Pareto(CanvasWidget):
    DEFAULT_CSS = """
    Pareto { height: 1fr; min-height: 6; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._points: tuple[ParetoPoint, ...] = ()
        self._budget_ms = 0.0
        self._nothing = ""

    def show(self, points: Sequence[ParetoPoint], *, budget_ms: float, nothing: str = "") -> None:
        """Show the points; `nothing` says why there are none."""
        shown = (tuple(points), budget_ms, nothing)
        if shown == (self._points, self._budget_ms, self._nothing):
            return
        if [point.mark for point in points] != [point.mark for point in self._points]:
            self._ink_styles = []
        self._points, self._budget_ms, self._nothing = shown
        self.update()

    def looks(self) -> Sequence[Look]:
        found = [
            Look(colour="foreground"),
            Look(colour="foreground", bold=True),
            Look(colour="foreground", strength=0.6),
            Look(colour="foreground", strength=0.3),
            Look(colour="foreground", strength=0.65),
            Look(colour=BAD),
        ]
        for point in self._points:
            found += [
                Look(colour=point.mark.colour, bold=True),
                Look(colour=point.mark.colour, strength=0.75),
                Look(colour=point.mark.colour, bold=point.on_pareto_front),
            ]
        return found

    def picture(self, width: int, height: int) -> Canvas:
        page = Canvas(width, height)
        page.text(0, 0, "loss vs latency", ParetoInk.TITLE)
        if not self._points:
            lines = wrapped(self._nothing, max(8, width - 4))[: max(0, height - 2)]
            for index, line in enumerate(lines):
                page.text(
                    (width - cell_len(line)) // 2, (height - len(lines)) // 2 + index, line, ParetoInk.MUTED
                )
            return page
        x, y = self._axes()
        rows = max(1, height - 3)
        ticks = [(tick.label, tick.at) for tick in y.ticks(max(2, min(6, rows // 2)))]
        left = max((len(label) for label, _ in ticks), default=0) + 2
        frame = _ParetoFrame(x=x, y=y, columns=max(1, width - left - 1), rows=rows)
        self._draw_head(page, width, x)
        self._draw_axes(page, frame, left, ticks)
        page.cover(self._plotted(frame), left, 1)
        return page

    def _axes(self) -> tuple[Axis, Axis]:
        times = [point.p99_ms for point in self._points]
        if max(times) > _NEAR * self._budget_ms > 0:
            times.append(self._budget_ms)
        losses = [
            point.loss + way * (point.deviation or 0.0) for point in self._points for way in (-1.0, 1.0)
        ]
        room = _ROOM * (max(times) - min(times))
        x = axis_around(max(0.0, min(times) - room), max(times) + room)
        return x, axis_around(min(losses), max(losses))

    def _draw_head(self, page: Canvas, width: int, x: Axis) -> None:
        used = len("loss vs latency") + 2
        front = "bold, dotted: Pareto front"
        notes = [f"nats per frame; {front}", front, "Pareto front", ""]
        note = next(note for note in notes if used + len(note) <= width)
        page.text(used, 0, note, ParetoInk.MUTED)

    def _draw_axes(
        self, page: Canvas, frame: "_ParetoFrame", left: int, ticks: Sequence[tuple[str, float]]
    ) -> None:
        upright, ticked, corner, flat, below = "|++-+" if self.glyphs.ascii else "│┤└─┬"
        for row in range(frame.rows):
            page.text(left - 1, 1 + row, upright, ParetoInk.GRID)
        for label, at in ticks:
            row = min(frame.rows - 1, int(frame.down(at)) // DOTS_HIGH)
            page.text(left - 2 - len(label), 1 + row, label, ParetoInk.MUTED)
            page.text(left - 1, 1 + row, ticked, ParetoInk.GRID)
        bottom = 1 + frame.rows
        page.text(left - 1, bottom, corner + flat * frame.columns, ParetoInk.GRID)
        title = "p99 ms"
        end = left
        for tick in frame.x.ticks(max(2, frame.columns // 10)):
            column = min(frame.columns - 1, int(frame.across(tick.at)) // DOTS_WIDE)
            begin = left + column - len(tick.label) // 2
            page.text(left + column, bottom, below, ParetoInk.GRID)
            if begin >= end and begin + len(tick.label) + 2 + len(title) <= left + frame.columns:
                page.text(begin, bottom + 1, tick.label, ParetoInk.MUTED)
                end = begin + len(tick.label) + 1
        page.text(left + frame.columns - len(title), bottom + 1, title, ParetoInk.MUTED)

    def _plotted(self, frame: "_ParetoFrame") -> Canvas:
        canvas, above = (Canvas(frame.columns, frame.rows) for _ in range(2))
        self._draw_budget(canvas, frame)
        self._draw_pareto_front(canvas, frame)
        bars = Canvas(frame.columns, frame.rows)
        for index, point in enumerate(self._points):
            if point.deviation:
                at = frame.across(point.p99_ms)
                top, bottom = (frame.down(point.loss + way * point.deviation) for way in (1, -1))
                bars.line(at, top, at, bottom, ink_of_bar(index))
        canvas.cover(bars)
        cells = self._draw_letters(above, frame)
        self._draw_names(above, canvas, cells)
        canvas.cover(above)
        if frame.across(self._budget_ms) >= canvas.dots_wide:
            # The budget is right of the plot; including it would squeeze the points together.
            text = f"60 FPS: {self._budget_ms:.1f} ms {'->' if self.glyphs.ascii else '→'}"
            column = frame.columns - len(text)
            rows = [row for row in range(frame.rows) if _is_free(canvas, column, row, text)]
            for row in rows[:1]:
                canvas.text(column, row, text, ParetoInk.MUTED)
        return canvas

    def _draw_budget(self, canvas: Canvas, frame: "_ParetoFrame") -> None:
        at = frame.across(self._budget_ms)
        label = f"60 FPS: {self._budget_ms:.1f} ms"
        if not 0 <= at < canvas.dots_wide:
            return
        rows = np.arange(0, canvas.dots_high)
        canvas.plot(np.full(len(rows), at), rows.astype(float), ParetoInk.BUDGET)
        column = int(at) // DOTS_WIDE - len(label) - 1
        canvas.text(max(0, column), 0, label, ParetoInk.BUDGET)

    def _draw_pareto_front(self, canvas: Canvas, frame: "_ParetoFrame") -> None:
        """Draw the Pareto front as steps from the fastest point to the one with the lowest loss."""
        front = sorted((point.p99_ms, point.loss) for point in self._points if point.on_pareto_front)
        if len(front) < 2:
            return
        x, y = [], []
        for (from_x, from_y), (to_x, to_y) in pairwise(front):
            across = np.arange(frame.across(from_x), frame.across(to_x), 3.0)
            down = np.arange(frame.down(from_y), frame.down(to_y), 3.0)
            x += [*across, *np.full(len(down), frame.across(to_x))]
            y += [*np.full(len(across), frame.down(from_y)), *down]
        canvas.plot(np.array(x), np.array(y), ParetoInk.FRONT)

    @property
    def _order(self) -> list[int]:
        """Point indices, the Pareto front first: they get the space where it is short."""
        return sorted(range(len(self._points)), key=lambda index: not self._points[index].on_pareto_front)

    def _draw_letters(self, above: Canvas, frame: "_ParetoFrame") -> dict[int, tuple[int, int]]:
        """Draw each letter in its cell, or in a neighbour if that is taken; return the cell used for each."""
        cells = {}
        for index in self._order:
            column, row = frame.cell(self._points[index])
            near = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (2, 0), (-2, 0)]
            places = [(column + right, row + down) for right, down in near]
            free = (place for place in places if above.is_free(*place, 1))
            cells[index] = next(free, (column, row))
            above.text(*cells[index], self._points[index].mark.letter, ink_of(index))
        return cells

    def _draw_names(self, above: Canvas, below: Canvas, cells: Mapping[int, tuple[int, int]]) -> None:
        """Draw each name beside its letter, clear of letters, names and bars; leave it out if there is no space."""
        for index in self._order:
            point = self._points[index]
            column, row = cells[index]
            name = fitted(point.name, _LONGEST, self.glyphs)
            # On another row the name may be closer to another point's letter, so it includes its own.
            texts = {True: name, False: f"{name} ({point.mark.letter})"}
            places = [
                (texts[at_row == row], at, at_row)
                for at, at_row in _places(column, row, cell_len(name), cell_len(texts[False]))
                if _is_free(above, at, at_row, texts[at_row == row])
            ]
            # Prefer a place clear of dotted lines.
            apart = [place for place in places if _is_free(below, place[1], place[2], place[0])]
            for text, at, at_row in (*apart, *places)[:1]:
                above.text(at, at_row, text, ink_of_name(index))


def _places(column: int, row: int, beside: int, away: int) -> Iterator[tuple[int, int]]:
    """Yield candidate start cells for a name, nearest first; `beside` is its width on its row, `away` off it."""
    yield column + 2, row
    yield column - beside - 1, row
    for down in (-1, 1, -2, 2):
        yield column + 1, row + down
        yield column - away // 2, row + down
        yield column - away, row + down


def _is_free(canvas: Canvas, column: int, row: int, text: str) -> bool:
    """Return whether the text fits with a free cell on each side."""
    width = cell_len(text)
    left, right = max(0, column - 1), min(canvas.columns, column + width + 1)
    fits = column >= 0 and column + width <= canvas.columns
    return fits and canvas.is_free(left, row, right - left)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ParetoFrame:
    """Maps values to dots and cells of the plot."""

    x: Axis
    y: Axis
    columns: int
    rows: int

    def across(self, value: float) -> float:
        return float(self.x.dots(np.array(value, float), DOTS_WIDE * self.columns))

    def down(self, value: float) -> float:
        high = DOTS_HIGH * self.rows
        return high - 1 - float(np.floor(self.y.dots(np.array(value, float), high)))

    def cell(self, point: ParetoPoint) -> tuple[int, int]:
        column, row = int(self.across(point.p99_ms)) // DOTS_WIDE, int(self.down(point.loss)) // DOTS_HIGH
        return min(self.columns - 1, max(0, column)), min(self.rows - 1, max(0, row))
