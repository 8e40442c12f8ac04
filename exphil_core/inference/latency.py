"""Time as a player feels it: a loop paced by absolute deadlines, and what its frames took.

In: something that acts on a frame, a clock and a way to sleep. Out: one `Tick` a frame, and their percentiles.
Between frames the loop sleeps as a player does, so that caches go cold and processors slow down as they do in play.

What a reader gets wrong: a deadline is missed when a frame is done after the *next* tick, by the clock that started
with the first frame. One long stall therefore misses several deadlines, and a late wake-up counts against the act.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from exphil_core.melee.frames import FRAME_MS, FRAMES_PER_SECOND

RATE = float(FRAMES_PER_SECOND)

BUDGET_MS = FRAME_MS

MISSED_SHARE = 0.01
"""Deadlines that may be missed by what counts as within the budget: as many as lie beyond a p99."""


class Tick(NamedTuple):
    """One frame, in seconds of the loop's clock."""

    due: float
    began: float
    done: float

    @property
    def took_ms(self) -> float:
        return (self.done - self.began) * 1e3

    @property
    def late_ms(self) -> float:
        """How long after its tick it began."""
        return (self.began - self.due) * 1e3

    @property
    def missed(self) -> bool:
        """Whether it was done only after the next tick."""
        return self.done > self.due + 1 / RATE


def paced(
    act: Callable[[int], object],
    frames: int,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> Iterator[Tick]:
    """Acts on frames 0, 1, … at 60 Hz. No frame is left out: after a stall the loop catches up."""
    start = clock()
    for number in range(frames):
        due = start + number / RATE
        now = clock()
        if now < due:
            sleep(due - now)
            now = clock()
        act(number)
        yield Tick(due=due, began=now, done=clock())


@contextmanager
def without_collector() -> Iterator[None]:
    """As a player runs: what lives is set aside, and the garbage collector does not come between two frames."""
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """By nearest rank: each is a time that a frame really took."""

    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    missed: int

    @property
    def within_budget(self) -> bool:
        """99 of 100 frames take less than the budget, and as many meet their deadlines."""
        return self.p99_ms < BUDGET_MS and self.missed <= MISSED_SHARE * self.frames


def percentiles(took_ms: Sequence[float], *, missed: int) -> Percentiles:
    """Of at least one frame."""
    p50, p95, p99 = np.percentile(took_ms, (50, 95, 99), method="inverted_cdf").tolist()
    return Percentiles(
        frames=len(took_ms), p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=max(took_ms), missed=missed
    )


HISTOGRAM_BINS = 40
"""Of a twentieth of the budget each, up to twice the budget; what took longer is in the last."""


def histogram(took_ms: Sequence[float]) -> tuple[int, ...]:
    """Frames in each bin."""
    place = (np.asarray(took_ms) / (2 * BUDGET_MS) * HISTOGRAM_BINS).astype(np.int64)
    counts = np.bincount(place.clip(0, HISTOGRAM_BINS - 1), minlength=HISTOGRAM_BINS)
    return tuple(counts.tolist())
