"""Limits how often the run screen repaints."""

from collections.abc import Callable

PAUSE_FACTOR = 40
"""Pause after a repaint, as a multiple of its duration: keeps painting at about 1/40 of a core. Responses to keys and
state changes are painted without this pause."""

MIN_PAUSE_S, MAX_PAUSE_S = 0.5, 2.0
"""Bounds of that pause in seconds; numbers that change more than twice a second are unreadable."""


class RepaintThrottle:
    """Decides when a repaint is due, from the value shown and from values whose changes are urgent."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._value: object = None
        self._urgent: tuple[object, ...] = ()
        self._paused_until = 0.0

    def is_due(self, value: object, urgent: tuple[object, ...]) -> bool:
        """Return whether `urgent` changed, or `value` was replaced and the pause is over."""
        if urgent != self._urgent:
            return True
        return value is not self._value and self._clock() >= self._paused_until

    def paint(self, value: object, urgent: tuple[object, ...], draw: Callable[[], None]) -> None:
        """Call `draw`, and begin a pause that depends on how long it takes."""
        self._value, self._urgent = value, urgent
        start = self._clock()
        draw()
        now = self._clock()
        self._paused_until = now + min(MAX_PAUSE_S, max(MIN_PAUSE_S, PAUSE_FACTOR * (now - start)))

    def reset(self) -> None:
        """Make the next repaint due at once."""
        self._urgent = ()
