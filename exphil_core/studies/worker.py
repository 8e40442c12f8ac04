"""Study worker: claim a trial, run it to its end, measure it, and claim the next.

A run is a process of its own (`runs/launcher.py`) and survives its worker. A worker that claims an orphaned
trial waits for that run, or resumes it from its checkpoint where its process has ended too.
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
from exphil_core.studies.data import StudyData
from exphil_core.studies.storage import StudyStorage, differing_settings
from exphil_core.studies.study import Study
from exphil_core.studies.subprocesses import Unmeasured, latency, losses
from exphil_core.studies.trial_result import LatencyMeasured, Measures, character_losses, read_measures
from exphil_core.studies.trials import TrialSpec

MOST_STARTS = 4
"""Starts of one run by one worker; a run that is killed again and again is left to the user."""

SAVE_SECONDS = 300.0
"""Waiting time for a run to save and stop."""

LATENCY_FRAMES = {True: 300, False: 600}
"""By whether the study is in quick mode; measured at 60 frames a second."""

_POLL_SECONDS = 0.25
_OTHERS_POLL_SECONDS = 1.0

_PERMANENT_ERRORS = ("DataError", "UsageError")
"""Errors that would recur: the run's data is missing or unusable."""


class Interrupted(Exception):
    """The worker was asked to stop; what it had started is saved and can be resumed."""


class TrialDeferred(Exception):
    """This worker cannot end the trial, and says why; another or a later one may."""


class TrialFailed(Exception):
    """The trial cannot have a result; the message says why."""


@dataclass(slots=True, kw_only=True)
class StopFlag:
    """Whether this process was asked to stop."""

    signum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressCallbacks:
    """Receivers of a worker's progress."""

    line: Callable[[str], None]
    """Called with a line for each event."""
    state: Callable[[str], None]
    """Called with the current state, several times a second."""


