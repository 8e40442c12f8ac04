"""A run's folder: what it is, how it stands, who holds it, and which of its checkpoints count.

In: a folder of runs and a name. Out: a `RunDirectory`, whose files are the contract between whoever writes a
run and whoever watches it. What a reader gets wrong: `status.json` is what the process said last; whether
there still is a process, `alive()` knows, and a heartbeat that is long past proves nothing: the machine may have
slept. A checkpoint's own files are the trainer's; here are only their
names, and which is the latest and which the best.
"""

import json
import os
import re
import socket
import stat
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from exphil_core.atomic import atomic_write, fsync_directory, remove_tree, room_on_disk
from exphil_core.config.toml import write_toml
from exphil_core.errors import CheckpointError, UsageError
from exphil_core.lock import hold, is_held
from exphil_core.replays.text import is_text, storable
from exphil_core.runs.commands import typed_command
from exphil_core.runs.process import own_identity, process_identity
from exphil_core.runs.provenance import git_revision, package_versions

if TYPE_CHECKING:
    from exphil_core.config.preset import Preset

VERSION = 1

UNFINISHED = ("starting", "running", "paused")
"""States that a process is behind. Where there is none, the run crashed and can be resumed."""

STATES = (*UNFINISHED, "done", "stopped", "preempted", "diverged", "failed")

