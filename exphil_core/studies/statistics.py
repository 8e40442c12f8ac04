"""Statistics over a few seeds: mean and spread, and confidence intervals of paired differences.

Differences are paired by seed: the same seed draws the same data order, so what all variants of a seed share
cancels. With n seeds the t distribution has n - 1 degrees of freedom; with one seed there is no interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and standard deviation of one variant over its seeds."""

    mean: float
    deviation: float | None
    """Standard deviation over seeds; None for one seed."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Mean difference of two variants over the seeds that both have, with its confidence interval."""

    mean: float
    low: float | None
    """Lower end of the interval; None for one seed."""
    high: float | None
    count: int

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def spread(values: Sequence[float]) -> Spread:
    """Return mean, standard deviation and count of one value per seed."""
    return Spread(mean=fmean(values), deviation=stdev(values) if len(values) > 1 else None, count=len(values))


def difference(
    ours: Mapping[int, float], theirs: Mapping[int, float], *, together: int
) -> PairedDifference | None:
    """Return `ours` minus `theirs`, paired by seed; None where no seed has both.

    Args:
        together: comparisons that share `LEVEL`, so that each is made at a higher one (Bonferroni).
    """
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    found = [ours[seed] - theirs[seed] for seed in seeds]
    mean = fmean(found)
    if len(found) == 1:
        return PairedDifference(mean=mean, low=None, high=None, count=1)
    half = student_t(1 - (1 - LEVEL) / (2 * together), len(found) - 1) * stdev(found) / math.sqrt(len(found))
    return PairedDifference(mean=mean, low=mean - half, high=mean + half, count=len(found))


def student_t(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution.

    Args:
        probability: above 0.5 and below 1.
        freedom: degrees of freedom.
    """
    # Imported here, and not `scipy.stats`, which takes three times as long to import: the workbench's start needs
    # neither.
    from scipy.special import stdtrit

    assert 0.5 < probability < 1, probability
    return float(stdtrit(freedom, probability))
