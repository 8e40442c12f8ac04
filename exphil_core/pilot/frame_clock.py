"""Real-time frame clock: 60 ticks per second on a fixed grid from the first one.

A player that is behind gets the newest tick, as in a live game; the ticks before it are skipped. Thus one slow frame
never makes later frames pile up, and no frame starts a whole tick late.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from exphil_core.inference.latency import RATE


class FrameTick(NamedTuple):
    """One tick on which a frame is played."""

    number: int
    """Counts from 0."""
    due: float
    began: float
    """Time after waking up."""
    skipped: int
    """Ticks since the previous frame on which nothing was played."""


def frame_ticks(
    count: int, *, clock: Callable[[], float], sleep: Callable[[float], object]
) -> Iterator[FrameTick]:
    """Wait for each of `count` ticks and yield it; ticks that pass while the caller works are skipped.

    The last tick is always yielded, since no newer one follows.
    """
    start, following = clock(), 0
    while following < count:
        now = clock()
        number = min(max(following, int((now - start) * RATE)), count - 1)
        due = start + number / RATE
        if now < due:
            sleep(due - now)
            now = clock()
        yield FrameTick(number=number, due=due, began=now, skipped=number - following)
        following = number + 1
