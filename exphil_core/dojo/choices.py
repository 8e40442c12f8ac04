"""A finite distribution over controllers, with what is known of it in advance.

In: weights of controllers. Out: `Choice`, drawn by a uniform number. The same controller reached in two ways is
one outcome, so the entropy is that of what an observer sees, not of what a bot "thought".
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum, log

from exphil_core.melee.controller import Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    controllers: tuple[Controller, ...]
    probabilities: tuple[float, ...]
    edges: tuple[float, ...]
    """Upper ends of the outcomes' intervals, but for the last."""
    surprisals: tuple[float, ...]
    """-log p of each outcome, in nats."""
    entropy: float
    variance: float
    """Of the surprisal."""

    def index(self, uniform: float) -> int:
        """The outcome that a number in [0, 1) draws."""
        return bisect_right(self.edges, uniform)


def choice(weights: Iterable[tuple[Controller, float]]) -> Choice:
    """Merge equal controllers, drop weightless ones, and normalise."""
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
    return Choice(
        controllers=tuple(merged),
        probabilities=probabilities,
        edges=tuple(edges),
        surprisals=surprisals,
        entropy=entropy,
        variance=max(0.0, variance),
    )
