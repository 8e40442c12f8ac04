"""Where py7zr writes the members of a `.7z`: one numbered file after the other, delivered as each is
complete.

A module of its own, since py7zr is an extra and its base classes are needed to define these.
"""

from pathlib import Path, PurePosixPath

from py7zr.io import Py7zIO, WriterFactory

from exphil_core.replays.archives import REPLAY_SUFFIX, Deliver


class MemberFile(Py7zIO):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")

    def write(self, s: bytes | bytearray) -> int:
        return self._file.write(s)

    def read(self, size: int | None = None) -> bytes:
        raise OSError("a member is only written")

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def flush(self) -> None:
        self._file.flush()

    def size(self) -> int:
        return self._file.tell()

    def finish(self) -> Path:
        self._file.close()
        return self._path


class MemberFiles(WriterFactory):
    """A member is known to be complete, its checksum with it, when the next is asked for or all are
    done."""

    def __init__(self, names: set[str], into: Path, deliver: Deliver) -> None:
        # py7zr asks for a normalised path, not for the name that it lists.
        self._names = {PurePosixPath(name).as_posix(): name for name in names}
        self._into = into
        self._deliver = deliver
        self._current: tuple[str, MemberFile] | None = None
        self._count = 0

    def create(self, filename: str) -> Py7zIO:
        self.finish()
        member = MemberFile(self._into / f"{self._count}{REPLAY_SUFFIX}")
        self._count += 1
        self._current = (self._names.get(filename, filename), member)
        return member

    def finish(self) -> None:
        if self._current is not None:
            name, member = self._current
            self._current = None
            self._deliver(name, member.finish())
