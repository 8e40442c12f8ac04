"""A run's pilot seen from outside: where its files lie, whether there is one, and how it is started and ended.

In: a run directory. Out: paths, a status, a command line. The pilot is a process of its own beside the run
(`exphil_core.pilot`): it plays a held-out replay with the run's newest weights and measures what a player would feel.

What a reader gets wrong: the folder belongs to the pilot but for one file in it, `weights.safetensors`, which the
trainer writes; and a status without a held lock is that of a pilot which has ended, however it ended.
"""

import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import msgspec
import psutil

from exphil_core.atomic import atomic_write
from exphil_core.lock import is_held
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.process import own_identity, process_identity

VERSION = 1

Until = Literal["run", "stdin"]
"""`run`: the pilot ends when the run does. `stdin`: it ends when its standard input does, and so with its starter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotStatus:
    """What a pilot says of itself when it starts."""

    pid: int
    host: str
    device: str
    """`cpu` or `cuda`."""
    process_identity: str = ""
    """Of `runs.process`; tells it from a later process with the same pid. Empty where an older exphil wrote it."""
    v: int = VERSION


class PilotDirectory:
    """The folder `pilot` of one run, which need not be there yet."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.path = run.path / "pilot"
        self.lock_path = self.path / "lock"
        self.status_path = self.path / "status.json"
        self.events_path = self.path / "events.jsonl"
        self.frames_path = self.path / "frames.ring"
        self.weights_path = self.path / "weights.safetensors"
        self.log_path = self.path / "pilot.log"

    def alive(self) -> bool:
        """Whether a pilot plays now."""
        try:
            return is_held(self.lock_path)
        except OSError:
            # A folder without locks, or that is not ours to open: go by the process.
            return self.process() is not None

    def status(self) -> PilotStatus | None:
        """What the last pilot said; None where none ever did, or one of another version."""
        try:
            values = json.loads(self.status_path.read_bytes())
            found = msgspec.convert(values, PilotStatus)
        except (OSError, ValueError):
            return None
        return found if found.v == VERSION else None

    def write_status(self, device: str) -> None:
        """Says that the pilot is this process."""
        status = PilotStatus(
            pid=os.getpid(),
            host=socket.gethostname(),
            device=device,
            process_identity=own_identity(),
        )
        atomic_write(self.status_path, json.dumps(asdict(status)).encode())

    def process(self) -> psutil.Process | None:
        """The pilot's process, where it still is there, on this machine."""
        status = self.status()
        if status is None or status.host != socket.gethostname() or not status.process_identity:
            return None
        if process_identity(status.pid) != status.process_identity:
            return None
        try:
            return psutil.Process(status.pid)
        except psutil.Error:
            return None

    def stop(self) -> bool:
        """Asks the pilot to end. False where there is none, or none that can be asked from here."""
        process = self.process() if self.alive() else None
        if process is None:
            return False
        try:
            process.terminate()
        except psutil.Error:
            return False
        return True


def command(
    run: RunDirectory,
    *,
    device: str = "auto",
    threads: int = 1,
    until: Until | None = None,
    frames: int | None = None,
    replay: Path | None = None,
) -> list[str]:
    """What starts a pilot of the run: with its output to the pilot's log, wherever it is started from."""
    found = [sys.executable, "-m", "exphil_core.pilot", str(run.path.absolute())]
    found += ["--device", device, "--threads", str(threads)]
    if until is not None:
        found += ["--until", until]
    if frames is not None:
        found += ["--frames", str(frames)]
    if replay is not None:
        found += ["--replay", str(replay.absolute())]
    return found
