"""State of a run as derived from its events: `reduce(state, batch)`, a pure function.

It does not say whether the run's process is alive: `RunSnapshot` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from exphil_core.render.gauge import LatencySample, samples_after
from exphil_core.replays.text import sanitise
from exphil_core.runs.records import (
    TEXT_LIMIT,
    CheckpointSaved,
    CommandSeen,
    ErrorEvent,
    Evaluated,
    LatencyEvent,
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
from exphil_tui.model.event_batch import EventBatch
from exphil_tui.model.series import Series
from exphil_tui.model.step_columns import Points, Steps, gathered

R = TypeVar("R")
StepOrEvaluated = TypeVar("StepOrEvaluated", Step | None, Evaluated | None)

TOTAL = "all"
"""Key of the curve over all characters."""

MAX_LOG_LINES = 500

MAX_CURVES = 64
"""Most curves of one kind; limits memory if a damaged file names too many characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of the run's log."""

    ts: str
    kind: str
    """start, preparing, warning, error, checkpoint, command, end."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    started: RunStarted | None = None
    """Newest start event."""
    starts: int = 0
    train: Mapping[str, Series] = field(default_factory=dict)
    """Training loss over steps by character, and under `TOTAL` over all."""
    validation: Mapping[str, Series] = field(default_factory=dict)
    train_heads: Mapping[str, Series] = field(default_factory=dict)
    validation_heads: Mapping[str, Series] = field(default_factory=dict)
    speed: Series = field(default_factory=Series)
    """Training speed in frames per second."""
    data_wait: Series = field(default_factory=Series)
    step: Step | None = None
    """Newest step event."""
    evaluated: Evaluated | None = None
    """Newest evaluation. The final one after training is of the best checkpoint (`best`) and is not a point of the
    validation curves."""
    previous_evaluated: Evaluated | None = None
    """The evaluation before it; None if it was on other games, as before the final one."""
    frames: Mapping[str, int] = field(default_factory=dict)
    """Frames trained on by character; a frame trained on twice counts twice."""
    latency: LatencyEvent | None = None
    """Newest pilot latency event in the run's event file."""
    moments: tuple[LatencySample, ...] = ()
    """Gauge history of the latency events."""
    resources: Resources | None = None
    log: tuple[LogLine, ...] = ()
    """The newest `MAX_LOG_LINES` lines."""
    checkpoints: tuple[int, ...] = ()
    """Steps of saved checkpoints, ascending; old ones may have been deleted."""
    best_step: int | None = None
    """Step of `best_loss`."""
    best_loss: float | None = None
    """Lowest validation loss during training."""
    paused: bool = False
    pending: tuple[str, ...] = ()
    """Commands received but not done."""
    finished: RunFinished | None = None
    """Newest end event; None while the run is running."""
    last_ts: str = ""
    """Timestamp of the newest event."""
    events: int = 0
    """Number of events of any type."""
    unknown: int = 0
    """Events of a type that this version does not know."""
    bad_lines: int = 0
    """Lines that are not an event."""
    restarts: int = 0
    """Times the event file was truncated or replaced, which reset the state."""
    missing: bool = False
    """Whether the event file does not exist: not yet written, or deleted."""
    problem: str = ""
    """Why the event file cannot be read; empty if it can."""


def reduce(state: RunState, batch: EventBatch) -> RunState:
    """Return the state after `batch`; `state` and its curves stay unchanged."""
    if batch.restarted:
        state = RunState(restarts=state.restarts + 1)
    reduction = _Reduction(state)
    for record in gathered(batch.records):
        reduction.apply(record)
    return reduction.result(batch)


