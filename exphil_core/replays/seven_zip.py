"""Where py7zr writes the members of a `.7z`: one numbered file after the other, delivered as each is
complete.

A module of its own, since py7zr is an extra and its base classes are needed to define these.
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
    """A member is known to be complete, its checksum with it, when the next is asked for or all are
    done.

    `names` are those of all files of the archive in order, `numbers` the places of those to be delivered.
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
    """What py7zr calls the members that it unpacks: normalised paths, of a name's n-th repetition with `_n` after it.

    It unpacks by name: where one of two members of a name is wanted, it gives both.
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
