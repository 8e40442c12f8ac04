"""Append-only curve with smoothing: x, y and smoothed y as numpy arrays.

`Series` is immutable, but a Series shares its buffer with the one it extends.
"""

import mmap
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

# Smoothing: an exponential moving average over the last 1/32 of the points, at least 3. Plots of long and short runs
# then look equally smooth, the steep start is not smeared out, and a smoothed value never changes afterwards.
SHORTEST_MEMORY = 3
MEMORY_SHARE = 1 / 32

_CAPACITY = 64
_GROWTH = 8
"""Growth factor. Untouched pages take no memory, so buffers grow fast and are seldom copied."""

_BLOCK = 4096
"""Points smoothed at once; small enough for a core's cache."""

_LARGEST = 1e300
"""Larger values become NaN, so that sums fit into a float64."""


@dataclass(slots=True, eq=False)
class _Buffer:
    """Memory shared by the Series that extend one another; `used` is the length of the newest."""

    values: np.ndarray
    """float64 [3, capacity]: x, y, smoothed y."""
    used: int = 0


def _room(points: int) -> np.ndarray:
    """Allocate float64 [3, capacity] for at least `points` points."""
    capacity = _CAPACITY
    while capacity < points:
        capacity *= _GROWTH
    if capacity == _CAPACITY:
        return np.empty((3, capacity))
    # Not numpy, which asks for 2 MB pages: clearing one per row of each curve took twice as long as everything else.
    memory = mmap.mmap(-1, 3 * 8 * capacity, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(memory, dtype=np.float64).reshape(3, capacity)


# Compared by identity: comparing arrays would be slow for long curves.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    length: int = 0
    _numbers: int = 0
    """Points whose y is not NaN."""
    _mean: float = 0.0
    """Smoothed y of the last of them."""
    _buffer: _Buffer = field(default_factory=lambda: _Buffer(_room(0)))

    @property
    def x(self) -> np.ndarray:
        """float64 [N], strictly ascending."""
        return self._buffer.values[0, : self.length]

    @property
    def y(self) -> np.ndarray:
        """float64 [N]; NaN where the value is missing."""
        return self._buffer.values[1, : self.length]

    @property
    def smooth(self) -> np.ndarray:
        """float64 [N]: exponential moving average of y; NaN where y is, continuing after it."""
        return self._buffer.values[2, : self.length]

    def extended(self, x: ArrayLike, y: ArrayLike) -> "Series":
        """Return this curve with points appended; this Series stays unchanged.

        New points at or before the end replace the old ones from there on, as a resumed run writes its last steps
        again. The cost depends on the new points only, not on the length of the curve, unless the buffer is full or
        this Series was extended before; then the curve is copied.
        """
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
        """Return the points up to and including `x`."""
        return self._first(int(np.searchsorted(self.x, x, side="right")))

    def _first(self, length: int) -> "Series":
        if length == self.length:
            return self
        smooth = self.smooth[:length]
        numbers, mean = _ending(smooth, ~np.isnan(smooth), 0.0)
        return Series(length=length, _numbers=numbers, _mean=mean, _buffer=self._buffer)


def smoothed(y: np.ndarray, *, count: int = 0, mean: float = 0.0) -> np.ndarray:
    """Return the moving average at each point of `y`, continuing from `mean` of the `count` points before."""
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


# Cached because the curves of a run have the same lengths.
@lru_cache(maxsize=64)
def _weights(count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return smoothing weights of the points after `count`.

    The first array is what remains of the earlier average at each point, the second what each point adds to the
    average, divided by what remains.

    Within a block the remainder falls to 1/700 at the least, so the division loses at most three digits.
    """
    place = np.arange(count + 1.0, count + length + 1)
    new = 1 / np.minimum(place, np.maximum(SHORTEST_MEMORY, MEMORY_SHARE * place))
    if count == 0:
        # Without earlier points the first point is the average.
        return np.ones(1), np.ones(1)
    kept = np.cumprod(1 - new)
    return kept, new / kept


def _ending(smooth: np.ndarray, is_number: np.ndarray, mean: float) -> tuple[int, float]:
    """Return how many values are numbers, and the last smoothed one of those, or `mean` if there is none."""
    if not is_number.any():
        return 0, mean
    last = len(is_number) - 1 - int(np.argmax(is_number[::-1]))
    return int(np.count_nonzero(is_number)), float(smooth[last])


def _rising(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop points that a later point at or before them replaces."""
    if len(x) < 2 or bool(np.all(x[1:] > x[:-1])):
        return x, y
    least_after = np.append(np.minimum.accumulate(x[::-1])[::-1][1:], np.inf)
    stays = x < least_after
    return x[stays], y[stays]
