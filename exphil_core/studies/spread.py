"""How far numbers of a few seeds differ, and whether that says anything.

In: one number a seed. Out: mean and spread, or the interval of a difference. What a reader gets wrong: differences
are taken seed by seed (the same seed draws the same data order), so what all variants of a seed have in common
cancels; with n seeds the t distribution has n - 1 degrees of freedom, and with one seed there is no interval at
all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Of one variant over its seeds."""

    mean: float
    deviation: float | None
    """Standard deviation over seeds; None of one seed."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of one variant less another, over the seeds that both have."""

    mean: float
    low: float | None
    """Lower end of the interval; None of one seed."""
    high: float | None
    count: int

    @property
    def decided(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def spread(values: Sequence[float]) -> Spread:
    return Spread(mean=fmean(values), deviation=stdev(values) if len(values) > 1 else None, count=len(values))


def difference(ours: Mapping[int, float], theirs: Mapping[int, float], *, together: int) -> Difference | None:
    """`ours` less `theirs`, by seed; None where no seed has both.

    `together` comparisons share `LEVEL`, so each is made at a higher one (Bonferroni).
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    found = [ours[seed] - theirs[seed] for seed in seeds]
    mean = fmean(found)
    if len(found) == 1:
        return Difference(mean=mean, low=None, high=None, count=1)
    half = student_t(1 - (1 - LEVEL) / (2 * together), len(found) - 1) * stdev(found) / math.sqrt(len(found))
    return Difference(mean=mean, low=mean - half, high=mean + half, count=len(found))


def student_t(probability: float, freedom: int) -> float:
    """The number below which a t variable of so many degrees of freedom lies with this probability (above a half)."""
    assert 0.5 < probability < 1, probability
    low, high = 0.0, math.pi / 2
    # t = sqrt(freedom) * tan(angle) turns the distribution into a cosine's power, which has a closed integral.
    whole = 2 * _cosine_integral(freedom - 1, math.pi / 2)
    for _ in range(200):
        middle = (low + high) / 2
        if 0.5 + _cosine_integral(freedom - 1, middle) / whole < probability:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _cosine_integral(power: int, end: float) -> float:
    """The integral of cos^power from 0 to `end`."""
    if power == 0:
        return end
    if power == 1:
        return math.sin(end)
    reduced = math.cos(end) ** (power - 1) * math.sin(end)
    return (reduced + (power - 1) * _cosine_integral(power - 2, end)) / power
