"""Unpack archives (`.zip`, `.7z`, `.tar` and compressed `.tar`) member by member.

Members go to our own folder under our own names, so no name in an archive becomes a path. Limits are checked against
the archive's directory before anything is unpacked; a `.tar` has none and is read through, up to the limits.
"""

import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, NamedTuple, cast

from exphil_core.replays.compressed import READ_BYTES, decompressing
from exphil_core.replays.kinds import TAR_SUFFIXES, kind_of, suffix_of, unsupported_advice
from exphil_core.replays.refusals import Refused
from exphil_core.replays.regular_file import open_regular, read_failure

Deliver = Callable[[int, "Path | Refused"], None]
"""Called with a member's number and its unpacked path, or the reason why it was not unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    member_bytes: int = 128 * 2**20
    """Maximum unpacked size of one member. An eight-minute replay with four players has about 12 MB."""
    total_bytes: int = 2**40
    members: int = 1_000_000
    ratio: float = 300.0
    """Maximum ratio of unpacked to packed size. Replays reach about 10, a game in which nothing happens 60;
    decompression bombs 1000 and more."""

    def total(self, packed: int) -> float:
        """Maximum unpacked size, in bytes, of an archive of `packed` bytes."""
        return min(self.total_bytes, self.ratio * max(packed, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A replay in an archive, or a member that is refused by name."""

    number: int
    """Index in the archive, from 0: names may occur twice."""
    name: str
    """Name within the archive; repeated names get `#2`, `#3` appended."""
    size: int
    refused: Refused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    members: list[Member]
    ignored: int
    """Number of files that are not replays by name."""
    damage: Refused | None = None
    """Why the listing is incomplete; the listed members are intact."""


class SpoolError(Exception):
    """The file that a member is unpacked to could not be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.errno = error.errno


class _Entry(NamedTuple):
    name: str
    size: int
    packed: int
    encrypted: bool = False
    special: str = ""
    """What the entry is if it is not a regular file."""


def list_members(path: Path, limits: ArchiveLimits) -> Listing:
    """List the replays of an archive and the members refused by name.

    Raises:
        Refused: The archive as a whole is refused.
    """
    try:
        entries, damage = _entries(path, limits)
        packed = path.stat().st_size
    except (Refused, MemoryError):
        raise
    except OSError as error:
        raise read_failure(error, str(path)) from error
    except Exception as error:  # every format's reader raises its own parsing errors
        raise _corrupt(path, error) from error
    if len(entries) > limits.members:
        raise Refused("archive_too_large", str(path), f"{len(entries)} members, at most {limits.members}")
    total = sum(entry.size for entry in entries)
    if total > limits.total(packed):
        raise Refused("archive_too_large", str(path), f"{total} bytes from {packed}")
    members = list(_judge(path, entries, limits))
    return Listing(members=members, ignored=len(entries) - len(members), damage=damage)


def unpack(path: Path, numbers: Collection[int], into: Path, deliver: Deliver) -> None:
    """Unpack the members with these numbers one by one into files in `into`, in the archive's order.

    `deliver` may block, which pauses unpacking. Members delivered before an error are valid.

    Raises:
        Refused: The archive fails as a whole.
        SpoolError: A file cannot be written.
    """
    name = path.name.lower()
    try:
        if name.endswith(TAR_SUFFIXES):
            _unpack_tar(path, set(numbers), into, deliver)
        elif name.endswith(".7z"):
            _unpack_7z(path, set(numbers), into, deliver)
        else:
            _unpack_zip(path, set(numbers), into, deliver)
    except (Refused, SpoolError, BrokenPipeError, MemoryError):
        raise
    except OSError as error:
        raise read_failure(error, str(path)) from error
    except Exception as error:
        raise _corrupt(path, error) from error


def _corrupt(path: Path, error: Exception) -> Refused:
    return Refused("archive_corrupt", str(path), f"{type(error).__name__}: {error}")


def _entries(path: Path, limits: ArchiveLimits) -> tuple[list[_Entry], Refused | None]:
    """All files of the archive, and why a tar could not be read to its end."""
    name = path.name.lower()
    if name.endswith(TAR_SUFFIXES):
        return _tar_entries(path, limits)
    return (_7z_entries(path) if name.endswith(".7z") else _zip_entries(path)), None


def _judge(path: Path, entries: list[_Entry], limits: ArchiveLimits) -> Iterator[Member]:
    seen: dict[str, int] = {}
    for number, entry in enumerate(entries):
        pure = PurePosixPath(entry.name.replace("\\", "/"))
        kind = kind_of(pure.name)
        if kind == "other":
            continue
        seen[entry.name] = seen.get(entry.name, 0) + 1
        name = entry.name if seen[entry.name] == 1 else f"{entry.name}#{seen[entry.name]}"
        refused: Refused | None = None
        subject = f"{path}/{name}"
        if kind == "archive":
            refused = Refused("nested_archive", subject)
        elif kind == "unsupported":
            refused = Refused("unsupported_format", subject, unsupported_advice(pure.name))
        elif pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0]:
            refused = Refused("unsafe_member", subject)
        elif entry.special:
            refused = Refused("not_a_file", subject, entry.special)
        elif entry.encrypted:
            refused = Refused("archive_encrypted", subject)
        elif entry.size > limits.member_bytes:
            refused = Refused(
                "member_too_large", subject, f"{entry.size} bytes, at most {limits.member_bytes}"
            )
        elif entry.size > limits.ratio * max(entry.packed, 1):
            refused = Refused("member_too_large", subject, f"{entry.size} bytes from {entry.packed}")
        yield Member(number=number, name=name, size=entry.size, refused=refused)


class SpoolFile:
    """The file that one member is unpacked to. Raises SpoolError if it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = path.open("wb")
        except OSError as error:
            raise SpoolError(error) from error

    def write(self, data: bytes | bytearray) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            raise SpoolError(error) from error

    def close(self) -> Path:
        try:
            self.file.close()
        except OSError as error:
            raise SpoolError(error) from error
        return self.path


