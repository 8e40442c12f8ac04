"""Draw the axes of a chart: `PlotFrame` maps data to dots and cells, ticks are placed such that labels do not
touch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from rich.cells import cell_len

from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.canvas.axes import Axis, AxisTick, apart, exact
from exphil_tui.widgets.canvas.braille import DOTS_HIGH, DOTS_WIDE, Canvas
from exphil_tui.widgets.canvas.plot_data import Plot, PlotInk

LABEL_GAP: Final = 2
"""Cells between two labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotFrame:
    """Maps data to dots and cells of the plot."""

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
        """Dot column of the plot's cursor; None if it is not visible."""
        if self.plot.cursor is None:
            return None
        dot = float(self.x.dots(np.array(self.plot.cursor, float), self.wide))
        return int(dot) if 0 <= dot < self.wide else None

    def down(self, y: np.ndarray) -> np.ndarray:
        """Convert y values to dot rows from the top."""
        rows: np.ndarray = self.high - 1 - np.floor(self.y.dots(y, self.high))
        return rows

    def row(self, y: float) -> int | None:
        """Convert a y value to a cell row; None outside the plot."""
        dot = float(self.down(np.array(y, float)))
        return int(dot) // DOTS_HIGH if 0 <= dot < self.high else None

    @property
    def tolerance(self) -> float:
        """Distance from a point, in x, at which the cursor still reads it."""
        if self.plot.cursor is None:
            return 0.0
        at = self.x.units(np.array(self.plot.cursor, float))
        near = self.x.values(at + np.array((-1, 1)) * 2 * (self.x.high - self.x.low) / self.wide)
        return float(near[1] - near[0]) / 2


def y_ticks(axis: Axis, rows: int) -> list[tuple[int, AxisTick]]:
    """Return the ticks with their dot rows, such that no two labels touch."""
    high, gap = DOTS_HIGH * rows, 1 if rows > 6 else 0
    scale = high / (axis.high - axis.low)
    for most in range(min(max(rows // 2, 2), 9), 0, -1):
        placed: list[tuple[int, AxisTick]] = []
        crowded = False
        for tick in axis.ticks(most):
            dot = min(max(high - 1 - int((tick.at - axis.low) * scale), 0), high - 1)
            if placed and placed[-1][0] // DOTS_HIGH - dot // DOTS_HIGH <= gap:
                crowded = True
            else:
                placed.append((dot, tick))
        # Within a decade the larger round numbers are closer together; some of them may be dropped.
        if not crowded or (axis.log and axis.high - axis.low < 1):
            return placed
    return []


def draw_y_axis(
    page: Canvas, ticks: Sequence[tuple[int, AxisTick]], column: int, top: int, rows: int, glyphs: Glyphs
) -> None:
    upright, ticked = ("|", "+") if glyphs.ascii else ("│", "┤")
    for row in range(rows):
        page.text(column, top + row, upright, PlotInk.GRID)
    for dot, tick in ticks:
        row = top + dot // DOTS_HIGH
        page.text(column - 1 - len(tick.label), row, tick.label, PlotInk.MUTED)
        page.text(column, row, ticked, PlotInk.GRID)


def draw_x_axis(page: Canvas, frame: PlotFrame, left: int, row: int) -> None:
    plot, columns = frame.plot, frame.columns
    corner, flat, ticked = ("+", "-", "+") if plot.glyphs.ascii else ("└", "─", "┬")
    page.text(left - 1, row, corner + flat * columns, PlotInk.GRID)
    room = page.columns - left
    wide = cell_len(plot.x_title)
    taken: list[tuple[int, int]] = []
    if wide < left - 1:
        page.text(left - 2 - wide, row + 1, plot.x_title, PlotInk.MUTED)
    elif wide <= room // 4:
        page.text(left + room - wide, row + 1, plot.x_title, PlotInk.MUTED)
        taken.append((room - wide, room))
    if plot.cursor is not None and frame.cursor is not None:
        text = exact(plot.cursor)
        column = frame.cursor // DOTS_WIDE
        begin = min(max(column - len(text) // 2, 0), room - len(text))
        if not taken or begin + len(text) < taken[0][0]:
            page.text(left + begin, row + 1, text, PlotInk.CURSOR)
            taken.append((begin, begin + len(text)))
        page.text(left + column, row, ticked, PlotInk.CURSOR)
    for tick, column, begin in _x_ticks(frame):
        page.text(left + column, row, ticked, PlotInk.GRID)
        end = begin + len(tick.label)
        if all(end + LABEL_GAP <= other[0] or other[1] + LABEL_GAP <= begin for other in taken):
            page.text(left + begin, row + 1, tick.label, PlotInk.MUTED)


def _x_ticks(frame: PlotFrame) -> list[tuple[AxisTick, int, int]]:
    """Return each tick with its cell and its label's first cell, such that no two labels touch."""
    smallest = 1.0 if all(_is_whole(line.x) for line in frame.plot.lines) else 0.0
    room = frame.columns + 2
    for most in range(min(max(4, frame.columns // 5), 12), 0, -1):
        placed = []
        for tick in frame.x.ticks(most, smallest=smallest):
            share = (tick.at - frame.x.low) / (frame.x.high - frame.x.low)
            column = min(int(share * frame.columns), frame.columns - 1)
            begin = min(max(column - len(tick.label) // 2, 0), room - len(tick.label))
            placed.append((tick, column, begin))
        if apart([(begin, begin + len(tick.label)) for tick, _, begin in placed], LABEL_GAP):
            return placed
    return []


def _is_whole(x: np.ndarray) -> bool:
    return not len(x) or bool(x[0] == np.floor(x[0]) and x[-1] == np.floor(x[-1]))
