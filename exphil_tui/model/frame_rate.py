"""Adaptive repaint rate of the replay screen: 60 FPS if cheap enough, else 30; over ssh 20.

It does not change playback speed, which follows the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

FAST, USUAL, AFAR = 60, 30, 20
"""Repaints per second."""

_TAKEN = 30
"""Repaints averaged before each rate decision."""
_EASY_S, _HARD_S = 0.006, 0.010
"""Mean CPU seconds per repaint: below the first the rate rises to 60, above the second it falls to 30."""
_LATE_S = 0.008
"""Mean lateness in seconds from which something else needs the time: another process, or a slow terminal."""
_TRIES = 2
"""Fallbacks from 60 after which the rate stays at 30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRate:
    rate: int = USUAL
    fixed: bool = False
    pictures: int = 0
    cost: float = 0.0
    """CPU seconds of the UI thread, summed over the repaints since the last decision."""
    late: float = 0.0
    """Lateness in seconds, summed likewise."""
    fallen: int = 0
    """Fallbacks from 60 to 30 so far."""

    @property
    def interval(self) -> float:
        return 1 / self.rate

    def painted(self, *, cost: float, late: float) -> "FrameRate":
        """Return the rate after one more repaint.

        Args:
            cost: CPU seconds of the repaint.
            late: Seconds after its due time.
        """
        if self.fixed:
            return self
        found = replace(
            self, pictures=self.pictures + 1, cost=self.cost + cost, late=self.late + max(0.0, late)
        )
        if found.pictures < _TAKEN:
            return found
        mean, late = found.cost / _TAKEN, found.late / _TAKEN
        fresh = replace(found, pictures=0, cost=0.0, late=0.0)
        if self.rate == FAST and (mean > _HARD_S or late > _LATE_S):
            return replace(fresh, rate=USUAL, fallen=self.fallen + 1)
        if self.rate == USUAL and mean < _EASY_S and late < _LATE_S / 2 and self.fallen < _TRIES:
            return replace(fresh, rate=FAST)
        return fresh


def initial_frame_rate(environment: Mapping[str, str]) -> FrameRate:
    """Choose the initial rate; fixed at 20 FPS over ssh, where every repaint goes over the network."""
    afar = environment.get("SSH_CONNECTION") or environment.get("SSH_TTY")
    return FrameRate(rate=AFAR, fixed=True) if afar else FrameRate()
