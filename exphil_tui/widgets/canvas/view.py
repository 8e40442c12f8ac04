"""Visible x range of a chart: everything, the newest part, or a range the user moved to.

All numbers are in axis units (decades on a logarithmic axis). The axis may extend a little beyond the newest
point: it grows in steps of 1/16, so that most new points change only the last columns, and only those are sent to
the terminal.
"""

import math
from dataclasses import dataclass
from typing import Final

from exphil_tui.widgets.canvas.axes import Axis

_GRAIN: Final = 16
_DEEPEST: Final = 1e-5
"""Smallest share of the data's range that one can zoom to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """First and last x of the data, in axis units."""

    first: float
    last: float
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartView:
    span: float | None = None
    """Width of the visible range; None: everything."""
    high: float | None = None
    """Right edge; None: follow the newest point."""

    @property
    def follows(self) -> bool:
        return self.high is None

    def axis(self, extent: Extent) -> Axis:
        if self.span is None:
            return _everything(extent)
        high = self.high
        if high is None:
            grain = self.span / _GRAIN
            high = grain * math.ceil(extent.last / grain - 1e-6)
        return Axis(low=high - self.span, high=high, log=extent.log)

    def zoomed(self, extent: Extent, factor: float, around: float | None = None) -> "ChartView":
        """Return the view scaled by `factor`; `around` keeps its place (None: the newest point or the middle)."""
        axis, everything = self.axis(extent), _everything(extent)
        shown, whole = axis.high - axis.low, everything.high - everything.low
        span = max(shown * factor, whole * _DEEPEST)
        if span >= whole:
            return EVERYTHING
        if around is None:
            if self.follows:
                return ChartView(span=span)
            around = (axis.low + axis.high) / 2
        return _held(span, around + (axis.high - around) * (span / shown), extent)

    def panned(self, extent: Extent, share: float) -> "ChartView":
        """Return the view moved right by `share` of its width; left if negative."""
        if self.span is None:
            return self
        axis = self.axis(extent)
        # A following view extends beyond the newest point; panning starts from that point.
        high = min(axis.high, extent.last) if self.follows else axis.high
        return _held(self.span, high + share * self.span, extent)

    def reaching(self, extent: Extent, at: float) -> "ChartView":
        """Return the view moved just far enough to show `at`."""
        axis = self.axis(extent)
        if self.span is None or axis.low <= at <= axis.high:
            return self
        return _held(self.span, at if at > axis.high else at + self.span, extent)


def _held(span: float, high: float, extent: Extent) -> ChartView:
    """Return a view with a fixed right edge; at or beyond the end of the data, it follows the newest point."""
    if high >= extent.last:
        return ChartView(span=span)
    return ChartView(span=span, high=max(high, extent.first + span))


EVERYTHING: Final = ChartView()


def _everything(extent: Extent) -> Axis:
    span = extent.last - extent.first
    if span <= max(abs(extent.first), abs(extent.last)) * 1e-12:
        around = 0.5 if extent.log else max(0.5, abs(extent.first) * 1e-6)
        return Axis(low=extent.first - around, high=extent.last + around, log=extent.log)
    grain = 2.0 ** math.floor(math.log2(span)) / _GRAIN
    return Axis(low=extent.first, high=extent.first + grain * math.ceil(span / grain - 1e-6), log=extent.log)
