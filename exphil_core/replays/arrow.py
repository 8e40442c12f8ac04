"""Arrow arrays as peppi gives them, read into clean numpy columns.

In: struct and list arrays of one replay. Out: columns of `columns.py`'s dtypes, in which a null row, a value out of
its range and a field that the version lacks are all the missing value. Arrow keeps rubbish where a struct is
null, so nothing is read past its validity.
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
        cleaned = _clean(values if rows is None else values[rows], column)
        absent = absences.get(column.field.partition(".")[0], null)
        if absent is not None:
            absent = absent if rows is None else absent[rows]
            cleaned = np.where(absent, DTYPES[column.group].type(column.missing), cleaned)
        read[column.name] = cleaned
    return read


def _clean(values: np.ndarray, column: Column) -> np.ndarray:
    """`values` as the column's dtype, what lies outside of its range missing. NaN stays NaN."""
    low, high = column.low, column.high
    dtype = DTYPES[column.group]
    if len(values) == 0 or (low is None and high is None):
        return values.astype(dtype, copy=False)
    below = low is not None and not values.min() >= low  # written so that a NaN takes the slow path
    above = high is not None and not values.max() <= high
    if not below and not above:
        return values.astype(dtype, copy=False)
    with np.errstate(invalid="ignore"):
        outside = (values < low) if low is not None else np.zeros(len(values), bool)
        if high is not None:
            outside |= values > high
        cleaned = values.astype(dtype)
    cleaned[outside] = column.missing
    return cleaned


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


def forward_fill(filled: np.ndarray, row: np.ndarray, values: np.ndarray, column: Column) -> None:
    if len(row) == 0:
        return
    cleaned = _clean(values, column)
    latest = np.searchsorted(row, np.arange(len(filled)), side="right") - 1
    known = latest >= 0
    filled[known] = cleaned[latest[known]]
