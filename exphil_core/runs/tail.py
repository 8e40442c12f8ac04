"""Follows the events of a run while they are written. No thread and no clock: who follows says when to look.

In: the path of an `events.jsonl`, which may not exist yet. Out: the events that are new since the last look.
What a reader gets wrong: a line without its newline is not there yet; and a file that became shorter or was
replaced is read again from its start (`restarts` counts that), so whoever keeps a state drops it then.
"""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

BYTES_PER_READ = 4 << 20
"""About how much one `read` takes in, so that following a long history stays bounded."""


class Tail:
    """A position in a growing file."""

    def __init__(self, path: Path, *, bytes_per_read: int = BYTES_PER_READ) -> None:
        self.path = path
        self.bad_lines = 0
        """Whole lines that were not an event."""
        self.restarts = 0
        """How often the file was found cut or replaced."""
        self._bytes_per_read = bytes_per_read
        self._offset = 0
        self._inode: int | None = None

    def read(self) -> list[dict[str, Any]]:
        """The next events; empty when there is nothing new. After a long history, call again until it is."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return []
        records: list[dict[str, Any]] = []
        with file:
            self._notice_restart(os.fstat(file.fileno()))
            while not records and (text := self._whole_lines(file)):
                self._offset += len(text)
                for line in text.split(b"\n")[:-1]:
                    record = _record(line)
                    if record is None:
                        self.bad_lines += 1
                    else:
                        records.append(record)
        return records

    def _notice_restart(self, found: os.stat_result) -> None:
        if self._inode is not None and (found.st_ino != self._inode or found.st_size < self._offset):
            self._offset = 0
            self.restarts += 1
        self._inode = found.st_ino

    def _whole_lines(self, file: BinaryIO) -> bytes:
        """The bytes from here to the last newline within reach; empty where no line is whole."""
        file.seek(self._offset)
        text = file.read(self._bytes_per_read)
        while b"\n" not in text and (more := file.read(self._bytes_per_read)):
            text += more
        return text[: text.rfind(b"\n") + 1]


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "type" in record else None
