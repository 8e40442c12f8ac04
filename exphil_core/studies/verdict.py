"""What the numbers of a study support, in words, and nothing beyond.

In: losses by variant and seed. Out: `Comparison`s and sentences. What a reader gets wrong: a tie is not equality,
but a difference that so few seeds cannot tell from chance; and intervals are widened for the number of comparisons
that stand together, so adding variants makes each claim harder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exphil_core.studies.spread import Difference, difference


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


def by_pair(comparisons: Sequence[Comparison]) -> list[str]:
    """One sentence for each pair of variants, over the characters that both have learned."""
    pairs: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        pairs.setdefault((comparison.ours, comparison.theirs), []).append(comparison)
    return [_pair(ours, theirs, mine) for (ours, theirs), mine in pairs.items()]


def _pair(ours: str, theirs: str, comparisons: Sequence[Comparison]) -> str:
    single = [each for each in comparisons if each.difference.low is None]
    shown = [each for each in comparisons if not each.tie]
    kinds = (
        ("lower on", [each for each in shown if each.difference.mean < 0]),
        ("higher on", [each for each in shown if each.difference.mean > 0]),
        ("a tie on", [each for each in comparisons if each.tie and each not in single]),
        ("undecided by one seed on", single),
    )
    said = [f"{words} {', '.join(_on(each) for each in found)}" for words, found in kinds if found]
    return f"{ours} against {theirs}, by character: {'; '.join(said)}."


def _on(comparison: Comparison) -> str:
    by = comparison.difference
    if by.low is None or by.high is None:
        return f"{comparison.on} ({by.mean:+.4f})"
    return f"{comparison.on} ({by.mean:+.4f}, {by.low:+.4f} to {by.high:+.4f})"
