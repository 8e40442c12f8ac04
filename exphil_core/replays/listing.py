"""Find the replays and archives below given paths, and report what cannot be accessed.

Linked folders are followed, each folder once. A link to a folder that contains the link is refused as a loop.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from exphil_core.errors import DataError
from exphil_core.replays.kinds import kind_of, unsupported_advice
from exphil_core.replays.refusals import Refused
from exphil_core.replays.regular_file import require_regular


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file to read, or a file, link or folder that is refused without being opened."""

    path: Path
    """Absolute path; links are resolved, except refused ones."""
    size: int = 0
    mtime_ns: int = 0
    refused: Refused | None = None
    inaccessible: bool = False
    """The path or something below it could not be accessed, so its current content is unknown."""


def require_paths(paths: Sequence[Path]) -> None:
    """Raise DataError for the first path that does not exist, OSError for one that cannot be accessed."""
    for path in paths:
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(
                f"{path}: there is no such file or folder; expected replays (.slp), archives or a folder"
            ) from error


def find_files(
    paths: Sequence[Path], ignored: Callable[[int], None] = lambda count: None
) -> Iterator[FoundFile]:
    """Yield the files at and below the paths, each once; folders are searched recursively in name order.

    A file given directly is taken whatever its suffix. A failure below a path is yielded as a refusal.

    Args:
        ignored: Called with the number of files in folders that are not replays by name.

    Raises:
        DataError: A given path does not exist.
    """
    require_paths(paths)
    search = _Search(ignored)
    for path in paths:
        yield from search.named(path)


def leads_back(link: str) -> bool:
    """Whether a link to a folder leads to one that contains the link, even above the searched folder."""
    target = os.path.realpath(link)
    return os.path.commonpath((os.path.realpath(Path(link).parent), target)) == target


class _Search:
    """One search; remembers what it found, so that nothing is yielded twice."""

    def __init__(self, ignored: Callable[[int], None]) -> None:
        self._ignored = ignored
        self._folders: set[tuple[int, int]] = set()
        self._files: set[str] = set()

    def named(self, path: Path) -> Iterator[FoundFile]:
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

    def _walk(self, top: str) -> Iterator[FoundFile]:
        """Search depth first, without recursion: folders may be nested deeper than Python's stack."""
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
            except Exception as error:  # one entry must not stop the others
                found = _refused(entry.path, "reader_failed", f"{type(error).__name__}: {error}")
            if isinstance(found, str):
                entering = found
            elif found is not None:
                yield found

    def _look(self, entry: os.DirEntry[str]) -> FoundFile | str | None:
        """Classify a folder entry: a file or refusal, the path of a folder to enter, or None to skip it."""
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

    def _file(self, resolved: str, info: os.stat_result) -> FoundFile | None:
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
            refused = Refused("unsupported_format", resolved, unsupported_advice(path.name))
        return FoundFile(path=path, size=info.st_size, mtime_ns=info.st_mtime_ns, refused=refused)

    def _is_new_folder(self, info: os.stat_result) -> bool:
        identity = info.st_dev, info.st_ino
        new = identity not in self._folders
        self._folders.add(identity)
        return new


def _entries(folder: str) -> tuple[list[os.DirEntry[str]], FoundFile | None]:
    """Entries of a folder in name order, and a refusal if it could not be read completely."""
    entries: list[os.DirEntry[str]] = []
    failed: FoundFile | None = None
    try:
        with os.scandir(folder) as found:
            for entry in found:
                entries.append(entry)
    except FileNotFoundError:
        failed = _refused(folder, "vanished")
    except OSError as error:
        failed = _refused(folder, "unreadable_folder", error.strerror or "", inaccessible=True)
    return sorted(entries, key=lambda entry: entry.name), failed


def _not_there(path: str, error: OSError, *, is_link: bool, is_folder: bool) -> FoundFile:
    """The refusal of a listed or given path that cannot be accessed."""
    if error.errno == errno.ELOOP:
        return _refused(path, "link_loop")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return _refused(path, "broken_link" if is_link else "vanished")
    # An earlier build recorded the target of the link, not the link.
    resolved = os.path.realpath(path) if is_link else path
    reason = "unreadable_folder" if is_folder else "unreadable"
    return _refused(resolved, reason, error.strerror or "", inaccessible=True)


def _refused(path: str, reason: str, detail: str = "", *, inaccessible: bool = False) -> FoundFile:
    return FoundFile(path=Path(path), refused=Refused(reason, path, detail), inaccessible=inaccessible)
