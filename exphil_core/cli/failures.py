"""Translate an OSError about a path into a user-facing error with an exit code."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from exphil_core.atomic import DISK_FULL_ERRNOS
from exphil_core.errors import DiskFullError, ExphilError, UsageError, explain_os_error
from exphil_core.paths import expand_user

_REFUSED = {
    errno.EACCES: "permission to read or write this is missing",
    errno.EPERM: "the system does not allow this",
    errno.EROFS: "the disk can only be read",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.ENAMETOOLONG: "a name in this path is longer than the disk allows, mostly 255 bytes",
    errno.ELOOP: "a symbolic link in this path leads back to itself",
    errno.ESTALE: "the network folder that held this is gone; mount it again",
}
"""Errors that no exphil bug causes: always reported to the user."""

_MISTYPED = {
    errno.ENOENT: "no such file or folder, and none can be made there",
    errno.EEXIST: "there is a file already; expected a folder, or a name that is still free",
    errno.EISDIR: "this is a folder; expected a file",
    errno.ENOTEMPTY: "this folder is not empty",
    errno.ENXIO: "this is neither a file nor a folder",
    errno.EINVAL: "the system does not take this name",
}
"""Errors that an exphil bug may also cause: reported to the user only for a path in the arguments."""

_SHOWN_LETTERS = 200


def user_error(error: OSError, arguments: Sequence[str]) -> ExphilError | None:
    """Return the error as a user-facing one, or None where it is a bug in exphil."""
    if error.errno in DISK_FULL_ERRNOS:
        return DiskFullError(f"no room left on the disk: {error}")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return ExphilError(str(explain_os_error(error)))
    if not isinstance(error.filename, str | bytes):
        return None
    path = os.fsdecode(error.filename)
    if error.errno == errno.EIO:
        return ExphilError(f"{_shown(path)}: the disk or the network fails ({error.strerror})")
    if error.errno in _REFUSED:
        return UsageError(f"{_shown(path)}: {_REFUSED[error.errno]} ({error.strerror})")
    if error.errno in _MISTYPED and any(_leads_to(typed, path) for typed in _paths_in(arguments)):
        return UsageError(f"{_shown(path)}: {_MISTYPED[error.errno]} ({error.strerror})")
    return None


def _paths_in(arguments: Sequence[str]) -> Iterator[str]:
    for word in arguments:
        yield word
        if word.startswith("-") and "=" in word:
            yield word.partition("=")[2]


def _leads_to(typed: str, path: str) -> bool:
    """Return whether `path` is the typed path or one of its parent folders."""
    at = Path(path).absolute()
    return any(at == whole or at in whole.parents for whole in _meanings(typed))


def _meanings(typed: str) -> Iterator[Path]:
    yield Path(typed).absolute()
    with suppress(UsageError):
        yield expand_user(typed).absolute()


def _shown(path: str) -> str:
    from exphil_core.replays.text import sanitise

    half = _SHOWN_LETTERS // 2
    short = path if len(path) <= _SHOWN_LETTERS else f"{path[:half]}…{path[-half:]}"
    return sanitise(short, limit=_SHOWN_LETTERS + 1)
