"""One worker of a study: takes a cell that nobody works on, has it run to its end, measures it, and takes the next.

In: a study's cells and its storage. Out: ended trials, and what this worker could not end. What a reader gets wrong:
a run is a process of its own (`runs/launcher.py`), so a worker that is killed does not take its run with it. Whoever
takes the cell up again waits for that run, or resumes it from its checkpoint where it is gone, too.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from exphil_core.atomic import remove_partials
from exphil_core.config.preset import Preset
from exphil_core.errors import DataError, ExphilError, UsageError
from exphil_core.runs.directory import UNFINISHED, RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.runs.launcher import start
from exphil_core.runs.summary import last_events, last_of_type
from exphil_core.studies.cells import Cell
from exphil_core.studies.children import Unmeasured, latency, losses
from exphil_core.studies.data import StudyData
from exphil_core.studies.measures import LatencyMeasured, Measures, judged, read_measures
from exphil_core.studies.storage import StudyStorage, differing_settings
from exphil_core.studies.study import Study

MOST_STARTS = 4
"""Of one run by one worker: a run that is killed again and again is left to a person."""

SAVE_SECONDS = 300.0
"""For a run that was asked to save and end."""

LATENCY_FRAMES = {True: 300, False: 600}
"""By whether the form is quick; at 60 a second."""

_POLL_SECONDS = 0.25
_OTHERS_POLL_SECONDS = 1.0

_CANNOT = ("DataError", "UsageError")
"""Errors of a run that would come again: what it was to learn from is not there, or not as it needs it."""


class Interrupted(Exception):
    """The worker was asked to end; what it had begun is saved and can be taken up again."""


class Left(Exception):
    """Why a cell could not be ended by this worker; another, or a later one, may."""


class Impossible(Exception):
    """Why a cell has no result, and never will."""


@dataclass(slots=True, kw_only=True)
class Asked:
    """Whether somebody wants this process to end."""

    signum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Where a worker says what it does."""

    line: Callable[[str], None]
    """Something has happened."""
    state: Callable[[str], None]
    """How things stand, many times a second."""


