"""The two axes of a chart: from numbers to dots, and the round numbers that stand beside them.

In: a range of numbers. Out: an `Axis`, its `Tick`s, and short words for numbers. What a reader gets wrong: on a
logarithmic axis everything is done in decades. `Axis.low` and `Axis.high` are then exponents, and `Axis.units` and
`Axis.values` go between the two.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

_UNITS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_DECADES: Final = 307.0
"""Powers of ten that float64 still has, to both sides."""
_SMALLEST: Final = 1e-300
_PADDING: Final = 0.03
"""Share of the range that stays empty above and below what is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    at: float
    """In units of the axis."""
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        assert -math.inf < self.low < self.high < math.inf, self

    def units(self, values: np.ndarray) -> np.ndarray:
        """What has no place on the axis (nothing and less on a logarithmic one) becomes NaN."""
        if not self.log:
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(values > 0, np.log10(values), np.nan)

    def values(self, units: np.ndarray) -> np.ndarray:
        return 10.0**units if self.log else units

    def dots(self, values: np.ndarray, count: int) -> np.ndarray:
        """From 0 at the low end to `count` at the high end, which belongs to the last dot."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = (self.units(values) - self.low) * (count / (self.high - self.low))
        return np.where(found == count, count - 0.5, found)

    def edges(self, count: int) -> np.ndarray:
        """The values at which dots begin, and the one behind the last, which the high end is part of."""
        edges = self.values(np.linspace(self.low, self.high, count + 1))
        edges[-1] = np.nextafter(edges[-1], np.inf)
        return edges

    def ticks(self, most: int, *, smallest: float = 0.0) -> tuple[Tick, ...]:
        """At most `most` round numbers from the low to the high end. On a linear axis they are evenly spaced."""
        if self.log:
            return _log_ticks(self.low, self.high, most)
        step = round_step((self.high - self.low) / max(most, 1))
        while True:
            step = max(step, smallest)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            if last - first < most:
                break
            step = round_step(step * 1.01)
        return tuple(Tick(at=n * step, label=label(n * step, step)) for n in range(first, last + 1))


def axis_around(low: float, high: float, *, log: bool = False, grain: int = 20) -> Axis:
    """An axis that shows `low` to `high` with a little room, which few new numbers between or beside them move.

    `low` and `high` are in units of the axis. Its ends are multiples of a round step, about `grain` on the axis.
    """
    assert -math.inf < low <= high < math.inf, (low, high)
    # A range so narrow that float64 has hardly a number inside it can't be divided into dots.
    least = max(max(abs(low), abs(high)) * 1e-9, _SMALLEST)
    if high - low <= least:
        around = 0.5 if log else max(abs(low) * 0.1, least) if low else 1.0
        low, high = low - around, high + around
    room = (high - low) * _PADDING
    step = round_step((high - low) / grain)
    bottom, top = step * math.floor((low - room) / step), step * math.ceil((high + room) / step)
    # What is never below zero gets no room there: an axis that begins at -0.1 for a loss looks wrong.
    if not log and low >= 0 and bottom < 0:
        bottom = 0.0
    if log:
        bottom, top = max(bottom, -_DECADES), min(top, _DECADES)
    return Axis(low=bottom, high=top, log=log)


def round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    for times in (1, 2, 5):
        if power * times >= least * (1 - 1e-9):
            return power * times
    return power * 10


def apart(places: Iterable[tuple[int, int]], gap: int) -> bool:
    """Whether spans (begin, end), from left to right, keep at least `gap` between them."""
    return all(after[0] - before[1] >= gap for before, after in pairwise(places))


def label(value: float, step: float) -> str:
    """`value` with the digits that tell it from its neighbours at distance `step`: 10k, 1.5M, 0.25, 2e-6."""
    size = max(abs(value), step)
    if abs(value) < step * 1e-6:
        return "0"
    if size < 1e-3 or size >= 1e15:
        return _scientific(value, max(0, math.ceil(math.log10(size / step) - 1e-9)))
    for unit, letter in _UNITS:
        digits = max(0, math.ceil(-math.log10(step / unit) - 1e-9))
        if unit <= size < 1000 * unit and digits <= 2 and letter:
            return _plain(value / unit, digits) + letter
    # As many digits as its neighbours have, so that the points stand below each other.
    return f"{value:.{max(0, math.ceil(-math.log10(step) - 1e-9))}f}"


def short(value: float) -> str:
    """A number in few letters: three or four of its digits."""
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
    """A number as it is, with its thousands set apart: 12,340."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else short(value)


def _log_ticks(low: float, high: float, most: int) -> tuple[Tick, ...]:
    slack = (high - low) * 1e-9
    decades = range(math.ceil(low - slack), math.floor(high + slack) + 1)
    if high - low < 1:
        # The powers of ten are too far apart here: round numbers, at their logarithmic places.
        inner = Axis(low=10.0**low, high=10.0**high).ticks(most)
        return tuple(Tick(at=math.log10(tick.at), label=tick.label) for tick in inner if tick.at > 0)
    for times in ((1, 2, 5), (1, 3), (1,)):
        ticks = [
            Tick(at=power + math.log10(n), label=label(n * 10.0**power, 10.0**power))
            for power in range(math.floor(low) - 1, math.ceil(high) + 1)
            for n in times
            if low - slack <= power + math.log10(n) <= high + slack
        ]
        if 2 <= len(ticks) <= most:
            return tuple(ticks)
    if len(decades) > most:
        every = math.ceil(len(decades) / max(most, 1))
        return tuple(Tick(at=p, label=label(10.0**p, 10.0**p)) for p in decades if p % every == 0)
    return tuple(Tick(at=p, label=label(10.0**p, 10.0**p)) for p in decades)


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _scientific(value: float, digits: int) -> str:
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"