class _Reduction:
    """Mutable copy of a state while a batch is applied."""

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
        self.logged: list[Record] = []
        """Records that become log lines."""
        self.last_ts = state.last_ts
        self.events = state.events
        self.unknown = state.unknown

    def apply(self, record: Record | Steps) -> None:
        match record:
            case Steps():
                self._on_steps(record)
                self.events += record.count
                self.last_ts = record.newest.ts
                return
            case RunStarted():
                self._on_start(record)
            case Evaluated():
                self._on_evaluation(record)
            case LatencyEvent():
                self.latency = record
                self.moments = samples_after(self.moments, record)
            case Resources():
                self.resources = record
            case CheckpointSaved():
                self.checkpoints.add(record.step)
            case CommandSeen():
                self._on_command(record)
            case RunFinished():
                self.finished = record
                self.paused = False
                self.pending.clear()
            case Other():
                self.unknown += 1
        self.events += 1
        self.last_ts = record.ts
        if isinstance(record, _LOGGED):
            self.logged.append(record)

    def result(self, batch: EventBatch) -> RunState:
        validation = self.validation.flushed()
        best_step, best_loss = _lowest(validation.get(TOTAL))
        measured = self.measured.flushed()
        # Values of the old state are sanitised already; keeping their identity tells screens nothing changed.
        return RunState(
            started=_sanitised(self.started, self.state.started),
            starts=self.starts,
            train=self.train.flushed(),
            validation=validation,
            train_heads=self.train_heads.flushed(),
            validation_heads=self.validation_heads.flushed(),
            speed=measured["speed"],
            data_wait=measured["data_wait"],
            step=_sanitised(self.step, self.state.step),
            evaluated=_sanitised(self.evaluated, self.state.evaluated),
            previous_evaluated=_sanitised(
                self.previous_evaluated, self.state.evaluated, self.state.previous_evaluated
            ),
            frames=self.frames,
            latency=_sanitised(self.latency, self.state.latency),
            moments=self.moments,
            resources=_sanitised(self.resources, self.state.resources),
            log=(*self.state.log, *(_line(record) for record in self.logged[-MAX_LOG_LINES:]))[
                -MAX_LOG_LINES:
            ],
            checkpoints=tuple(sorted(self.checkpoints)),
            best_step=best_step,
            best_loss=best_loss,
            paused=self.paused,
            pending=tuple(self.pending),
            finished=_sanitised(self.finished, self.state.finished),
            last_ts=sanitise(self.last_ts),
            events=self.events,
            unknown=self.unknown,
            bad_lines=self.state.bad_lines + batch.bad_lines,
            restarts=self.state.restarts,
            missing=batch.missing,
            problem=sanitise(batch.problem, limit=TEXT_LIMIT),
        )

    def _on_start(self, record: RunStarted) -> None:
        """Apply a start: drop everything after the checkpoint it resumes from."""
        step = record.resumed_from or 0
        for curves in (self.train, self.validation, self.train_heads, self.validation_heads, self.measured):
            curves.cut_to(step)
        self.checkpoints = {saved for saved in self.checkpoints if saved <= step}
        self.step = _unless_after(step, self.step)
        self.evaluated = _unless_after(step, self.evaluated)
        self.previous_evaluated = _unless_after(step, self.previous_evaluated)
        self.started = record
        self.starts += 1
        self.finished = None
        self.paused = False
        self.pending.clear()

    def _on_steps(self, steps: Steps) -> None:
        self.train.add(TOTAL, steps.loss)
        for name, points in steps.per_character.items():
            self.train.add(_curve_name(name), points)
        for name, points in steps.heads.items():
            self.train_heads.add(showable_name(name), points)
        for name, frames in steps.frames.items():
            shown = _curve_name(name)
            if shown in self.frames or len(self.frames) < MAX_CURVES:
                self.frames[shown] = self.frames.get(shown, 0) + frames
        self.measured.add("speed", steps.frames_per_s)
        self.measured.add("data_wait", steps.data_wait)
        self.step = steps.newest

    def _on_evaluation(self, record: Evaluated) -> None:
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

    def _on_command(self, record: CommandSeen) -> None:
        command = sanitise(record.command)
        if record.state == "received":
            self.pending.append(command)
            del self.pending[:-_MAX_PENDING]
        elif command in self.pending:
            self.pending.remove(command)
        if record.state == "done" and command in ("pause", "resume"):
            self.paused = command == "pause"


