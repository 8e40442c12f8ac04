"""The sources of a dataset (`sources.parquet`): status of each replay (kept, filtered or refused) and the reason.

A build does not read a source again while path, size and mtime are unchanged. Every build rewrites `duplicate_of`:
when a kept source disappears, a duplicate replaces it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from exphil_core.atomic import atomic_open
from exphil_core.dataset.index import parquet_bytes
from exphil_core.errors import InaccessibleError, explain_os_error

SOURCES_FILE = "sources.parquet"

Key = tuple[str, str]
"""Path, and the archive member (empty without an archive)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """One source, read in this or an earlier build."""

    path: str
    member: str
    size: int
    mtime_ns: int
    status: Literal["kept", "filtered", "refused"]
    reason: str
    detail: str
    content_id: str
    """Content id of a kept source, else empty."""
    duplicate_of: str = ""
    """Name of the source that is kept instead: an equal replay or another recording of the same game."""

    @property
    def key(self) -> Key:
        return self.path, self.member

    @property
    def name(self) -> str:
        return f"{self.path}!{self.member}" if self.member else self.path


_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("member", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("content_id", pa.string()),
        ("duplicate_of", pa.string()),
    ]
)


def write_sources(folder: Path, entries: Iterable[SourceEntry]) -> None:
    """Replace `sources.parquet` in `folder` atomically."""
    rows = [{name: getattr(entry, name) for name in _SCHEMA.names} for entry in entries]
    rows.sort(key=lambda row: (row["path"], row["member"]))
    with atomic_open(folder / SOURCES_FILE) as file:
        file.write(parquet_bytes(pa.Table.from_pylist(rows, schema=_SCHEMA)))


def read_sources(folder: Path) -> dict[Key, SourceEntry]:
    """Read `sources.parquet`. A missing or damaged file gives an empty result: sources are then read again.

    Raises:
        InaccessibleError: the system denies access; the file may be intact and must not be replaced.
    """
    try:
        rows = pq.read_table(pa.BufferReader((folder / SOURCES_FILE).read_bytes())).to_pylist()
        entries = [SourceEntry(**row) for row in rows]
    except (OSError, TypeError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (why := explain_os_error(error)) is not None:
            raise InaccessibleError(f"{folder / SOURCES_FILE}: the file cannot be read: {why}") from error
        return {}
    return {entry.key: entry for entry in entries}
