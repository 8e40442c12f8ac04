"""Arrow arrays as peppi gives them, read into clean numpy columns.

A null row and a field that the version lacks are the missing value. Arrow keeps rubbish where a struct is null, so
nothing is read past its validity.
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
"""pyarrow's own table of these needs pandas."""


class OutOfRange(Exception):
    """A value that the game cannot have."""

    def __init__(self, column: Column, row: int, value: float) -> None:
        super().__init__(column.name, row, value)
        self.column, self.row, self.value = column, row, value


NOTHING_ABSENT: Mapping[Any, np.ndarray] = MappingProxyType({})


def finalised_rows(frame_ids: np.ndarray) -> np.ndarray | None:
    """Rows of the last occurrence of each frame id, in the order of the ids, or None where none repeats.

    Frames after the one that was played last were rolled back and never played again: they are left out.
    """
    if (frame_ids[1:] > frame_ids[:-1]).all():
        return None
    ids, from_the_end = np.unique(frame_ids[::-1], return_index=True)
    return (len(frame_ids) - 1 - from_the_end)[ids <= frame_ids[-1]]


def field_names(struct: pa.StructArray) -> set[str]:
    return {field.name for field in struct.type}


def values_of(array: pa.Array) -> np.ndarray:
    """The numbers of a primitive array without a copy; what is null in a struct above it holds rubbish."""
    dtype = _NUMPY[array.type]
    return np.frombuffer(array.buffers()[1], dtype, count=len(array), offset=array.offset * dtype.itemsize)


def _find(struct: pa.StructArray, field: str) -> pa.Array | None:
    """The array of a dotted field, or None where the replay's version does not have it."""
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
    """Columns by name at `rows` (None: all). A null row, or a column that the version lacks, is missing.

    So are the rows in which `absent_halves`, by the first part of a field, is True.
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
    """`values` as the column's dtype, missing where `absent`. NaN stays NaN.

    Raises OutOfRange for a value that the game cannot have. Where the column may hold garbage, that is missing.
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
    """(frame index, fields) of the events of all kept rows, in the order of the frames."""
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
    """Sets `filled` from each row on to the value there. Raises OutOfRange, with a row of `filled`."""
    if len(row) == 0:
        return
    try:
        cleaned = _clean(values, column, version)
    except OutOfRange as error:
        raise OutOfRange(column, int(row[error.row]), error.value) from None
    latest = np.searchsorted(row, np.arange(len(filled)), side="right") - 1
    known = latest >= 0
    filled[known] = cleaned[latest[known]]
