"""Commands to a running run: one small file each in `RUN/control/`, answered by `command` events.

The run's process takes the files in order of sending and answers: received, then done or refused with a reason. A
command is addressed to the process that held the run when it was sent; no later process executes it. If the folder
cannot be written, `stop` is sent as a signal instead.
"""

import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from exphil_core.atomic import atomic_write
from exphil_core.errors import DiskFullError, UsageError
from exphil_core.runs.directory import UNFINISHED, RunDirectory, Status
from exphil_core.runs.process import own_identity
from exphil_core.suggest import suggestion

VERSION = 2

COMMANDS = ("pause", "resume", "checkpoint", "stop")

ENDED_PROCESS = "sent to a process that had ended"

_SUFFIX = ".json"
_NUMBER_DIGITS = 20
_LARGEST = 4096
"""Maximum size in bytes of a command's file."""

_EVENTS_END = 1 << 18
"""Bytes at the end of the events that are searched for an answer."""

_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command found in `control/`."""

    id: str
    command: str
    refusal: str = ""
    """Why the command is refused whatever the run is doing; empty if it may be executed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The newest known answer to a command."""

    state: str
    """sent (not received yet), received, done, refused, or ended (the process ended without an answer)."""
    reason: str = ""


def send(run: RunDirectory, command: str) -> str:
    """Send a command to the run's process and return its id, as `answer` and the events use it.

    The id is empty if a signal was sent instead of a file. UsageError if the command makes no sense now.
    """
    if command not in COMMANDS:
        raise UsageError(f"unknown command '{command}'; {suggestion(command, COMMANDS)}")
    if not run.alive():
        raise UsageError(_without_process(run, command))
    status = run.status()
    if status is None or not _is_of_holder(run, status):
        raise UsageError(
            f"run {run.name} is just starting or just ending, and takes no command at this moment: try again"
        )
    if (reason := _senseless(run, status, command)) is not None:
        raise UsageError(reason)
    folder = run.path / "control"
    try:
        if not run.path.is_dir():
            raise FileNotFoundError(2, "the run was deleted", str(run.path))
        folder.mkdir(exist_ok=True)
        id = _next_id(folder)
        content = {
            "v": VERSION,
            "command": command,
            "host": status.host,
            "pid": status.pid,
            "process_identity": status.process_identity,
        }
        atomic_write(folder / f"{id}{_SUFFIX}", json.dumps(content).encode())
    except DiskFullError as error:
        return _signal(run, command, status, str(error), error)
    except OSError as error:
        return _signal(run, command, status, f"{folder}: {error.strerror}", error)
    return id


def answer(
    run: RunDirectory,
    id: str,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Wait up to `seconds` until the command is done, refused or moot, and return its newest answer."""
    deadline = clock() + seconds
    while True:
        # Check before reading: answers written before the end are then in the events.
        over = not run.alive()
        found = _answer_now(run, id)
        if not id and over:
            return Answer(state="done")
        if found.state in ("done", "refused"):
            return found
        if over:
            return Answer(state="ended")
        if clock() >= deadline:
            return found
        sleep(_POLL_SECONDS)


