"""Files that are there whole or not at all, through a crash and a loss of power.

In: a path and what to write. Out: the file in place and flushed to the disk, or DiskFullError with the old one
untouched. What a reader gets wrong: a process that is killed half-way leaves a `*.partial` beside the old file,
which whoever owns the folder takes away with `remove_partials` while it holds the folder's lock.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from exphil_core.errors import DiskFullError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def room_on_disk(path: Path) -> Iterator[None]:
    """Turns the system's "no space left" into a sentence that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DiskFullError(
            f"{path}: no room left on the disk; what was there before is untouched. "
            "Free some space, then start the command again"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write; takes the place of `path` when the block ends without an error."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with room_on_disk(path):
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
                # Whoever reads it knows the file by its own name.
                error.filename = str(path)
            raise
        fsync_directory(path.parent)


def atomic_write(path: Path, content: bytes) -> None:
    """Replaces `path` by `content`."""
    with replacing(path) as file:
        file.write(content)


def fsync_directory(folder: Path) -> None:
    """Makes renames and new names within `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(path: Path) -> None:
    """Removes a directory with all that is in it; of a link to one, the link alone."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def remove_partials(folder: Path) -> None:
    """Takes away what killed processes left: files, and directories that are written or removed as a whole."""
    for partial in folder.glob("*.partial"):
        if partial.is_dir():
            remove_tree(partial)
        else:
            partial.unlink(missing_ok=True)
