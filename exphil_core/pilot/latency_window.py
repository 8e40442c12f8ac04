"""Rolling latency statistics over the last 600 frames, with totals since the start: the fields of a `latency` event.

Percentiles, histogram, `missed` and `skipped` cover the last `KEPT_FRAMES` frames of the game. `recent_*` covers the
frames since the last `taken`, so that no slow frame falls between two events. `total_*` covers all frames. Every
count of missed frames (without an answer in time) includes the skipped ones (never played).
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from exphil_core.inference.latency import BUDGET_MS, FrameTiming, histogram, percentiles

KEPT_FRAMES = 600
"""Ten seconds at 60 Hz."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySnapshot:
    """Latency statistics at one moment, as plain numbers that another thread may evaluate."""

    took_ms: tuple[float, ...]
    """Of the frames that were played."""
    late_ms: tuple[float, ...]
    missed: int
    skipped: int
    recent_max_ms: float | None
    recent_missed: int
    total_frames: int
    total_missed: int
    total_skipped: int

    def fields(self) -> dict[str, object]:
        """Return the timing fields of a `latency` event. Needs at least one played frame."""
        took = percentiles(self.took_ms, missed=self.missed)
        return {
            "frames": took.frames + self.skipped,
            "p50_ms": took.p50_ms,
            "p95_ms": took.p95_ms,
            "p99_ms": took.p99_ms,
            "max_ms": took.max_ms,
            "missed": took.missed,
            "skipped": self.skipped,
            "budget_ms": BUDGET_MS,
            "headroom_ms": BUDGET_MS - took.p99_ms,
            "histogram": histogram(self.took_ms),
            "late_p99_ms": float(np.percentile(self.late_ms, 99, method="inverted_cdf")),
            "recent_max_ms": self.recent_max_ms,
            "recent_missed": self.recent_missed,
            "total_frames": self.total_frames,
            "total_missed": self.total_missed,
            "total_skipped": self.total_skipped,
        }


class LatencyWindow:
    """Collects frame timings of one player."""

    def __init__(self) -> None:
        self._frames: deque[FrameTiming | None] = deque(maxlen=KEPT_FRAMES)
        """None for a skipped frame."""
        self._max_ms: float | None = None
        self._missed = 0
        self._total_frames = 0
        self._total_missed = 0
        self._total_skipped = 0

    def add(self, frame: FrameTiming, *, skipped: int = 0) -> None:
        """Add one frame, and the number of frames skipped before it."""
        self._frames.extend([None] * min(skipped, KEPT_FRAMES))
        self._frames.append(frame)
        self._max_ms = frame.took_ms if self._max_ms is None else max(frame.took_ms, self._max_ms)
        self._missed += frame.missed + skipped
        self._total_frames += 1 + skipped
        self._total_missed += frame.missed + skipped
        self._total_skipped += skipped

    def taken(self) -> LatencySnapshot:
        """Return a snapshot and reset the `recent_*` statistics."""
        played = [frame for frame in self._frames if frame is not None]
        skipped = len(self._frames) - len(played)
        snapshot = LatencySnapshot(
            took_ms=tuple(frame.took_ms for frame in played),
            late_ms=tuple(frame.late_ms for frame in played),
            missed=sum(frame.missed for frame in played) + skipped,
            skipped=skipped,
            recent_max_ms=self._max_ms,
            recent_missed=self._missed,
            total_frames=self._total_frames,
            total_missed=self._total_missed,
            total_skipped=self._total_skipped,
        )
        self._max_ms, self._missed = None, 0
        return snapshot
