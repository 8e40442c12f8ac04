"""Read peppi's Arrow arrays into clean numpy columns.

Null rows and fields that the version lacks become the missing value. Arrow values are undefined where a struct is
null, so they are always masked by its validity.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from exphil_core.replays.columns import DTYPES, Column, Version

_NUMPY: dict[pa.DataType, np.dtype] = {
    pa.float32(): np.dtype(np.float32),
    pa.int8(): np.dtype(np.int8),
    pa.int32(): np.dtype(np.int32),
    pa.uint8(): np.dtype(np.uint8),
    pa.uint16(): np.dtype(np.uint16),
    pa.uint32(): np.dtype(np.uint32),
}
"""pyarrow's own mapping of these types needs pandas."""


class OutOfRange(Exception):
    """A value that the game cannot have."""

    def __init__(self, column: Column, row: int, value: float) -> None:
        super().__init__(column.name, row, value)
        self.column, self.row, self.value = column, row, value


NOTHING_ABSENT: Mapping[Any, np.ndarray] = MappingProxyType({})


def finalised_rows(frame_ids: np.ndarray) -> np.ndarray | None:
    """Return the rows of the last occurrence of each frame id, in id order; None if no id repeats.

    Frame ids above the last row's were rolled back and never played again: they are left out.
    """
    if (frame_ids[1:] > frame_ids[:-1]).all():
        return None
    ids, from_the_end = np.unique(frame_ids[::-1], return_index=True)
    rows: np.ndarray = (len(frame_ids) - 1 - from_the_end)[ids <= frame_ids[-1]]
    return rows


def field_names(struct: pa.StructArray) -> set[str]:
    return {field.name for field in struct.type}


def values_of(array: pa.Array) -> np.ndarray:
    """Values of a primitive array without a copy; undefined where an enclosing struct is null."""
    dtype = _NUMPY[array.type]
    return np.frombuffer(array.buffers()[1], dtype, count=len(array), offset=array.offset * dtype.itemsize)


def _find(struct: pa.StructArray, field: str) -> pa.Array | None:
    """Array of a dotted field, or None if the replay's version lacks it."""
    found: pa.Array = struct
    for name in field.split("."):
        if found.type.get_field_index(name) < 0:
            return None
        found = found.field(name)
    return found


def read_columns(
    struct: pa.StructArray,
    columns: Iterable[Column],
    version: Version,
    rows: np.ndarray | None,
    length: int,
    absent_halves: Mapping[str, np.ndarray] = NOTHING_ABSENT,
) -> dict[str, np.ndarray]:
    """Read columns by name. Null rows and columns that the version lacks are missing.

    Args:
        rows: Rows to read; None for all.
        length: Number of rows read.
        absent_halves: Additional missing rows (bool over all rows), keyed by the first part of a field.

    Raises:
        OutOfRange: A value is one that the game cannot have.
    """
    null = struct.is_null().to_numpy(zero_copy_only=False) if struct.null_count else None
    absences = {half: absent if null is None else absent | null for half, absent in absent_halves.items()}
    read: dict[str, np.ndarray] = {}
    for column in columns:
        found = _find(struct, column.field) if version >= column.since else None
        if found is None:
            read[column.name] = np.full(length, column.missing, DTYPES[column.group])
            continue
        values = values_of(found)
        absent = absences.get(column.field.partition(".")[0], null)
        if rows is not None:
            values = values[rows]
            absent = None if absent is None else absent[rows]
        read[column.name] = _clean(values, column, version, absent)
    return read


def _clean(
    values: np.ndarray, column: Column, version: Version, absent: np.ndarray | None = None
) -> np.ndarray:
    """Return `values` in the column's dtype, missing where `absent`. NaN stays NaN.

    Raises OutOfRange for a value that the game cannot have; if the column may hold garbage, it is missing instead.
    """
    low, high = column.low, column.high
    dtype = DTYPES[column.group]
    cleaned = values.astype(dtype, copy=False)
    if absent is not None:
        cleaned = np.where(absent, dtype.type(column.missing), cleaned)
    if len(values) == 0 or low is None:
        return cleaned
    limit = np.inf if high is None else high
    if values.min() >= low and values.max() <= limit:  # written so that a NaN takes the slow path
        return cleaned
    with np.errstate(invalid="ignore"):
        outside = (values < low) | (values > limit)
    if absent is not None:
        outside &= ~absent
    if not outside.any():
        return cleaned
    if not column.any_bits and version >= column.garbage_before:
        row = int(outside.argmax())
        raise OutOfRange(column, row, float(values[row]))
    return np.where(outside, dtype.type(column.missing), cleaned)


def read_events(table: pa.ListArray, rows: np.ndarray | None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return (frame index, fields) of the events of all kept rows, in frame order."""
    counts = np.diff(values_of(table.offsets))
    index = np.arange(len(counts))
    if rows is not None:
        index = np.full(len(counts), -1)
        index[rows] = np.arange(len(rows))
    row = np.repeat(index, counts)
    kept = np.flatnonzero(row >= 0)
    kept = kept[np.argsort(row[kept], kind="stable")]
    values = table.values
    return row[kept], {name: values_of(values.field(name))[kept] for name in field_names(values)}


def forward_fill(
    filled: np.ndarray, row: np.ndarray, values: np.ndarray, column: Column, version: Version
) -> None:
    """Set `filled` from each row onwards to that row's value. Raises OutOfRange with an index into `filled`."""
    if len(row) == 0:
        return
    try:
        cleaned = _clean(values, column, version)
    except OutOfRange as error:
        raise OutOfRange(column, int(row[error.row]), error.value) from None
    latest = np.searchsorted(row, np.arange(len(filled)), side="right") - 1
    known = latest >= 0
    filled[known] = cleaned[latest[known]]
