"""Replaces a file so that a reader, or a machine that loses power, sees the old one or the new one.

In: a path and its bytes. Out: nothing, or DiskFullError with the old file untouched.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exphil_core.errors import DiskFullError

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def full_disk_is_an_error(path: Path) -> Iterator[None]:
    """Turns the operating system's word for a full disk into ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                f"no room left on the disk of {path}: free some, then start the command again"
            ) from error
        raise


def atomic_write(path: Path, content: bytes) -> None:
    """Writes `content` beside `path`, makes it durable and moves it into place."""
    with full_disk_is_an_error(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        fsync_directory(path.parent)


def fsync_directory(folder: Path) -> None:
    """Makes renames and new names within `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
