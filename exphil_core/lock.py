"""Exclusive locks between processes, which the system releases when their process ends, however it ends.

The content of a lock's file only names its holder in a sentence: a file without a lock on it means nothing.
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
"""Someone who asks `is_held` holds the lock for an instant; that is not another trainer."""


@contextmanager
def hold(path: Path, what: str, *, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds the lock for this process; `what` is the subject of sentences about it.

    Where another process holds it: UsageError, or with `waiting` a wait for that process to end, which `waiting` is
    told of in a sentence, once for each process that is waited for.
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
