"""What a viewer knows of a run, and how events change it: `reduce(state, batch)`, a pure function.

In: a `RunState` and decoded events in order. Out: the next `RunState`. What a reader gets wrong: nothing here looks
at a clock, a file or a process. Whether a process is still behind the run is the directory's to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from exphil_core.replays.text import sanitise
from exphil_core.runs.gauge import Moment, moments_after
from exphil_core.runs.records import (
    TEXT_LIMIT,
    CheckpointSaved,
    CommandSeen,
    Evaluated,
    Failed,
    Latency,
    Other,
    Preparing,
    Record,
    Resources,
    RunFinished,
    RunStarted,
    Step,
    Warned,
    showable,
    showable_name,
)
from exphil_tui.follow import Batch
from exphil_tui.series import Series
from exphil_tui.steps import Points, Steps, gathered

R = TypeVar("R")
StepOrEvaluated = TypeVar("StepOrEvaluated", Step | None, Evaluated | None)

TOTAL = "all"
"""The key of the curve over all characters."""

LOG_LINES = 500

CURVES = 64
"""Of one kind. A file that names more characters than Melee has is not to fill the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """Something that a person should read: a warning, an error, a checkpoint, a command, a start, an end."""

    ts: str
    kind: str
    """start, preparing, warning, error, checkpoint, command, end."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    started: RunStarted | None = None
    """The newest start."""
    starts: int = 0
    train: Mapping[str, Series] = field(default_factory=dict)
    """Loss by character, and under `TOTAL`, over steps."""
    validation: Mapping[str, Series] = field(default_factory=dict)
    train_heads: Mapping[str, Series] = field(default_factory=dict)
    validation_heads: Mapping[str, Series] = field(default_factory=dict)
    speed: Series = field(default_factory=Series)
    """Frames a second."""
    data_wait: Series = field(default_factory=Series)
    step: Step | None = None
    """The newest."""
    evaluated: Evaluated | None = None
    """The newest during training, or the last one after it, which is of the best checkpoint (`best`) and no point of
    the validation curves."""
    previous_evaluated: Evaluated | None = None
    """The one before, for what changed; None where it was of other games, as beside the last one."""
    frames: Mapping[str, int] = field(default_factory=dict)
    """Training frames seen by character, since the run began; what was trained twice counts twice."""
    latency: Latency | None = None
    """The newest that a pilot left in the run's own history."""
    moments: tuple[Moment, ...] = ()
    """Of those."""
    resources: Resources | None = None
    log: tuple[LogLine, ...] = ()
    """The newest `LOG_LINES`."""
    checkpoints: tuple[int, ...] = ()
    """Steps that were saved, rising; old ones may have been removed since."""
    best_step: int | None = None
    best_loss: float | None = None
    """The lowest validation loss during training, and where it was."""
    paused: bool = False
    pending: tuple[str, ...] = ()
    """Commands that were received and are not done."""
    finished: RunFinished | None = None
    """None from a start to the end that follows it."""
    last_ts: str = ""
    """Of the newest event."""
    events: int = 0
    """Of any type."""
    unknown: int = 0
    """Of those, how many are of a type that this version does not know."""
    bad_lines: int = 0
    """Lines that are no event."""
    restarts: int = 0
    """How often the event file was cut or replaced, so that all of this began anew."""
    missing: bool = False
    """The event file is not there (yet, or any more)."""
    problem: str = ""
    """Why the event file cannot be read, in a sentence; empty where it can."""


def reduce(state: RunState, batch: Batch) -> RunState:
    """The state after `batch`. Neither `state` nor what it shows is changed."""
    if batch.restarted:
        state = RunState(restarts=state.restarts + 1)
    reduction = _Reduction(state)
    for record in gathered(batch.records):
        reduction.take(record)
    return reduction.ended(batch)


