"""The history of a run, `events.jsonl`: one JSON object a line, only ever appended to.

In: a type and its fields. Out: a line with `v`, `seq` (from 0, without gaps), `ts` (ISO 8601, UTC), `type`.
What a reader gets wrong: there is one writer at a time (who holds the run's lock), and a reader may see the
last line while it is torn. A writer that reopens the file cuts off whatever follows the last readable line,
since nobody can have relied on it, and goes on with the next `seq`.
"""

import json
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from exphil_core.atomic import fsync_directory, room_on_disk
from exphil_core.runs.tail import Tail

VERSION = 1

DURABLE = frozenset({"run_started", "checkpoint_saved", "evaluated", "command", "error", "run_finished"})
"""Types that are on the disk when `append` returns. Any other line survives its process, but may be lost with
the machine; it was not yet behind a checkpoint then, so resuming writes it again."""

_RESERVED = frozenset({"v", "seq", "ts"})
_BLOCK = 1 << 16


class EventLog:
    """Appends to the events of a run. Threads of one process may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        new = not path.exists()
        with room_on_disk(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            if new:
                fsync_directory(path.parent)
        self._lock = threading.Lock()
        end, last = _last_record(self._file)
        os.ftruncate(self._file, end)
        self._next = 0 if last is None else last + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def append(self, type: str, **fields: object) -> dict[str, Any]:
        """Writes one event and returns it as a reader will see it; a number that is not finite as null.

        DiskFullError where there is no room; the file then still ends with a whole line.
        """
        assert not _RESERVED & fields.keys(), f"{sorted(_RESERVED & fields.keys())} are the log's own keys"
        with self._lock:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            record = {"v": VERSION, "seq": self._next, "ts": now, "type": type, **_plain_mapping(fields)}
            line = (json.dumps(record, allow_nan=False) + "\n").encode()
            self._write(line)
            self._next += 1
            if type in DURABLE:
                os.fsync(self._file)
        return record

    def sync(self) -> None:
        """Makes all that was appended durable."""
        os.fsync(self._file)

    def close(self) -> None:
        self.sync()
        os.close(self._file)

    def _write(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        with room_on_disk(self.path):
            try:
                # One write, so that a reader never sees two records interleaved; a disk that fills up may
                # still take only a part of it.
                written = os.write(self._file, line)
                while written < len(line):
                    written += os.write(self._file, line[written:])
            except OSError:
                os.ftruncate(self._file, size)
                raise


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Every readable event of the file, in order; a torn or damaged line is left out.

    `Tail` does the same for a file that still grows, and counts what it left out.
    """
    tail = Tail(path)
    while records := tail.read():
        yield from records


def _plain_mapping(values: Mapping[Any, object]) -> dict[str, object]:
    return {str(key): _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    """`value` as JSON knows it; numpy's and torch's numbers and arrays included."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    to_list = getattr(value, "tolist", None)
    assert to_list is not None, f"an event cannot hold {value!r}"
    return _plain(to_list())


def _last_record(file: int) -> tuple[int, int | None]:
    """(end of the last readable line, its `seq`), looking backwards from the end of the file."""
    end = os.fstat(file).st_size
    text = b""
    start = end
    while start > 0:
        step = min(_BLOCK, start)
        start -= step
        text = os.pread(file, step, start) + text
        lines = text.split(b"\n")
        # lines[-1] has no newline after it: torn, or empty. lines[0] may begin before `start`.
        first = 0 if start == 0 else 1
        after = start + len(text) - len(lines[-1])
        for line in reversed(lines[first:-1]):
            seq = _seq(line)
            if seq is not None:
                return after, seq
            after -= len(line) + 1
    return 0, None


def _seq(line: bytes) -> int | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    seq = record.get("seq") if isinstance(record, dict) else None
    return seq if isinstance(seq, int) else None
