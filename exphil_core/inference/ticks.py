"""The ticks of a game that is played in real time: 60 a second, by the clock that started with the first one.

In: a clock and a way to sleep. Out: when each tick was due and when its frame began. What a reader gets wrong:
nothing ever moves the grid. After a short stall the frames that are late are played one after the other until they
have caught up, as in `latency.paced`; after one of more than a second the ticks that have passed are skipped, since
nobody plays a second of a game at once. The game waits meanwhile: a policy that had not seen some of its frames would
be another than the one that is measured.
"""

from collections.abc import Callable

from exphil_core.inference.latency import RATE

LONGEST_CATCH_UP_S = 1.0


class Ticks:
    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self._clock, self._sleep = clock, sleep
        self._start = clock()
        self.count = 0
        """Ticks so far, with those that were skipped."""
        self.skipped = 0
        """Of those, the ones on which nothing was played."""

    @property
    def due(self) -> float:
        """When the next tick is, or was."""
        return self._start + self.count / RATE

    def wait(self) -> tuple[float, float]:
        """Until the next tick: when it was due, and the time after waking up for it."""
        behind = self._clock() - self.due
        if behind > LONGEST_CATCH_UP_S:
            passed = int(behind * RATE)
            self.skipped += passed
            self.count += passed
        due = self.due
        self.count += 1
        now = self._clock()
        if now < due:
            self._sleep(due - now)
            now = self._clock()
        return due, now
