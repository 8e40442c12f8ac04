"""Open only regular files in untrusted folders, so that no read blocks or runs forever."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from exphil_core.replays.refusals import Refused


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        Refused: The path is a pipe, a socket, a device or a folder.
        OSError: The file cannot be opened.
    """
    require_regular(Path(path).stat(), str(path))
    # Non-blocking, in case a pipe replaces the file in between.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def require_regular(info: os.stat_result, subject: str) -> None:
    """Raise Refused unless `info` is that of a regular file."""
    if not stat.S_ISREG(info.st_mode):
        raise Refused("not_a_file", subject, _what_it_is(info.st_mode))


def read_failure(error: OSError, subject: str) -> Refused:
    """Return the refusal for a read error. Decompressors raise OSError, too, but without an errno."""
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
