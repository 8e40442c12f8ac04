"""Exclusive inter-process file locks (flock), released by the system when the holding process ends.

A lock file's content only names the holder for messages; a file without a lock on it means nothing.
"""

import fcntl
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from exphil_core.errors import UsageError

_TRIES, _PAUSE_S = 10, 0.05
"""`is_held` takes the lock for an instant, so a failed attempt is repeated before it counts as held."""


@contextmanager
def hold(path: Path, what: str, *, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock for this process while the block runs.

    Args:
        what: Subject of sentences about the lock, such as "run NAME".
        waiting: Without it, a lock held by another process raises UsageError. With it, `hold` waits for that
            process to end and calls `waiting` with a sentence, once per holder.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(handle, what, waiting)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock now. OSError on a file system without locks."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _acquire(handle: int, what: str, waiting: Callable[[str], None] | None) -> None:
    told = ""
    for tries in itertools.count(1):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        if tries < _TRIES:
            continue
        holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
        if waiting is None:
            raise UsageError(f"{what} is held by {holder}: wait for it, or stop it first")
        if holder != told:
            waiting(f"{what} is held by {holder}: waiting for it to end")
            told = holder
