"""Memory-mapped file of fixed-size records: a prefix, a JSON header, and records that end with a checksum.

A record that is read while it is being written fails its checksum and is never returned.
"""

import fcntl
import json
import mmap
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from exphil_core.errors import DataError, UsageError
from exphil_core.lock import is_held
from exphil_core.runs.prediction_layout import Layout

VERSION = 1

_PAGE = 4096

_MAX_HEADER = 2**22

MAX_SLOTS = 4

_PREFIX = np.dtype(
    [
        ("magic", "S8"),
        ("version", "<u4"),
        ("header_bytes", "<u4"),
        ("header_crc", "<u4"),
        ("records_at", "<u4"),
        ("record_bytes", "<u4"),
        ("unused", "<u4"),
        ("records", "<u8"),
        # Ring: the first is the number of the newest record. Whole replay: end of the predicted frames per slot.
        ("counts", "<u8", (MAX_SLOTS,)),
    ]
)

_FIELDS = _PREFIX.fields
assert _FIELDS is not None

_COUNTS_AT = _FIELDS["counts"][1]

_CRC_BYTES = 4


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    layout: Layout
    meta: dict[str, Any]


def _sealed(records: np.ndarray) -> bytes:
    """Return the records [N] as bytes with their checksums."""
    sealed = np.array(records)
    sealed["crc"] = checksums(sealed)
    return sealed.tobytes()


def checksums(records: np.ndarray) -> np.ndarray:
    size = records.dtype.itemsize
    data = np.ascontiguousarray(records).view(np.uint8).data
    found = [zlib.crc32(data[at : at + size - _CRC_BYTES]) for at in range(0, len(data), size)]
    return np.array(found, np.uint32)


class RecordFile:
    """A memory-mapped file of records. The number of records and their size never change while it has its name.

    Reads go through the mapping, writes through pwrite: a write to a mapped page may block on the disk while holding
    the interpreter lock, which stops the whole process. A system call releases the lock.
    """

    def __init__(self, path: Path, handle: int, magic: bytes) -> None:
        self.path = path
        self.handle = handle
        size = os.fstat(handle).st_size
        if size < _PREFIX.itemsize:
            raise DataError(f"{path} is cut short: {size} bytes, and its prefix alone has {_PREFIX.itemsize}")
        self._map = mmap.mmap(handle, size, access=mmap.ACCESS_READ)
        self._prefix = np.frombuffer(self._map, _PREFIX, 1)
        prefix = self._prefix[0]
        if bytes(prefix["magic"]) != magic:
            raise DataError(f"{path} does not hold predictions of this kind: delete it and predict again")
        if prefix["version"] != VERSION:
            raise DataError(
                f"{path} is of version {prefix['version']}; this exphil reads version {VERSION}: predict again"
            )
        start, length = _PREFIX.itemsize, int(prefix["header_bytes"])
        data = self._map[start : start + length]
        if length > _MAX_HEADER or len(data) < length or zlib.crc32(data) != prefix["header_crc"]:
            raise DataError(f"{path} is damaged: its header is not what was written. Predict again")
        try:
            header = msgspec.json.decode(data, type=_Header)
        except msgspec.MsgspecError as error:
            raise DataError(
                f"{path} is damaged: its header cannot be read ({error}). Predict again"
            ) from error
        self.layout = header.layout
        self.described = header.meta
        dtype = self.layout.dtype
        if prefix["record_bytes"] != dtype.itemsize:
            raise DataError(
                f"{path} has records of {prefix['record_bytes']} bytes, and its components need {dtype.itemsize}: "
                "delete it and predict again"
            )
        count, at = int(prefix["records"]), int(prefix["records_at"])
        expected = at + count * dtype.itemsize
        if size != expected:
            raise DataError(f"{path} is cut short: {size} bytes of {expected}. Delete it and predict again")
        self._records_at = at
        self.records = np.frombuffer(self._map, dtype, count, at)

    def count(self, which: int) -> int:
        return int(self._prefix["counts"][0, which])

    def write(self, at: int, records: np.ndarray, which: int, count: int) -> None:
        """Write records, then their new count."""
        data = memoryview(_sealed(records))
        place = self._records_at + at * records.dtype.itemsize
        while data:
            written = os.pwrite(self.handle, data, place)
            place, data = place + written, data[written:]
        os.pwrite(self.handle, count.to_bytes(8, "little"), _COUNTS_AT + 8 * which)

    def whole(self, at: int, number: int) -> np.void | None:
        """Return a copy of the record at an index; None if it has another number or is being written."""
        found = self.records[at : at + 1].copy()
        if found["number"][0] != number or found["crc"][0] != checksums(found)[0]:
            return None
        record: np.void = found[0]
        return record

    def close(self) -> None:
        """Unmap and close the file. Only safe once no array of it is in use."""
        del self._prefix, self.records
        self._map.close()
        os.close(self.handle)


def open_record_file(path: Path, magic: bytes) -> RecordFile:
    found = find_record_file(path, magic)
    if found is None:
        raise DataError(f"{path}: no predictions there yet")
    return found


def find_record_file(path: Path, magic: bytes) -> RecordFile | None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return RecordFile(path, handle, magic)
    except BaseException as error:
        os.close(handle)
        if isinstance(error, OSError):
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        raise


def create_locked(partial: Path) -> int:
    """Create, open and lock a new empty file of that name. Readers that have mapped a previous one keep it."""
    while True:
        try:
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            if is_held(partial):
                raise UsageError(
                    f"{partial} is being written by another process: wait for it, or stop it first"
                ) from None
            partial.unlink(missing_ok=True)
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Another process took the file for an abandoned one in the instant before the lock.
            os.close(handle)
            continue
        if not was_replaced(partial, handle):
            return handle
        os.close(handle)


def was_replaced(path: Path, handle: int) -> bool:
    """Return whether the open file is no longer the one at `path`."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return True
    mine = os.fstat(handle)
    return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)


def header_bytes(magic: bytes, layout: Layout, meta: Mapping[str, Any], records: int) -> bytes:
    described = json.dumps({"layout": asdict(layout), "meta": meta}, ensure_ascii=False).encode()
    at = -(-(_PREFIX.itemsize + len(described)) // _PAGE) * _PAGE
    prefix = np.zeros(1, _PREFIX)
    prefix["magic"], prefix["version"] = magic, VERSION
    prefix["header_bytes"], prefix["header_crc"] = len(described), zlib.crc32(described)
    prefix["records_at"], prefix["records"] = at, records
    prefix["record_bytes"] = layout.dtype.itemsize
    return (prefix.tobytes() + described).ljust(at, b"\0")


def allocate(handle: int, header: bytes, size: int) -> None:
    """Write zeros, so that a full disk raises here and not as a signal later; then write the header."""
    zeros = memoryview(bytes(2**20))
    at = len(header)
    while at < size:
        at += os.pwrite(handle, zeros[: size - at], at)
    os.pwrite(handle, header[_PREFIX.itemsize :], _PREFIX.itemsize)
    os.pwrite(handle, header[: _PREFIX.itemsize], 0)
