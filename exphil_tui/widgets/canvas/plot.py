"""Draw a chart on a `Canvas`: lines and horizontal references between two axes, with a legend.

Pure functions: no widgets, keys or colours.
"""

import textwrap

import numpy as np
from rich.cells import cell_len

from exphil_tui.widgets.canvas.axes import axis_around, exact, label, round_step
from exphil_tui.widgets.canvas.braille import Canvas, Thinning
from exphil_tui.widgets.canvas.plot_axes import LABEL_GAP, PlotFrame, draw_x_axis, draw_y_axis, y_ticks
from exphil_tui.widgets.canvas.plot_curves import draw_curves, draw_end_marks
from exphil_tui.widgets.canvas.plot_data import (
    Plot,
    PlotInk,
    PlotPicture,
    extent_of,
    ink_of_line,
    ink_of_mark,
)
from exphil_tui.widgets.canvas.plot_legend import lay_out_legend
from exphil_tui.widgets.canvas.plot_visible import VisibleData, why_empty
from exphil_tui.widgets.canvas.view import Extent


def draw(plot: Plot, width: int, height: int, thinning: Thinning | None = None) -> PlotPicture:
    """Draw a plot of `width` by `height` cells.

    Args:
        thinning: Cache from earlier pictures; it saves time and does not change the result.
    """
    thinning = thinning or Thinning()
    thinning.begin()
    page = Canvas(width, height)
    header = 1 if height >= 7 else 0
    legend = lay_out_legend(plot, width, 0 if height < 6 else 1 if height < 14 else 2 if height < 30 else 3)
    top = header + (max(entry.row for entry in legend) + 1 if legend else 0)
    for entry in legend:
        page.text(entry.column, header + entry.row, entry.text, ink_of_line(entry.line))
        page.text(entry.column, header + entry.row, entry.text[:1], ink_of_mark(entry.line))
    footer = 2 if height >= top + 4 else 0
    rows = height - top - footer

    extent = extent_of(plot)
    axis = None if extent is None else plot.view.axis(extent)
    # The y labels decide the plot's width, and the visible data decide the labels. Most labels need four
    # characters.
    left, columns = _plot_columns(width, 4)
    visible = None if axis is None else VisibleData(plot, axis, columns, thinning)
    sentence = why_empty(plot, visible)
    if header:
        _draw_header(page, plot, extent, visible)
    if visible is None or sentence is not None:
        _draw_sentence(page, sentence or "", top, height - top)
        return PlotPicture(canvas=page, x_axis=None, y_axis=None, left=0, columns=width)

    y_axis = axis_around(*visible.y_range, log=plot.log_y)
    ticks = y_ticks(y_axis, rows)
    left, columns = _plot_columns(width, max((4, *(len(tick.label) for _, tick in ticks))))
    if columns < 1 or rows < 1:
        return PlotPicture(canvas=page, x_axis=None, y_axis=None, left=0, columns=width)
    if columns != visible.columns:
        visible = VisibleData(plot, visible.axis, columns, thinning)

    frame = PlotFrame(plot=plot, x=visible.axis, y=y_axis, columns=columns, rows=rows)
    page.cover(draw_curves(frame, visible, ticks), left, top)
    draw_y_axis(page, ticks, left - 1, top, rows, plot.glyphs)
    if footer:
        draw_x_axis(page, frame, left, top + rows)
    if left + columns < width:
        draw_end_marks(page, frame, visible, left + columns + 1, top)
    return PlotPicture(canvas=page, x_axis=visible.axis, y_axis=y_axis, left=left, columns=columns)


def _plot_columns(width: int, labels: int) -> tuple[int, int]:
    """Return the first cell and the number of cells of the plot in a row, after y labels and marks."""
    left = labels + 2 if labels + 12 <= width else 1
    return left, max(width - left - (2 if width - left >= 20 else 0), 0)


def _draw_header(page: Canvas, plot: Plot, extent: Extent | None, visible: VisibleData | None) -> None:
    """Draw the title, the y title, and at the right what is unusual about the view."""
    page.text(0, 0, plot.title, PlotInk.TITLE)
    used = cell_len(plot.title) + 2 if plot.title else 0
    page.text(used, 0, plot.y_title, PlotInk.MUTED)
    used += cell_len(plot.y_title) + LABEL_GAP
    notes = []
    if visible is not None and plot.cursor is not None:
        notes.append(f"{plot.x_title or 'x'} {exact(plot.cursor)}")
    if visible is not None and visible.hidden:
        notes.append(f"{exact(visible.hidden)} not above 0")
    scales = [name for name, log in (("x", plot.log_x), ("y", plot.log_y)) if log]
    if scales:
        notes.append(f"log {' and '.join(scales)}")
    if visible is not None and extent is not None and plot.view.span is not None:
        low, high, last = visible.axis.values(
            np.array((visible.axis.low, visible.axis.high, extent.last))
        ).tolist()
        digits = round_step((high - low) / 100)
        low, high, last = (label(end, digits) for end in (low, high, last))
        notes.append(f"newest, from {low}" if plot.view.follows else f"{low} to {high} of {last}")
    between = " | " if plot.glyphs.ascii else " · "
    while notes and used + cell_len(between.join(notes)) > page.columns:
        notes.pop()
    text = between.join(notes)
    page.text(page.columns - cell_len(text), 0, text, PlotInk.TEXT)


def _draw_sentence(page: Canvas, sentence: str, top: int, rows: int) -> None:
    lines = textwrap.wrap(sentence, max(page.columns - 4, 1))[: max(rows, 0)]
    for index, line in enumerate(lines):
        page.text(
            (page.columns - len(line)) // 2, top + (rows - len(lines)) // 2 + index, line, PlotInk.MUTED
        )
