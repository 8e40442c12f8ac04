"""Follows the events of a run while they are written. No thread and no clock: who follows says when to look.

In: the path of an `events.jsonl`, which may not exist yet, and what decodes a line. Out: what is new since the last
look. What a reader gets wrong: a line without its newline is not there yet; and a file that became shorter, was
replaced or was written anew is read again from its start (`restarts` counts that), so whoever keeps a state drops
it then.
"""

import json
import os
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

BYTES_PER_READ = 1 << 20
"""About how much one look takes in: much, so that what each piece costs beside its lines hardly counts; but what is
decoded from it should still lie in a core's cache when it is used."""

LONGEST_LINE = 8 << 20
"""A line that has grown beyond this is no event: it is passed over without being kept."""

_REMEMBERED = 64
"""Bytes before the position that must still be there. They hold a number and a time that no other event has."""


class Tail(Generic[T]):
    """A position in a growing file."""

    @overload
    def __init__(self: "Tail[dict[str, Any]]", path: Path, *, bytes_per_read: int = ...) -> None: ...

    @overload
    def __init__(
        self,
        path: Path,
        *,
        decode: Callable[[bytes], T | None],
        decode_lines: Callable[[memoryview], list[T] | None] | None = ...,
        bytes_per_read: int = ...,
        longest_line: int = ...,
    ) -> None: ...

    def __init__(
        self,
        path: Path,
        *,
        decode: Callable[[bytes], Any] | None = None,
        decode_lines: Callable[[memoryview], list[Any] | None] | None = None,
        bytes_per_read: int = BYTES_PER_READ,
        longest_line: int = LONGEST_LINE,
    ) -> None:
        """`decode` gives None for a line that is no event. `decode_lines` does the same for many lines faster, and
        gives None where one of them needs a look of its own; it may put several records into one, and the memory that
        it is given is soon written over."""
        assert bytes_per_read <= longest_line
        self.path = path
        self.bad_lines = 0
        """Whole lines that were not an event."""
        self.restarts = 0
        """How often the file was found cut, replaced or written anew."""
        self.missing = False
        """The last look found no file."""
        self._decode: Callable[[bytes], T | None] = decode or _record
        self._decode_lines = decode_lines
        self._bytes_per_read = bytes_per_read
        self._longest_line = longest_line
        self._offset = 0
        self._before = b""
        """The last bytes before the offset."""
        self._inside_long_line = False
        self._inode: int | None = None
        self._buffer = bytearray(bytes_per_read)
        """Of one look. Fresh memory for each would have to be cleared by the system first."""

    def read(self) -> list[T]:
        """The next events; empty when there is nothing new. After a long history, call again until it is."""
        while (records := self.look()) is not None:
            if records:
                return records
        return []

    def look(self) -> list[T] | None:
        """The events of one piece of bounded size, which may all be bad; None when there is nothing new.

        OSError where the file is there but cannot be read.
        """
        try:
            self.missing = False
            # Opening a pipe would wait for its writer.
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise OSError(0, "not a regular file", str(self.path))
            file = self.path.open("rb", buffering=0)
        except (FileNotFoundError, NotADirectoryError):
            self.missing = True
            return None
        with file:
            self._notice_restart(file)
            return self._next(file)

    def _next(self, file: FileIO) -> list[T] | None:
        filled = self._fill(file)
        if self._inside_long_line and filled:
            return self._pass_over(filled)
        if filled > self._longest_line and self._buffer.find(b"\n", 0, self._longest_line + 1) < 0:
            self.bad_lines += 1
            return self._pass_over(filled)
        end = self._buffer.rfind(b"\n", 0, filled) + 1
        if not end:
            return None
        records = self._records(end)
        self._advance(end)
        return records

    def _fill(self, file: FileIO) -> int:
        """Reads on from here, and further where no line ends within reach; how many bytes there are now."""
        del self._buffer[self._bytes_per_read :]
        file.seek(self._offset)
        filled = file.readinto(self._buffer)
        while filled == len(self._buffer) <= self._longest_line and b"\n" not in self._buffer:
            self._buffer.extend(bytes(self._bytes_per_read))
            with memoryview(self._buffer) as whole, whole[filled:] as rest:
                filled += file.readinto(rest)
        return filled

    def _records(self, end: int) -> list[T]:
        """Of the whole lines up to `end`."""
        with memoryview(self._buffer) as whole, whole[:end] as text:
            if self._decode_lines is not None and (found := self._decode_lines(text)) is not None:
                return found
            lines = bytes(text).split(b"\n")[:-1]
        records = [self._decode(line) for line in lines]
        good = [record for record in records if record is not None]
        self.bad_lines += len(records) - len(good)
        return good

    def _notice_restart(self, file: FileIO) -> None:
        found = os.fstat(file.fileno())
        before = os.pread(file.fileno(), len(self._before), self._offset - len(self._before))
        # The number of a deleted file is soon given to another, so the number alone tells little.
        if self._inode is not None and (found.st_ino != self._inode or before != self._before):
            self._offset = 0
            self._before = b""
            self._inside_long_line = False
            self.restarts += 1
        self._inode = found.st_ino

    def _pass_over(self, filled: int) -> list[T]:
        """Goes on behind the long line's newline, or behind all there is where that is still to come."""
        end = self._buffer.find(b"\n", 0, filled) + 1
        self._inside_long_line = end == 0
        self._advance(end or filled)
        return []

    def _advance(self, length: int) -> None:
        self._offset += length
        self._before = (self._before + self._buffer[max(0, length - _REMEMBERED) : length])[-_REMEMBERED:]


def _record(line: bytes) -> Any:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and "type" in record else None
