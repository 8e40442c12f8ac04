"""A finite distribution over controllers, with its entropy computed in advance.

Equal controllers are one outcome, so the entropy is that of the visible input, not of the bot's reasons for it.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, log

from exphil_core.melee.controller import Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDistribution:
    """Outcomes with probabilities; sampled with a uniform number."""

    controllers: tuple[Controller, ...]
    probabilities: tuple[float, ...]
    edges: tuple[float, ...]
    """Cumulative probabilities, without the last (1)."""
    surprisals: tuple[float, ...]
    """-log p of each outcome, in nats."""
    entropy: float
    """In nats."""
    variance: float
    """Variance of the surprisal."""

    def index(self, uniform: float) -> int:
        """Return the outcome for a uniform number in [0, 1)."""
        return bisect_right(self.edges, uniform)


def choice(weights: Iterable[tuple[Controller, float]]) -> InputDistribution:
    """Build a distribution: merge equal controllers, drop those without weight, normalise."""
    merged: dict[Controller, float] = {}
    for controller, weight in weights:
        if weight > 0:
            merged[controller] = merged.get(controller, 0.0) + weight
    total = fsum(merged.values())
    probabilities = tuple(weight / total for weight in merged.values())
    edges = []
    running = 0.0
    for probability in probabilities[:-1]:
        running += probability
        edges.append(running)
    surprisals = tuple(-log(probability) for probability in probabilities)
    entropy = fsum(p * s for p, s in zip(probabilities, surprisals, strict=True))
    variance = fsum(p * s * s for p, s in zip(probabilities, surprisals, strict=True)) - entropy**2
    return InputDistribution(
        controllers=tuple(merged),
        probabilities=probabilities,
        edges=tuple(edges),
        surprisals=surprisals,
        entropy=entropy,
        variance=max(0.0, variance),
    )
