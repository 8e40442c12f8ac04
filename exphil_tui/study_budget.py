"""What a study's screen draws under one budget: its variants, with what came out of each and how its runs stand.

In: a `StudySight`. Out: `BudgetView`s. What a reader gets wrong: a variant is here from its first trial on, its row
of the report only once a run of it has ended; and its letter stays, whatever place its loss gives it in the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exphil_core.replays.text import sanitise
from exphil_core.studies.measures import Point
from exphil_core.studies.report import BUDGET_WORDS, Group, Row
from exphil_tui.palette import COLOURS, Mark
from exphil_tui.study_sight import StudyRun, StudySight

if TYPE_CHECKING:
    from exphil_core.studies.cells import Trial

_NAME_LETTERS = 80
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantView:
    name: str
    """As the report has it."""
    title: str
    """Made safe to show."""
    number: int
    """In the order in which they were begun."""
    mark: Mark
    runs: tuple[StudyRun, ...]
    """By seed."""
    row: Row | None
    """None until a run of it has ended."""
    front: bool
    """No other beats it in both mean loss and p99."""

    @property
    def completed(self) -> int:
        return sum(run.state == "complete" for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    budget: str
    """frames, minutes or flops."""
    titles: tuple[str, ...]
    """What is the same for all, the longest first."""
    variants: tuple[VariantView, ...]
    """Those with a result first, the lowest mean loss before the others."""
    group: Group | None
    """None until a run has ended."""

    @property
    def crossed(self) -> bool:
        """Whether there is a matrix of who was trained on what and evaluated on what."""
        return self.group is not None and any(row.cross for row in self.group.rows)


def budgets_of(sight: StudySight) -> tuple[BudgetView, ...]:
    groups = {group.budget: group for group in sight.report.groups} if sight.report is not None else {}
    budgets = [budget for budget in BUDGET_WORDS if any(run.trial.budget == budget for run in sight.runs)]
    return tuple(_budget(budget, sight.runs, groups.get(budget)) for budget in budgets)


def _budget(budget: str, runs: Sequence[StudyRun], group: Group | None) -> BudgetView:
    by_name: dict[str, list[StudyRun]] = {}
    for run in runs:
        if run.trial.budget == budget:
            by_name.setdefault(variant_of(run.trial), []).append(run)
    marks = {
        name: Mark(colour=COLOURS[index % len(COLOURS)], letter=_LETTERS[index % len(_LETTERS)])
        for index, name in enumerate(by_name)
    }
    rows = {row.name: row for row in group.rows} if group is not None else {}
    order = [*(name for name in rows if name in by_name), *(name for name in by_name if name not in rows)]
    return BudgetView(
        budget=budget,
        titles=_titles(budget, group),
        variants=tuple(
            VariantView(
                name=name,
                title=sanitise(name, limit=_NAME_LETTERS) or "?",
                number=list(by_name).index(name),
                mark=marks[name],
                runs=tuple(sorted(by_name[name], key=lambda run: run.trial.seed)),
                row=rows.get(name),
                front=group is not None and name in group.front,
            )
            for name in order
        ),
        group=group,
    )


def _titles(budget: str, group: Group | None) -> tuple[str, ...]:
    words = BUDGET_WORDS[budget]
    return (words,) if group is None else (group.title, group.title.removeprefix(f"{words}: "), words)


def variant_of(trial: "Trial") -> str:
    return "-".join(trial.values.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """One variant's: every evaluation of every seed, and the mean where all seeds have been."""

    x: np.ndarray
    """[N], ascending: frames seen or minutes trained."""
    losses: np.ndarray
    """[N], of any seed."""
    mean: np.ndarray
    """[N]; NaN where not every seed has been."""


def curve_of(variant: VariantView, *, by_minutes: bool) -> LearningCurve | None:
    """None before the first evaluation. The mean is of the seeds that have ended, as long as there are any."""

    def x_of(point: Point) -> float:
        return point.seconds / 60 if by_minutes else float(point.frames)

    ended = list(variant.row.curves.values()) if variant.row is not None else []
    running = [run.curve for run in variant.runs if run.state != "complete"]
    every = [curve for curve in (*ended, *running) if curve]
    whole = [curve for curve in ended if curve] or every
    if not every:
        return None
    points = sorted((x_of(point), point.loss) for curve in every for point in curve)
    x, losses = np.array([at for at, _ in points]), np.array([loss for _, loss in points])
    each = [
        np.interp(x, [x_of(point) for point in curve], [point.loss for point in curve], np.nan, np.nan)
        for curve in whole
    ]
    return LearningCurve(x=x, losses=losses, mean=np.stack(each).mean(axis=0))
