"""A curve that only grows: x, y and y smoothed, as numpy arrays.

In: points in order. Out: a `Series` that shares its memory with the one it was extended from. What a reader gets
wrong: `extended` returns a new value and never changes what an older one shows, though both look at one buffer; an
older Series that is extended a second time gets a buffer of its own.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(slots=True)
class _Buffer:
    """Room for more points than are shown; `used` is the end of the newest Series that looks at it."""

    values: np.ndarray
    """float64 [3, capacity]: x, y, smoothed y."""
    used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    length: int = 0
    _buffer: _Buffer = field(default_factory=lambda: _Buffer(np.empty((3, 64))))

    @property
    def x(self) -> np.ndarray:
        """float64 [N]."""
        return self._buffer.values[0, : self.length]

    @property
    def y(self) -> np.ndarray:
        """float64 [N]; NaN where there was no number."""
        return self._buffer.values[1, : self.length]

    @property
    def smooth(self) -> np.ndarray:
        """float64 [N]: exponential moving average of y."""
        return self._buffer.values[2, : self.length]
