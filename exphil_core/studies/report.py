"""A study's report as plain values: rows with their spread, comparisons and notes.

Only variants under the same budget and evaluated on the same frames are compared; the others are in the tables
only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exphil_core.studies.statistics import Spread
from exphil_core.studies.trial_result import LatencyMeasured, Point
from exphil_core.studies.verdict import VariantComparison

VERSION = 1

BUDGET_WORDS = {
    "frames": "equal training frames",
    "minutes": "equal training time",
    "flops": "equal FLOPs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """One variant under one budget, over its seeds."""

    name: str
    """The variant's values; its budget is the group's."""
    values: Mapping[str, str]
    learns: tuple[str, ...]
    """Characters whose inputs it learned; empty means all characters."""
    starts_from: str | None
    """Variant whose best weights its runs start from; all costs are of its own training alone."""
    multiple: float
    seeds: tuple[int, ...]
    losses: Mapping[int, float]
    """By seed."""
    loss: Spread
    per_character: Mapping[str, Spread]
    cross: Mapping[str, Spread]
    """On the games that every run of the study was evaluated on; empty without a cross-evaluation."""
    closed: float | None
    """Dojo only: gap closed, the mean share of the way from the best baseline to the floor, over the frames."""
    steps: float
    frames: float
    seconds: float
    frames_per_s: float | None
    parameters: int
    latency: LatencyMeasured | None
    reached_frames: Spread | None
    """Frames seen until the group's target was reached; None unless every seed reached it."""
    reached_seconds: Spread | None
    curves: Mapping[int, tuple[Point, ...]]
    """By seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The variants under one budget."""

    budget: str
    """frames, minutes or flops."""
    amount: float
    """For a variant with a multiple of 1."""
    rows: tuple[ReportRow, ...]
    """Sorted by mean loss, the lowest first."""
    target: float | None
    """The lowest loss that every run reached in training."""
    comparisons: tuple[VariantComparison, ...]
    by_character: tuple[VariantComparison, ...]
    front: tuple[str, ...]
    """Pareto front: variants that no other beats in both mean loss and p99."""
    verdict: tuple[str, ...]

    @property
    def title(self) -> str:
        amount = {
            "frames": f"{self.amount:,.0f} frames",
            "minutes": f"{self.amount:g} min",
            "flops": f"{self.amount:.3g} FLOPs",
        }[self.budget]
        return f"{BUDGET_WORDS[self.budget]}: {amount} per run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A study's report."""

    name: str
    about: str
    decides: str
    quick: bool
    data: str
    ended: int
    of: int
    groups: tuple[Group, ...]
    lost: Mapping[str, str]
    """Runs without a result, and why."""
    notes: tuple[str, ...]
    v: int = VERSION

    @property
    def progress(self) -> str:
        return f"{self.ended} of {self.of} runs have ended"


def group_by_characters(rows: Sequence[ReportRow]) -> list[list[ReportRow]]:
    """Group the rows by the characters they are judged on; losses over different characters do not compare."""
    groups: dict[tuple[str, ...], list[ReportRow]] = {}
    for row in rows:
        groups.setdefault(tuple(row.per_character), []).append(row)
    return list(groups.values())
