"""The runs of a folder, one line each: what `exphil runs list` shows.

In: a folder of runs. Out: a `RunSummary` for each, the newest first. What a reader gets wrong: only the
end of a run's events is read, so that a folder of long runs is listed at once.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exphil_core.errors import ExphilError
from exphil_core.runs.directory import UNFINISHED, RunDirectory, run_directories

_END_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    name: str
    path: Path
    state: str
    """What the run last said; `interrupted` where that is that it goes on, but no process holds it;
    `unreadable` where its run.toml cannot be used; `new` where it never said anything."""
    preset: str
    backbone: str
    window_size: int | None
    step: int
    best_loss: float | None
    """The lowest validation loss, in nats per frame."""
    best_step: int | None
    age_s: float
    """Seconds since it was last heard of."""
    problem: str = ""
    """Why it is unreadable."""


def list_runs(runs_dir: Path) -> list[RunSummary]:
    """Every run in the folder, the newest first; a damaged one is listed as what it is."""
    return [summarise(run) for run in run_directories(runs_dir)]


def summarise(run: RunDirectory) -> RunSummary:
    """One run as it stands now."""
    status = run.status()
    heard = status.heartbeat if status else (run.path / "run.toml").stat().st_mtime
    age = max(0.0, time.time() - heard)
    step = status.step if status else 0
    try:
        preset = run.preset()
        best = run.best()
    except ExphilError as error:
        return RunSummary(
            name=run.name,
            path=run.path,
            state="unreadable",
            preset="",
            backbone="",
            window_size=None,
            step=step,
            best_loss=None,
            best_step=None,
            age_s=age,
            problem=str(error),
        )
    state = status.state if status else "new"
    if state in UNFINISHED and not run.alive():
        state = "interrupted"
    loss = best.loss if best else None
    if loss is None:
        loss = min((found for found in _losses(run) if found is not None), default=None)
    return RunSummary(
        name=run.name,
        path=run.path,
        state=state,
        preset=preset.name,
        backbone=preset.backbone.kind,
        window_size=preset.backbone.window_size,
        step=step,
        best_loss=loss,
        best_step=best.step if best else None,
        age_s=age,
    )


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


def _losses(run: RunDirectory) -> list[float | None]:
    events = last_events(run.events_path)
    return [record.get("loss") for record in events if record.get("type") == "evaluated"]
