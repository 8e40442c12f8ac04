"""A run's folder: what it is, how it stands, who holds it, and which of its checkpoints count.

In: a folder of runs and a name. Out: a `RunDirectory`, whose files are the contract between whoever writes a
run and whoever watches it. What a reader gets wrong: `status.json` is what the process said last; whether
there still is a process, `alive()` knows. A checkpoint's own files are the trainer's; here are only their
names, and which is the latest and which the best.
"""

import json
import os
import re
import shutil
import socket
import time
import tomllib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import psutil

from exphil_core.atomic import atomic_write, fsync_directory, room_on_disk
from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset, plain_values
from exphil_core.config.toml import write_toml
from exphil_core.errors import CheckpointError, UsageError
from exphil_core.lock import hold, is_held
from exphil_core.runs.provenance import git_revision, package_versions

VERSION = 1

UNFINISHED = ("starting", "running", "paused")
"""States that a process is behind. Where there is none, the run was interrupted and can be resumed."""

STATES = (*UNFINISHED, "done", "stopped", "preempted", "diverged", "failed")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_STEP = re.compile(r"step-(\d{9,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the process behind a run last said of itself."""

    state: str
    """One of `STATES`."""
    step: int
    pid: int
    process_started: float
    """Seconds since 1970; tells a process from a later one with the same pid."""
    host: str
    heartbeat: float
    """Seconds since 1970."""
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What `latest.json` and `best.json` say."""

    step: int
    loss: float | None = None
    """Validation loss in nats per frame, where the checkpoint was promoted for it."""


class RunDirectory:
    """One run on disk. `create` makes a new one, `open` takes one that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.events_path = path / "events.jsonl"

    @classmethod
    def create(
        cls, runs_dir: Path, preset: Preset, *, name: str | None, dataset: Path, fingerprint: str
    ) -> "RunDirectory":
        """A new run, named `preset-YYYYMMDD-HHMMSS` unless told otherwise, with its `run.toml`.

        UsageError for a name that is taken, or that a folder cannot have.
        """
        if name is not None and not _NAME.fullmatch(name):
            raise UsageError(
                f"run name '{name}': expected at most 100 letters, digits and ._+-, "
                "beginning with a letter or digit"
            )
        described: dict[str, object] = {
            "v": VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "dataset": {"path": str(dataset), "fingerprint": fingerprint},
            "packages": package_versions(),
            "preset": plain_values(preset),
        }
        if (revision := git_revision()) is not None:
            described["git_revision"] = revision
        content = write_toml(described).encode()
        with room_on_disk(runs_dir):
            runs_dir.mkdir(parents=True, exist_ok=True)
            run = cls(_new_folder(runs_dir, name, preset.name))
        atomic_write(run.path / "run.toml", content)
        fsync_directory(runs_dir)
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The run in `path`. UsageError where there is none."""
        if not (path / "run.toml").is_file():
            raise UsageError(f"{path} is not a run: it has no run.toml")
        return cls(path)

    @classmethod
    def find(cls, runs_dir: Path, name: str | None) -> "RunDirectory":
        """The run of that name or path, or the newest. UsageError with the nearest name if there is none."""
        runs = run_directories(runs_dir)
        if name is None:
            if not runs:
                raise UsageError(f"no run in {runs_dir} yet; 'exphil train' starts one")
            return runs[0]
        for path in (runs_dir / name, Path(name)):
            if (path / "run.toml").is_file():
                return cls(path)
        near = get_close_matches(name, [run.name for run in runs], n=1)
        hint = f"did you mean '{near[0]}'?" if near else "'exphil runs list' shows what is there"
        raise UsageError(f"no run '{name}' in {runs_dir}; {hint}")

    @classmethod
    def find_checkpoint(cls, runs_dir: Path, name: str) -> tuple["RunDirectory", int | None]:
        """The run, and the step of the checkpoint directory that `name` is, None where `name` is a run.

        UsageError where there is no such run or checkpoint.
        """
        for path in (Path(name), runs_dir / name):
            match = _STEP.fullmatch(path.name)
            if match and (path.parent / "run.toml").is_file():
                run = cls(path.parent)
                if not path.is_dir():
                    steps = ", ".join(str(step) for step in run.steps()) or "none"
                    raise UsageError(f"run {run.name} has no checkpoint {path.name}; steps it has: {steps}")
                return run, int(match[1])
        return cls.find(runs_dir, name), None

    def described(self) -> Mapping[str, Any]:
        """`run.toml` as it is. UsageError where it is damaged or of another version."""
        path = self.path / "run.toml"
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is damaged: {error}") from error
        if values.get("v") != VERSION:
            raise UsageError(f"{path} is of version {values.get('v')}; this exphil reads version {VERSION}")
        return values

    def preset(self) -> Preset:
        """The preset that the run was started with, fully resolved."""
        return preset_from_tables(self.described()["preset"], where=str(self.path / "run.toml"))

    def dataset_path(self) -> Path:
        """The dataset that the run learns from."""
        return Path(self.described()["dataset"]["path"])

    def dataset_fingerprint(self) -> str:
        """Of that dataset as it was when the run began."""
        return str(self.described()["dataset"]["fingerprint"])

    def lock(self) -> AbstractContextManager[None]:
        """Holds the run for this process. UsageError, naming the other process, where another holds it."""
        return hold(self.path / "lock", f"run {self.name}")

    def alive(self) -> bool:
        """Whether a process holds the run now."""
        try:
            return is_held(self.path / "lock")
        except OSError:
            # A network folder without locks: go by the process.
            status = self.status()
            return status is not None and status.state in UNFINISHED and _process_is_there(status)

    def write_status(self, state: str, step: int | None) -> None:
        """Says how the run stands; the heartbeat is now, the process this one. Without a step: as before."""
        assert state in STATES, state
        if step is None:
            before = self.status()
            step = before.step if before is not None else 0
        status = Status(
            state=state,
            step=step,
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            host=socket.gethostname(),
            heartbeat=time.time(),
        )
        atomic_write(self.path / "status.json", json.dumps(asdict(status)).encode())

    def status(self) -> Status | None:
        """What the process said last; None where it never did, or said it to another version."""
        values = _read_json(self.path / "status.json")
        if values is None or values.get("v") != VERSION:
            return None
        try:
            return Status(**{field.name: values[field.name] for field in fields(Status)})
        except KeyError:
            return None

    def step_directory(self, step: int) -> Path:
        """Where the checkpoint of `step` lies, once it is complete."""
        return self.path / f"step-{step:09d}"

    def steps(self) -> tuple[int, ...]:
        """Steps with a checkpoint directory, ascending."""
        found = (_STEP.fullmatch(path.name) for path in self.path.iterdir() if path.is_dir())
        return tuple(sorted(int(match[1]) for match in found if match))

    def write_latest(self, step: int) -> None:
        """Promotes a complete checkpoint to the one that a resume takes."""
        self._point("latest.json", Pointer(step=step))

    def write_best(self, step: int, loss: float | None = None) -> None:
        """Promotes a complete checkpoint to the one that is evaluated and exported."""
        self._point("best.json", Pointer(step=step, loss=loss))

    def latest(self) -> Pointer | None:
        """None where nothing was promoted yet. CheckpointError where the file is damaged."""
        return self._pointer("latest.json")

    def best(self) -> Pointer | None:
        """None where nothing was promoted yet. CheckpointError where the file is damaged."""
        return self._pointer("best.json")

    def latest_step(self) -> int | None:
        pointer = self.latest()
        return None if pointer is None else pointer.step

    def best_step(self) -> int | None:
        pointer = self.best()
        return None if pointer is None else pointer.step

    def prune(self, keep: int) -> tuple[int, ...]:
        """Removes checkpoints but the `keep` newest, the latest and the best; returns the removed steps."""
        steps = self.steps()
        wanted = {pointer.step for pointer in (self.latest(), self.best()) if pointer is not None}
        removed = tuple(step for step in steps[: max(0, len(steps) - keep)] if step not in wanted)
        for step in removed:
            # Renamed first: a folder under its own name is always whole.
            doomed = self.path / f"{self.step_directory(step).name}.removed.partial"
            self.step_directory(step).rename(doomed)
            shutil.rmtree(doomed)
        return removed

    def _point(self, name: str, pointer: Pointer) -> None:
        folder = self.step_directory(pointer.step)
        assert folder.is_dir(), f"{folder} is promoted before it is there"
        content = {"v": VERSION, "path": folder.name, **asdict(pointer)}
        atomic_write(self.path / name, json.dumps(content).encode())

    def _pointer(self, name: str) -> Pointer | None:
        path = self.path / name
        if not path.exists():
            return None
        values = _read_json(path)
        if values is None or values.get("v") != VERSION or not isinstance(values.get("step"), int):
            raise CheckpointError(f"{path} is damaged or of another version than {VERSION}")
        return Pointer(step=values["step"], loss=values.get("loss"))


def run_directories(runs_dir: Path) -> list[RunDirectory]:
    """Every run in the folder, the newest first."""
    if not runs_dir.is_dir():
        return []
    paths = [path for path in runs_dir.iterdir() if (path / "run.toml").is_file()]
    paths.sort(key=lambda path: ((path / "run.toml").stat().st_mtime_ns, path.name), reverse=True)
    return [RunDirectory(path) for path in paths]


def _new_folder(runs_dir: Path, name: str | None, preset: str) -> Path:
    if name is not None:
        path = runs_dir / name
        try:
            path.mkdir()
        except FileExistsError:
            raise UsageError(
                f"run '{name}' exists in {runs_dir}: resume it with --resume {name}, or choose another --name"
            ) from None
        return path
    base = f"{re.sub(r'[^A-Za-z0-9._+-]', '-', preset)[:80]}-{datetime.now():%Y%m%d-%H%M%S}"
    tries = 1
    while True:
        path = runs_dir / (base if tries == 1 else f"{base}-{tries}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            tries += 1


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _process_is_there(status: Status) -> bool:
    if status.host != socket.gethostname():
        return False
    try:
        return abs(psutil.Process(status.pid).create_time() - status.process_started) < 1.0
    except psutil.Error:
        return False
