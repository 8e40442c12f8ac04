"""Chart axes: map numbers to dots, choose round ticks, format tick labels.

On a logarithmic axis `low`, `high` and all units are exponents of ten; `Axis.units` and `Axis.values` convert.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

_UNITS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_DECADES: Final = 307.0
"""Largest decimal exponent of float64, in both directions."""
_SMALLEST: Final = 1e-300
_PADDING: Final = 0.03
"""Share of the range left empty above and below the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisTick:
    at: float
    """Position in axis units."""
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        assert -math.inf < self.low < self.high < math.inf, self

    def units(self, values: np.ndarray) -> np.ndarray:
        """Convert values to axis units; on a logarithmic axis, 0 and below become NaN."""
        if not self.log:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, np.log10(values), np.nan)

    def values(self, units: np.ndarray) -> np.ndarray:
        return 10.0**units if self.log else units

    def dots(self, values: np.ndarray, count: int) -> np.ndarray:
        """Map values to dots: 0 at the low end, `count` at the high end, which belongs to the last dot."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = (self.units(values) - self.low) * (count / (self.high - self.low))
        return np.where(found == count, count - 0.5, found)

    def edges(self, count: int) -> np.ndarray:
        """Return the values at which dots begin, and the end of the last dot, which includes the high end."""
        edges = self.values(np.linspace(self.low, self.high, count + 1))
        edges[-1] = np.nextafter(edges[-1], np.inf)
        return edges

    def ticks(self, most: int, *, smallest: float = 0.0) -> tuple[AxisTick, ...]:
        """Return at most `most` round ticks from low to high; evenly spaced on a linear axis."""
        if self.log:
            return _log_ticks(self.low, self.high, most)
        step = round_step((self.high - self.low) / max(most, 1))
        while True:
            step = max(step, smallest)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first < most:
                break
            step = round_step(step * 1.01)
        return tuple(AxisTick(at=n * step, label=label(n * step, step)) for n in range(first, last + 1))


def axis_around(low: float, high: float, *, log: bool = False, grain: int = 20) -> Axis:
    """Return an axis that shows `low` to `high` with padding, and rarely changes with new data.

    `low` and `high` are in axis units. The ends are multiples of a round step, about `grain` of which span the
    axis.
    """
    assert -math.inf < low <= high < math.inf, (low, high)
    # A narrower range has too few float64 values to be divided into dots.
    least = max(max(abs(low), abs(high)) * 1e-9, _SMALLEST)
    if high - low <= least:
        around = 0.5 if log else max(abs(low) * 0.1, least) if low else 1.0
        low, high = low - around, high + around
    room = (high - low) * _PADDING
    step = round_step((high - low) / grain)
    bottom, top = step * math.floor((low - room) / step), step * math.ceil((high + room) / step)
    # Non-negative data get no padding below zero: an axis from -0.1 for a loss looks wrong.
    if not log and low >= 0 and bottom < 0:
        bottom = 0.0
    if log:
        bottom, top = max(bottom, -_DECADES), min(top, _DECADES)
    return Axis(low=bottom, high=top, log=log)


def round_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    for times in (1, 2, 5):
        if power * times >= least * (1 - 1e-9):
            return power * times
    return power * 10


def apart(places: Iterable[tuple[int, int]], gap: int) -> bool:
    """Return whether spans (begin, end), from left to right, are at least `gap` apart."""
    return all(after[0] - before[1] >= gap for before, after in pairwise(places))


def label(value: float, step: float) -> str:
    """Format `value` with enough digits for a tick distance of `step`: 10k, 1.5M, 0.25, 2e-6."""
    size = max(abs(value), step)
    if abs(value) < step * 1e-6:
        return "0"
    if size < 1e-3 or size >= 1e15:
        return _scientific(value, max(0, math.ceil(math.log10(size / step) - 1e-9)))
    for unit, letter in _UNITS:
        digits = max(0, math.ceil(-math.log10(step / unit) - 1e-9))
        if unit <= size < 1000 * unit and digits <= 2 and letter:
            return _plain(value / unit, digits) + letter
    # As many digits as the neighbours have, so that the decimal points align.
    return f"{value:.{max(0, math.ceil(-math.log10(step) - 1e-9))}f}"


def short(value: float) -> str:
    """Format a number with three or four significant digits."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 9.9995e14:
        return _scientific(value, 2)
    if size < 9999.5:
        digits = 4 if size < 0.01 else 3 if size < 9.9995 else 3 - math.floor(math.log10(size * 1.00005))
        return f"{value:.{digits}f}"
    unit, letter = next((unit, letter) for unit, letter in _UNITS if size >= unit * 0.99995)
    return f"{value / unit:.{max(0, 3 - math.floor(math.log10(size / unit * 1.00005)))}f}{letter}"


def exact(value: float) -> str:
    """Format a number exactly, with thousands separators: 12,340."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else short(value)


def _log_ticks(low: float, high: float, most: int) -> tuple[AxisTick, ...]:
    slack = (high - low) * 1e-9
    decades = range(math.ceil(low - slack), math.floor(high + slack) + 1)
    if high - low < 1:
        # Powers of ten are too far apart here: use round numbers at their logarithmic positions.
        inner = Axis(low=10.0**low, high=10.0**high).ticks(most)
        return tuple(AxisTick(at=math.log10(tick.at), label=tick.label) for tick in inner if tick.at > 0)
    for times in ((1, 2, 5), (1, 3), (1,)):
        ticks = [
            AxisTick(at=power + math.log10(n), label=label(n * 10.0**power, 10.0**power))
            for power in range(math.floor(low) - 1, math.ceil(high) + 1)
            for n in times
            if low - slack <= power + math.log10(n) <= high + slack
        ]
        if 2 <= len(ticks) <= most:
            return tuple(ticks)
    if len(decades) > most:
        every = math.ceil(len(decades) / max(most, 1))
        return tuple(AxisTick(at=p, label=label(10.0**p, 10.0**p)) for p in decades if p % every == 0)
    return tuple(AxisTick(at=p, label=label(10.0**p, 10.0**p)) for p in decades)


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"
