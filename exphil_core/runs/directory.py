"""A run's directory: preset, status, lock, and checkpoint pointers; the contract between trainer and viewers.

`status.json` is what the process wrote last; `alive()` says whether a process still exists. An old heartbeat proves
nothing, since the machine may have slept. Checkpoint files belong to the trainer; this module only knows their
folders, the latest and the best.
"""

import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from exphil_core.atomic import atomic_write, disk_full_errors, fsync_directory, remove_tree
from exphil_core.errors import CheckpointError, UsageError
from exphil_core.lock import hold, is_held
from exphil_core.replays.text import is_text, storable
from exphil_core.runs.commands import shell_command
from exphil_core.runs.process import own_identity, process_identity
from exphil_core.runs.run_toml import read_run_toml, run_toml
from exphil_core.suggest import suggestion

if TYPE_CHECKING:
    from exphil_core.config.preset import Preset

VERSION = 1
"""Version of a run directory's status and pointer files."""

UNFINISHED = ("starting", "running", "paused")
"""States with a process behind them. Without one, the run crashed and can be resumed."""

STATES = (*UNFINISHED, "done", "stopped", "preempted", "diverged", "failed")

FRESH_SECONDS = 30.0
"""Maximum difference in seconds, in either direction, at which a heartbeat from another machine counts as alive."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_STEP = re.compile(r"step-(\d{9,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What a run's process last wrote about itself."""

    state: str
    """One of `STATES`."""
    step: int
    pid: int
    host: str
    heartbeat: float
    """Seconds since 1970."""
    process_identity: str = ""
    """From `runs.process`; distinguishes it from a later process with the same pid. Empty from older exphils."""
    v: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Content of `latest.json` and `best.json`."""

    step: int
    loss: float | None = None
    """Validation loss in nats per frame, if the checkpoint was promoted for it."""


class RunDirectory:
    """One run on disk. `create` makes a new one, `open` opens an existing one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.events_path = path / "events.jsonl"
        self.toml_path = path / "run.toml"
        """Description of the run; also accepted by `exphil train --preset`."""

    @classmethod
    def create(
        cls,
        runs_dir: Path,
        preset: "Preset",
        *,
        name: str | None,
        dataset: Path,
        fingerprint: str,
        sources: Sequence[str] = (),
        reasons: Sequence[str] = (),
    ) -> "RunDirectory":
        """Create a run with its `run.toml`, named `preset-YYYYMMDD-HHMMSS` by default.

        Args:
            dataset: Path of the dataset.
            fingerprint: The dataset's fingerprint.
            sources: Paths that the dataset was built from.
            reasons: What was chosen for the data and the machine, and why.

        Raises:
            UsageError: The name is taken or not a valid folder name.
        """
        if name is not None and (problem := name_problem(runs_dir, name)) is not None:
            raise UsageError(problem)
        if not is_text(str(dataset)):
            raise UsageError(
                f"{storable(str(dataset))}: the name of the dataset's folder is not UTF-8, and run.toml holds text "
                "only; build it with --out FOLDER, or set EXPHIL_CACHE, where the name is"
            )
        content = run_toml(preset, dataset=dataset, fingerprint=fingerprint, sources=sources, reasons=reasons)
        with disk_full_errors(runs_dir):
            runs_dir.mkdir(parents=True, exist_ok=True)
            run = cls(_new_folder(runs_dir, name, preset.name))
        atomic_write(run.path / "run.toml", content.encode())
        fsync_directory(runs_dir)
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open the run in `path`. UsageError if there is none."""
        if not (path / "run.toml").is_file():
            raise UsageError(f"{path} is not a run: it has no run.toml")
        return cls(path)

    @classmethod
    def find(cls, runs_dir: Path, name: str | None) -> "RunDirectory":
        """Find a run by name or path, or the newest for None. UsageError with the nearest name if there is none."""
        runs = run_directories(runs_dir)
        if name is None:
            if not runs:
                raise UsageError(f"no run in {runs_dir} yet; '{shell_command(runs_dir, 'train')}' starts one")
            return runs[0]
        for path in (runs_dir / name, Path(name)):
            if (path / "run.toml").is_file():
                return cls(path)
        listing = shell_command(runs_dir, "runs", "list")
        hint = suggestion(name, [run.name for run in runs], otherwise=f"'{listing}' shows what is there")
        raise UsageError(f"no run '{name}' in {runs_dir}; {hint}")

    @classmethod
    def find_checkpoint(cls, runs_dir: Path, name: str) -> tuple["RunDirectory", int | None]:
        """Find a run or checkpoint by name or path; return the run and the step (None if `name` is a run).

        UsageError if there is no such run or checkpoint.
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
        """Read `run.toml`. UsageError if it is damaged or of another version."""
        return read_run_toml(self.path / "run.toml")

    def preset(self) -> "Preset":
        """Return the preset that the run was started with, fully resolved."""
        from exphil_core.config.loader import preset_from_tables

        return preset_from_tables(self.described()["preset"], where=str(self.path / "run.toml"))

    def dataset_path(self) -> Path:
        """Return the path of the dataset that the run trains on."""
        return Path(self.described()["dataset"]["path"])

    def dataset_fingerprint(self) -> str:
        """Return the dataset's fingerprint from when the run was created."""
        return str(self.described()["dataset"]["fingerprint"])

    def dataset_sources(self) -> tuple[str, ...]:
        """Return the replays, folders and archives that the dataset was built from; empty for older runs."""
        return tuple(map(str, self.described()["dataset"].get("sources", ())))

    def typed(self, *words: str) -> str:
        """Return the shell command of these words about this run, for the folder that exphil runs in."""
        return shell_command(self.path.parent, *words, self.name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process while the block runs. UsageError, naming the holder, if it is held."""
        status = self.status()
        if status is not None and _beats_elsewhere(status):
            raise UsageError(
                f"run {self.name} is held by process {status.pid} on {status.host}, whose last update was "
                f"{abs(time.time() - status.heartbeat):.0f} s ago: wait for it, or stop it first"
            )
        with hold(self.path / "lock", f"run {self.name}"):
            yield

    def alive(self) -> bool:
        """Return whether a process holds the run now, on this machine or on another that shares the folder."""
        status = self.status()
        try:
            if is_held(self.path / "lock"):
                return True
        except OSError:
            # The file system has no locks, or the lock cannot be opened: check the process instead.
            return status is not None and (_is_behind(status) or _beats_elsewhere(status))
        # A lock may not be visible from another machine; a heartbeat is.
        return status is not None and _beats_elsewhere(status)

    def standing(self) -> tuple[str, Status | None]:
        """Return the run's state as seen from outside, and the status that its process wrote last.

        The state is one of `STATES`, `new` if there is no status yet, or `crashed` if the status is unfinished but no
        process holds the run.
        """
        # Lock before status: a run that ends in between has written its final state and does not look crashed.
        alive = self.alive()
        status = self.status()
        state = "new" if status is None else status.state
        if alive and state not in UNFINISHED:
            # A process holds the run and has not written its status yet.
            state = "starting"
        elif not alive and state in UNFINISHED:
            state = "crashed"
        return state, status

    def process_id(self) -> int | None:
        """Return the pid of the process that wrote the status if it still exists on this machine."""
        status = self.status()
        return status.pid if status is not None and _is_behind(status) else None

    def delete(self) -> None:
        """Delete the run with its checkpoints; for a symbolic link to a run, delete only the link.

        UsageError if a process holds the run or it cannot be deleted.
        """
        if self.alive():
            raise UsageError(
                f"run {self.name} is running: '{self.typed('runs', 'stop')}' first, then delete it"
            )
        # Renamed to a hidden name first, so that a listing never shows a partly deleted run.
        doomed = self.path.with_name(f".{self.name}.{os.getpid()}.removed.partial")
        try:
            with self.lock():
                self.path.rename(doomed)
            remove_tree(doomed)
        except OSError as error:
            raise UsageError(
                f"run {self.name} cannot be deleted: {error.filename}: {error.strerror}"
            ) from error

    def write_status(self, state: str, step: int | None) -> None:
        """Write the status with a heartbeat of now and this process; without a step, keep the previous one."""
        assert state in STATES, state
        if step is None:
            before = self.status()
            step = before.step if before is not None else 0
        status = Status(
            state=state,
            step=step,
            pid=os.getpid(),
            host=socket.gethostname(),
            heartbeat=time.time(),
            process_identity=own_identity(),
        )
        atomic_write(self.path / "status.json", json.dumps(asdict(status)).encode())

    def status(self) -> Status | None:
        """Return the status that the process wrote last; None if there is none, or one of another version."""
        try:
            values = _read_json(self.path / "status.json")
        except OSError:
            return None
        if values is None or values.get("v") != VERSION:
            return None
        try:
            return msgspec.convert(values, Status)
        except msgspec.ValidationError:
            return None

    def step_directory(self, step: int) -> Path:
        """Return the folder of the checkpoint of `step`, which exists once the checkpoint is complete."""
        return self.path / f"step-{step:09d}"

    def steps(self) -> tuple[int, ...]:
        """Return the steps with a checkpoint folder, ascending."""
        try:
            found = [_STEP.fullmatch(path.name) for path in self.path.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return ()
        return tuple(sorted(int(match[1]) for match in found if match))

    def write_latest(self, step: int) -> None:
        """Make a complete checkpoint the one that a resume loads."""
        self._point("latest.json", Pointer(step=step))

    def write_best(self, step: int, loss: float | None = None) -> None:
        """Make a complete checkpoint the one that is evaluated and exported."""
        self._point("best.json", Pointer(step=step, loss=loss))

    def latest(self) -> Pointer | None:
        """Return the latest checkpoint; None if none was promoted yet. CheckpointError if the file is damaged."""
        return self._pointer("latest.json")

    def best(self) -> Pointer | None:
        """Return the best checkpoint; None if none was promoted yet. CheckpointError if the file is damaged."""
        return self._pointer("best.json")

    def latest_step(self) -> int | None:
        pointer = self.latest()
        return None if pointer is None else pointer.step

    def best_step(self) -> int | None:
        pointer = self.best()
        return None if pointer is None else pointer.step

    def prune(self, keep: int) -> tuple[int, ...]:
        """Remove all checkpoints except the `keep` newest, the latest and the best; return the removed steps."""
        steps = self.steps()
        wanted = {pointer.step for pointer in (self.latest(), self.best()) if pointer is not None}
        removed = tuple(step for step in steps[: max(0, len(steps) - keep)] if step not in wanted)
        for step in removed:
            # Renamed first, so that a folder under its own name is always complete.
            doomed = self.path / f"{self.step_directory(step).name}.removed.partial"
            self.step_directory(step).rename(doomed)
            remove_tree(doomed)
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
        try:
            if values is not None and values.get("v") == VERSION:
                return msgspec.convert(values, Pointer)
        except msgspec.ValidationError:
            pass
        raise CheckpointError(f"{path} is damaged or of another version than {VERSION}")


def run_directories(runs_dir: Path) -> list[RunDirectory]:
    """Return every run in the folder, newest first. UsageError if the folder cannot be read."""
    try:
        paths = [path for path in runs_dir.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{runs_dir} cannot be read as a folder of runs: {error.strerror}") from error
    found = [(begun, path) for path in paths if (begun := _begun(path)) is not None]
    found.sort(key=lambda item: (item[0], item[1].name), reverse=True)
    return [RunDirectory(path) for _, path in found]


def _begun(path: Path) -> int | None:
    """Return when the run in `path` was created, in ns since 1970; None if there is no run."""
    try:
        made = (path / "run.toml").stat()
    except OSError:
        return None
    return made.st_mtime_ns if stat.S_ISREG(made.st_mode) else None


def name_problem(runs_dir: Path, name: str) -> str | None:
    """Return why a new run in `runs_dir` cannot have this name: a sentence, or None if it can."""
    if not _NAME.fullmatch(name):
        return f"run name '{name}': expected at most 100 letters, digits and ._+-, beginning with a letter or digit"
    if (runs_dir / name).exists():
        return (
            f"run '{name}' exists in {runs_dir}: '{shell_command(runs_dir, 'train', '--resume', name)}' resumes "
            "it; or choose another --name"
        )
    return None


def _new_folder(runs_dir: Path, name: str | None, preset: str) -> Path:
    if name is not None:
        path = runs_dir / name
        try:
            path.mkdir()
        except FileExistsError:
            # Another process created it since the check.
            raise UsageError(name_problem(runs_dir, name)) from None
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


def _is_behind(status: Status) -> bool:
    """Return whether the process that wrote the status still exists on this machine; a reused pid does not count."""
    if status.host != socket.gethostname() or status.state not in UNFINISHED:
        return False
    return bool(status.process_identity) and process_identity(status.pid) == status.process_identity


def _beats_elsewhere(status: Status) -> bool:
    """Return whether another machine reported the run as unfinished within the last `FRESH_SECONDS`."""
    return (
        status.host != socket.gethostname()
        and status.state in UNFINISHED
        and abs(time.time() - status.heartbeat) < FRESH_SECONDS
    )
