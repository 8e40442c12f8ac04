"""Data of a chart: lines, horizontal references, view and inks.

Inks are numbers, mapped by the `ink_of_...` functions; the widget has a style for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from exphil_tui.theme.glyphs import UNICODE, Glyphs
from exphil_tui.widgets.canvas.axes import Axis
from exphil_tui.widgets.canvas.braille import Canvas
from exphil_tui.widgets.canvas.view import EVERYTHING, ChartView, Extent

SMALLEST: Final = 1e-300
"""Values below count as 0 on a logarithmic axis."""


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
    """One letter, so that lines can be told apart without colour."""

    def __post_init__(self) -> None:
        assert len(self.x) == len(self.y) == len(self.curve), self.name

    @property
    def curve(self) -> np.ndarray:
        return self.y if self.smooth is None else self.smooth


@dataclass(frozen=True, slots=True, kw_only=True)
class HLine:
    """A horizontal reference line."""

    name: str
    y: float
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    lines: Sequence[Line] = ()
    hlines: Sequence[HLine] = ()
    title: str = ""
    x_title: str = ""
    y_title: str = ""
    view: ChartView = EVERYTHING
    log_x: bool = False
    log_y: bool = False
    cursor: float | None = None
    """x of the vertical line at which values are read."""
    show_marks: bool = False
    """Draw the marks along the lines, for a terminal without colour."""
    glyphs: Glyphs = UNICODE


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotPicture:
    canvas: Canvas
    x_axis: Axis | None
    y_axis: Axis | None
    """None if there was nothing to draw."""
    left: int
    """First cell of the plot in a row; `columns` is the number of its cells."""
    columns: int


class PlotInk(IntEnum):
    NOTHING = 0
    TITLE = 1
    TEXT = 2
    MUTED = 3
    GRID = 4
    CURSOR = 5


def ink_of_raw(line: int) -> int:
    return len(PlotInk) + 3 * line


def ink_of_line(line: int) -> int:
    return len(PlotInk) + 3 * line + 1


def ink_of_mark(line: int) -> int:
    return len(PlotInk) + 3 * line + 2


def ink_of_hline(lines: int, hline: int) -> int:
    return len(PlotInk) + 3 * lines + hline


def extent_of(plot: Plot) -> Extent | None:
    """Return the range of x over all lines; None without a point."""
    ends = []
    for line in plot.lines:
        begin = int(np.searchsorted(line.x, SMALLEST)) if plot.log_x else 0
        if begin < len(line.x):
            ends.append((float(line.x[begin]), float(line.x[-1])))
    if not ends:
        return None
    first, last = min(first for first, _ in ends), max(last for _, last in ends)
    if plot.log_x:
        first, last = float(np.log10(first)), float(np.log10(last))
    return Extent(first=first, last=last, log=plot.log_x)


def nearest_point(line: Line, at: float, tolerance: float) -> tuple[float, float] | None:
    """Return the finite point nearest to `at`; None if `at` is more than `tolerance` outside the line's range."""
    if not len(line.x) or not line.x[0] - tolerance <= at <= line.x[-1] + tolerance:
        return None
    middle = int(np.searchsorted(line.x, at))
    # Gaps are usually short: search a few points around before searching all.
    for reach in (16, len(line.x)):
        begin = max(0, middle - reach)
        near = slice(begin, middle + reach)
        found = np.flatnonzero(np.isfinite(line.curve[near]))
        if found.size:
            index = begin + int(found[np.abs(line.x[near][found] - at).argmin()])
            return float(line.x[index]), float(line.curve[index])
    return None
