"""Incremental reader of a growing `events.jsonl`, without a thread or a clock: the caller decides when to read.

The file may not exist yet. A line counts only once its newline is there. A file that became shorter, was replaced or
was rewritten is read again from its start; `restarts` counts this, and a caller must then drop its accumulated state.
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
"""Approximate bytes per read: large, so that the overhead per read is negligible, but small enough that decoded
records are still in a core's cache when used."""

LONGEST_LINE = 8 << 20
"""Maximum length of a line in bytes; longer lines are skipped without being kept."""

_REMEMBERED = 64
"""Bytes before the position that must be unchanged. They hold a number and a time that no other event has."""


class Tail(Generic[T]):
    """A read position in a growing file."""

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
        """Start at the beginning of `path`.

        Args:
            decode: Decodes a line; None for a line that is not an event.
            decode_lines: Decodes many lines at once, faster; None if one of them needs `decode`. It may merge several
                records into one, and must not keep its memoryview, which is soon overwritten.
            bytes_per_read: Approximate bytes per read.
            longest_line: Maximum length of a line in bytes.
        """
        assert bytes_per_read <= longest_line
        self.path = path
        self.bad_lines = 0
        """Complete lines that were not an event."""
        self.restarts = 0
        """How often the file was found truncated, replaced or rewritten."""
        self.missing = False
        """Whether the last read found no file."""
        self._decode: Callable[[bytes], T | None] = decode or _record
        self._decode_lines = decode_lines
        self._bytes_per_read = bytes_per_read
        self._longest_line = longest_line
        self._offset = 0
        self._before = b""
        """Last bytes before the offset."""
        self._inside_long_line = False
        self._inode: int | None = None
        self._buffer = bytearray(bytes_per_read)
        """Buffer for all reads; the system would have to clear fresh memory for each read."""

    def read(self) -> list[T]:
        """Return the next events; empty if there is nothing new. For a long history, call until it is empty."""
        while (records := self.poll()) is not None:
            if records:
                return records
        return []

    def poll(self) -> list[T] | None:
        """Return the events of one bounded read, possibly none if all are bad; None if there is nothing new.

        OSError if the file exists but cannot be read.
        """
        try:
            self.missing = False
            # Opening a FIFO would block until it has a writer.
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
        """Fill the buffer from the current offset, growing it until it holds a complete line; return its bytes."""
        del self._buffer[self._bytes_per_read :]
        file.seek(self._offset)
        filled = file.readinto(self._buffer)
        while filled == len(self._buffer) <= self._longest_line and b"\n" not in self._buffer:
            self._buffer.extend(bytes(self._bytes_per_read))
            with memoryview(self._buffer) as whole, whole[filled:] as rest:
                filled += file.readinto(rest)
        return filled

    def _records(self, end: int) -> list[T]:
        """Decode the complete lines up to `end`."""
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
        # The inode of a deleted file is soon reused, so the inode alone is not enough.
        if self._inode is not None and (found.st_ino != self._inode or before != self._before):
            self._offset = 0
            self._before = b""
            self._inside_long_line = False
            self.restarts += 1
        self._inode = found.st_ino

    def _pass_over(self, filled: int) -> list[T]:
        """Skip to after the long line's newline, or to the end of the buffer if the newline is not there yet."""
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
