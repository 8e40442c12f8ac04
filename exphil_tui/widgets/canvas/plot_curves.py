"""Draw the curves of a chart between its axes: raw points, lines, horizontal references and marks.

Drawing order, bottom to top: grid, raw points, cursor, horizontal references, lines, letters. Each hides what is
below it in the cells it touches.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from rich.cells import cell_len

from exphil_tui.widgets.canvas.axes import AxisTick, short
from exphil_tui.widgets.canvas.braille import DOTS_HIGH, DOTS_WIDE, Canvas
from exphil_tui.widgets.canvas.plot_axes import PlotFrame
from exphil_tui.widgets.canvas.plot_data import (
    PlotInk,
    ink_of_hline,
    ink_of_line,
    ink_of_mark,
    ink_of_raw,
    nearest_point,
)
from exphil_tui.widgets.canvas.plot_visible import Points, VisibleData

_PATCH: Final = 3
"""Cells of raw points that share one colour; most of the terminal traffic is colour changes."""
ALTERNATE_CELLS: Final = 3
"""Cells for which each of several overlapping lines shows its colour in turn."""


def draw_curves(frame: PlotFrame, visible: VisibleData, ticks: Sequence[tuple[int, AxisTick]]) -> Canvas:
    plot = frame.plot
    below, above, hlines = (Canvas(frame.columns, frame.rows) for _ in range(3))
    if not plot.glyphs.ascii:
        for dot, _ in ticks:
            below.plot(*_dashes(frame, dot, 1, 4), PlotInk.GRID)
    below.cover(_draw_raw_points(frame, visible))
    if frame.cursor is not None:
        upright = Canvas(frame.columns, frame.rows)
        upright.line(frame.cursor, 0, frame.cursor, frame.high - 1, PlotInk.CURSOR)
        below.cover(upright)
    for index, hline in enumerate(plot.hlines):
        ink, row = ink_of_hline(len(plot.lines), index), frame.row(hline.y)
        if row is not None and plot.glyphs.ascii:
            hlines.text(0, row, ("--  " * frame.columns)[: frame.columns].rstrip(), ink)
        elif row is not None:
            hlines.plot(*_dashes(frame, float(frame.down(np.array(hline.y, float))), 4, 8), ink)
    below.cover(hlines)
    drawn = [(columns, frame.down(values)) for columns, values in (line.curve for line in visible.lines)]
    above.cover(_draw_lines(frame, drawn))
    _draw_hline_names(above, frame)
    if plot.show_marks:
        _draw_marks_along(above, frame, drawn)
    if plot.cursor is not None and frame.cursor is not None:
        _draw_marks_at_cursor(above, frame, plot.cursor, frame.cursor // DOTS_WIDE)
    below.cover(above)
    return below


def _dashes(frame: PlotFrame, row: float, on: int, period: int) -> tuple[np.ndarray, np.ndarray]:
    columns = np.arange(frame.wide)
    columns = columns[columns % period < on].astype(float)
    return columns, np.full(len(columns), row)


def _draw_raw_points(frame: PlotFrame, visible: VisibleData) -> Canvas:
    """Draw the raw points of all lines: minimum and maximum of each dot column, and a subsample of the rest.

    A patch of cells has the colour of the line with the most dots in it; on a tie, the last one.
    """
    raw_points = Canvas(frame.columns, frame.rows)
    most = np.zeros((frame.rows, frame.columns), np.intp)
    patches = np.arange(0, frame.columns, _PATCH)
    for index, line in enumerate(visible.lines):
        if line.raw is None:
            continue
        (columns, least_and_most), (x, y) = line.raw, line.sample
        alone = Canvas(frame.columns, frame.rows)
        alone.plot(
            np.concatenate((columns, frame.x.dots(x, frame.wide))),
            frame.down(np.concatenate((least_and_most, y))),
            1,
        )
        raw_points.masks |= alone.masks
        # Dots per patch, repeated for each of its cells.
        dots = np.add.reduceat(np.bitwise_count(alone.masks), patches, axis=1, dtype=np.intp)
        dots = np.repeat(dots, np.diff(np.append(patches, frame.columns)), axis=1)
        raw_points.inks[(dots >= most) & (dots > 0)] = ink_of_raw(index)
        most = np.maximum(most, dots)
    raw_points.inks[raw_points.masks == 0] = PlotInk.NOTHING
    if frame.plot.glyphs.ascii:
        # ASCII shapes would look like lines, so use dots.
        for letter, cells in ((".", raw_points.masks != 0), (":", np.bitwise_count(raw_points.masks) > 3)):
            raw_points.letters[cells] = ord(letter)
    return raw_points


def _draw_lines(frame: PlotFrame, drawn: Sequence[Points]) -> Canvas:
    """Draw all lines. Where several share cells, their colours alternate, so that each stays visible."""
    lines = Canvas(frame.columns, frame.rows)
    through = np.zeros((len(drawn), frame.rows, frame.columns), bool)
    for index, (columns, rows) in enumerate(drawn):
        alone = Canvas(frame.columns, frame.rows)
        alone.polyline(columns, rows, 1)
        through[index] = alone.masks != 0
        lines.masks |= alone.masks
    turn = np.arange(frame.columns) // ALTERNATE_CELLS % np.maximum(through.sum(axis=0), 1)
    for index, on_turn in enumerate(through & (np.cumsum(through, axis=0) - 1 == turn)):
        lines.inks[on_turn] = ink_of_line(index)
    return lines


def _draw_hline_names(canvas: Canvas, frame: PlotFrame) -> None:
    """Draw the name of each horizontal reference on its dashes, as far right as there is free space."""
    for index, hline in enumerate(frame.plot.hlines):
        row = frame.row(hline.y)
        if row is None:
            continue
        for text in (f" {hline.name} {short(hline.y)} ", f" {hline.name} "):
            width = cell_len(text)
            places = range(frame.columns - width, -1, -1)
            column = next((column for column in places if canvas.is_free(column, row, width)), None)
            if column is not None:
                canvas.text(column, row, text, ink_of_hline(len(frame.plot.lines), index))
                break


def _draw_marks_along(canvas: Canvas, frame: PlotFrame, drawn: Sequence[Points]) -> None:
    period = max(12, frame.columns // 3)
    for index, (columns, rows) in enumerate(drawn):
        if len(columns):
            offset = 4 + period * index // len(drawn)
            cells = np.arange(offset, frame.columns - 2, period)
            dots = np.interp(cells * DOTS_WIDE, columns, rows, left=np.nan, right=np.nan)
            for cell, dot in zip(cells.tolist(), dots.tolist(), strict=True):
                _draw_mark(canvas, cell, dot, frame.plot.lines[index].mark, index)


def _draw_marks_at_cursor(canvas: Canvas, frame: PlotFrame, at: float, column: int) -> None:
    """Draw the mark of each line where the cursor reads it."""
    for index, line in enumerate(frame.plot.lines):
        found = nearest_point(line, at, frame.tolerance)
        if found is not None:
            _draw_mark(canvas, column, float(frame.down(np.array(found[1]))), line.mark, index)


def _draw_mark(canvas: Canvas, column: int, dot: float, mark: str, line: int) -> None:
    if 0 <= dot < canvas.dots_high:
        canvas.text(column, int(dot) // DOTS_HIGH, mark, ink_of_mark(line))


def draw_end_marks(page: Canvas, frame: PlotFrame, visible: VisibleData, column: int, top: int) -> None:
    """Draw the mark of each line beside its right end, moved apart where two share a row."""
    wanted = []
    for index, (columns, values) in enumerate(line.curve for line in visible.lines):
        near = (columns >= frame.wide * 7 // 8) & (columns < frame.wide) & np.isfinite(values)
        if near.any():
            last = values[near][-1]
            dot = float(frame.down(last))
            if 0 <= dot < frame.high:
                # Sort by value, also where two marks share a dot.
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
