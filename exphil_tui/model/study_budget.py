"""View model of a study's screen, one `BudgetView` per budget: variants, their results and learning curves.

A variant appears with its first trial, its report row only once one of its runs has ended. Its letter never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exphil_core.replays.text import sanitise
from exphil_core.studies.report import BUDGET_WORDS, Group, ReportRow
from exphil_core.studies.trial_result import Point
from exphil_tui.model.study_snapshot import StudyRun, StudySnapshot
from exphil_tui.theme.palette import COLOURS, SeriesStyle

if TYPE_CHECKING:
    from exphil_core.studies.trials import Trial

_NAME_LETTERS = 80
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantView:
    name: str
    """Name in the report."""
    title: str
    """Sanitised name."""
    number: int
    """Index in the order of first trials."""
    mark: SeriesStyle
    runs: tuple[StudyRun, ...]
    """Sorted by seed."""
    row: ReportRow | None
    """None until one of its runs has ended."""
    on_pareto_front: bool
    """Whether it is on the Pareto front of mean loss and p99 latency."""

    @property
    def completed(self) -> int:
        return sum(run.state == "complete" for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    budget: str
    """frames, minutes or flops."""
    titles: tuple[str, ...]
    """Alternative titles, longest first, to fit the width."""
    variants: tuple[VariantView, ...]
    """Those in the report first, by mean loss ascending, then the others."""
    group: Group | None
    """None until a run has ended."""

    @property
    def has_matrix(self) -> bool:
        """Whether there is a matrix of training set against evaluation set."""
        return self.group is not None and any(row.cross for row in self.group.rows)


def budgets_of(snapshot: StudySnapshot) -> tuple[BudgetView, ...]:
    groups = {group.budget: group for group in snapshot.report.groups} if snapshot.report is not None else {}
    budgets = [budget for budget in BUDGET_WORDS if any(run.trial.budget == budget for run in snapshot.runs)]
    return tuple(_budget(budget, snapshot.runs, groups.get(budget)) for budget in budgets)


def _budget(budget: str, runs: Sequence[StudyRun], group: Group | None) -> BudgetView:
    by_name: dict[str, list[StudyRun]] = {}
    for run in runs:
        if run.trial.budget == budget:
            by_name.setdefault(variant_of(run.trial), []).append(run)
    marks = {
        name: SeriesStyle(colour=COLOURS[index % len(COLOURS)], letter=_LETTERS[index % len(_LETTERS)])
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
                on_pareto_front=group is not None and name in group.front,
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
    """Learning curve of one variant: every evaluation of every seed, and the mean over seeds."""

    x: np.ndarray
    """[N], ascending: training frames or minutes."""
    losses: np.ndarray
    """[N], validation losses of all seeds together."""
    mean: np.ndarray
    """[N], mean over seeds by linear interpolation; NaN outside the range of a seed."""


def curve_of(variant: VariantView, *, by_minutes: bool) -> LearningCurve | None:
    """Build the curve of a variant; None before its first evaluation.

    The mean is over the seeds that have ended, or over all while none has.
    """

    def x_of(point: Point) -> float:
        return point.seconds / 60 if by_minutes else float(point.frames)

    ended = list(variant.row.curves.values()) if variant.row is not None else []
    running = [run.curve for run in variant.runs if run.state != "complete"]
    every = [curve for curve in (*ended, *running) if curve]
    averaged = [curve for curve in ended if curve] or every
    if not every:
        return None
    points = sorted((x_of(point), point.loss) for curve in every for point in curve)
    x, losses = np.array([at for at, _ in points]), np.array([loss for _, loss in points])
    per_seed = [
        np.interp(x, [x_of(point) for point in curve], [point.loss for point in curve], np.nan, np.nan)
        for curve in averaged
    ]
    return LearningCurve(x=x, losses=losses, mean=np.stack(per_seed).mean(axis=0))
