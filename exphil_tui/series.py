"""A curve that only grows: x, y and y smoothed, as numpy arrays.

In: points in order. Out: a `Series` that shares its memory with the one it was extended from. What a reader gets
wrong: `extended` returns a new value and never changes what an older one shows, though both look at one buffer; an
older Series that is extended a second time gets a buffer of its own. x always rises: a point at or behind the end
takes the place of what was there, as a resumed run writes its last steps again.

Smoothing is an exponential moving average whose memory grows with the curve: over the last 1/32 of the points, and
at least 3. On a plot it is then as smooth at the end of a long run as at that of a short one, it does not smear the
steep beginning over the picture, and a point's smoothed value never changes afterwards.
"""

import mmap
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

SHORTEST_MEMORY = 3
MEMORY_SHARE = 1 / 32

_CAPACITY = 64
_GROWTH = 8
"""Room that nothing was written to yet takes no memory, so a curve is given much of it and seldom moved."""

_BLOCK = 4096
"""Points that are smoothed at once: their numbers stay in a core's cache."""

_LARGEST = 1e300
"""Sums of such numbers still fit into a float64; what is larger is shown as no number."""


@dataclass(slots=True, eq=False)
class _Buffer:
    """Room for more points than are shown; `used` is the end of the newest Series that looks at it."""

    values: np.ndarray
    """float64 [3, capacity]: x, y, smoothed y."""
    used: int = 0


def _room(points: int) -> np.ndarray:
    """float64 [3, capacity] for at least so many points."""
    capacity = _CAPACITY
    while capacity < points:
        capacity *= _GROWTH
    if capacity == _CAPACITY:
        return np.empty((3, capacity))
    # Not from numpy, which asks for pages of 2 MB: to clear one for each row of each curve took twice the time of
    # everything else.
    memory = mmap.mmap(-1, 3 * 8 * capacity, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype=np.float64).reshape(3, capacity)


# Equal only to itself: comparing arrays would make every comparison of two states as long as their curves.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    length: int = 0
    _numbers: int = 0
    """Points whose y is a number."""
    _mean: float = 0.0
    """The smoothed y of the last of them."""
    _buffer: _Buffer = field(default_factory=lambda: _Buffer(_room(0)))

    @property
    def x(self) -> np.ndarray:
        """float64 [N], rising."""
        return self._buffer.values[0, : self.length]

    @property
    def y(self) -> np.ndarray:
        """float64 [N]; NaN where there was no number."""
        return self._buffer.values[1, : self.length]

    @property
    def smooth(self) -> np.ndarray:
        """float64 [N]: exponential moving average of y; NaN where y is, and going on behind it."""
        return self._buffer.values[2, : self.length]

    def extended(self, x: ArrayLike, y: ArrayLike) -> "Series":
        """This curve and points behind it. Costs as much as the points do, however long the curve is."""
        x, y = _rising(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        if not len(x):
            return self
        base = self
        if self.length and self.x[-1] >= x[0]:
            base = self._first(int(np.searchsorted(self.x, x[0], side="left")))
        end = base.length + len(x)
        buffer = base._buffer
        if buffer.used != base.length or end > buffer.values.shape[1]:
            buffer = _Buffer(_room(end))
            buffer.values[:, : base.length] = base._buffer.values[:, : base.length]
        x_new, y_new, smooth_new = buffer.values[:, base.length : end]
        x_new[:] = x
        y_new[:] = y
        buffer.used = end
        is_number = np.abs(y) <= _LARGEST
        if is_number.all():
            smooth_new[:] = smoothed(y, count=base._numbers, mean=base._mean)
        else:
            y_new[~is_number] = smooth_new[~is_number] = np.nan
            smooth_new[is_number] = smoothed(y[is_number], count=base._numbers, mean=base._mean)
        numbers, mean = _ending(smooth_new, is_number, base._mean)
        return Series(length=end, _numbers=base._numbers + numbers, _mean=mean, _buffer=buffer)

    def cut_to(self, x: float) -> "Series":
        """The points up to and with `x`."""
        return self._first(int(np.searchsorted(self.x, x, side="right")))

    def _first(self, length: int) -> "Series":
        if length == self.length:
            return self
        smooth = self.smooth[:length]
        numbers, mean = _ending(smooth, ~np.isnan(smooth), 0.0)
        return Series(length=length, _numbers=numbers, _mean=mean, _buffer=self._buffer)


def smoothed(y: np.ndarray, *, count: int = 0, mean: float = 0.0) -> np.ndarray:
    """The moving average at each of `y`, going on from `mean`, that of `count` points before."""
    out = np.empty(len(y))
    done = 0
    while done < len(y):
        place = count + done
        length = min(max(16, place // 8) if place else 1, _BLOCK, len(y) - done)
        kept, new = _weights(place, length)
        block = out[done : done + length]
        np.multiply(y[done : done + length], new, out=block)
        np.cumsum(block, out=block)
        block += mean
        block *= kept
        mean = float(block[-1])
        done += length
    return out


# Curves grow together, so what one was weighted with is asked for again by the next.
@lru_cache(maxsize=64)
def _weights(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the points behind `count`: what is left there of the average before them all, and what each adds to it,
    to be multiplied with what is left.

    Within a block what is left falls to a 700th at most, so dividing by it costs no more than three digits.
    """
    place = np.arange(count + 1.0, count + length + 1)
    new = 1 / np.minimum(place, np.maximum(SHORTEST_MEMORY, MEMORY_SHARE * place))
    if count == 0:
        # Nothing was before: the first point is the average.
        return np.ones(1), np.ones(1)
    kept = np.cumprod(1 - new)
    return kept, new / kept


def _ending(smooth: np.ndarray, is_number: np.ndarray, mean: float) -> tuple[int, float]:
    """(how many are numbers, the last of them; `mean` where there is none)."""
    if not is_number.any():
        return 0, mean
    last = len(is_number) - 1 - int(np.argmax(is_number[::-1]))
    return int(np.count_nonzero(is_number)), float(smooth[last])


def _rising(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the points that a later one at or before them takes the place of."""
    if len(x) < 2 or bool(np.all(x[1:] > x[:-1])):
        return x, y
    least_after = np.append(np.minimum.accumulate(x[::-1])[::-1][1:], np.inf)
    stays = x < least_after
    return x[stays], y[stays]
