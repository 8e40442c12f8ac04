"""A run's pilot from outside its process: its files, its status, and how to start and stop it.

The pilot (`exphil_core.pilot`) is a separate process that plays held-out games with the run's newest weights and
measures their latency. It owns its folder except `weights.safetensors`, which the trainer writes. A status without a
held lock belongs to a pilot that has ended.
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
"""End condition of a pilot. `run`: with the run. `stdin`: with its standard input, and so with its parent process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotStatus:
    """What a pilot writes about itself when it starts."""

    pid: int
    host: str
    device: str
    """`cpu` or `cuda`."""
    runtime: str = ""
    """Runtime that plays, a name of `inference.runtimes`. Empty from older exphils."""
    process_identity: str = ""
    """From `runs.process`; distinguishes it from a later process with the same pid. Empty from older exphils."""
    v: int = VERSION


class PilotDirectory:
    """The folder `pilot` of one run, which may not exist yet."""

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
        """Return whether a pilot is playing now."""
        try:
            return is_held(self.lock_path)
        except OSError:
            # The file system has no locks, or the lock cannot be opened: check the process instead.
            return self.process() is not None

    def status(self) -> PilotStatus | None:
        """Return the status of the last pilot; None if there is none, or one of another version."""
        try:
            values = json.loads(self.status_path.read_bytes())
            found = msgspec.convert(values, PilotStatus)
        except (OSError, ValueError):
            return None
        return found if found.v == VERSION else None

    def write_status(self, device: str, runtime: str) -> None:
        """Write the status with this process as the pilot."""
        status = PilotStatus(
            pid=os.getpid(),
            host=socket.gethostname(),
            device=device,
            runtime=runtime,
            process_identity=own_identity(),
        )
        atomic_write(self.status_path, json.dumps(asdict(status)).encode())

    def process(self) -> psutil.Process | None:
        """Return the pilot's process if it still exists on this machine."""
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
        """Send SIGTERM to the pilot. False if there is none, or none that can be signalled from here."""
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
    eager: bool = False,
) -> list[str]:
    """Return the command line that starts a pilot of the run; it works from any folder.

    Args:
        threads: CPU threads of the pilot.
        until: When the pilot ends by itself.
        frames: Number of frames to play; None for no limit.
        replay: Replay to play instead of the run's held-out games.
        eager: Play in eager torch, also where ONNX Runtime is installed: ready seconds earlier.
    """
    found = [sys.executable, "-m", "exphil_core.pilot", str(run.path.absolute())]
    found += ["--device", device, "--threads", str(threads)]
    if until is not None:
        found += ["--until", until]
    if frames is not None:
        found += ["--frames", str(frames)]
    if replay is not None:
        found += ["--replay", str(replay.absolute())]
    if eager:
        found.append("--eager")
    return found
