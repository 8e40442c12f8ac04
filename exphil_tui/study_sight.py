"""A study as it stands now: its trials, how far those that run are, and the report of what has ended.

In: nothing (`study_watch` makes them). Out: plain values. What a reader gets wrong: a trial that is running needs no
worker. It may have been left by one that was killed, and its run may still go on; `state` says which.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exphil_core.replays.text import sanitise

if TYPE_CHECKING:
    # Not at run time: what these are made with takes half a second to import.
    from exphil_core.studies.cells import Trial
    from exphil_core.studies.measures import Point
    from exphil_core.studies.report import Report

STUDIES = "studies"
"""The studies' folder among the runs."""

_NAME_LETTERS, _SENTENCE_LETTERS = 120, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """One run of a study, as it stands now."""

    trial: "Trial"
    state: str
    """waiting, running, left (begun, and nobody works on it), complete or failed."""
    step: int = 0
    progress: float | None = None
    """Share of its budget, while it runs."""
    loss: float | None = None
    """Of the best checkpoint where it has ended, else the newest while it learns."""
    curve: "tuple[Point, ...]" = ()
    """While it runs; the report has those of what has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySight:
    name: str
    """Of its folder, as it is there."""
    folder: Path
    about: str = ""
    quick: bool = False
    runs: tuple[StudyRun, ...] = ()
    report: "Report | None" = None
    workers: int = 0
    """How many runs somebody works on."""
    problem: str = ""
    """Why it cannot be read, or not all of it, in a sentence."""
    reported: bool = False
    """Whether there is a `report.md` that is as new as the journal."""

    @property
    def title(self) -> str:
        return sanitise(self.name, limit=_NAME_LETTERS) or "?"

    def count(self, *states: str) -> int:
        return sum(run.state in states for run in self.runs)

    @property
    def first_sentence(self) -> str:
        """What the verdict says first, of the first budget; the question, while there is none."""
        for group in self.report.groups if self.report is not None else ():
            for sentence in group.verdict:
                return sanitise(sentence, limit=_SENTENCE_LETTERS)
        return self.about

    @property
    def ended(self) -> int:
        return self.count("complete", "failed")

    @property
    def state(self) -> str:
        """Of the whole: `going on`, `finished`, `at rest` or `unreadable`."""
        if not self.runs:
            return "unreadable" if self.problem else "at rest"
        if self.workers or self.count("running"):
            return "going on"
        return "finished" if self.ended == len(self.runs) else "at rest"
