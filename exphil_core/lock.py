"""Who holds a run: an exclusive lock that the system lets go of when its process ends, however it ends.

In: the path of a lock file. Out: the lock held for a block, or a UsageError that names who holds it. What a
reader gets wrong: the file's content is only for that sentence; a file without a lock on it means nothing.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exphil_core.errors import UsageError

_TRIES, _PAUSE_S = 10, 0.05
"""Someone who asks `is_held` holds the lock for an instant; that is not another trainer."""


@contextmanager
def hold(path: Path, what: str) -> Iterator[None]:
    """Holds the lock for this process. UsageError where another process does; `what` is its subject."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(handle, what)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock now. OSError on a file system that has no locks."""
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


def _acquire(handle: int, what: str) -> None:
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_PAUSE_S)
    holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
    raise UsageError(f"{what} is held by {holder}: wait for it, or stop it first")
