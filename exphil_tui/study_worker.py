"""The workers of a study: by which command one joins in, starting one, and asking those of this machine to end.

In: a study's folder. Out: a command line as a person would type it, and a process in a session of its own. What a
reader gets wrong: the worker is nobody's child to wait for. It goes on when the workbench ends, and its runs go on
when it ends.
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
from exphil_core.runs.commands import typed_command
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.log_end import last_lines
from exphil_core.studies.study_file import study_names
from exphil_tui.study_journal import StudyJournal
from exphil_tui.study_sight import STUDIES, StudySight
from exphil_tui.study_watch import JOURNAL

LOG = "worker.log"

_LINE_LETTERS = 400

_QUICK, _REPLAYS = "-quick", "-replays"
_ENDED_AS_ASKED = (0, 75)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCommand:
    """`exphil study run …`"""

    study: str
    """A name or a file."""
    runs_dir: Path
    quick: bool = False
    seeds: tuple[int, ...] = ()
    """Empty: those of the study's file."""
    replays: tuple[str, ...] = ()
    """Empty: the dojo's games."""
    called: str | None = None
    """The study's folder, where it is not called after its study and form."""

    @property
    def name(self) -> str:
        """Of the study's folder."""
        own = Path(self.study).stem if "/" in self.study else self.study
        return self.called or own + _QUICK * self.quick + _REPLAYS * bool(self.replays)

    @property
    def folder(self) -> Path:
        return self.runs_dir / STUDIES / self.name

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows `exphil`."""
        return (
            *("study", "run", self.study),
            *(("--quick",) if self.quick else ()),
            *(("--replays", *self.replays) if self.replays else ()),
            *(("--seeds", ",".join(map(str, self.seeds))) if self.seeds else ()),
            *(("--name", self.called) if self.called else ()),
            *("--runs-dir", str(self.runs_dir)),
        )

    @property
    def line(self) -> str:
        """As one types it."""
        return shlex.join(("exphil", *self.arguments))


def command_of(sight: StudySight, runs_dir: Path) -> StudyCommand:
    """The command that goes on with a study that was begun. UsageError where its folder does not tell it."""
    described = _described(sight)
    told = {seed for seed in _listed(described, "seeds") if isinstance(seed, int)}
    seeds = {run.trial.seed for run in sight.runs} | told
    study = described.get("study")
    if isinstance(study, str):
        replays = tuple(str(path) for path in _listed(described, "replays"))
        found = StudyCommand(study=study, runs_dir=runs_dir, quick=sight.quick, replays=replays)
        _refuse_what_cannot_go_on(found, sight)
        found = replace(found, called=None if found.name == sight.name else sight.name)
    else:
        found = _by_name(sight, runs_dir)
    return replace(found, seeds=tuple(sorted(seeds)))


def _described(sight: StudySight) -> Mapping[str, Any]:
    """What its worker kept of the study; empty where that cannot be read."""
    journal = StudyJournal(sight.folder / JOURNAL)
    with suppress(OSError):
        journal.look()
    return journal.described


def _listed(described: Mapping[str, Any], key: str) -> list[Any]:
    found = described.get(key)
    return found if isinstance(found, list) else []


def _refuse_what_cannot_go_on(command: StudyCommand, sight: StudySight) -> None:
    typed = typed_command(command.runs_dir, "study", "run", "FILE", "--name", sight.title)
    goes_on = f"'{typed}' goes on with it"
    shown = sanitise(command.study, limit=_LINE_LETTERS)
    if "/" not in command.study and command.study not in study_names():
        raise UsageError(f"{sight.title}: no study {shown} comes with this exphil: {goes_on}")
    if "/" in command.study and not Path(command.study).is_file():
        raise UsageError(f"{sight.title}: its file {shown} is not there: {goes_on}")
    for run in sight.runs:
        begun = run.trial.run.removesuffix(f".{run.trial.variant}.{run.trial.seed}")
        if begun != sight.name:
            raise UsageError(
                f"{sight.title}: its runs are those of {sanitise(begun, limit=_LINE_LETTERS)}, so its folder has "
                "another name now: give it that name back to go on with it"
            )


def _by_name(sight: StudySight, runs_dir: Path) -> StudyCommand:
    """From its folder's name, of a study that was begun before workers kept by which command."""
    name = sight.name
    of_replays = name.endswith(_REPLAYS)
    stem = name.removesuffix(_REPLAYS)
    quick = stem.endswith(_QUICK)
    stem = stem.removesuffix(_QUICK)
    if stem not in study_names() or quick != sight.quick:
        typed = typed_command(runs_dir, "study", "run", "FILE", "--name", sight.title)
        raise UsageError(
            f"{sight.title} is no name of a study that comes with exphil, so its file is not known here: '{typed}' "
            "goes on with it"
        )
    replays: tuple[str, ...] = ()
    if of_replays and not (replays := _replays_of(sight, runs_dir)):
        words = ("study", "run", stem, *(("--quick",) if quick else ()), "--replays", "REPLAYS")
        raise UsageError(
            f"no run of {sight.title} is there to say which replays it learns from: "
            f"'{typed_command(runs_dir, *words)}' goes on with it"
        )
    return StudyCommand(study=stem, runs_dir=runs_dir, quick=quick, replays=replays)


def _replays_of(sight: StudySight, runs_dir: Path) -> tuple[str, ...]:
    for run in sight.runs:
        with suppress(ExphilError, OSError):
            return RunDirectory.open(runs_dir / run.trial.run).preset().data.replays
    return ()


class StartedWorker:
    """A worker that was started here; it needs nobody to look at it."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, begins: int) -> None:
        self._process, self._log, self._begins = process, log, begins
        # Who waits for it is the system once we are gone; until then it would stay as a zombie.
        threading.Thread(target=process.wait, name=f"reaper of {process.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def last_line(self) -> str:
        """What it said last."""
        said = [line.strip() for line in last_lines(self._log, 3, after=self._begins) if line.strip()]
        return sanitise(said[-1], limit=_LINE_LETTERS) if said else ""

    @property
    def problem(self) -> str:
        """Why it ended before it was through, in a sentence, where nobody had asked it to."""
        code = self._process.poll()
        if code is None or code in _ENDED_AS_ASKED:
            return ""
        return self.last_line or f"The worker ended with exit code {code} and said nothing."


def start(command: StudyCommand) -> StartedWorker:
    """A worker in a session of its own, which says in the study's folder what it does. OSError where it cannot be."""
    command.folder.mkdir(parents=True, exist_ok=True)
    log = command.folder / LOG
    with log.open("ab") as output:
        begins = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "exphil_tui", *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return StartedWorker(process, log, begins)


def stop(folder: Path) -> int:
    """Asks the study's workers on this machine to save and end; how many there are that have a run now."""
    asked = 0
    for path in (folder / "claims").glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(path.read_bytes())
            pid = int(said["pid"])
            here = said["host"] == socket.gethostname() and is_held(path.with_suffix(".lock"))
            if here and _is_worker(pid):
                os.kill(pid, signal.SIGTERM)
                asked += 1
    return asked


def _is_worker(pid: int) -> bool:
    """A number in a file may be another process's by now."""
    import psutil

    try:
        command = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return "study" in command and "run" in command
