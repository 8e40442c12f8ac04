"""Study workers: build their command, start one, and stop those on this machine.

A worker is detached: it keeps running when the workbench exits, and its runs keep running when it exits.
"""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from exphil_core.errors import ExphilError, UsageError
from exphil_core.lock import is_held
from exphil_core.replays.text import sanitise
from exphil_core.runs.commands import shell_command
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.log_tail import last_lines
from exphil_core.studies.study_file import study_names
from exphil_tui.model.study_snapshot import STUDIES, StudySnapshot
from exphil_tui.services.study_journal import StudyJournal
from exphil_tui.services.study_watch import JOURNAL

LOG = "worker.log"

_LINE_LETTERS = 400

_QUICK, _REPLAYS = "-quick", "-replays"
_EXPECTED_EXIT_CODES = (0, 75)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCommand:
    """Command line `exphil study run …`."""

    study: str
    """A study's name or the path of its file."""
    runs_dir: Path
    quick: bool = False
    seeds: tuple[int, ...] = ()
    """Empty: the seeds of the study's file."""
    replays: tuple[str, ...] = ()
    """Replay paths; empty: the dojo's games."""
    custom_name: str | None = None
    """Folder name (`--name`), if it differs from the default name."""

    @property
    def name(self) -> str:
        """Name of the study's folder."""
        own = Path(self.study).stem if "/" in self.study else self.study
        return self.custom_name or own + _QUICK * self.quick + _REPLAYS * bool(self.replays)

    @property
    def folder(self) -> Path:
        return self.runs_dir / STUDIES / self.name

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments after `exphil`."""
        return (
            *("study", "run", self.study),
            *(("--quick",) if self.quick else ()),
            *(("--replays", *self.replays) if self.replays else ()),
            *(("--seeds", ",".join(map(str, self.seeds))) if self.seeds else ()),
            *(("--name", self.custom_name) if self.custom_name else ()),
            *("--runs-dir", str(self.runs_dir)),
        )

    @property
    def line(self) -> str:
        """The full command line, quoted for a shell."""
        return shlex.join(("exphil", *self.arguments))


def command_of(snapshot: StudySnapshot, runs_dir: Path) -> StudyCommand:
    """Build the command that continues a study that was started before.

    Raises:
        UsageError: The study's folder does not say which command that is.
    """
    described = _described(snapshot)
    stored = {seed for seed in _listed(described, "seeds") if isinstance(seed, int)}
    seeds = {run.trial.seed for run in snapshot.runs} | stored
    study = described.get("study")
    if isinstance(study, str):
        replays = tuple(str(path) for path in _listed(described, "replays"))
        found = StudyCommand(study=study, runs_dir=runs_dir, quick=snapshot.quick, replays=replays)
        _refuse_unknown_study(found, snapshot)
        found = replace(found, custom_name=None if found.name == snapshot.name else snapshot.name)
    else:
        found = _by_name(snapshot, runs_dir)
    return replace(found, seeds=tuple(sorted(seeds)))


def _described(snapshot: StudySnapshot) -> Mapping[str, Any]:
    """Read the attributes that the worker stored for the study; empty if they cannot be read."""
    journal = StudyJournal(snapshot.folder / JOURNAL)
    with suppress(OSError):
        journal.poll()
    return journal.described


def _listed(described: Mapping[str, Any], key: str) -> list[Any]:
    found = described.get(key)
    return found if isinstance(found, list) else []


def _refuse_unknown_study(command: StudyCommand, snapshot: StudySnapshot) -> None:
    typed = shell_command(command.runs_dir, "study", "run", "FILE", "--name", snapshot.title)
    hint = f"'{typed}' continues it"
    shown = sanitise(command.study, limit=_LINE_LETTERS)
    if "/" not in command.study and command.study not in study_names():
        raise UsageError(f"{snapshot.title}: this exphil ships no study {shown}; {hint}")
    if "/" in command.study and not Path(command.study).is_file():
        raise UsageError(f"{snapshot.title}: its file {shown} does not exist; {hint}")
    for run in snapshot.runs:
        study = run.trial.run.removesuffix(f".{run.trial.variant}.{run.trial.seed}")
        if study != snapshot.name:
            raise UsageError(
                f"{snapshot.title}: its runs belong to {sanitise(study, limit=_LINE_LETTERS)}, so its folder was "
                "renamed; restore that name to continue it"
            )


def _by_name(snapshot: StudySnapshot, runs_dir: Path) -> StudyCommand:
    """Derive the command from the folder's name, for a study of a version whose workers did not store it."""
    name = snapshot.name
    of_replays = name.endswith(_REPLAYS)
    stem = name.removesuffix(_REPLAYS)
    quick = stem.endswith(_QUICK)
    stem = stem.removesuffix(_QUICK)
    if stem not in study_names() or quick != snapshot.quick:
        typed = shell_command(runs_dir, "study", "run", "FILE", "--name", snapshot.title)
        raise UsageError(
            f"{snapshot.title} is not a study shipped with exphil, so its file is unknown; '{typed}' continues it"
        )
    replays: tuple[str, ...] = ()
    if of_replays and not (replays := _replays_of(snapshot, runs_dir)):
        words = ("study", "run", stem, *(("--quick",) if quick else ()), "--replays", "REPLAYS")
        raise UsageError(
            f"{snapshot.title} has no run that names its replays; '{shell_command(runs_dir, *words)}' continues it"
        )
    return StudyCommand(study=stem, runs_dir=runs_dir, quick=quick, replays=replays)


