"""What the system refused about a path, as a sentence with an exit code (CLI.md)."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from exphil_core.atomic import NO_ROOM
from exphil_core.errors import DiskFullError, ExphilError, UsageError, obstacle
from exphil_core.paths import expanded

_REFUSED = {
    errno.EACCES: "you may not read or write this",
    errno.EPERM: "the system does not allow this",
    errno.EROFS: "the disk can only be read",
    errno.ENOTDIR: "a part of this path is a file and no folder",
    errno.ENAMETOOLONG: "a name in this path is longer than the disk allows, mostly 255 bytes",
    errno.ELOOP: "a symbolic link in this path leads back to itself",
    errno.ESTALE: "the network folder that held this is gone; mount it again",
}
"""What no mistake of ours brings about: whoever owns the path can use the sentence."""

_MISTYPED = {
    errno.ENOENT: "no such file or folder, and none can be made there",
    errno.EEXIST: "there is a file already; expected a folder, or a name that is still free",
    errno.EISDIR: "this is a folder; expected a file",
    errno.ENOTEMPTY: "this folder is not empty",
    errno.ENXIO: "this is neither a file nor a folder",
    errno.EINVAL: "the system does not take this name",
}
"""What may be a mistake of ours, too: only about a path that was typed it is the user's."""

_SHOWN_LETTERS = 200


def expected_failure(error: OSError, arguments: Sequence[str]) -> ExphilError | None:
    """The error as a sentence for who typed `arguments`; None where only exphil can mend what went wrong."""
    if error.errno in NO_ROOM:
        return DiskFullError(f"no room left on the disk: {error}")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return ExphilError(str(obstacle(error)))
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
    """Whether `path` is what was typed, or a folder on the way to it."""
    at = Path(path).absolute()
    return any(at == whole or at in whole.parents for whole in _meanings(typed))


def _meanings(typed: str) -> Iterator[Path]:
    yield Path(typed).absolute()
    with suppress(UsageError):
        yield expanded(typed).absolute()


def _shown(path: str) -> str:
    from exphil_core.replays.text import sanitise

    half = _SHOWN_LETTERS // 2
    short = path if len(path) <= _SHOWN_LETTERS else f"{path[:half]}…{path[-half:]}"
    return sanitise(short, limit=_SHOWN_LETTERS + 1)
