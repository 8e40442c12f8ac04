"""How often a picture of a game is painted: 60 times a second where that is easy, else 30, over ssh 20.

In: what each picture cost and how late it came. Out: a rate. What a reader gets wrong: this decides how often one
looks and never how fast the game goes; a rate that changes shows more or fewer of the same frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

FAST, USUAL, AFAR = 60, 30, 20
"""Pictures a second."""

_TAKEN = 30
"""Pictures that are looked at before the rate changes."""
_EASY_S, _HARD_S = 0.006, 0.010
"""Of a core for one picture, on average: below the one 60 are painted, above the other 30."""
_LATE_S = 0.008
"""Later than this, on average, and something else needs the time: another process, or a terminal slow to read."""
_TRIES = 2
"""So often painting falls back from 60 before it stays at 30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    rate: int = USUAL
    fixed: bool = False
    pictures: int = 0
    cost: float = 0.0
    """Seconds of this process, summed over the pictures since the rate was last looked at."""
    late: float = 0.0
    fallen: int = 0

    @property
    def interval(self) -> float:
        return 1 / self.rate

    def painted(self, *, cost: float, late: float) -> "Pace":
        """After one more picture, which took `cost` seconds of this process and came `late`."""
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


def pace_of(environment: Mapping[str, str]) -> Pace:
    """Every picture goes over the network where the terminal is at the other end of ssh."""
    afar = environment.get("SSH_CONNECTION") or environment.get("SSH_TTY")
    return Pace(rate=AFAR, fixed=True) if afar else Pace()
