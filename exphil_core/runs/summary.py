"""The runs of a folder, one line each: what `exphil runs list` and the workbench show.

In: a folder of runs. Out: a `RunSummary` for each, the newest first. What a reader gets wrong: only the end of a
run's events is read, and by a `RunList` only what has been written since it looked last, so that a folder of long
runs is listed at once and can be looked at every second.
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
"""Points of a summary's small curve."""

_END_BYTES = 1 << 20

_FIRST_READ = 1 << 18
"""Bytes at the end of the events that the first look at a run reads."""

_KEPT_LOSSES = 8 * RECENT_LOSSES


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    name: str
    path: Path
    state: str
    """What the run last said; `crashed` where that is that it goes on, but no process holds it; `unreadable` where
    its run.toml cannot be used; `new` where it never said anything."""
    preset: str
    backbone: str
    window_size: int | None
    step: int
    best_loss: float | None
    """The lowest validation loss, in nats per frame."""
    best_step: int | None
    age_s: float
    """Seconds since it was last heard of."""
    recent_losses: tuple[float, ...] = ()
    """Of training, the oldest first: the last `step` events, thinned to at most `RECENT_LOSSES` means."""
    problem: str = ""
    """Why it is unreadable."""


class RunList:
    """The runs of a folder, looked at again and again."""

    def __init__(self, runs_dir: Path, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970."""
        self.runs_dir = runs_dir
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def refresh(self) -> list[RunSummary]:
        """Every run, the newest first; a damaged one as what it is. UsageError where the folder cannot be read."""
        runs = run_directories(self.runs_dir)
        self._known = {run.name: self._known.get(run.name) or _Known(run) for run in runs}
        summaries = (self._known[run.name].summary(self._clock()) for run in runs)
        return [summary for summary in summaries if summary is not None]


def list_runs(runs_dir: Path) -> list[RunSummary]:
    """Every run in the folder, the newest first; a damaged one is listed as what it is."""
    return RunList(runs_dir).refresh()


def summarise(run: RunDirectory) -> RunSummary:
    """One run as it stands now. UsageError where it is gone."""
    summary = _Known(run).summary(time.time())
    if summary is None:
        raise UsageError(f"run {run.name} is gone: {run.path} was deleted or moved")
    return summary


class _Known:
    """One run, as far as it has been read."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._events = _EventsEnd(run.events_path)
        self._read: tuple[object, ...] = ()
        """Of the files as they were read, what tells them from later ones."""
        self._described: RunSummary | None = None

    def summary(self, now: float) -> RunSummary | None:
        """None where the run is gone."""
        run = self._run
        made = _stamp(run.path / "run.toml")
        if made is None:
            return None
        files = (made, _stamp(run.path / "best.json"), _stamp(run.events_path))
        if self._described is None or files != self._read:
            self._events.read()
            self._described, self._read = _describe(run, self._events), files
        state, status = run.standing()
        heard = made[0] / 1e9 if status is None else status.heartbeat
        if self._described.state == "unreadable":
            state = "unreadable"
        return replace(
            self._described,
            state=state,
            step=0 if status is None else status.step,
            age_s=max(0.0, now - heard),
        )


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """When it was written, its size and its inode; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _describe(run: RunDirectory, events: "_EventsEnd") -> RunSummary:
    """All but the state, the step and the age, which change without these files."""
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
    """As little of an event as the list shows."""

    type: str
    step: int | None = None
    loss: float | None = None
    resumed_from: int | None = None


_LINE = msgspec.json.Decoder(_Line)


class _EventsEnd:
    """The last losses of a run's events; a look reads what was written since the look before it."""

    def __init__(self, path: Path) -> None:
        self.best_loss: float | None = None
        """The lowest validation loss that was seen."""
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
                # Steps after the checkpoint that it goes on from are taken again.
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
                # Of more than a first look reads, the curve would keep no more either.
                start = max(self._offset, found.st_size - _FIRST_READ)
                file.seek(start)
                text = file.read(found.st_size - start)
        except OSError:
            return []
        lines = text.split(b"\n")
        # The first line may have lost its beginning, the last its end.
        whole = lines[1 if start > self._offset else 0 : -1]
        self._offset = start + len(text) - len(lines[-1])
        return whole


def last_events(path: Path, size: int = _END_BYTES) -> list[dict[str, Any]]:
    """The events in the last `size` bytes of the file; empty where there is none."""
    try:
        with path.open("rb") as file:
            start = max(0, os.fstat(file.fileno()).st_size - size)
            file.seek(start)
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    # The first line may have lost its beginning, the last its end.
    return _records(lines[1 if start else 0 : -1])


def last_start(path: Path) -> Mapping[str, Any] | None:
    """The newest `run_started` of the events, which may lie anywhere in them; None where there is none."""
    try:
        with path.open("rb") as file:
            # Few lines are parsed: a long run's events take long to.
            lines = [line for line in file if b'"run_started"' in line]
    except FileNotFoundError:
        return None
    return last_of_type(_records(lines), "run_started")


def has_said_done(run: RunDirectory) -> bool:
    """Whether the last word of the run's events is that it is done."""
    events = last_events(run.events_path)
    return bool(events) and (events[-1].get("type"), events[-1].get("status")) == ("run_finished", "done")


def last_of_type(records: list[dict[str, Any]], type: str) -> Mapping[str, Any] | None:
    return next((record for record in reversed(records) if record.get("type") == type), None)


def _records(lines: list[bytes]) -> list[dict[str, Any]]:
    """The readable ones."""
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