FRESH_SECONDS = 30.0
"""A heartbeat of another machine is believed for so long, be it by a clock that runs ahead or behind."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_STEP = re.compile(r"step-(\d{9,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the process behind a run last said of itself."""

    state: str
    """One of `STATES`."""
    step: int
    pid: int
    host: str
    heartbeat: float
    """Seconds since 1970."""
    process_identity: str = ""
    """Of `runs.process`; tells it from a later process with the same pid. Empty where an older exphil wrote it."""
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
        self.toml_path = path / "run.toml"
        """What the run is; `exphil train --preset` takes it, too."""

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
        """A new run, named `preset-YYYYMMDD-HHMMSS` unless told otherwise, with its `run.toml`.

        `sources` are the paths that the dataset was built from; `reasons` say what was picked for the data and the
        machine, and why. UsageError for a name that is taken, or that a folder cannot have.
        """
        # Presets take a tenth of a second to import; whoever only looks at a run need not wait for them.
        from exphil_core.config.preset import plain_values

        if name is not None and (problem := name_problem(runs_dir, name)) is not None:
            raise UsageError(problem)
        if not is_text(str(dataset)):
            raise UsageError(
                f"{storable(str(dataset))}: the name of the dataset's folder is not UTF-8, and run.toml holds text "
                "only; build it with --out FOLDER, or set EXPHIL_CACHE, where the name is"
            )
        described: dict[str, object] = {
            "v": VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "dataset": {
                "path": str(dataset),
                "fingerprint": fingerprint,
                "sources": list(map(storable, sources)),
            },
            "packages": package_versions(),
            "reasons": list(reasons),
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
                raise UsageError(f"no run in {runs_dir} yet; '{typed_command(runs_dir, 'train')}' starts one")
            return runs[0]
        for path in (runs_dir / name, Path(name)):
            if (path / "run.toml").is_file():
                return cls(path)
        near = get_close_matches(name, [run.name for run in runs], n=1)
        listing = typed_command(runs_dir, "runs", "list")
        hint = f"did you mean '{near[0]}'?" if near else f"'{listing}' shows what is there"
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
            values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is damaged: {error}") from error
        except FileNotFoundError as error:
            raise UsageError(f"{path} is gone: the run was deleted or moved") from error
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        if values.get("v") != VERSION:
            raise UsageError(f"{path} is of version {values.get('v')}; this exphil reads version {VERSION}")
        for table, keys in (("preset", ()), ("dataset", ("path", "fingerprint"))):
            found = values.get(table)
            if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in keys):
                needed = " and ".join(keys)
                raise UsageError(
                    f"{path} is damaged: expected a table [{table}]{needed and f' with {needed}'}"
                )
        return values

    def preset(self) -> "Preset":
        """The preset that the run was started with, fully resolved."""
        from exphil_core.config.loader import preset_from_tables

        return preset_from_tables(self.described()["preset"], where=str(self.path / "run.toml"))

    def dataset_path(self) -> Path:
        """The dataset that the run learns from."""
        return Path(self.described()["dataset"]["path"])

    def dataset_fingerprint(self) -> str:
        """Of that dataset as it was when the run began."""
        return str(self.described()["dataset"]["fingerprint"])

    def dataset_sources(self) -> tuple[str, ...]:
        """The replays, folders and archives that it was built from; none where an older exphil made the run."""
        return tuple(map(str, self.described()["dataset"].get("sources", ())))

    def typed(self, *words: str) -> str:
        """The command of these words about this run, as it is typed from the folder that exphil runs in."""
        return typed_command(self.path.parent, *words, self.name)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process. UsageError, naming the other process, where another holds it."""
        status = self.status()
        if status is not None and _beats_elsewhere(status):
            raise UsageError(
                f"run {self.name} is held by process {status.pid} on {status.host}, which was heard of "
                f"{abs(time.time() - status.heartbeat):.0f} s ago: wait for it, or stop it first"
            )
        with hold(self.path / "lock", f"run {self.name}"):
            yield

    def alive(self) -> bool:
        """Whether a process holds the run now, on this machine or on another that shares the folder."""
        status = self.status()
        try:
            if is_held(self.path / "lock"):
                return True
        except OSError:
            # A folder without locks, or that is not ours to open: go by the process.
            return status is not None and (_is_behind(status) or _beats_elsewhere(status))
        # A lock is not always seen from another machine, a heartbeat is.
        return status is not None and _beats_elsewhere(status)

    def standing(self) -> tuple[str, Status | None]:
        """(how the run stands as seen from outside, what its process said last).

        One of `STATES`; or `new` where nobody said anything yet, `crashed` where it was to go on and nobody holds it.
        """
        # The lock before the status: a run that ends in between has said how, and is not taken for a crashed one.
        alive = self.alive()
        status = self.status()
        state = "new" if status is None else status.state
        if alive and state not in UNFINISHED:
            # A process holds it and has yet to say so.
            state = "starting"
        elif not alive and state in UNFINISHED:
            state = "crashed"
        return state, status

    def process_id(self) -> int | None:
        """Of the process that last spoke for the run, where it still is there, on this machine."""
        status = self.status()
        return status.pid if status is not None and _is_behind(status) else None

    def delete(self) -> None:
        """Removes the run and all that was learned; of a link to a run, the link alone.

        UsageError where a process holds the run or it cannot be removed.
        """
        if self.alive():
            raise UsageError(
                f"run {self.name} is going on: '{self.typed('runs', 'stop')}' first, then delete it"
            )
        # Hidden first: who lists the runs never meets half of one.
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
        """Says how the run stands; the heartbeat is now, the process this one. Without a step: as before."""
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
        """What the process said last; None where it never did, or said it to another version."""
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
        """Where the checkpoint of `step` lies, once it is complete."""
        return self.path / f"step-{step:09d}"

    def steps(self) -> tuple[int, ...]:
        """Steps with a checkpoint directory, ascending."""
        try:
            found = [_STEP.fullmatch(path.name) for path in self.path.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return ()
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
    """Every run in the folder, the newest first. UsageError where the folder cannot be read."""
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
    """When the run in `path` was made, in ns since 1970; None where there is none, or none any more."""
    try:
        made = (path / "run.toml").stat()
    except OSError:
        return None
    return made.st_mtime_ns if stat.S_ISREG(made.st_mode) else None


def name_problem(runs_dir: Path, name: str) -> str | None:
    """Why a new run in `runs_dir` cannot have this name: a sentence, or None where it can."""
    if not _NAME.fullmatch(name):
        return f"run name '{name}': expected at most 100 letters, digits and ._+-, beginning with a letter or digit"
    if (runs_dir / name).exists():
        return (
            f"run '{name}' exists in {runs_dir}: '{typed_command(runs_dir, 'train', '--resume', name)}' goes on with "
            "it; or choose another --name"
        )
    return None


def _new_folder(runs_dir: Path, name: str | None, preset: str) -> Path:
    if name is not None:
        path = runs_dir / name
        try:
            path.mkdir()
        except FileExistsError:
            # Made by another since we looked.
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
    """Whether the process that said this is there, on this machine; a later one with its pid is another."""
    if status.host != socket.gethostname() or status.state not in UNFINISHED:
        return False
    return bool(status.process_identity) and process_identity(status.pid) == status.process_identity


def _beats_elsewhere(status: Status) -> bool:
    """Whether another machine said within the last seconds that the run goes on."""
    return (
        status.host != socket.gethostname()
        and status.state in UNFINISHED
        and abs(time.time() - status.heartbeat) < FRESH_SECONDS
    )
