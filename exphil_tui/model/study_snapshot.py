"""Snapshot of a study: its trials with their progress, and the report on the ended ones; made by `study_watch`.

A run can still be running after its study worker was killed; `StudyRun.state` says which case it is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exphil_core.replays.text import sanitise

if TYPE_CHECKING:
    # Not at run time: these modules take half a second to import.
    from exphil_core.studies.report import Report
    from exphil_core.studies.trial_result import Point
    from exphil_core.studies.trials import Trial

STUDIES = "studies"
"""Folder of the studies inside the runs folder."""

_NAME_LETTERS, _SENTENCE_LETTERS = 120, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """Snapshot of one run of a study."""

    trial: "Trial"
    state: str
    """waiting, running, orphaned (started, but neither its worker nor its process runs), complete or failed."""
    step: int = 0
    progress: float | None = None
    """Share of its budget while it runs, 0 to 1."""
    loss: float | None = None
    """Validation loss of the best checkpoint once ended, else the newest one."""
    curve: "tuple[Point, ...]" = ()
    """Learning curve while it runs; the report has the curves of ended runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySnapshot:
    name: str
    """Folder name, not sanitised."""
    folder: Path
    about: str = ""
    quick: bool = False
    runs: tuple[StudyRun, ...] = ()
    report: "Report | None" = None
    workers: int = 0
    """Number of runs claimed by a worker."""
    problem: str = ""
    """Why it cannot be read completely; empty if it can."""
    reported: bool = False
    """Whether `report.md` is as new as the journal."""

    @property
    def title(self) -> str:
        return sanitise(self.name, limit=_NAME_LETTERS) or "?"

    def count(self, *states: str) -> int:
        return sum(run.state in states for run in self.runs)

    @property
    def first_sentence(self) -> str:
        """First sentence of the first verdict; the study's question while there is none."""
        for group in self.report.groups if self.report is not None else ():
            for sentence in group.verdict:
                return sanitise(sentence, limit=_SENTENCE_LETTERS)
        return self.about

    @property
    def ended(self) -> int:
        return self.count("complete", "failed")

    @property
    def state(self) -> str:
        """State of the study: `running`, `finished`, `idle` or `unreadable`."""
        if not self.runs:
            return "unreadable" if self.problem else "idle"
        if self.workers or self.count("running"):
            return "running"
        return "finished" if self.ended == len(self.runs) else "idle"
