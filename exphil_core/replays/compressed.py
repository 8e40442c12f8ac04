"""Decompress single replays (`.slp.gz`, `.xz`, `.bz2`, `.zst` and `.slpz`) to plain `.slp` files for the parser."""

import bz2
import gzip
import lzma
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from exphil_core.replays.event_stream import HEADER
from exphil_core.replays.kinds import REPLAY_SUFFIX, kind_of
from exphil_core.replays.refusals import Refused
from exphil_core.replays.regular_file import open_regular, read_failure
from exphil_core.replays.text import is_text

READ_BYTES = 2**20

_SLPZ_VERSION = 0
_SLPZ_HEADER = struct.Struct(">6I")


@contextmanager
def plain_replay(path: Path, *, max_bytes: int, folder: Path | None = None) -> Iterator[Path]:
    """Provide a path that the parser can read, for the duration of a `with` block.

    This is `path` itself for an uncompressed replay whose name is UTF-8, else a temporary file in `folder`.

    Raises:
        Refused: The file is damaged, is not a replay, or unpacks to more than `max_bytes`.
        OSError: The temporary file cannot be written.
    """
    if kind_of(path.name) != "compressed":
        if is_text(str(path)):
            yield path
            return
        with tempfile.TemporaryDirectory(dir=folder) as beside:
            link = Path(beside) / f"replay{REPLAY_SUFFIX}"
            link.symlink_to(path.absolute())
            yield link
        return
    with tempfile.NamedTemporaryFile(suffix=REPLAY_SUFFIX, dir=folder) as plain:
        for chunk in _plain_chunks(path, max_bytes):
            plain.write(chunk)
        plain.flush()
        yield Path(plain.name)


def _plain_chunks(path: Path, max_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of the replay. Any problem with the file raises Refused; other errors come from writing."""
    subject = str(path)
    try:
        with open_regular(path) as packed:
            if path.name.lower().endswith(".slpz"):
                yield _from_slpz(packed.read(max_bytes + 1), max_bytes, subject)
                return
            plain = decompressing(packed, path.name)
            size = 0
            while chunk := plain.read(READ_BYTES):
                if size == 0 and not chunk.startswith(HEADER):
                    raise Refused("not_slippi", subject)
                size += len(chunk)
                if size > max_bytes:
                    raise Refused("member_too_large", subject, f"more than {max_bytes} bytes")
                yield chunk
            if size == 0:
                raise Refused("not_slippi", subject)
    except OSError as error:
        raise read_failure(error, subject) from error
    except (EOFError, zlib.error, lzma.LZMAError, ValueError, IndexError, struct.error) as error:
        if isinstance(error, Refused):
            raise
        raise Refused("archive_corrupt", subject, f"{type(error).__name__}: {error}") from error


def decompressing(packed: BinaryIO, name: str) -> BinaryIO:
    """Return the content of an open file as a stream, decompressed according to the suffix of `name`."""
    lower = name.lower()
    if lower.endswith((".gz", ".tgz")):
        return gzip.GzipFile(fileobj=packed)  # type: ignore[return-value]
    if lower.endswith((".xz", ".txz", ".lzma", ".tlz")):
        return lzma.LZMAFile(packed)  # type: ignore[return-value]
    if lower.endswith((".bz2", ".tbz", ".tbz2")):
        return bz2.BZ2File(packed)  # type: ignore[return-value]
    if lower.endswith((".zst", ".tzst")):
        import pyarrow as pa

        stream: BinaryIO = pa.CompressedInputStream(pa.PythonFile(packed, mode="r"), "zstd")
        return stream
    return packed


def _from_slpz(data: bytes, max_bytes: int, subject: str) -> bytes:
    """Decode a `.slpz` replay. Format: https://github.com/AlexanderHarrison/slpz

    Six big-endian uint32 (version, four offsets, size of the events), then the table of event sizes, Game Start and
    the metadata, uncompressed, and the other events compressed: their count, their codes in order, and for each code
    its payloads transposed, all first bytes before all second bytes.
    """
    if len(data) > max_bytes:
        raise Refused("member_too_large", subject, f"more than {max_bytes} bytes")
    version, sizes_at, start_at, metadata_at, events_at, events_bytes = _SLPZ_HEADER.unpack_from(data)
    if version != _SLPZ_VERSION:
        raise Refused("archive_corrupt", subject, f"slpz version {version}, expected {_SLPZ_VERSION}")
    if not _SLPZ_HEADER.size <= sizes_at < start_at < metadata_at <= events_at < len(data):
        raise Refused("archive_corrupt", subject, "its sections do not follow each other")
    if events_bytes > max_bytes:
        raise Refused("member_too_large", subject, f"{events_bytes} bytes, at most {max_bytes}")
    import pyarrow as pa

    packed = pa.CompressedInputStream(pa.BufferReader(data[events_at:]), "zstd")
    columns = np.frombuffer(packed.read(events_bytes + 1), np.uint8)
    if len(columns) != events_bytes:
        raise Refused("archive_corrupt", subject, f"{len(columns)} bytes of events, expected {events_bytes}")
    table = data[sizes_at:start_at]
    sizes = np.zeros(256, np.int64)
    for code, size in struct.iter_unpack(">BH", table[2 : 2 + (table[1] - 1) // 3 * 3]):
        sizes[code] = size
    stream = table + data[start_at:metadata_at] + _in_order(columns, sizes)
    return HEADER + struct.pack(">I", len(stream)) + stream + data[metadata_at:events_at]


def _in_order(columns: np.ndarray, sizes: np.ndarray) -> bytes:
    """Rebuild the events from their codes and transposed payloads. Raises ValueError if their sizes do not fit."""
    count = int.from_bytes(columns[:4].tobytes(), "big")
    codes, position = columns[4 : 4 + count], 4 + count
    ends = np.cumsum(1 + sizes[codes])
    if len(codes) != count or position + int(sizes[codes].sum()) != len(columns):
        raise ValueError("the events do not fit their sizes")
    events = np.empty(int(ends[-1]) if count else 0, np.uint8)
    first = ends - 1 - sizes[codes]
    events[first] = codes
    for code in np.unique(codes):
        rows = first[codes == code]
        size = int(sizes[code])
        payloads = columns[position : position + size * len(rows)].reshape(size, len(rows))
        position += payloads.size
        for byte in range(size):
            events[rows + 1 + byte] = payloads[byte]
    return events.tobytes()
