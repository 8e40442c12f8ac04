"""Atomic, durable file writes: a file is complete or absent, even after a crash or a power loss.

A process killed during a write leaves a `*.partial` file beside the old one. Remove them with `remove_partials`
while holding the folder's lock.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from exphil_core.errors import DiskFullError

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_full_errors(path: Path) -> Iterator[None]:
    """Turn "no space left on device" and "quota exceeded" into a DiskFullError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        raise DiskFullError(
            f"{path}: no room left on the disk; what was there before is untouched. "
            "Free some space, then start the command again"
        ) from error


@contextmanager
def atomic_open(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file for writing; it replaces `path`, fsynced, when the block ends without an error."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with disk_full_errors(path):
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename == str(partial):
                # The user knows the file by its final name.
                error.filename = str(path)
            raise
        fsync_directory(path.parent)


def atomic_write(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content`."""
    with atomic_open(path) as file:
        file.write(content)


def fsync_directory(folder: Path) -> None:
    """Make renames and new names within `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(path: Path) -> None:
    """Remove a directory and its contents; for a symbolic link, remove only the link."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def remove_partials(folder: Path) -> None:
    """Remove what killed processes left: partial files, and directories that are written or removed as a whole."""
    for partial in folder.glob("*.partial"):
        if partial.is_dir():
            remove_tree(partial)
        else:
            partial.unlink(missing_ok=True)