class _Curves:
    """Curves by name, with new points collected before they are appended."""

    def __init__(self, series: Mapping[str, Series]) -> None:
        self._series = dict(series)
        self._points: dict[str, list[Points]] = {}

    def add(self, name: str, points: Points) -> None:
        if name in self._points:
            self._points[name].append(points)
        elif name in self._series or len(self._series.keys() | self._points.keys()) < MAX_CURVES:
            self._points[name] = [points]

    def cut_to(self, step: int) -> None:
        self._series = {name: series.cut_to(step) for name, series in self.flushed().items()}

    def flushed(self) -> dict[str, Series]:
        """Append the collected points and return the curves."""
        for name, points in self._points.items():
            x, y = zip(*points, strict=True)
            self._series[name] = self._series.get(name, Series()).extended(
                np.concatenate(x), np.concatenate(y)
            )
        self._points = {}
        return self._series


_LOGGED = (RunStarted, Preparing, Warned, ErrorEvent, CheckpointSaved, CommandSeen, RunFinished)

_MAX_PENDING = 32
"""Most pending commands kept."""

_DONE = {
    "pause": "paused on request",
    "resume": "continued on request",
    "checkpoint": "saved a checkpoint on request",
    "stop": "stopped on request",
}

_ENDS = {
    "done": ("finished", ""),
    "stopped": ("stopped", "; can be resumed"),
    "preempted": ("preempted by the machine", "; can be resumed"),
    "diverged": ("diverged", ": the loss became NaN or infinite"),
    "failed": ("failed", ""),
}
"""Status of an end event → text before and after the step."""


def _line(record: Record) -> LogLine:
    kind, text = _sentence(record)
    return LogLine(ts=sanitise(record.ts), kind=kind, text=sanitise(text, limit=TEXT_LIMIT))


def _sentence(record: Record) -> tuple[str, str]:
    """Return (kind, text) of a log line."""
    match record:
        case RunStarted(resumed_from=None):
            return "start", (
                f"started: {record.backbone}, window {record.window_size}, {record.parameters:,} parameters, "
                f"preset {record.preset}, on {record.device}"
            )
        case RunStarted():
            return "start", f"resumed from step {record.resumed_from:,} on {record.device}"
        case Preparing():
            return "preparing", record.message
        case Warned():
            return "warning", record.message or record.code
        case ErrorEvent():
            return "error", f"{record.message} ({record.code})"
        case CheckpointSaved():
            return "checkpoint", f"saved step {record.step:,}" + (", the best so far" if record.best else "")
        case CommandSeen(state="received"):
            return "command", f"{record.command} requested"
        case CommandSeen(state="refused"):
            return "command", f"{record.command} refused: {record.reason or 'no reason given'}"
        case CommandSeen(state="done"):
            return "command", _DONE.get(record.command, f"{record.command} done")
        case CommandSeen():
            return "command", f"{record.command}: {record.state}"
        case RunFinished():
            where = "" if record.step is None else f" at step {record.step:,}"
            text, note = _ENDS.get(record.status, (record.status, ""))
            return "end", text + where + note
    raise AssertionError(f"{record!r} is not logged")


def _point(step: int, loss: float | None) -> Points:
    return np.array([step], dtype=np.float64), np.array([loss], dtype=np.float64)


def _curve_name(character: str) -> str:
    return f"{TOTAL}#" if character == TOTAL else showable_name(character)


def _lowest(series: Series | None) -> tuple[int | None, float | None]:
    """Return (step, loss) of the lowest point; the first of several."""
    if series is None or np.isnan(series.y).all():
        return None, None
    index = int(np.nanargmin(series.y))
    return int(series.x[index]), float(series.y[index])


def _unless_after(step: int, record: StepOrEvaluated) -> StepOrEvaluated:
    """Return the record, or None if it is after `step`."""
    return record if record is not None and record.step <= step else None


def _sanitised(record: R, *safe: object) -> R:
    """Sanitise a record, unless it is one of the `safe` ones."""
    return record if any(record is other for other in safe) else showable(record)
