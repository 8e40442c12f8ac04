"""What came out of a study, as plain values: rows with their spread, comparisons, what to keep in mind.

In: nothing (`outcome.py` makes them). Out: what Markdown, JSON, plots and the workbench are drawn from. What a
reader gets wrong: only variants under the same budget and judged on the same frames stand beside each other; the
others are in the tables, and no sentence compares them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exphil_core.studies.measures import LatencyMeasured, Point
from exphil_core.studies.spread import Spread
from exphil_core.studies.verdict import (
    Comparison,
)

VERSION = 1

BUDGET_WORDS = {
    "frames": "the same frames seen",
    "minutes": "the same time trained",
    "flops": "the same floating point operations",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant under one budget, over its seeds."""

    name: str
    """Of its values; the budget is its group's."""
    values: Mapping[str, str]
    learns: tuple[str, ...]
    """Characters whose inputs it learned; empty means everybody's."""
    starts_from: str | None
    """The variant with whose best weights its runs began; what they took is told of their own training alone."""
    multiple: float
    seeds: tuple[int, ...]
    losses: Mapping[int, float]
    """By seed."""
    loss: Spread
    per_character: Mapping[str, Spread]
    cross: Mapping[str, Spread]
    """On the games that every run of the study was evaluated on; empty without a cross-evaluation."""
    closed: float | None
    """Dojo only: mean share of the way from the best baseline to the floor, over the frames."""
    steps: float
    frames: float
    seconds: float
    frames_per_s: float | None
    parameters: int
    latency: LatencyMeasured | None
    reached_frames: Spread | None
    """Seen until the group's target was reached, where every seed reached it."""
    reached_seconds: Spread | None
    curves: Mapping[int, tuple[Point, ...]]
    """By seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The variants under one budget."""

    budget: str
    """frames, minutes or flops."""
    amount: float
    """Of a variant that gets it once."""
    rows: tuple[Row, ...]
    """The lowest mean loss first."""
    target: float | None
    """A loss that every run reached while it trained."""
    comparisons: tuple[Comparison, ...]
    by_character: tuple[Comparison, ...]
    front: tuple[str, ...]
    """Variants that no other beats in both mean loss and p99."""
    verdict: tuple[str, ...]

    @property
    def title(self) -> str:
        amount = {
            "frames": f"{self.amount:,.0f} frames",
            "minutes": f"{self.amount:g} min",
            "flops": f"{self.amount:.3g} FLOPs",
        }[self.budget]
        return f"{BUDGET_WORDS[self.budget]}: {amount} a run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
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


def judged_alike(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows in groups that are judged on the same characters: a loss over others is another number."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.per_character), []).append(row)
    return list(groups.values())
