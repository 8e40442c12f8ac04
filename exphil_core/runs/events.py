"""Append-only event log of a run, `events.jsonl`: one JSON object per line.

Every line has `v`, `seq` (from 0, without gaps), `ts` (ISO 8601, UTC) and `type`. There is one writer at a time, the
holder of the run's lock. A reader may see a torn last line. A writer that reopens the file cuts off everything after
the last readable line and continues with the next `seq`.
"""

import json
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from exphil_core.atomic import disk_full_errors, fsync_directory
from exphil_core.runs.tail import Tail

VERSION = 1

DURABLE = frozenset({"run_started", "checkpoint_saved", "evaluated", "command", "error", "run_finished"})
"""Types that are fsynced when `append` returns. Other lines survive the process but may be lost if the machine
crashes; they were not yet covered by a checkpoint then, so resuming writes them again."""

_RESERVED = frozenset({"v", "seq", "ts"})
_BLOCK = 1 << 16


class EventLog:
    """Appends to a run's events. Threads of one process may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        new = not path.exists()
        with disk_full_errors(path):
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
        """Write one event and return its record as a reader sees it; non-finite numbers become null.

        Raises DiskFullError if there is no room; the file then still ends with a complete line.
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
        """Fsync everything appended so far."""
        os.fsync(self._file)

    def close(self) -> None:
        self.sync()
        os.close(self._file)

    def _write(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        with disk_full_errors(self.path):
            try:
                # One write, so that readers never see interleaved records; a full disk may still take only a part.
                written = os.write(self._file, line)
                while written < len(line):
                    written += os.write(self._file, line[written:])
            except OSError:
                os.ftruncate(self._file, size)
                raise


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every readable event of the file in order; torn and damaged lines are skipped.

    For a file that still grows, use `Tail`, which also counts skipped lines.
    """
    tail = Tail(path)
    while records := tail.read():
        yield from records


def _plain_mapping(values: Mapping[Any, object]) -> dict[str, object]:
    return {str(key): _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    """Convert `value` to JSON types, including numbers and arrays of numpy and torch."""
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
    """Return the end of the last readable line and its `seq`, searching backwards from the end of the file."""
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
