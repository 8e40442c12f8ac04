"""The studies that come with exphil, as their files tell of them.

In: `presets/studies`. Out: a `StudyOffer` each. What a reader gets wrong: only the file is read here. Whether its
presets can be resolved, `exphil study run` says.
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
class StudyForm:
    """The whole study, or its quick form."""

    variants: int
    """Runs of a seed."""
    games: int
    """Of the dojo, where no replays are named."""
    budget: str
    """In words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOffer:
    name: str
    about: str
    decides: str
    seeds: tuple[int, ...]
    full: StudyForm
    quick: StudyForm


def study_offers() -> tuple[StudyOffer, ...]:
    """By name; a file that is damaged is left out."""
    found = []
    for name in study_names():
        try:
            path = find_study_file(name)
            file, quick = read_study_file(path, quick=False)[0], read_study_file(path, quick=True)[0]
        except (ExphilError, OSError):
            continue
        found.append(
            StudyOffer(
                name=name,
                about=file.about,
                decides=file.decides,
                seeds=file.seeds,
                full=_form(file),
                quick=_form(quick),
            )
        )
    return tuple(found)


def _form(file: StudyFile) -> StudyForm:
    budgets = sum(
        amount is not None for amount in (file.budget.frames, file.budget.minutes, file.budget.flops)
    )
    return StudyForm(
        variants=max(1, budgets) * prod(len(axis.values) for axis in file.axes.values()),
        games=file.data.games,
        budget=_words(file.budget),
    )


def _words(budget: BudgetTable) -> str:
    found = [
        f"{budget.frames:,} frames" if budget.frames is not None else "",
        f"{budget.minutes:g} min" if budget.minutes is not None else "",
        f"{budget.flops:.3g} FLOPs" if budget.flops is not None else "",
    ]
    return " or ".join(part for part in found if part)