def _replays_of(snapshot: StudySnapshot, runs_dir: Path) -> tuple[str, ...]:
    for run in snapshot.runs:
        with suppress(ExphilError, OSError):
            return RunDirectory.open(runs_dir / run.trial.run).preset().data.replays
    return ()


class StartedWorker:
    """A worker process started by this workbench."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, log_offset: int) -> None:
        self._process, self._log, self._log_offset = process, log, log_offset
        # Reap the process when it exits; otherwise it stays a zombie while the workbench runs.
        threading.Thread(target=process.wait, name=f"reaper of {process.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def last_line(self) -> str:
        """The last line of its output."""
        lines = [line.strip() for line in last_lines(self._log, 3, after=self._log_offset) if line.strip()]
        return sanitise(lines[-1], limit=_LINE_LETTERS) if lines else ""

    @property
    def problem(self) -> str:
        """Why the worker exited early, as a sentence; empty if it runs, finished or was stopped."""
        code = self._process.poll()
        if code is None or code in _EXPECTED_EXIT_CODES:
            return ""
        return self.last_line or f"The worker exited with code {code} and printed nothing."


def start(command: StudyCommand) -> StartedWorker:
    """Start a worker in its own session, with its output in the study's folder.

    Raises:
        OSError: The worker cannot be started.
    """
    command.folder.mkdir(parents=True, exist_ok=True)
    log = command.folder / LOG
    with log.open("ab") as output:
        log_offset = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "exphil_tui", *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return StartedWorker(process, log, log_offset)


def stop(folder: Path) -> int:
    """Ask the study's workers on this machine to save and exit; return how many were asked.

    Only workers that currently hold a run are asked.
    """
    stopping = 0
    for path in (folder / "claims").glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            claim = json.loads(path.read_bytes())
            pid = int(claim["pid"])
            here = claim["host"] == socket.gethostname() and is_held(path.with_suffix(".lock"))
            if here and _is_worker(pid):
                os.kill(pid, signal.SIGTERM)
                stopping += 1
    return stopping


def _is_worker(pid: int) -> bool:
    """Return whether `pid` is a study worker; a pid read from a file may have been reused."""
    import psutil

    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return "study" in command and "run" in command