class _Reduction:
    """A state while a batch is worked into it."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.train = _Curves(state.train)
        self.validation = _Curves(state.validation)
        self.train_heads = _Curves(state.train_heads)
        self.validation_heads = _Curves(state.validation_heads)
        self.measured = _Curves({"speed": state.speed, "data_wait": state.data_wait})
        self.frames = dict(state.frames)
        self.started = state.started
        self.starts = state.starts
        self.step = state.step
        self.evaluated = state.evaluated
        self.previous_evaluated = state.previous_evaluated
        self.latency = state.latency
        self.moments = state.moments
        self.resources = state.resources
        self.finished = state.finished
        self.checkpoints = set(state.checkpoints)
        self.paused = state.paused
        self.pending = list(state.pending)
        self.said: list[Record] = []
        """What makes a line of the log."""
        self.last_ts = state.last_ts
        self.events = state.events
        self.unknown = state.unknown

    def take(self, record: Record | Steps) -> None:
        match record:
            case Steps():
                self._learned(record)
                self.events += record.count
                self.last_ts = record.newest.ts
                return
            case RunStarted():
                self._began(record)
            case Evaluated():
                self._judged(record)
            case Latency():
                self.latency = record
                self.moments = moments_after(self.moments, record)
            case Resources():
                self.resources = record
            case CheckpointSaved():
                self.checkpoints.add(record.step)
            case CommandSeen():
                self._commanded(record)
            case RunFinished():
                self.finished = record
                self.paused = False
                self.pending.clear()
            case Other():
                self.unknown += 1
        self.events += 1
        self.last_ts = record.ts
        if isinstance(record, _SAID):
            self.said.append(record)

    def ended(self, batch: Batch) -> RunState:
        validation = self.validation.drawn()
        best_step, best_loss = _lowest(validation.get(TOTAL))
        measured = self.measured.drawn()
        # What was there before is safe to show already, and the same value tells a screen that nothing is new.
        return RunState(
            started=_shown(self.started, self.state.started),
            starts=self.starts,
            train=self.train.drawn(),
            validation=validation,
            train_heads=self.train_heads.drawn(),
            validation_heads=self.validation_heads.drawn(),
            speed=measured["speed"],
            data_wait=measured["data_wait"],
            step=_shown(self.step, self.state.step),
            evaluated=_shown(self.evaluated, self.state.evaluated),
            previous_evaluated=_shown(
                self.previous_evaluated, self.state.evaluated, self.state.previous_evaluated
            ),
            frames=self.frames,
            latency=_shown(self.latency, self.state.latency),
            moments=self.moments,
            resources=_shown(self.resources, self.state.resources),
            log=(*self.state.log, *(_line(record) for record in self.said[-LOG_LINES:]))[-LOG_LINES:],
            checkpoints=tuple(sorted(self.checkpoints)),
            best_step=best_step,
            best_loss=best_loss,
            paused=self.paused,
            pending=tuple(self.pending),
            finished=_shown(self.finished, self.state.finished),
            last_ts=sanitise(self.last_ts),
            events=self.events,
            unknown=self.unknown,
            bad_lines=self.state.bad_lines + batch.bad_lines,
            restarts=self.state.restarts,
            missing=batch.missing,
            problem=sanitise(batch.problem, limit=TEXT_LIMIT),
        )

    def _began(self, record: RunStarted) -> None:
        """What was trained after the checkpoint that it goes on from is undone."""
        step = record.resumed_from or 0
        for curves in (self.train, self.validation, self.train_heads, self.validation_heads, self.measured):
            curves.cut_to(step)
        self.checkpoints = {saved for saved in self.checkpoints if saved <= step}
        self.step = _until(step, self.step)
        self.evaluated = _until(step, self.evaluated)
        self.previous_evaluated = _until(step, self.previous_evaluated)
        self.started = record
        self.starts += 1
        self.finished = None
        self.paused = False
        self.pending.clear()

    def _learned(self, steps: Steps) -> None:
        self.train.add(TOTAL, steps.loss)
        for name, points in steps.per_character.items():
            self.train.add(_curve_name(name), points)
        for name, points in steps.heads.items():
            self.train_heads.add(showable_name(name), points)
        for name, frames in steps.frames.items():
            shown = _curve_name(name)
            if shown in self.frames or len(self.frames) < CURVES:
                self.frames[shown] = self.frames.get(shown, 0) + frames
        self.measured.add("speed", steps.frames_per_s)
        self.measured.add("data_wait", steps.data_wait)
        self.step = steps.newest

    def _judged(self, record: Evaluated) -> None:
        alike = self.evaluated is not None and not self.evaluated.best and not record.best
        self.previous_evaluated = self.evaluated if alike else None
        self.evaluated = record
        if record.best:
            return
        self.validation.add(TOTAL, _point(record.step, record.loss))
        for name, character in record.per_character.items():
            self.validation.add(_curve_name(name), _point(record.step, character.loss))
        for name, loss in record.heads.items():
            self.validation_heads.add(showable_name(name), _point(record.step, loss))

    def _commanded(self, record: CommandSeen) -> None:
        command = sanitise(record.command)
        if record.state == "received":
            self.pending.append(command)
            del self.pending[:-_PENDING]
        elif command in self.pending:
            self.pending.remove(command)
        if record.state == "done" and command in ("pause", "resume"):
            self.paused = command == "pause"


class _Curves:
    """Curves by name, and the points that are to be put behind them."""

    def __init__(self, series: Mapping[str, Series]) -> None:
        self._series = dict(series)
        self._points: dict[str, list[Points]] = {}

    def add(self, name: str, points: Points) -> None:
        if name in self._points:
            self._points[name].append(points)
        elif name in self._series or len(self._series.keys() | self._points.keys()) < CURVES:
            self._points[name] = [points]

    def cut_to(self, step: int) -> None:
        self._series = {name: series.cut_to(step) for name, series in self.drawn().items()}

    def drawn(self) -> dict[str, Series]:
        """The curves with all their points."""
        for name, points in self._points.items():
            x, y = zip(*points, strict=True)
            self._series[name] = self._series.get(name, Series()).extended(
                np.concatenate(x), np.concatenate(y)
            )
        self._points = {}
        return self._series


_SAID = (RunStarted, Preparing, Warned, Failed, CheckpointSaved, CommandSeen, RunFinished)

_PENDING = 32
"""Commands that are remembered at most."""

_DONE = {
    "pause": "paused, as it was asked to",
    "resume": "goes on, as it was asked to",
    "checkpoint": "saved a checkpoint, as it was asked to",
    "stop": "stopped, as it was asked to",
}

_ENDS = {
    "done": "finished",
    "stopped": "stopped, and can go on from there",
    "preempted": "ended by the machine, and can go on from there",
    "diverged": "ended, as the loss was no finite number any more",
    "failed": "ended by an error",
}


def _line(record: Record) -> LogLine:
    kind, text = _sentence(record)
    return LogLine(ts=sanitise(record.ts), kind=kind, text=sanitise(text, limit=TEXT_LIMIT))


def _sentence(record: Record) -> tuple[str, str]:
    """(kind, what happened)."""
    match record:
        case RunStarted(resumed_from=None):
            return "start", (
                f"began: {record.backbone}, window {record.window_size}, {record.parameters:,} parameters, "
                f"preset {record.preset}, on {record.device}"
            )
        case RunStarted():
            return "start", f"goes on from step {record.resumed_from:,} on {record.device}"
        case Preparing():
            return "preparing", record.message
        case Warned():
            return "warning", record.message or record.code
        case Failed():
            return "error", f"{record.message} ({record.code})"
        case CheckpointSaved():
            return "checkpoint", f"saved step {record.step:,}" + (", the best so far" if record.best else "")
        case CommandSeen(state="received"):
            return "command", f"was asked to {record.command}"
        case CommandSeen(state="refused"):
            return "command", f"refused to {record.command}: {record.reason or 'no reason given'}"
        case CommandSeen(state="done"):
            return "command", _DONE.get(record.command, f"did {record.command}")
        case CommandSeen():
            return "command", f"{record.command}: {record.state}"
        case RunFinished():
            where = "" if record.step is None else f" at step {record.step:,}"
            return "end", _ENDS.get(record.status, record.status) + where
    raise AssertionError(f"{record!r} makes no line")


def _point(step: int, loss: float | None) -> Points:
    return np.array([step], dtype=np.float64), np.array([loss], dtype=np.float64)


def _curve_name(character: str) -> str:
    return f"{TOTAL}#" if character == TOTAL else showable_name(character)


def _lowest(series: Series | None) -> tuple[int | None, float | None]:
    """(where, how much); the first of several."""
    if series is None or np.isnan(series.y).all():
        return None, None
    place = int(np.nanargmin(series.y))
    return int(series.x[place]), float(series.y[place])


def _until(step: int, record: StepOrEvaluated) -> StepOrEvaluated:
    """None where it was after `step`."""
    return record if record is not None and record.step <= step else None


def _shown(record: R, *safe: object) -> R:
    """`record` as it can be shown; itself where it is one of those that are `safe` already."""
    return record if any(record is other for other in safe) else showable(record)
