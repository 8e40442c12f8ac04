"""Finds the replays and archives below some paths, and names what it cannot look at.

Linked folders are followed, each folder once. A link that leads back to a folder that it lies in is named instead.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from exphil_core.errors import DataError
from exphil_core.replays.kinds import kind_of, what_helps
from exphil_core.replays.refusals import Refused
from exphil_core.replays.regular_file import require_regular


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file to be read, or a file, link or folder that is refused without being opened."""

    path: Path
    """Absolute, links resolved but those that are refused."""
    size: int = 0
    mtime_ns: int = 0
    refused: Refused | None = None
    inaccessible: bool = False
    """What is there, or below it, could not be looked at: nothing is known of it now."""


def require_paths(paths: Sequence[Path]) -> None:
    """DataError for the first path that is not there; OSError for one that cannot be looked at."""
    for path in paths:
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(
                f"{path}: there is no such file or folder; expected replays (.slp), archives or a folder"
            ) from error


def find_files(paths: Sequence[Path], ignored: Callable[[int], None] = lambda count: None) -> Iterator[Found]:
    """What the paths hold, folders searched through and in order of name, none twice.

    A file that is named outright is taken whatever its suffix. `ignored` hears how many other files a folder holds.
    Raises DataError for a path that is not there; whatever happens below one is a refusal by name.
    """
    require_paths(paths)
    search = _Search(ignored)
    for path in paths:
        yield from search.named(path)


def leads_back(link: str) -> bool:
    """Whether a link to a folder leads to one that it lies in, also one above the folder that is searched."""
    target = os.path.realpath(link)
    return os.path.commonpath((os.path.realpath(Path(link).parent), target)) == target


class _Search:
    """What was found so far: nothing is given twice."""

    def __init__(self, ignored: Callable[[int], None]) -> None:
        self._ignored = ignored
        self._folders: set[tuple[int, int]] = set()
        self._files: set[str] = set()

    def named(self, path: Path) -> Iterator[Found]:
        try:
            info = path.stat()
        except OSError as error:
            yield _not_there(str(path.absolute()), error, is_link=path.is_symlink(), is_folder=False)
            return
        resolved = os.path.realpath(path)
        if not stat.S_ISDIR(info.st_mode):
            found = self._file(resolved, info)
            if found is not None:
                yield found
        elif self._is_new_folder(info):
            yield from self._walk(resolved)

    def _walk(self, top: str) -> Iterator[Found]:
        """Depth first. No recursion: folders may lie deeper than Python's stack."""
        open_folders: list[Iterator[os.DirEntry[str]]] = []
        entering: str | None = top
        while entering is not None or open_folders:
            if entering is not None:
                entries, failed = _entries(entering)
                if failed is not None:
                    yield failed
                open_folders.append(iter(entries))
            entering = None
            waiting = open_folders[-1]
            entry = next(waiting, None)
            if entry is None:
                open_folders.pop()
                continue
            try:
                found = self._look(entry)
            except OSError as error:
                found = _not_there(entry.path, error, is_link=False, is_folder=False)
            except Exception as error:  # what one entry does must not stop the others
                found = _refused(entry.path, "reader_failed", f"{type(error).__name__}: {error}")
            if isinstance(found, str):
                entering = found
            elif found is not None:
                yield found

    def _look(self, entry: os.DirEntry[str]) -> Found | str | None:
        """What an entry of a folder is: a file or a refusal, the path of a folder to enter, or nothing to be read."""
        is_link, is_folder = entry.is_symlink(), entry.is_dir(follow_symlinks=False)
        kind = kind_of(entry.name)
        if kind == "other" and not is_link and not is_folder:
            self._ignored(1)
            return None
        try:
            info = entry.stat()
        except OSError as error:
            return _not_there(entry.path, error, is_link=is_link, is_folder=is_folder)
        resolved = os.path.realpath(entry.path) if is_link else entry.path
        if stat.S_ISDIR(info.st_mode):
            if is_link and leads_back(entry.path):
                return _refused(entry.path, "link_loop")
            return resolved if self._is_new_folder(info) else None
        if kind == "other":
            self._ignored(1)
            return None
        return self._file(resolved, info)

    def _file(self, resolved: str, info: os.stat_result) -> Found | None:
        if resolved in self._files:
            return None
        self._files.add(resolved)
        path = Path(resolved)
        refused: Refused | None = None
        try:
            require_regular(info, resolved)
        except Refused as error:
            refused = error
        if refused is None and kind_of(path.name) == "unsupported":
            refused = Refused("unsupported_format", resolved, what_helps(path.name))
        return Found(path=path, size=info.st_size, mtime_ns=info.st_mtime_ns, refused=refused)

    def _is_new_folder(self, info: os.stat_result) -> bool:
        identity = info.st_dev, info.st_ino
        new = identity not in self._folders
        self._folders.add(identity)
        return new


def _entries(folder: str) -> tuple[list[os.DirEntry[str]], Found | None]:
    """What the folder holds by name, and the refusal where it cannot be read, or not to its end."""
    entries: list[os.DirEntry[str]] = []
    failed: Found | None = None
    try:
        with os.scandir(folder) as found:
            for entry in found:
                entries.append(entry)
    except FileNotFoundError:
        failed = _refused(folder, "vanished")
    except OSError as error:
        failed = _refused(folder, "unreadable_folder", error.strerror or "", inaccessible=True)
    return sorted(entries, key=lambda entry: entry.name), failed


def _not_there(path: str, error: OSError, *, is_link: bool, is_folder: bool) -> Found:
    """Why nothing is known of a path that was listed or named."""
    if error.errno == errno.ELOOP:
        return _refused(path, "link_loop")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return _refused(path, "broken_link" if is_link else "vanished")
    # Where the link leads is how an earlier build knew what is there.
    resolved = os.path.realpath(path) if is_link else path
    reason = "unreadable_folder" if is_folder else "unreadable"
    return _refused(resolved, reason, error.strerror or "", inaccessible=True)


def _refused(path: str, reason: str, detail: str = "", *, inaccessible: bool = False) -> Found:
    return Found(path=Path(path), refused=Refused(reason, path, detail), inaccessible=inaccessible)
