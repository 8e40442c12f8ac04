"""Poll the studies of a runs folder: a `StudySnapshot` per study with its trials, progress and report.

A running trial does not imply a live worker: its worker may have been killed while its run continues. `state`
tells the cases apart.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from exphil_core.config.loader import preset_from_tables
from exphil_core.errors import ExphilError
from exphil_core.lock import is_held
from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import FRESH_SECONDS, UNFINISHED, RunDirectory
from exphil_core.runs.tail import Tail
from exphil_core.studies.aggregate import report_of
from exphil_core.studies.budget import frames_per_step
from exphil_core.studies.report import Report
from exphil_core.studies.trial_result import Point, curve_of
from exphil_core.studies.trials import Trial
from exphil_tui.model.study_snapshot import STUDIES, StudyRun, StudySnapshot
from exphil_tui.services.study_journal import StudyJournal

JOURNAL = "journal.log"

_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    IndexError,
    msgspec.ValidationError,
)
"""Exceptions raised by a journal whose contents are not a study's."""


class StudyWatch:
    """Polls all studies. Call it from one thread at a time; disk reads may be slow."""

    def __init__(self, runs_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._runs_dir = runs_dir
        self._clock = clock
        self._studies: dict[str, _Study] = {}

    def poll(self) -> tuple[StudySnapshot, ...]:
        """Return every study, sorted by name.

        Raises:
            OSError: The folder cannot be read.
        """
        folder = self._runs_dir / STUDIES
        try:
            with os.scandir(folder) as found:
                names = sorted(entry.name for entry in found if (folder / entry.name / JOURNAL).is_file())
        except FileNotFoundError:
            names = []
        self._studies = {
            name: self._studies.get(name) or _Study(folder / name, self._runs_dir, self._clock)
            for name in names
        }
        return tuple(study.poll() for study in self._studies.values())


class _Study:
    def __init__(self, folder: Path, runs_dir: Path, clock: Callable[[], float]) -> None:
        self._folder, self._runs_dir, self._clock = folder, runs_dir, clock
        self._journal = StudyJournal(folder / JOURNAL)
        self._report: Report | None = None
        self._problem = ""
        self._running: dict[str, _Running] = {}

    def poll(self) -> StudySnapshot:
        journal, problem = self._journal, ""
        try:
            if journal.poll():
                self._make_report()
        except OSError as error:
            problem = f"{JOURNAL} cannot be read: {error.strerror or error}."
        described = journal.described
        claimed = self._claimed()
        runs = tuple(self._run(trial, claimed) for trial in journal.trials)
        unfinished = {run.trial.run for run in runs if run.state in ("running", "orphaned")}
        self._running = {name: found for name, found in self._running.items() if name in unfinished}
        return StudySnapshot(
            name=self._folder.name,
            folder=self._folder,
            about=sanitise(described.get("about"), limit=400),
            quick=bool(described.get("quick")),
            runs=runs,
            report=self._report,
            workers=len(claimed),
            problem=problem or self._problem or _damage(journal),
            reported=_is_newer(self._folder / "report.md", self._folder / JOURNAL),
        )

    def _make_report(self) -> None:
        self._report, self._problem = None, ""
        try:
            self._report = report_of(self._folder.name, self._journal.described, self._journal.trials)
        except _UNREADABLE as error:
            reason = sanitise(str(error), limit=160)
            self._problem = (
                f"Its results cannot be read by this version of exphil: {reason or type(error).__name__}."
            )

    def _run(self, trial: Trial, claimed: Mapping[str, str]) -> StudyRun:
        if trial.state == "complete":
            return StudyRun(trial=trial, state="complete", progress=1.0, loss=_loss_of(trial.measures))
        if trial.state != "running" or not _is_plain(trial.run):
            return StudyRun(trial=trial, state=trial.state)
        found = self._running.get(trial.run)
        if found is None:
            found = self._running[trial.run] = _Running(self._runs_dir / trial.run, trial)
        found.poll()
        running = trial.run in claimed or found.running
        return StudyRun(
            trial=trial,
            state="running" if running else "orphaned",
            step=found.step,
            progress=found.progress,
            loss=found.curve[-1].loss if found.curve else None,
            curve=found.curve,
        )

    def _claimed(self) -> Mapping[str, str]:
        """Return the host for each run that a worker currently holds."""
        found = {}
        with suppress(OSError):
            for path in (self._folder / "claims").glob("*.json"):
                if (host := self._holder(path)) is not None:
                    found[path.stem] = host
        return found

    def _holder(self, path: Path) -> str | None:
        try:
            claim = json.loads(path.read_bytes())
            host, heartbeat = str(claim["host"]), float(claim["heartbeat"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if host == socket.gethostname():
            # A lock ends with its process, a heartbeat only some time later.
            with suppress(OSError):
                return host if is_held(path.with_suffix(".lock")) else None
        return host if abs(self._clock() - heartbeat) < FRESH_SECONDS else None


class _Event(msgspec.Struct):
    """The event fields that a run's progress is read from."""

    type: str
    ts: str = ""
    step: int = 0
    loss: float | None = None
    progress: float | None = None
    best: bool = False
    command: str = ""
    state: str = ""
    resumed_from: int | None = None


class _Running:
    """An unfinished run: its progress and its loss curve so far."""

    def __init__(self, path: Path, trial: Trial) -> None:
        self._run = RunDirectory(path)
        self._tail: Tail[_Event] = Tail(self._run.events_path, decode=_decode)
        self._restarts = 0
        self._events: list[Mapping[str, Any]] = []
        self._frames_per_step = _frames_per_step(trial)
        self.running = False
        self.step = 0
        self.progress: float | None = None
        self.curve: tuple[Point, ...] = ()

    def poll(self) -> None:
        with suppress(OSError):
            state, status = self._run.standing()
            self.running = state in UNFINISHED
            self.step = status.step if status is not None else 0
        evaluated = False
        with suppress(OSError):
            while (events := self._tail.poll()) is not None:
                if self._tail.restarts != self._restarts:
                    self._restarts, self._events, evaluated = self._tail.restarts, [], True
                for event in events:
                    if event.progress is not None:
                        self.progress = min(1.0, max(0.0, event.progress))
                    if event.type != "step":
                        self._events.append(msgspec.to_builtins(event))
                        evaluated = True
        if evaluated:
            with suppress(*_UNREADABLE):
                self.curve = tuple(curve_of(self._events, frames_per_step=self._frames_per_step))


def _decode(line: bytes) -> _Event | None:
    try:
        return _EVENTS.decode(line)
    except msgspec.DecodeError:
        return None


_EVENTS = msgspec.json.Decoder(_Event)


def _frames_per_step(trial: Trial) -> float:
    try:
        return float(frames_per_step(preset_from_tables(trial.preset, where=trial.run)))
    except ExphilError:
        # The preset is from a newer version; progress can still be shown.
        return 1.0


def _loss_of(measures: Mapping[str, Any] | None) -> float | None:
    loss = (measures or {}).get("loss")
    return float(loss) if isinstance(loss, int | float) else None


def _is_newer(path: Path, other: Path) -> bool:
    try:
        return path.stat().st_mtime_ns >= other.stat().st_mtime_ns
    except OSError:
        return False


def _is_plain(name: str) -> bool:
    """Return whether `name` is a plain folder name inside the runs folder."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _damage(journal: StudyJournal) -> str:
    if not journal.bad:
        return ""
    lines = "1 unreadable line" if journal.bad == 1 else f"{journal.bad:,} unreadable lines"
    return f"Ignored {lines} in its {JOURNAL}."
