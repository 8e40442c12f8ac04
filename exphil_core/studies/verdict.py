"""What the numbers of a study support, in words, and nothing beyond.

In: losses by variant and seed. Out: `Comparison`s and sentences. What a reader gets wrong: a tie is not equality,
but a difference that so few seeds cannot tell from chance; and intervals are widened for the number of comparisons
that stand together, so adding variants makes each claim harder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exphil_core.studies.spread import LEVEL, Difference, difference

NLL_SENTENCE = (
    "A lower loss does not rank play: the loss (nats per frame, plain) says how well inputs are foreseen, and "
    "rankings by it have turned round in games. Let policies that differ here play before one is called better."
)

SPREAD_SENTENCE = (
    f"Differences are taken seed by seed, and their intervals are Student's t at {LEVEL:.0%} for all comparisons "
    "that stand together (Bonferroni). What an interval does not tell from zero is called a tie: no difference was "
    "shown, which is not the same as none."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One variant against another, on the same games under the same budget."""

    ours: str
    theirs: str
    on: str
    """Whose frames: a character's title, or empty for all."""
    difference: Difference
    """Of the losses, ours less theirs: below zero, ours is lower."""

    @property
    def tie(self) -> bool:
        return not self.difference.decided

    @property
    def sentence(self) -> str:
        on = f"{self.on}: " if self.on else ""
        by = self.difference
        word = "lower" if by.mean < 0 else "higher"
        amount = f"{abs(by.mean):.4f} nats"
        if by.low is None or by.high is None:
            return (
                f"{on}{self.ours} came out {amount} {word} than {self.theirs}, of one seed: no spread is known, so "
                "this decides nothing."
            )
        ends = sorted((abs(by.low), abs(by.high)))
        if self.tie:
            return (
                f"{on}{self.ours} and {self.theirs} tie: {by.mean:+.4f} nats lies inside the spread "
                f"({by.low:+.4f} to {by.high:+.4f}, {by.count} seeds)."
            )
        return (
            f"{on}{self.ours} has a loss {amount} {word} than {self.theirs} "
            f"({ends[0]:.4f} to {ends[1]:.4f}, {by.count} seeds)."
        )


Losses = Mapping[str, Mapping[int, float]]
"""Variant → seed → loss."""


def compared(losses: Losses, pairs: Sequence[tuple[str, str]], *, on: str, together: int) -> list[Comparison]:
    """The pairs that have a seed in common. `together` is how many comparisons share the level."""
    found = []
    for ours, theirs in pairs:
        by = difference(losses.get(ours, {}), losses.get(theirs, {}), together=max(1, together))
        if by is not None:
            found.append(Comparison(ours=ours, theirs=theirs, on=on, difference=by))
    return found


def summary(comparisons: Sequence[Comparison]) -> list[str]:
    """Sentences: what was shown one by one, and the ties of one block together where they are many."""
    decided = [comparison.sentence for comparison in comparisons if not comparison.tie]
    open_ = [comparison for comparison in comparisons if comparison.tie]
    single = [comparison for comparison in open_ if comparison.difference.low is None]
    ties = [comparison for comparison in open_ if comparison.difference.low is not None]
    if any(comparison.on for comparison in comparisons):
        return [*decided, *_together(ties, "tie"), *_together(single, "of one seed, so undecided")]
    return decided + [comparison.sentence for comparison in open_]


def _together(comparisons: Sequence[Comparison], what: str) -> list[str]:
    if not comparisons:
        return []
    by_pair: dict[tuple[str, str], list[str]] = {}
    for comparison in comparisons:
        by_pair.setdefault((comparison.ours, comparison.theirs), []).append(
            f"{comparison.on} {comparison.difference.mean:+.4f}"
        )
    each = "; ".join(f"{ours} and {theirs} ({', '.join(on)})" for (ours, theirs), on in by_pair.items())
    return [f"{what[0].upper()}{what[1:]}, by character: {each}."]
