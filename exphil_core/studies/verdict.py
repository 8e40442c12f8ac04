"""Verdict of a study: what its numbers support, in words.

A tie is not equality, but a difference that these seeds cannot tell from chance. Intervals widen with the
number of comparisons made together, so adding variants makes each claim harder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exphil_core.studies.statistics import PairedDifference, difference


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantComparison:
    """Comparison of two variants, on the same games under the same budget."""

    ours: str
    theirs: str
    on: str
    """Title of the character whose frames these are; empty for all."""
    difference: PairedDifference
    """Losses of `ours` minus `theirs`; below zero, `ours` is lower."""

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
                f"{on}{self.ours} is {amount} {word} than {self.theirs} with one seed; without a spread this decides "
                "nothing."
            )
        ends = sorted((abs(by.low), abs(by.high)))
        if self.tie:
            return (
                f"{on}{self.ours} and {self.theirs} tie: {by.mean:+.4f} nats "
                f"({by.low:+.4f} to {by.high:+.4f}, {by.count} seeds)."
            )
        return (
            f"{on}{self.ours} has a loss {amount} {word} than {self.theirs} "
            f"({ends[0]:.4f} to {ends[1]:.4f}, {by.count} seeds)."
        )


Losses = Mapping[str, Mapping[int, float]]
"""Variant → seed → loss."""


def compared(
    losses: Losses, pairs: Sequence[tuple[str, str]], *, on: str, together: int
) -> list[VariantComparison]:
    """Compare the pairs that have a seed in common.

    Args:
        losses: by variant and seed.
        on: title of the character whose frames these are; empty for all.
        together: comparisons that share the confidence level.
    """
    found = []
    for ours, theirs in pairs:
        by = difference(losses.get(ours, {}), losses.get(theirs, {}), together=max(1, together))
        if by is not None:
            found.append(VariantComparison(ours=ours, theirs=theirs, on=on, difference=by))
    return found


def by_pair(comparisons: Sequence[VariantComparison]) -> list[str]:
    """Return one sentence per pair of variants, over the characters that both have learned."""
    pairs: dict[tuple[str, str], list[VariantComparison]] = {}
    for comparison in comparisons:
        pairs.setdefault((comparison.ours, comparison.theirs), []).append(comparison)
    return [_pair(ours, theirs, mine) for (ours, theirs), mine in pairs.items()]


def _pair(ours: str, theirs: str, comparisons: Sequence[VariantComparison]) -> str:
    single = [each for each in comparisons if each.difference.low is None]
    shown = [each for each in comparisons if not each.tie]
    kinds = (
        ("lower on", [each for each in shown if each.difference.mean < 0]),
        ("higher on", [each for each in shown if each.difference.mean > 0]),
        ("tie on", [each for each in comparisons if each.tie and each not in single]),
        ("one seed only on", single),
    )
    parts = [f"{words} {', '.join(_on(each) for each in found)}" for words, found in kinds if found]
    return f"{ours} vs {theirs}, by character: {'; '.join(parts)}."


def _on(comparison: VariantComparison) -> str:
    by = comparison.difference
    if by.low is None or by.high is None:
        return f"{comparison.on} ({by.mean:+.4f})"
    return f"{comparison.on} ({by.mean:+.4f}, {by.low:+.4f} to {by.high:+.4f})"