def _launch(run: RunDirectory) -> int:
    # A killed worker may just have started a process that does not hold the run yet.
    return start(run, unless_done=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyWorker:
    """Works on the trials of one study."""

    study: Study
    data: StudyData
    storage: StudyStorage
    runs_dir: Path
    progress: ProgressCallbacks
    stop_flag: StopFlag = field(default_factory=StopFlag)
    launch: Callable[[RunDirectory], object] = _launch
    """Starts a run's process and returns once it holds the run."""
    latency: Callable[..., Mapping[str, Any]] = latency
    losses: Callable[..., Mapping[str, Any]] = losses

    def work(self, specs: Sequence[TrialSpec]) -> Mapping[str, str]:
        """Work until every trial has ended, here or in other workers.

        Returns:
            Run → reason, for the runs that this worker could not end.

        Raises:
            Interrupted: a signal asked the worker to stop.
        """
        by_run = {spec.run: spec for spec in specs}
        deferred: dict[str, str] = {}
        while True:
            self._check_stop()
            taken = self.storage.take(by_run, without=deferred)
            if taken is None:
                still = self._open(by_run)
                dependents = _dependents(by_run, deferred.keys() & still)
                others = still - deferred.keys() - dependents
                if not others:
                    return deferred | {
                        run: f"{by_run[run].starts_from} has to end first" for run in dependents
                    }
                running = others - _dependents(by_run, others)
                self.progress.state(f"waiting for other workers: {', '.join(sorted(running))}")
                time.sleep(_OTHERS_POLL_SECONDS)
                continue
            try:
                self._end(taken.spec, again=taken.again)
            except TrialDeferred as reason:
                deferred[taken.spec.run] = str(reason)
                self.progress.line(f"{taken.spec.run}: deferred, {reason}")
            finally:
                taken.claim.release()

    def _end(self, spec: TrialSpec, *, again: bool) -> None:
        ended = sum(trial.ended for trial in self.storage.trials())
        of = len(self.storage.trials())
        what = "resumed" if again else "started"
        self.progress.line(f"{spec.run}: {what} ({ended} of {of} have ended)")
        try:
            measures = self._measured(spec)
        except TrialFailed as reason:
            if self.storage.fail(spec.run, str(reason)):
                self.progress.line(f"{spec.run}: no result, {reason}")
            return
        if self.storage.complete(spec.run, loss=measures.loss, measures=measures.plain()):
            self.progress.line(
                f"{spec.run}: {measures.loss:.4f} nats after {measures.frames:,} frames in "
                f"{measures.seconds / 60:.1f} min"
            )

    def _measured(self, spec: TrialSpec) -> Measures:
        run = self._run_of(spec)
        self._run_to_end(run)
        try:
            found = self._read(run)
        except DataError:
            # It was killed between its last evaluation and its last event; a restart repeats them.
            self._start(run)
            self._run_to_end(run)
            found = self._read(run)
        return self._with_children(run, spec, found)

    def _read(self, run: RunDirectory) -> Measures:
        return read_measures(
            read_events(run.events_path),
            host=socket.gethostname(),
            beside=self.storage.was_shared(run.name),
            revision=str(run.described().get("git_revision", "")),
        )

    def _run_of(self, spec: TrialSpec) -> RunDirectory:
        """Return the trial's run directory; create it where it is missing."""
        preset = spec.preset.model_copy(
            update={"data": spec.preset.data.model_copy(update={"replays": self.data.replays})}
        )
        self._check_start(spec)
        path = self.runs_dir / spec.run
        if path.is_dir() and not (path / "run.toml").is_file():
            # Its creator was killed before it wrote run.toml.
            remove_partials(path)
            with suppress(OSError):
                path.rmdir()
        if not path.exists():
            return self._created(spec, self._with_start(spec, preset))
        try:
            run = RunDirectory.open(path)
            # The start checkpoint has another path on another machine; `_has_start_checkpoint` checks it.
            besides = ("replays", *(("init_from",) if spec.starts_from is not None else ()))
            if settings := differing_settings(run.preset(), preset, besides=besides):
                raise TrialDeferred(
                    f"there is another run of this name, with {'; '.join(settings)}: rename or delete it"
                )
            if run.dataset_fingerprint() != self.data.fingerprint:
                raise TrialDeferred(
                    "there is another run of this name, with other games: rename or delete it"
                )
            if not self._has_start_checkpoint(spec, run):
                afresh = self._with_start(spec, preset)
                run.delete()
                run = self._created(spec, afresh)
        except ExphilError as error:
            raise TrialDeferred(str(error)) from error
        if not run.dataset_path().is_dir():
            raise TrialDeferred(
                f"its dataset {run.dataset_path()} is not on this machine: let EXPHIL_CACHE name a folder that all "
                "machines of the study share"
            )
        return run

    def _created(self, spec: TrialSpec, preset: Preset) -> RunDirectory:
        return RunDirectory.create(
            self.runs_dir,
            preset,
            name=spec.run,
            dataset=self.data.dataset,
            fingerprint=self.data.fingerprint,
        )

    def _with_start(self, spec: TrialSpec, preset: Preset) -> Preset:
        """Return the preset with the checkpoint that the trial starts from, if any."""
        if spec.starts_from is None:
            return preset
        train = preset.train.model_copy(update={"init_from": str(self._start_of(spec.starts_from))})
        return preset.model_copy(update={"train": train})

    def _check_start(self, spec: TrialSpec) -> None:
        """Raise TrialFailed where the run that the trial starts from has failed."""
        for trial in self.storage.trials():
            if trial.run == spec.starts_from and trial.state == "failed":
                raise TrialFailed(f"it starts from {trial.run}, which has no result: {trial.why}")

    def _start_of(self, name: str) -> Path:
        """Return the best checkpoint of the named run on this machine; TrialDeferred where it is missing."""
        before = RunDirectory(self.runs_dir / name)
        try:
            step = before.best_step()
        except ExphilError as error:
            raise TrialDeferred(str(error)) from error
        if step is None or not before.step_directory(step).is_dir():
            raise TrialDeferred(
                f"it starts from {name}, whose best checkpoint is missing from {before.path}; restore it"
            )
        return before.step_directory(step).absolute()

    def _has_start_checkpoint(self, spec: TrialSpec, run: RunDirectory) -> bool:
        """Return whether the run can load what it starts from; TrialDeferred where that is another run's."""
        if spec.starts_from is None:
            return True
        start = run.preset().train.init_from
        if start is None or Path(start).parent.name != spec.starts_from:
            raise TrialDeferred(
                f"there is another run of this name, which does not start from {spec.starts_from}: rename or "
                "delete it"
            )
        # With a checkpoint of its own, or a process that has loaded it, the run no longer needs it.
        return bool(run.steps()) or run.alive() or Path(start).is_dir()

    def _run_to_end(self, run: RunDirectory) -> None:
        """Start the run as needed and wait until it is done; TrialFailed or TrialDeferred where it cannot be."""
        starts = 0
        limit = run.preset().train.max_steps
        of = "" if limit is None else f" of {limit:,}"
        while True:
            self._check_stop(run)
            state, status = run.standing()
            if state == "done":
                return
            if state in UNFINISHED or run.alive():
                step = 0 if status is None else status.step
                self.progress.state(f"{run.name}: {state}, step {step:,}{of}")
                self.storage.record_sharing(run.name)
                time.sleep(_POLL_SECONDS)
                continue
            if state == "diverged":
                raise TrialFailed(f"it diverged: {_error(run)[1]}")
            if starts:
                self._judge(run, state, starts)
            self._start(run)
            starts += 1

    def _judge(self, run: RunDirectory, state: str, starts: int) -> None:
        """Raise where the run ended in a way that another start does not fix."""
        code, message = _error(run)
        if state == "failed":
            permanent = code in _PERMANENT_ERRORS or (
                code == "CheckpointError" and _has_only_start_checkpoint(run)
            )
            raise TrialFailed(message) if permanent else TrialDeferred(message)
        if state == "stopped":
            raise TrialDeferred("it was stopped; run the study again to resume it")
        if starts >= MOST_STARTS:
            raise TrialDeferred(f"its process exited early {starts} times, last as '{state}'")

    def _start(self, run: RunDirectory) -> None:
        try:
            self.launch(run)
        except UsageError as error:
            # A run that fails at once has recorded why, and one started by another process keeps running.
            state, _ = run.standing()
            if state == "new":
                raise TrialDeferred(str(error)) from error

    def _with_children(self, run: RunDirectory, spec: TrialSpec, found: Measures) -> Measures:
        changed: dict[str, Any] = {}
        notes = []
        if spec.seed == min(self.study.seeds):
            # Latency does not depend on the seed.
            self.progress.state(f"{run.name}: measuring latency")
            try:
                measured = self.latency(run, frames=LATENCY_FRAMES[self.study.quick])
                changed["latency"] = msgspec.convert(measured, LatencyMeasured)
            except Unmeasured as error:
                notes.append(f"latency: {error}")
        self._check_stop()
        if self.study.cross:
            self.progress.state(f"{run.name}: evaluating on every character")
            try:
                evaluated = self.losses(run, self.study.cross, device=spec.preset.train.device)
                changed["cross"] = character_losses(evaluated)
            except Unmeasured as error:
                notes.append(f"cross-evaluation: {error}")
        # A child that was interrupted together with this process has not failed.
        self._check_stop()
        return replace(found, **changed, notes=tuple(notes))

    def _open(self, specs: Mapping[str, TrialSpec]) -> set[str]:
        return {trial.run for trial in self.storage.trials() if not trial.ended and trial.run in specs}

    def _check_stop(self, run: RunDirectory | None = None) -> None:
        """Raise Interrupted if a stop was requested, after the run has saved and ended."""
        if self.stop_flag.signum is None:
            return
        if run is not None and (pid := run.process_id()) is not None:
            self.progress.line(f"{run.name}: saving and stopping")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + SAVE_SECONDS
            while run.alive() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        raise Interrupted


def _has_only_start_checkpoint(run: RunDirectory) -> bool:
    """Return whether an incompatible checkpoint can only be the one that the run starts from."""
    return run.preset().train.init_from is not None and not run.steps()


def _dependents(specs: Mapping[str, TrialSpec], left: Collection[str]) -> set[str]:
    """Return the runs that start from one of `left`, directly or through others."""
    found: set[str] = set()
    while more := {
        run
        for run, spec in specs.items()
        if spec.starts_from in {*left, *found} and run not in found and run not in left
    }:
        found |= more
    return found


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Set the flag on the first SIGTERM, SIGINT or SIGHUP; a second Ctrl-C raises KeyboardInterrupt."""
    stop_flag = StopFlag()

    def handle(signum: int, frame: FrameType | None) -> None:
        if stop_flag.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        stop_flag.signum = signum

    before: dict[int, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Ignored signals stay ignored; nohup relies on that.
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, handle)
    try:
        yield stop_flag
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _error(run: RunDirectory) -> tuple[str, str]:
    """Return (code, message) of the run's last error event."""
    event = last_of_type(last_events(run.events_path), "error")
    if event is None:
        return "", "it ended without an error message"
    return str(event.get("code", "")), str(event.get("message", ""))
