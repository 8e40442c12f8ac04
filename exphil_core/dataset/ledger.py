"""The sources a dataset has seen, and what became of each: kept, filtered or refused, and why.

One row of `sources.parquet` a source. It makes a second build cheap (a source with the same path, size and time of
change is not read again) and accounts for every file. Of which source one is a duplicate follows from all of them and
is written anew by every build: when the kept one goes, another takes its place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from exphil_core.atomic import replacing
from exphil_core.dataset.index import parquet_bytes
from exphil_core.errors import InaccessibleError, obstacle

LEDGER_FILE = "sources.parquet"

Key = tuple[str, str]
"""Path, and the member of an archive or an empty text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    path: str
    member: str
    size: int
    mtime_ns: int
    status: Literal["kept", "filtered", "refused"]
    reason: str
    detail: str
    content_id: str
    """Of a kept source, else empty."""
    duplicate_of: str = ""
    """Name of the source whose game is kept instead: an equal replay or another recording of the same game."""

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


def write_ledger(folder: Path, entries: Iterable[Entry]) -> None:
    rows = [{name: getattr(entry, name) for name in _SCHEMA.names} for entry in entries]
    rows.sort(key=lambda row: (row["path"], row["member"]))
    with replacing(folder / LEDGER_FILE) as file:
        file.write(parquet_bytes(pa.Table.from_pylist(rows, schema=_SCHEMA)))


def read_ledger(folder: Path) -> dict[Key, Entry]:
    """Empty where there is none or it is damaged: sources are then read again, nothing is lost.

    InaccessibleError where the system does not let it be read: it would be replaced.
    """
    try:
        rows = pq.read_table(pa.BufferReader((folder / LEDGER_FILE).read_bytes())).to_pylist()
        entries = [Entry(**row) for row in rows]
    except (OSError, TypeError, pa.ArrowException) as error:
        if isinstance(error, OSError) and (why := obstacle(error)) is not None:
            raise InaccessibleError(f"{folder / LEDGER_FILE}: the file cannot be read: {why}") from error
        return {}
    return {entry.key: entry for entry in entries}
