"""py7zr output classes for `.7z` archives: members go to numbered files, each delivered when complete.

A separate module because py7zr is an optional extra and these classes derive from its base classes.
"""

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from py7zr.io import Py7zIO, WriterFactory

from exphil_core.replays.archives import Deliver, SpoolFile, spool_path


class MemberFile(Py7zIO):
    def __init__(self, path: Path) -> None:
        self._spooled = SpoolFile(path)

    def write(self, s: bytes | bytearray) -> int:
        return self._spooled.write(s)

    def read(self, size: int | None = None) -> bytes:
        raise OSError("a member is only written")

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._spooled.file.seek(offset, whence)

    def flush(self) -> None:
        self._spooled.file.flush()

    def size(self) -> int:
        return self._spooled.file.tell()

    def finish(self) -> Path:
        return self._spooled.close()


class MemberFiles(WriterFactory):
    """Writes the members that py7zr unpacks and delivers those that are wanted.

    A member is complete, and its checksum verified, once py7zr asks for the next one or has finished.

    Args:
        names: Names of all files in the archive, in order.
        numbers: Indices into `names` of the members to deliver.
    """

    def __init__(self, names: Sequence[str], numbers: Collection[int], into: Path, deliver: Deliver) -> None:
        self._names = names
        self._numbers = _as_py7zr_asks(names, numbers)
        self._wanted = frozenset(numbers)
        self._into = into
        self._deliver = deliver
        self._current: tuple[int, MemberFile] | None = None

    def create(self, filename: str) -> Py7zIO:
        self.finish()
        number = self._numbers[filename]
        member = MemberFile(spool_path(self._into, number, self._names[number]))
        self._current = (number, member)
        return member

    def finish(self) -> None:
        if self._current is None:
            return
        number, member = self._current
        self._current = None
        path = member.finish()
        if number in self._wanted:
            self._deliver(number, path)
        else:
            path.unlink()


def _as_py7zr_asks(names: Sequence[str], numbers: Collection[int]) -> dict[str, int]:
    """Map py7zr's name of each unpacked member to its number.

    py7zr normalises paths and appends `_n` (from 0) to the n-th repetition of a name. It unpacks by name: if one of
    two members with the same name is wanted, it unpacks both.
    """
    asked = {names[number] for number in numbers}
    seen: dict[str, int] = {}
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        if name in asked:
            again = seen.get(name)
            seen[name] = 0 if again is None else again + 1
            found[PurePosixPath(name if again is None else f"{name}_{again}").as_posix()] = number
    return found