def spool_path(into: Path, number: int, name: str) -> Path:
    """Path that a member is unpacked to; its suffix tells how to read it."""
    return into / f"{number}{suffix_of(name)}"


def _copy(packed: IO[bytes], target: Path) -> None:
    spooled = SpoolFile(target)
    try:
        while chunk := packed.read(READ_BYTES):
            spooled.write(chunk)
    except BaseException:
        spooled.file.close()
        target.unlink(missing_ok=True)
        raise
    spooled.close()


def _zip_files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [info for info in archive.infolist() if not info.is_dir()]


def _zip_entries(path: Path) -> list[_Entry]:
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        return [
            _Entry(
                info.filename,
                info.file_size,
                info.compress_size,
                encrypted=bool(info.flag_bits & 1),
                special="a link" if stat.S_ISLNK(info.external_attr >> 16) else "",
            )
            for info in _zip_files(archive)
        ]


def _unpack_zip(path: Path, numbers: set[int], into: Path, deliver: Deliver) -> None:
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        for number, info in enumerate(_zip_files(archive)):
            if number not in numbers:
                continue
            subject = f"{path}/{info.filename}"
            unpacked: Path | Refused = spool_path(into, number, info.filename)
            try:
                with archive.open(info) as packed:
                    _copy(packed, cast(Path, unpacked))
            except (MemoryError, SpoolError):
                raise
            except OSError as error:
                unpacked = read_failure(error, subject)
            except Exception as error:  # every compression method has its own errors
                unpacked = Refused("archive_corrupt", subject, str(error))
            deliver(number, unpacked)


