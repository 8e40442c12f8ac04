"""Finds replays in folders and archives, and unpacks archives member by member.

In: paths. Out: files and, for `.zip` and `.7z`, members written one by one to a folder of ours under names
of ours, so that no name within an archive ever becomes a path. Every limit is judged on the archive's
directory before a byte is unpacked; both readers stop at the size that the directory declares, so a bomb
cannot exceed it.
"""

import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import Any, NamedTuple

from exphil_core.errors import DataError
from exphil_core.replays.refusals import Refused

REPLAY_SUFFIX = ".slp"
ARCHIVE_SUFFIXES = (".zip", ".7z")
_NESTED_SUFFIXES = (*ARCHIVE_SUFFIXES, ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".slpz")

Deliver = Callable[[str, "Path | Refused"], None]
"""Takes a member's name and where it was unpacked to, or why it was not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    member_bytes: int = 128 * 2**20
    """A replay of eight minutes with four players has about 12 MB."""
    total_bytes: int = 2**40
    members: int = 1_000_000
    ratio: float = 300.0
    """Unpacked by packed size. Replays reach about 10, a game in which nothing happens 60; bombs 1000 and
    more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A replay in an archive, or something there that is refused by name."""

    name: str
    size: int
    refused: Refused | None = None


class _Entry(NamedTuple):
    name: str
    size: int
    packed: int
    encrypted: bool


def is_archive(path: Path) -> bool:
    return path.suffix.lower() in ARCHIVE_SUFFIXES


def find_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Replays and archives of the paths, folders searched through and in order of name, none twice.

    A file that is named outright is taken whatever its suffix. Raises DataError for a path that is not
    there.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; expected replays (.slp), archives or a folder")
    seen: set[Path] = set()
    for path in paths:
        for file in _walk(path) if path.is_dir() else (path,):
            resolved = file.resolve()
            if resolved not in seen:
                seen.add(resolved)
                yield resolved


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        # `._NAME` is what macOS leaves beside a file on foreign disks and in zips.
        if entry.name.startswith("._"):
            continue
        if entry.is_dir():
            if not entry.is_symlink():
                yield from _walk(entry)
        elif entry.suffix.lower() in (REPLAY_SUFFIX, *ARCHIVE_SUFFIXES):
            yield entry


def list_members(path: Path, limits: ArchiveLimits) -> list[Member]:
    """The replays of an archive and what is refused by name; other files are not of interest.

    Raises `Refused` where the archive as a whole is.
    """
    entries = _zip_entries(path) if path.suffix.lower() == ".zip" else _7z_entries(path)
    if len(entries) > limits.members:
        raise Refused("archive_too_large", str(path), f"{len(entries)} members, at most {limits.members}")
    total = sum(size for _, size, _, _ in entries)
    if total > min(limits.total_bytes, limits.ratio * max(path.stat().st_size, 1)):
        raise Refused("archive_too_large", str(path), f"{total} bytes from {path.stat().st_size}")
    return list(_judge(path, entries, limits))


def _zip_entries(path: Path) -> list[_Entry]:
    with _open_zip(path) as archive:
        return [
            _Entry(info.filename, info.file_size, info.compress_size, bool(info.flag_bits & 1))
            for info in archive.infolist()
            if not info.is_dir()
        ]


def _7z_entries(path: Path) -> list[_Entry]:
    packed = path.stat().st_size  # the members of a solid block have no packed size of their own
    with _open_7z(path) as archive:
        encrypted = archive.needs_password()
        return [
            _Entry(info.filename, info.uncompressed, packed, encrypted)
            for info in archive.list()
            if not info.is_directory
        ]


def _judge(path: Path, entries: list[_Entry], limits: ArchiveLimits) -> Iterator[Member]:
    seen: set[str] = set()
    for name, size, packed, encrypted in entries:
        pure = PurePosixPath(name.replace("\\", "/"))
        suffix = pure.suffix.lower()
        if pure.name.startswith("._") or suffix not in (REPLAY_SUFFIX, *_NESTED_SUFFIXES):
            continue
        refused: Refused | None = None
        subject = f"{path}/{name}"
        if suffix in _NESTED_SUFFIXES:
            refused = Refused("nested_archive", subject)
        elif pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0]:
            refused = Refused("unsafe_member", subject)
        elif name in seen:
            refused = Refused("unsafe_member", subject, "its name occurs twice")
        elif encrypted:
            refused = Refused("archive_encrypted", subject)
        elif size > limits.member_bytes:
            refused = Refused("member_too_large", subject, f"{size} bytes, at most {limits.member_bytes}")
        elif size > limits.ratio * max(packed, 1):
            refused = Refused("member_too_large", subject, f"{size} bytes from {packed}")
        seen.add(name)
        yield Member(name=name, size=size, refused=refused)


def unpack(path: Path, names: Collection[str], into: Path, deliver: Deliver) -> None:
    """Unpacks members of these names one by one into numbered files below `into`, in the archive's order.

    `deliver` may wait, which holds the unpacking up. Raises `Refused` where the archive fails as a whole;
    what was delivered before is good.
    """
    if path.suffix.lower() == ".zip":
        _unpack_zip(path, set(names), into, deliver)
    else:
        _unpack_7z(path, set(names), into, deliver)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Refused("archive_corrupt", str(path), str(error)) from error


def _unpack_zip(path: Path, names: set[str], into: Path, deliver: Deliver) -> None:
    with _open_zip(path) as archive:
        for number, info in enumerate(archive.infolist()):
            if info.filename not in names:
                continue
            target = into / f"{number}{REPLAY_SUFFIX}"
            try:
                with archive.open(info) as packed, target.open("wb") as file:
                    copyfileobj(packed, file, 2**20)
            except (MemoryError, OSError):
                raise
            except Exception as error:  # every method of compression has errors of its own
                target.unlink(missing_ok=True)
                deliver(info.filename, Refused("archive_corrupt", f"{path}/{info.filename}", str(error)))
            else:
                deliver(info.filename, target)


@contextmanager
def _open_7z(path: Path) -> Iterator[Any]:
    try:
        import py7zr
    except ImportError as error:
        raise Refused("needs_archives_extra", str(path)) from error
    with path.open("rb") as file:
        try:
            # Given a file and not its name, py7zr unpacks in order and in this thread.
            archive = py7zr.SevenZipFile(file, "r")
        except py7zr.exceptions.PasswordRequired as error:
            raise Refused("archive_encrypted", str(path)) from error
        except (MemoryError, OSError):
            raise
        except Exception as error:  # py7zr raises whatever its parsing stumbles over
            raise Refused("archive_corrupt", str(path), f"{type(error).__name__}: {error}") from error
        with archive:
            yield archive


def _unpack_7z(path: Path, names: set[str], into: Path, deliver: Deliver) -> None:
    with _open_7z(path) as archive:
        from exphil_core.replays.seven_zip import MemberFiles

        files = MemberFiles(names, into, deliver)
        try:
            archive.extract(targets=names, factory=files)
            files.finish()
        except (MemoryError, OSError):
            raise
        except Exception as error:
            raise Refused("archive_corrupt", str(path), f"{type(error).__name__}: {error}") from error
