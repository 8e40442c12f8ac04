"""Opens files that a stranger's folder may hold: regular ones only, so that no read blocks or never ends."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from exphil_core.replays.refusals import Refused


def open_regular(path: str | Path) -> BinaryIO:
    """The file, to be read. Refused for a pipe, a socket, a device or a folder; OSError where it cannot be opened."""
    require_regular(Path(path).stat(), str(path))
    # A pipe that takes the file's place in between must not block, either.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def require_regular(info: os.stat_result, subject: str) -> None:
    """Refused where `info` is of anything but a regular file."""
    if not stat.S_ISREG(info.st_mode):
        raise Refused("not_a_file", subject, _what_it_is(info.st_mode))


def read_failure(error: OSError, subject: str) -> Refused:
    """What an error of reading says of the file: the decompressors raise OSError, too, and then without a number."""
    if error.errno is None:
        return Refused("archive_corrupt", subject, str(error))
    if isinstance(error, FileNotFoundError):
        return Refused("vanished", subject)
    return Refused("unreadable", subject, error.strerror or str(error))


def _what_it_is(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISLNK, "a link"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")
