"""Legend of a chart: mark, name and value of each line, in as many rows as there is room for."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.canvas.axes import short
from exphil_tui.widgets.canvas.plot_data import Line, Plot, nearest_point


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendEntry:
    """A legend entry; its text starts with the mark."""

    column: int
    row: int
    line: int
    text: str


def lay_out_legend(plot: Plot, width: int, rows: int) -> list[LegendEntry]:
    """Lay out mark, name and value of each line; shorten, then drop names until all fit into `rows` rows."""
    values = [_value_of(plot, line) for line in plot.lines]
    longest = max((cell_len(line.name) for line in plot.lines), default=0)
    for room in (longest, *(room for room in (16, 12, 9, 7, 5, 4, 3) if room < longest), 0):
        names = [_shortened(line.name, room, plot.glyphs) for line in plot.lines]
        texts = [
            " ".join(part for part in (line.mark, name, value) if part)
            for line, name, value in zip(plot.lines, names, values, strict=True)
        ]
        legend = _placed(texts, width)
        if legend and legend[-1].row < rows:
            return legend
    return [entry for entry in _placed([line.mark for line in plot.lines], width) if entry.row < rows]


def _placed(texts: Sequence[str], width: int) -> list[LegendEntry]:
    """Place the texts in one row if they fit, else in columns."""
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
        LegendEntry(column=column, row=row, line=index, text=text)
        for index, ((column, row), text) in enumerate(zip(places, texts, strict=True))
    ]


def _value_of(plot: Plot, line: Line) -> str:
    """Return the value at the cursor, else the newest, padded so that the legend does not move."""
    if not len(line.x):
        return plot.glyphs.dash.ljust(5)
    at = float(line.x[-1]) if plot.cursor is None else plot.cursor
    # There is no axis here; a thousandth of the line's range is about one dot.
    found = nearest_point(line, at, float(line.x[-1] - line.x[0]) / 1000)
    return (plot.glyphs.dash if found is None else short(found[1])).ljust(5)


def _shortened(name: str, room: int, glyphs: Glyphs) -> str:
    if cell_len(name) <= room:
        return name
    return set_cell_size(name, room - 1).rstrip() + glyphs.ellipsis if room > 1 else ""