@contextmanager
def _open_7z(path: Path) -> Iterator[Any]:
    try:
        import py7zr
    except ImportError as error:
        raise Refused("needs_archives_extra", str(path)) from error
    with open_regular(path) as file:
        try:
            # Given a file object instead of a name, py7zr unpacks in order and in this thread.
            archive = py7zr.SevenZipFile(file, "r")
        except py7zr.exceptions.PasswordRequired as error:
            raise Refused("archive_encrypted", str(path)) from error
        with archive:
            yield archive


def _7z_files(archive: Any) -> list[Any]:
    return [info for info in archive.list() if not info.is_directory]


def _7z_entries(path: Path) -> list[_Entry]:
    packed = path.stat().st_size  # the members of a solid block have no packed size of their own
    with _open_7z(path) as archive:
        encrypted = archive.needs_password()
        return [
            _Entry(
                info.filename,
                info.uncompressed,
                packed,
                encrypted=encrypted,
                special="" if info.is_file else "a link",
            )
            for info in _7z_files(archive)
        ]


def _unpack_7z(path: Path, numbers: set[int], into: Path, deliver: Deliver) -> None:
    with _open_7z(path) as archive:
        from exphil_core.replays.seven_zip import MemberFiles

        names = [info.filename for info in _7z_files(archive)]
        files = MemberFiles(names, numbers, into, deliver)
        archive.extract(targets={names[number] for number in numbers}, factory=files)
        files.finish()


class _TarInfo(tarfile.TarInfo):
    """A tar header that raises if it is damaged; tarfile's own takes damage for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> "_TarInfo":
        try:
            return super().fromtarfile(tarfile)
        except _DAMAGED_HEADER as error:
            raise _ANOTHER_HEADER(str(error)) from error


# Undocumented, but in the module since Python 3.2.
_DAMAGED_HEADER = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]
_ANOTHER_HEADER = tarfile.SubsequentHeaderError  # type: ignore[attr-defined]


class _Limited:
    """A stream that raises `Refused` once more than `limit` bytes are read."""

    def __init__(self, stream: BinaryIO, path: Path, limit: float) -> None:
        self._stream, self._path, self._limit, self._size = stream, path, limit, 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._size += len(data)
        if self._size > self._limit:
            raise Refused("archive_too_large", str(self._path), f"more than {self._limit:.0f} bytes")
        return data


@contextmanager
def _open_tar(path: Path, limit: float = float("inf")) -> Iterator[tuple[tarfile.TarFile, BinaryIO]]:
    """Open a tar in streaming mode (read each member before the next one); also yield its underlying stream."""
    with open_regular(path) as file:
        stream = cast(BinaryIO, _Limited(decompressing(file, path.name), path, limit))
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_TarInfo) as archive:
            yield archive, stream


def _tar_files(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    return (info for info in archive if not info.isdir())


def _tar_entries(path: Path, limits: ArchiveLimits) -> tuple[list[_Entry], Refused | None]:
    entries: list[_Entry] = []
    packed = path.stat().st_size
    with _open_tar(path, limits.total(packed)) as (archive, stream):
        try:
            for info in _tar_files(archive):
                special = (
                    "" if info.isreg() else "a link" if info.issym() or info.islnk() else "a pipe or a device"
                )
                entries.append(_Entry(info.name, info.size, packed, special=special))
                if len(entries) > limits.members:
                    return entries, None
        except (Refused, MemoryError):
            raise
        except Exception as error:
            if not entries or (isinstance(error, OSError) and error.errno is not None):
                raise
            return entries, _corrupt(path, error)
        while stream.read(READ_BYTES):
            pass  # read up to the checksum at the end: if it is wrong, any member may be damaged
    return entries, None


def _unpack_tar(path: Path, numbers: set[int], into: Path, deliver: Deliver) -> None:
    with _open_tar(path) as (archive, _):
        for number, info in enumerate(_tar_files(archive)):
            packed = archive.extractfile(info) if number in numbers else None
            if packed is not None:
                target = spool_path(into, number, info.name)
                _copy(packed, target)
                deliver(number, target)
