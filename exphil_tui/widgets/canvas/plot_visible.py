"""Visible part of a chart's data: thinned lines, sampled raw points and the range of y."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from exphil_tui.widgets.canvas.axes import Axis
from exphil_tui.widgets.canvas.braille import DOTS_WIDE, Thinning, thin
from exphil_tui.widgets.canvas.plot_data import SMALLEST, Plot

_SAMPLE: Final = 2048
"""Raw values sampled to choose the range of y."""
_TRIMMED_FROM: Final = 500
"""Number of raw values from which the range of y excludes the outer percentile at each end."""
_RAW_PER_COLUMN: Final = 3
"""Raw points drawn per dot column besides its minimum and maximum."""
_LARGEST: Final = 1e300
"""Values above count as infinite."""

Points = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleLine:
    curve: Points
    """Thinned."""
    raw: Points | None
    """Thinned; None if y itself is the line."""
    sample: Points
    """A subsample of the raw points, as x and y."""


class VisibleData:
    """The data of a plot inside the view, thinned for `columns` cells."""

    def __init__(self, plot: Plot, axis: Axis, columns: int, thinning: Thinning) -> None:
        self.axis, self.columns = axis, columns
        self.lines: list[VisibleLine] = []
        self.points = 0
        self.hidden = 0
        """Number of values that a logarithmic y axis cannot show."""
        edges = axis.edges(DOTS_WIDE * columns)
        ranges: list[tuple[float, float] | None] = []
        for line in plot.lines:
            begin, end = (int(place) for place in np.searchsorted(line.x, edges[[0, -1]]))
            self.points += end - begin
            values = line.y
            curve = thinning.thin(line.x, line.curve, edges)
            raw = None if line.smooth is None else thinning.thin(line.x, values, edges)
            if plot.log_y and any((thinned < SMALLEST).any() for _, thinned in (curve, raw or curve)):
                self.hidden += int((values[begin:end] < SMALLEST).sum())
                values = _above_zero(values)
                curve = thin(line.x, _above_zero(line.curve), edges)
                raw = None if raw is None else thin(line.x, values, edges)
            kept = _every_nth(begin, end, _RAW_PER_COLUMN * DOTS_WIDE * columns)
            self.lines.append(VisibleLine(curve=curve, raw=raw, sample=(line.x[kept], values[kept])))
            ranges.append(_finite_range(curve[1][(curve[0] >= 0) & (curve[0] < DOTS_WIDE * columns)]))
            if raw is not None:
                ranges.append(_finite_range(_without_outliers(values[begin:end])))
        self.has_finite = any(found is not None for found in ranges)
        hlines = np.array([hline.y for hline in plot.hlines], float)
        ranges.append(_finite_range(_above_zero(hlines) if plot.log_y else hlines))
        bottom = min((found[0] for found in ranges if found is not None), default=1.0)
        top = max((found[1] for found in ranges if found is not None), default=2.0)
        self.y_range = (float(np.log10(bottom)), float(np.log10(top))) if plot.log_y else (bottom, top)


def _above_zero(values: np.ndarray) -> np.ndarray:
    return np.where(values >= SMALLEST, values, np.nan)


def _every_nth(begin: int, end: int, most: int) -> slice:
    """Return every 2nd, 4th, 8th … point; the choice depends on the index alone, so that a drawn point stays."""
    each = 1
    while end - begin > each * max(most, 1):
        each *= 2
    return slice(-(-begin // each) * each, end, each)


def _finite_range(values: np.ndarray) -> tuple[float, float] | None:
    """Return the minimum and maximum of the finite values up to `_LARGEST`; None if there are none."""
    finite = values[np.abs(values) <= _LARGEST]
    return (float(finite.min()), float(finite.max())) if len(finite) else None


def _without_outliers(raw: np.ndarray) -> np.ndarray:
    """Return a sample without the outer percentile at each end; all values if there are few."""
    if len(raw) < _TRIMMED_FROM:
        return raw
    sample = raw[:: -(-len(raw) // _SAMPLE)]
    sample = sample[np.isfinite(sample)]
    cut = len(sample) // 100
    return np.partition(sample, (cut, len(sample) - 1 - cut))[cut : len(sample) - cut] if cut else sample


def why_empty(plot: Plot, visible: VisibleData | None) -> str | None:
    """Return the sentence shown if there is nothing to draw; None if there is."""
    if visible is None:
        if any(len(line.x) for line in plot.lines):
            return f"No {plot.x_title or 'x'} above 0 yet, and a logarithmic axis begins there. x makes it linear."
        return "No data yet."
    if visible.points == 0:
        return "No points in view: press 0 to show all, End for the newest."
    if visible.has_finite:
        return None
    if plot.log_y and visible.hidden:
        return "No value above 0 here, and a logarithmic axis begins there. y makes it linear."
    return "Every value here is NaN or infinite."
