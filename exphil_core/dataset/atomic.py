"""Files that are there whole or not at all, and a directory that one process builds at a time.

In: a path and what to write. Out: the file in place, flushed to the disk. A process killed half-way leaves a
`*.partial` beside the old file, which `remove_partials` takes away at the next build.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from exphil_core.errors import DataError, DiskFullError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def room_on_disk(path: Path) -> Iterator[None]:
    """Turns the system's "no space left" into a sentence that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise DiskFullError(
            f"{path}: no space left on the disk; what was there before is untouched. "
            "Free some space or choose another folder with --out, then build again"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write; takes the place of `path` when the block ends without an error."""
    partial = path.with_name(f"{path.name}.partial")
    with room_on_disk(path):
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_partials(folder: Path) -> None:
    for partial in folder.glob("*.partial"):
        partial.unlink(missing_ok=True)


@contextmanager
def one_builder(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process. DataError where another process builds there."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"{folder}: another process is building this dataset; wait for it, or choose another --out"
            ) from error
        yield
