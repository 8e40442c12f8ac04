"""Frame latency: a 60 Hz loop paced by absolute deadlines, and percentiles of what its frames took.

The loop sleeps between frames as a player does, so that caches go cold and processors clock down as in play. A frame
misses its deadline if it is done after the *next* tick, by the clock that started with the first frame. One long
stall therefore misses several deadlines, and a late wake-up counts against the act.
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
"""Share of deadlines that may be missed within the budget: as many as lie beyond a p99."""


class FrameTiming(NamedTuple):
    """Timing of one frame, in seconds of the loop's clock."""

    due: float
    began: float
    done: float

    @property
    def took_ms(self) -> float:
        return (self.done - self.began) * 1e3

    @property
    def late_ms(self) -> float:
        """Delay from the frame's tick to its start, in milliseconds."""
        return (self.began - self.due) * 1e3

    @property
    def missed(self) -> bool:
        """Whether the frame was done only after the next tick."""
        return self.done > self.due + 1 / RATE


def run_at_60_hz(
    act: Callable[[int], object],
    frames: int,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> Iterator[FrameTiming]:
    """Call `act` with 0, 1, … at 60 Hz and yield each timing. No frame is skipped: after a stall it catches up."""
    start = clock()
    for number in range(frames):
        due = start + number / RATE
        now = clock()
        if now < due:
            sleep(due - now)
            now = clock()
        act(number)
        yield FrameTiming(due=due, began=now, done=clock())


@contextmanager
def gc_disabled() -> Iterator[None]:
    """Disable the garbage collector and freeze existing objects while the block runs, as during play."""
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
    """Percentiles by nearest rank: each value is the time of an actual frame."""

    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    missed: int

    @property
    def within_budget(self) -> bool:
        """Whether the p99 is below the budget and at most `MISSED_SHARE` of the deadlines were missed."""
        return self.p99_ms < BUDGET_MS and self.missed <= MISSED_SHARE * self.frames


def percentiles(took_ms: Sequence[float], *, missed: int) -> Percentiles:
    """Compute the percentiles of at least one frame's milliseconds."""
    p50, p95, p99 = np.percentile(took_ms, (50, 95, 99), method="inverted_cdf").tolist()
    return Percentiles(
        frames=len(took_ms), p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=max(took_ms), missed=missed
    )


HISTOGRAM_BINS = 40
"""Bins of a twentieth of the budget each, up to twice the budget; slower frames count in the last bin."""


def histogram(took_ms: Sequence[float]) -> tuple[int, ...]:
    """Return the number of frames in each bin."""
    place = (np.asarray(took_ms) / (2 * BUDGET_MS) * HISTOGRAM_BINS).astype(np.int64)
    counts = np.bincount(place.clip(0, HISTOGRAM_BINS - 1), minlength=HISTOGRAM_BINS)
    return tuple(counts.tolist())
