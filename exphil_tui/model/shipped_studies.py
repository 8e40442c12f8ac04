"""The studies shipped in `presets/studies`, for the start-study dialog.

Only the study files are read; their presets are resolved by `exphil study run`.
"""

from dataclasses import dataclass
from math import prod

from exphil_core.errors import ExphilError
from exphil_core.studies.study_file import (
    BudgetTable,
    StudyFile,
    find_study_file,
    read_study_file,
    study_names,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySize:
    """Size of a study in full or quick mode."""

    variants: int
    """Runs per seed."""
    games: int
    """Dojo games, if no replays are given."""
    budget: str
    """Budgets as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedStudy:
    name: str
    about: str
    decides: str
    seeds: tuple[int, ...]
    full: StudySize
    quick: StudySize


def shipped_studies() -> tuple[ShippedStudy, ...]:
    """List the shipped studies in the order of `study_names()`; unreadable files are left out."""
    found = []
    for name in study_names():
        try:
            path = find_study_file(name)
            file, quick = read_study_file(path, quick=False)[0], read_study_file(path, quick=True)[0]
        except (ExphilError, OSError):
            continue
        found.append(
            ShippedStudy(
                name=name,
                about=file.about,
                decides=file.decides,
                seeds=file.seeds,
                full=_size(file),
                quick=_size(quick),
            )
        )
    return tuple(found)


def _size(file: StudyFile) -> StudySize:
    budgets = sum(
        amount is not None for amount in (file.budget.frames, file.budget.minutes, file.budget.flops)
    )
    return StudySize(
        variants=max(1, budgets) * prod(len(axis.values) for axis in file.axes.values()),
        games=file.data.games,
        budget=_budget_text(file.budget),
    )


def _budget_text(budget: BudgetTable) -> str:
    found = [
        f"{budget.frames:,} frames" if budget.frames is not None else "",
        f"{budget.minutes:g} min" if budget.minutes is not None else "",
        f"{budget.flops:.3g} FLOPs" if budget.flops is not None else "",
    ]
    return " or ".join(part for part in found if part)
