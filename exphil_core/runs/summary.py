"""Summaries of the runs in a folder, for `exphil runs list` and the workbench.

Only the end of a run's events is read, and a `RunList` reads only what was written since its last refresh, so that a
folder of long runs can be refreshed every second.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from exphil_core.errors import ExphilError, UsageError
from exphil_core.runs.directory import RunDirectory, run_directories

RECENT_LOSSES = 120
"""Maximum number of points in a summary's loss curve."""

_END_BYTES = 1 << 20

_FIRST_READ = 1 << 18
"""Bytes at the end of the events that the first refresh reads."""

_KEPT_LOSSES = 8 * RECENT_LOSSES


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a list of runs shows of one run."""

    name: str
    path: Path
    state: str
    """The run's last state; `crashed` if that is unfinished but no process holds the run; `unreadable` if its
    run.toml cannot be used; `new` if it has no status yet."""
    preset: str
    backbone: str
    window_size: int | None
    step: int
    best_loss: float | None
    """Lowest validation loss, in nats per frame."""
    best_step: int | None
    age_s: float
    """Seconds since its last heartbeat, or since its creation if it has none."""
    recent_losses: tuple[float, ...] = ()
    """Training losses, oldest first: the last `step` events, thinned to at most `RECENT_LOSSES` means."""
    problem: str = ""
    """Why it is unreadable."""


class RunList:
    """The runs of a folder, for repeated refreshes."""

    def __init__(self, runs_dir: Path, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns seconds since 1970."""
        self.runs_dir = runs_dir
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def refresh(self) -> list[RunSummary]:
        """Return every run, newest first, damaged ones as unreadable. UsageError if the folder cannot be read."""
        runs = run_directories(self.runs_dir)
        self._known = {run.name: self._known.get(run.name) or _Known(run) for run in runs}
        summaries = (self._known[run.name].summary(self._clock()) for run in runs)
        return [summary for summary in summaries if summary is not None]


def list_runs(runs_dir: Path) -> list[RunSummary]:
    """Return every run in the folder, newest first, damaged ones as unreadable."""
    return RunList(runs_dir).refresh()


def summarise(run: RunDirectory) -> RunSummary:
    """Summarise one run. UsageError if it is gone."""
    summary = _Known(run).summary(time.time())
    if summary is None:
        raise UsageError(f"run {run.name} is gone: {run.path} was deleted or moved")
    return summary


class _Known:
    """One run, with what was read of it so far."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._events = _EventsEnd(run.events_path)
        self._read: tuple[object, ...] = ()
        """Stamps of the files that were read, to detect changes."""
        self._described: RunSummary | None = None

    def summary(self, now: float) -> RunSummary | None:
        """Return the summary; None if the run is gone."""
        run = self._run
        made = _stamp(run.path / "run.toml")
        if made is None:
            return None
        files = (made, _stamp(run.path / "best.json"), _stamp(run.events_path))
        if self._described is None or files != self._read:
            self._events.read()
            self._described, self._read = _describe(run, self._events), files
        state, status = run.standing()
        heartbeat = made[0] / 1e9 if status is None else status.heartbeat
        if self._described.state == "unreadable":
            state = "unreadable"
        return replace(
            self._described,
            state=state,
            step=0 if status is None else status.step,
            age_s=max(0.0, now - heartbeat),
        )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return mtime, size and inode of a file; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _describe(run: RunDirectory, events: "_EventsEnd") -> RunSummary:
    """Summarise all but state, step and age, which change without these files."""
    nothing = RunSummary(
        name=run.name,
        path=run.path,
        state="unreadable",
        preset="",
        backbone="",
        window_size=None,
        step=0,
        best_loss=None,
        best_step=None,
        age_s=0.0,
    )
    try:
        preset = run.preset()
        best = run.best()
    except (ExphilError, OSError) as error:
        return replace(nothing, problem=str(error))
    return replace(
        nothing,
        state="new",
        preset=preset.name,
        backbone=preset.backbone.kind,
        window_size=preset.backbone.window_size,
        best_loss=events.best_loss if best is None or best.loss is None else best.loss,
        best_step=None if best is None else best.step,
        recent_losses=events.curve(),
    )


class _Line(msgspec.Struct, frozen=True, gc=False):
    """The fields of an event that the list needs."""

    type: str
    step: int | None = None
    loss: float | None = None
    resumed_from: int | None = None


_LINE = msgspec.json.Decoder(_Line)


class _EventsEnd:
    """The last losses of a run's events; each read covers what was written since the previous one."""

    def __init__(self, path: Path) -> None:
        self.best_loss: float | None = None
        """Lowest validation loss read so far."""
        self._path = path
        self._losses: deque[tuple[int, float]] = deque(maxlen=_KEPT_LOSSES)
        self._inode: int | None = None
        self._offset = 0

    def read(self) -> None:
        for line in self._new_lines():
            try:
                event = _LINE.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if event.type == "step" and event.step is not None and event.loss is not None:
                self._losses.append((event.step, event.loss))
            elif event.type == "evaluated" and event.loss is not None:
                self.best_loss = event.loss if self.best_loss is None else min(event.loss, self.best_loss)
            elif event.type == "run_started":
                # A resumed run repeats the steps after its checkpoint.
                while self._losses and self._losses[-1][0] > (event.resumed_from or 0):
                    self._losses.pop()

    def curve(self) -> tuple[float, ...]:
        losses = [loss for _, loss in self._losses]
        points = min(RECENT_LOSSES, len(losses))
        edges = [round(k * len(losses) / points) for k in range(points + 1)] if points else [0]
        return tuple(sum(losses[first:last]) / (last - first) for first, last in pairwise(edges))

    def _new_lines(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._inode, self._offset = found.st_ino, 0
                    self._losses.clear()
                    self.best_loss = None
                # The first read skips older lines, which the curve would not keep anyway.
                start = max(self._offset, found.st_size - _FIRST_READ)
                file.seek(start)
                text = file.read(found.st_size - start)
        except OSError:
            return []
        lines = text.split(b"\n")
        # The first line may lack its beginning, the last its end.
        whole = lines[1 if start > self._offset else 0 : -1]
        self._offset = start + len(text) - len(lines[-1])
        return whole


def last_events(path: Path, size: int = _END_BYTES) -> list[dict[str, Any]]:
    """Return the events in the last `size` bytes of the file; empty if there is no file."""
    try:
        with path.open("rb") as file:
            start = max(0, os.fstat(file.fileno()).st_size - size)
            file.seek(start)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    # The first line may lack its beginning, the last its end.
    return _records(lines[1 if start else 0 : -1])


def last_start(path: Path) -> Mapping[str, Any] | None:
    """Return the newest `run_started` event, anywhere in the file; None if there is none."""
    try:
        with path.open("rb") as file:
            # Parse only matching lines: parsing all events of a long run is slow.
            lines = [line for line in file if b'"run_started"' in line]
    except FileNotFoundError:
        return None
    return last_of_type(_records(lines), "run_started")


def is_finished(run: RunDirectory) -> bool:
    """Return whether the run's last event says that it is done."""
    events = last_events(run.events_path)
    return bool(events) and (events[-1].get("type"), events[-1].get("status")) == ("run_finished", "done")


def last_of_type(records: list[dict[str, Any]], type: str) -> Mapping[str, Any] | None:
    return next((record for record in reversed(records) if record.get("type") == type), None)


def _records(lines: list[bytes]) -> list[dict[str, Any]]:
    """Parse the lines that are JSON objects."""
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
