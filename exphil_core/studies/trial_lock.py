"""Claim on a trial: a file lock that ends with its process, and a heartbeat for other machines.

A claim identifies the worker of a run; the storage has the run's progress. A machine may not see another's
lock, so there the heartbeat decides, and a claim is free once its heartbeat has lapsed.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from exphil_core.atomic import atomic_write
from exphil_core.runs.directory import FRESH_SECONDS

BEAT_SECONDS = 5.0


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold a file lock; wait for it where another process has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Claim:
    """A claim on a run, held from `take` to `release` or to the end of the process."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle
        self._released = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._beats, name=f"claim {path.stem}", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, folder: Path, run: str) -> "Claim | None":
        """Claim the run; return None where a live process has it."""
        path = folder / f"{run}.json"
        if _beats_elsewhere(path):
            return None
        handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        return cls(path, handle)

    def release(self) -> None:
        self._released.set()
        self._thread.join()
        # Removed before the unlock, so that other machines need not wait for the heartbeat to lapse.
        self._path.unlink(missing_ok=True)
        os.close(self._handle)

    def _beats(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            # A full disk does not end a run; the lock still holds.
            with suppress(OSError, ValueError):
                self._beat()

    def _beat(self) -> None:
        claim = {"pid": os.getpid(), "host": socket.gethostname(), "heartbeat": time.time()}
        atomic_write(self._path, json.dumps(claim).encode())


def claimed_here(folder: Path) -> int:
    """Count the runs that processes of this machine work on."""
    beating = [claim for path in folder.glob("*.json") if (claim := _read_claim(path)) is not None]
    return sum(host == socket.gethostname() and _fresh(heartbeat) for host, heartbeat in beating)


def _beats_elsewhere(path: Path) -> bool:
    claim = _read_claim(path)
    return claim is not None and claim[0] != socket.gethostname() and _fresh(claim[1])


def _fresh(heartbeat: float) -> bool:
    return abs(time.time() - heartbeat) < FRESH_SECONDS


def _read_claim(path: Path) -> tuple[str, float] | None:
    try:
        values = json.loads(path.read_bytes())
        return str(values["host"]), float(values["heartbeat"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
