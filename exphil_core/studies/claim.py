"""Who works on a variant now: a lock that ends with its process, and a heartbeat for other machines.

In: a folder and the name of a run. Out: a `Claim`, or None where somebody alive has it. What a reader gets wrong: a
claim says who works, not how far the work is (the storage does); a machine does not always see another's lock, so
there the heartbeat counts, and a claim is free once that has lapsed.
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
    """Holds the lock for a short while, after whoever has it now."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Claim:
    """Held from `take` to `release`, or to the end of the process."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle
        self._released = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._beats, name=f"claim {path.stem}", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, folder: Path, run: str) -> "Claim | None":
        """The claim on that run; None where a live process has it."""
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
        # Taken away first: who finds neither a heartbeat nor a lock need not wait for the one to lapse.
        self._path.unlink(missing_ok=True)
        os.close(self._handle)

    def _beats(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            # A disk that is full for a while ends no run; the lock still holds.
            with suppress(OSError, ValueError):
                self._beat()

    def _beat(self) -> None:
        said = {"pid": os.getpid(), "host": socket.gethostname(), "heartbeat": time.time()}
        atomic_write(self._path, json.dumps(said).encode())


def claimed_here(folder: Path) -> int:
    """How many runs processes of this machine work on."""
    beating = [said for path in folder.glob("*.json") if (said := _said(path)) is not None]
    return sum(host == socket.gethostname() and _fresh(heartbeat) for host, heartbeat in beating)


def _beats_elsewhere(path: Path) -> bool:
    said = _said(path)
    return said is not None and said[0] != socket.gethostname() and _fresh(said[1])


def _fresh(heartbeat: float) -> bool:
    return abs(time.time() - heartbeat) < FRESH_SECONDS


def _said(path: Path) -> tuple[str, float] | None:
    try:
        values = json.loads(path.read_bytes())
        return str(values["host"]), float(values["heartbeat"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