class CommandInbox:
    """The commands in a run's `control/`, for the process that holds the run."""

    def __init__(self, run: RunDirectory) -> None:
        self.folder = run.path / "control"
        self.identity = own_identity()
        self._recipient = (socket.gethostname(), os.getpid(), self.identity)
        self._taken: set[str] = set()

    def waiting(self) -> Iterator[Command]:
        """Yield each command once, in order of sending. Call `discard` after acknowledging one."""
        for name in _waiting_names(self.folder):
            id = name.removesuffix(_SUFFIX)
            if id not in self._taken:
                command = self._read(id)
                if command is not None:
                    yield command

    def discard(self, command: Command) -> None:
        self._taken.add(command.id)
        try:
            (self.folder / f"{command.id}{_SUFFIX}").unlink(missing_ok=True)
        except OSError:
            # The file stays, and the next process refuses it.
            return

    def _read(self, id: str) -> Command | None:
        """Read a command; None if its file is gone."""
        try:
            with (self.folder / f"{id}{_SUFFIX}").open("rb") as file:
                content = file.read(_LARGEST)
        except FileNotFoundError:
            return None
        try:
            values = json.loads(content)
            command = str(values["command"])
            if values.get("v") != VERSION or command not in COMMANDS:
                return Command(id=id, command=command, refusal="this exphil does not know the command")
            recipient = (values["host"], int(values["pid"]), str(values["process_identity"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Command(id=id, command="", refusal="the file is not a command")
        if recipient != self._recipient:
            return Command(id=id, command=command, refusal=ENDED_PROCESS)
        return Command(id=id, command=command)


def _is_of_holder(run: RunDirectory, status: Status) -> bool:
    """Return whether the process that wrote the status is the one running now, as far as this machine can tell."""
    if status.state not in UNFINISHED:
        return False
    return status.host != socket.gethostname() or run.process_id() is not None


def _without_process(run: RunDirectory, command: str) -> str:
    if not run.path.is_dir():
        return f"run {run.name} is gone: {run.path} was deleted or moved"
    status = run.status()
    state = "crashed" if status is not None and status.state in UNFINISHED else "ended"
    stands = f"run {run.name} has no process ({state}), so there is nothing to {command}"
    if command == "resume":
        stands = f"run {run.name} has no process ({state})"
    return f"{stands}; '{run.typed('train', '--resume')}' resumes from its newest checkpoint"


def _senseless(run: RunDirectory, status: Status, command: str) -> str | None:
    """Return why the command makes no sense after those already sent: a sentence, or None."""
    paused, stopping = status.state == "paused", False
    for earlier in _unanswered(run, status.process_identity):
        paused = {"pause": True, "resume": False}.get(earlier, paused)
        stopping = stopping or earlier == "stop"
    if stopping:
        return f"run {run.name} is stopping: it saves at its next step and ends"
    if command == "pause" and paused:
        return f"run {run.name} is paused already; '{run.typed('runs', 'resume')}' resumes it"
    if command == "resume" and not paused:
        return f"run {run.name} is not paused"
    return None


def _unanswered(run: RunDirectory, process: str) -> list[str]:
    """Return the commands sent to this process and not answered yet, in order of sending."""
    open_: dict[str, str] = {}
    for record in _command_events(run):
        id = str(record.get("id", ""))
        if record.get("state") == "received" and record.get("process_identity") == process:
            open_[id] = str(record.get("command"))
        elif record.get("state") in ("done", "refused"):
            open_.pop(id, None)
    inbox = run.path / "control"
    for name in _waiting_names(inbox):
        try:
            values = json.loads((inbox / name).read_bytes())
            if values["process_identity"] == process:
                open_.setdefault(name.removesuffix(_SUFFIX), str(values["command"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return [open_[id] for id in sorted(open_)]


def _answer_now(run: RunDirectory, id: str) -> Answer:
    found = Answer(state="sent")
    for record in _command_events(run):
        if id and record.get("id") == id:
            found = Answer(state=str(record.get("state")), reason=str(record.get("reason") or ""))
    return found


def _command_events(run: RunDirectory) -> list[dict[str, object]]:
    """Return the `command` events in the last `_EVENTS_END` bytes."""
    try:
        with run.events_path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _EVENTS_END))
            lines = [line for line in file.read().split(b"\n") if b'"command"' in line]
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("type") == "command":
            found.append(record)
    return found


def _waiting_names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(_SUFFIX))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _next_id(folder: Path) -> str:
    """Return an id that sorts after all waiting ones, even if the clock was set back."""
    newest = max((_number(name) for name in _waiting_names(folder)), default=0)
    number = max(time.time_ns(), newest + 1)
    return f"{number:0{_NUMBER_DIGITS}d}-{secrets.token_hex(4)}"


def _number(id: str) -> int:
    digits = id[:_NUMBER_DIGITS]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _signal(run: RunDirectory, command: str, status: Status, why: str, cause: Exception) -> str:
    """Send SIGTERM if the command is stop: the run saves and ends, as preempted. Otherwise raise UsageError."""
    cannot = f"run {run.name}: the command '{command}' cannot be left in its folder ({why})"
    if command != "stop":
        raise UsageError(f"{cannot}, and no signal means the same; 'stop' still works by signal") from cause
    if status.host != socket.gethostname():
        raise UsageError(f"{cannot}, and its process is on {status.host}, where no signal reaches") from cause
    if run.process_id() != status.pid:
        raise UsageError(f"{cannot}, and its process is no longer there") from cause
    try:
        psutil.Process(status.pid).terminate()
    except psutil.Error as error:
        raise UsageError(f"{cannot}, and its process {status.pid} takes no signal from you") from error
    return ""
