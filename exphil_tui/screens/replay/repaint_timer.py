"""Timer that repaints the replay screen at an adaptive rate."""

import time
from collections.abc import Callable

from textual.timer import Timer

from exphil_tui.model.frame_rate import FrameRate


class RepaintTimer:
    """Calls `paint` at a rate that follows from the cost and lateness of earlier repaints."""

    def __init__(
        self,
        paint: Callable[[], bool],
        set_interval: Callable[[float, Callable[[], None]], Timer],
        rate: FrameRate,
    ) -> None:
        """Start the timer.

        Args:
            paint: Draws the current frame; returns False if there was nothing to draw.
            set_interval: Textual's method of the screen.
            rate: The initial rate.
        """
        self._paint, self._set_interval, self._rate = paint, set_interval, rate
        self._due, self._spent = time.monotonic(), time.thread_time()
        self._timer = set_interval(rate.interval, self._tick)

    def _tick(self) -> None:
        now, spent = time.monotonic(), time.thread_time()
        late, cost = now - self._due, spent - self._spent
        self._due, self._spent = now + self._rate.interval, spent
        if not self._paint():
            return
        before, self._rate = self._rate, self._rate.painted(cost=cost, late=late)
        if before.rate != self._rate.rate:
            self._timer.stop()
            self._timer = self._set_interval(self._rate.interval, self._tick)
