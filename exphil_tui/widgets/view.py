"""Which part of x a chart shows: everything, the newest part, or one that a person went to.

In: the ends of the data, and what a person did. Out: a `View`, and the `Axis` that it shows. What a reader gets
wrong: all numbers here are in units of the axis (decades, where it is logarithmic), and an axis may reach a little
beyond the newest point. It grows in steps of a 16th, so that most new points change the last columns of a picture and
nothing else; only those are then sent to the terminal.
"""

import math
from dataclasses import dataclass
from typing import Final

from exphil_tui.widgets.axes import Axis

_GRAIN: Final = 16
_DEEPEST: Final = 1e-5
"""The smallest part of everything that one can zoom to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The first and the last x of the data."""

    first: float
    last: float
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    span: float | None = None
    """How much is shown; None: everything."""
    high: float | None = None
    """The right edge; None: it stays at the newest point."""

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

    def zoomed(self, extent: Extent, factor: float, around: float | None = None) -> "View":
        """`factor` times as much; `around` keeps its place (None: the newest point's, or the middle's)."""
        axis, everything = self.axis(extent), _everything(extent)
        shown, whole = axis.high - axis.low, everything.high - everything.low
        span = max(shown * factor, whole * _DEEPEST)
        if span >= whole:
            return EVERYTHING
        if around is None:
            if self.follows:
                return View(span=span)
            around = (axis.low + axis.high) / 2
        return _held(span, around + (axis.high - around) * (span / shown), extent)

    def panned(self, extent: Extent, share: float) -> "View":
        """To the right by `share` of what is shown; to the left where it is negative."""
        if self.span is None:
            return self
        axis = self.axis(extent)
        # A view that follows reaches beyond the newest point, which is not where a person begins to move it.
        high = min(axis.high, extent.last) if self.follows else axis.high
        return _held(self.span, high + share * self.span, extent)

    def reaching(self, extent: Extent, at: float) -> "View":
        """Moved just so far that `at` is seen."""
        axis = self.axis(extent)
        if self.span is None or axis.low <= at <= axis.high:
            return self
        return _held(self.span, at if at > axis.high else at + self.span, extent)


def _held(span: float, high: float, extent: Extent) -> View:
    """Held there; a right edge at the end or beyond it follows what comes."""
    if high >= extent.last:
        return View(span=span)
    return View(span=span, high=max(high, extent.first + span))


EVERYTHING: Final = View()


def _everything(extent: Extent) -> Axis:
    span = extent.last - extent.first
    if span <= max(abs(extent.first), abs(extent.last)) * 1e-12:
        around = 0.5 if extent.log else max(0.5, abs(extent.first) * 1e-6)
        return Axis(low=extent.first - around, high=extent.last + around, log=extent.log)
    grain = 2.0 ** math.floor(math.log2(span)) / _GRAIN
    return Axis(low=extent.first, high=extent.first + grain * math.ceil(span / grain - 1e-6), log=extent.log)