def _launch(run: RunDirectory) -> int:
    # A killed worker may have started it a moment ago, in a process that nobody knows of before it holds the run.
    return start(run, unless_done=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    study: Study
    data: StudyData
    storage: StudyStorage
    runs_dir: Path
    told: Told
    asked: Asked = field(default_factory=Asked)
    launch: Callable[[RunDirectory], object] = _launch
    """Starts a run's process and returns when it holds the run."""
    latency: Callable[..., Mapping[str, Any]] = latency
    losses: Callable[..., Mapping[str, Any]] = losses

    def work(self, cells: Sequence[Cell]) -> Mapping[str, str]:
        """Until every cell has ended, here or elsewhere. Returns the runs that this worker had to leave, and why.

        Raises Interrupted where a signal asks it to end.
        """
        by_run = {cell.run: cell for cell in cells}
        left: dict[str, str] = {}
        while True:
            self._look()
            taken = self.storage.take(by_run, without=left)
            if taken is None:
                still = self._open(by_run)
                behind = _behind(by_run, left.keys() & still)
                others = still - left.keys() - behind
                if not others:
                    return left | {run: f"{by_run[run].starts_from} has to end before it" for run in behind}
                begun = others - _behind(by_run, others)
                self.told.state(
                    f"waiting for {len(begun)} that other workers run: {', '.join(sorted(begun))}"
                )
                time.sleep(_OTHERS_POLL_SECONDS)
                continue
            try:
                self._end(taken.cell, again=taken.again)
            except Left as reason:
                left[taken.cell.run] = str(reason)
                self.told.line(f"{taken.cell.run}: left, {reason}")
            finally:
                taken.claim.release()

    def _end(self, cell: Cell, *, again: bool) -> None:
        ended = sum(trial.ended for trial in self.storage.trials())
        of = len(self.storage.trials())
        what = "taken up again" if again else "begun"
        self.told.line(f"{cell.run}: {what} ({ended} of {of} have ended)")
        try:
            measures = self._measured(cell)
        except Impossible as reason:
            if self.storage.fail(cell.run, str(reason)):
                self.told.line(f"{cell.run}: no result, {reason}")
            return
        if self.storage.complete(cell.run, loss=measures.loss, measures=measures.plain()):
            self.told.line(
                f"{cell.run}: {measures.loss:.4f} nats after {measures.frames:,} frames in "
                f"{measures.seconds / 60:.1f} min"
            )

    def _measured(self, cell: Cell) -> Measures:
        run = self._run_of(cell)
        self._to_its_end(run)
        try:
            found = self._read(run)
        except DataError:
            # Killed between its last evaluation and its last word: it has only to say them again.
            self._start(run)
            self._to_its_end(run)
            found = self._read(run)
        return self._with_children(run, cell, found)

    def _read(self, run: RunDirectory) -> Measures:
        return read_measures(
            read_events(run.events_path),
            host=socket.gethostname(),
            beside=self.storage.was_shared(run.name),
            revision=str(run.described().get("git_revision", "")),
        )

    def _run_of(self, cell: Cell) -> RunDirectory:
        """The cell's run directory, made where it is not there."""
        preset = cell.preset.model_copy(
            update={"data": cell.preset.data.model_copy(update={"replays": self.data.replays})}
        )
        self._look_at_start(cell)
        path = self.runs_dir / cell.run
        if path.is_dir() and not (path / "run.toml").is_file():
            # Who began it was killed before it said what it is.
            remove_partials(path)
            with suppress(OSError):
                path.rmdir()
        if not path.exists():
            return self._created(cell, self._with_start(cell, preset))
        try:
            run = RunDirectory.open(path)
            # Where it starts from has another path on another machine; `_has_its_start` looks at that.
            besides = ("replays", *(("start_from",) if cell.starts_from is not None else ()))
            if settings := differing_settings(run.preset(), preset, besides=besides):
                raise Left(
                    f"there is another run of this name, with {'; '.join(settings)}: rename or delete it"
                )
            if run.dataset_fingerprint() != self.data.fingerprint:
                raise Left("there is another run of this name, of other games: rename or delete it")
            if not self._has_its_start(cell, run):
                afresh = self._with_start(cell, preset)
                run.delete()
                run = self._created(cell, afresh)
        except ExphilError as error:
            raise Left(str(error)) from error
        if not run.dataset_path().is_dir():
            raise Left(
                f"its dataset {run.dataset_path()} is not on this machine: let EXPHIL_CACHE name a folder that all "
                "machines of the study share"
            )
        return run

    def _created(self, cell: Cell, preset: Preset) -> RunDirectory:
        return RunDirectory.create(
            self.runs_dir,
            preset,
            name=cell.run,
            dataset=self.data.dataset,
            fingerprint=self.data.fingerprint,
        )

    def _with_start(self, cell: Cell, preset: Preset) -> Preset:
        """With the checkpoint that the cell starts from, where it does."""
        if cell.starts_from is None:
            return preset
        train = preset.train.model_copy(update={"start_from": str(self._start_of(cell.starts_from))})
        return preset.model_copy(update={"train": train})

    def _look_at_start(self, cell: Cell) -> None:
        """Raises Impossible where the run that the cell starts from has no result to start from."""
        for trial in self.storage.trials():
            if trial.run == cell.starts_from and trial.state == "failed":
                raise Impossible(f"it starts from {trial.run}, which has no result: {trial.why}")

    def _start_of(self, name: str) -> Path:
        """The best checkpoint of the run of that name, as this machine finds it."""
        before = RunDirectory(self.runs_dir / name)
        try:
            step = before.best_step()
        except ExphilError as error:
            raise Left(str(error)) from error
        if step is None or not before.step_directory(step).is_dir():
            raise Left(
                f"it starts from {name}, whose best checkpoint is not in {before.path} any more: put it back"
            )
        return before.step_directory(step).absolute()

    def _has_its_start(self, cell: Cell, run: RunDirectory) -> bool:
        """Whether the run can go on from what it begins with; Left where that is another run's than the cell's."""
        if cell.starts_from is None:
            return True
        begun = run.preset().train.start_from
        if begun is None or Path(begun).parent.name != cell.starts_from:
            raise Left(
                f"there is another run of this name, which does not start from {cell.starts_from}: rename or "
                "delete it"
            )
        # With a checkpoint of its own, or a process that has read it, the run needs it no more.
        return bool(run.steps()) or run.alive() or Path(begun).is_dir()

    def _to_its_end(self, run: RunDirectory) -> None:
        """Returns when the run is done. Raises Impossible or Left where it will not be."""
        starts = 0
        limit = run.preset().train.max_steps
        of = "" if limit is None else f" of {limit:,}"
        while True:
            self._look(run)
            state, status = run.standing()
            if state == "done":
                return
            if state in UNFINISHED or run.alive():
                step = 0 if status is None else status.step
                self.told.state(f"{run.name}: {state}, step {step:,}{of}")
                self.storage.look_beside(run.name)
                time.sleep(_POLL_SECONDS)
                continue
            if state == "diverged":
                raise Impossible(f"it diverged: {_error(run)[1]}")
            if starts:
                self._judge(run, state, starts)
            self._start(run)
            starts += 1

    def _judge(self, run: RunDirectory, state: str, starts: int) -> None:
        """Raise where the run that this worker has started ended in a way that a new start does not mend."""
        code, message = _error(run)
        if state == "failed":
            cannot = code in _CANNOT or (code == "CheckpointError" and _only_has_its_start(run))
            raise Impossible(message) if cannot else Left(message)
        if state == "stopped":
            raise Left("it was stopped by hand; the study goes on with it when it is run again")
        if starts >= MOST_STARTS:
            raise Left(f"its process ended {starts} times before its time, the last time as '{state}'")

    def _start(self, run: RunDirectory) -> None:
        try:
            self.launch(run)
        except UsageError as error:
            # A run that fails at once has said why, and one that somebody else started goes on.
            state, _ = run.standing()
            if state == "new":
                raise Left(str(error)) from error

    def _with_children(self, run: RunDirectory, cell: Cell, found: Measures) -> Measures:
        changed: dict[str, Any] = {}
        notes = []
        if cell.seed == min(self.study.seeds):
            # What a frame costs does not depend on the seed.
            self.told.state(f"{run.name}: measuring what a frame costs in play")
            try:
                measured = self.latency(run, frames=LATENCY_FRAMES[self.study.quick])
                changed["latency"] = msgspec.convert(measured, LatencyMeasured)
            except Unmeasured as error:
                notes.append(f"latency: {error}")
        self._look()
        if self.study.cross:
            self.told.state(f"{run.name}: evaluating it on every character")
            try:
                said = self.losses(run, self.study.cross, device=cell.preset.train.device)
                changed["cross"] = judged(said)
            except Unmeasured as error:
                notes.append(f"cross-evaluation: {error}")
        # A child that was interrupted with us has not failed.
        self._look()
        return replace(found, **changed, notes=tuple(notes))

    def _open(self, cells: Mapping[str, Cell]) -> set[str]:
        return {trial.run for trial in self.storage.trials() if not trial.ended and trial.run in cells}

    def _look(self, run: RunDirectory | None = None) -> None:
        """Raises Interrupted where that was asked for, once the run has saved what it learned."""
        if self.asked.signum is None:
            return
        if run is not None and (pid := run.process_id()) is not None:
            self.told.line(f"{run.name}: asked to save and end")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + SAVE_SECONDS
            while run.alive() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        raise Interrupted


def _only_has_its_start(run: RunDirectory) -> bool:
    """Whether a checkpoint that does not fit can only be the one that the run starts from."""
    return run.preset().train.start_from is not None and not run.steps()


def _behind(cells: Mapping[str, Cell], left: Collection[str]) -> set[str]:
    """The runs that start from one of `left`, be it by way of others."""
    found: set[str] = set()
    while more := {
        run
        for run, cell in cells.items()
        if cell.starts_from in {*left, *found} and run not in found and run not in left
    }:
        found |= more
    return found


@contextmanager
def hearing_signals() -> Iterator[Asked]:
    """The first SIGTERM, Ctrl-C or closed terminal asks to end after a checkpoint; a second Ctrl-C ends at once."""
    asked = Asked()

    def handle(signum: int, frame: FrameType | None) -> None:
        if asked.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        asked.signum = signum

    before: dict[int, Any] = {}
    for asking in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # What was set to be ignored stays so: that is how nohup works.
        if asking == signal.SIGINT or signal.getsignal(asking) != signal.SIG_IGN:
            before[asking] = signal.signal(asking, handle)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _error(run: RunDirectory) -> tuple[str, str]:
    """(code, message) of the last error that the run told of."""
    said = last_of_type(last_events(run.events_path), "error")
    if said is None:
        return "", "it ended without saying why"
    return str(said.get("code", "")), str(said.get("message", ""))
