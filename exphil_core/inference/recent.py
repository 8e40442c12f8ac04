"""What a player has felt lately: its last frames, and all of them in two numbers.

In: a `Tick` a frame. Out: the fields of a `latency` event that are about time. What a reader gets wrong: percentiles,
histogram and `missed` are of the last ten seconds; `recent_*` is of the frames since the last `taken`, so that no
slow frame falls between two events; `total_*` is since the beginning, and counts a skipped tick as a missed frame.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from exphil_core.inference.latency import BUDGET_MS, Tick, histogram, percentiles

KEPT_FRAMES = 600
"""Ten seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Felt:
    """As it was at one moment: plain numbers, so that another thread may reckon with them."""

    took_ms: tuple[float, ...]
    late_ms: tuple[float, ...]
    missed: int
    recent_max_ms: float | None
    recent_missed: int
    total_frames: int
    total_missed: int
    skipped: int

    def fields(self) -> dict[str, object]:
        """Of at least one frame."""
        took = percentiles(self.took_ms, missed=self.missed)
        return {
            "frames": took.frames,
            "p50_ms": took.p50_ms,
            "p95_ms": took.p95_ms,
            "p99_ms": took.p99_ms,
            "max_ms": took.max_ms,
            "missed": took.missed,
            "budget_ms": BUDGET_MS,
            "headroom_ms": BUDGET_MS - took.p99_ms,
            "histogram": histogram(self.took_ms),
            "late_p99_ms": float(np.percentile(self.late_ms, 99, method="inverted_cdf")),
            "recent_max_ms": self.recent_max_ms,
            "recent_missed": self.recent_missed,
            "total_frames": self.total_frames,
            "total_missed": self.total_missed,
            "skipped": self.skipped,
        }


class Recent:
    """Of one player."""

    def __init__(self) -> None:
        self._ticks: deque[tuple[float, float, bool]] = deque(maxlen=KEPT_FRAMES)
        self._max_ms: float | None = None
        self._missed = 0
        self._frames = 0
        self._total_missed = 0
        self._skipped = 0

    def add(self, tick: Tick, *, skipped: int = 0) -> None:
        """One frame, and the ticks before it on which there was none."""
        took, missed = tick.took_ms, tick.missed
        self._ticks.append((took, tick.late_ms, missed))
        self._max_ms = took if self._max_ms is None else max(took, self._max_ms)
        self._missed += missed + skipped
        self._frames += 1 + skipped
        self._total_missed += missed + skipped
        self._skipped += skipped

    def taken(self) -> Felt:
        """All of it; what is `recent` begins anew."""
        took_ms, late_ms, missed = zip(*self._ticks, strict=True)
        felt = Felt(
            took_ms=took_ms,
            late_ms=late_ms,
            missed=sum(missed),
            recent_max_ms=self._max_ms,
            recent_missed=self._missed,
            total_frames=self._frames,
            total_missed=self._total_missed,
            skipped=self._skipped,
        )
        self._max_ms, self._missed = None, 0
        return felt
