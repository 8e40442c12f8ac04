"""Shards: the rows of many games, one after another, in a memory-mapped safetensors file.

Tensors: `f32`, `u16`, `u8` (one row per frame, `columns.LAYOUT` wide) and `frame_id`. This module writes the format
itself because safetensors' writer needs each tensor whole in memory.
"""

import hashlib
import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exphil_core.atomic import atomic_open
from exphil_core.dataset.index import BuildKey
from exphil_core.errors import DataError, InaccessibleError, explain_os_error
from exphil_core.replays.columns import DTYPES, GROUPS, LAYOUT, SCHEMA_VERSION, Group
from exphil_core.replays.pack import PackedGame

SHARD_FOLDER = "shards"

SHARD_ROWS = 300_000
"""Rows at which a shard is closed: about 120 MiB. A build holds at most two shards in memory."""

_FORMAT_NAMES: dict[np.dtype, str] = {
    np.dtype(np.float32): "F32",
    np.dtype(np.uint16): "U16",
    np.dtype(np.uint8): "U8",
    np.dtype(np.int32): "I32",
}
_FRAME_ID = np.dtype(np.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Views of a memory-mapped shard; pages are read on first access and never copied."""

    groups: dict[Group, np.ndarray]
    """[N, len(LAYOUT[group])] each, read-only."""
    frame_id: np.ndarray
    """int32 [N], read-only."""


def shard_name(key: BuildKey, content_ids: Sequence[str]) -> str:
    """Return the file name of a shard with these games in this order.

    It depends on `key`, so that a rebuild with another key does not overwrite the old shards.
    """
    text = "\n".join([repr(key), *content_ids])
    return f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.safetensors"


def write_shard(path: Path, games: Sequence[PackedGame]) -> None:
    """Write the games' rows in order, atomically.

    Raises:
        DiskFullError: no space is left.
    """
    rows = sum(game.frames for game in games)
    header: dict[str, object] = {"__metadata__": {"schema_version": str(SCHEMA_VERSION)}}
    end = 0
    # Wider dtypes first, so that each tensor starts aligned to its elements.
    tensors: list[tuple[str, np.dtype, list[int], list[np.ndarray]]] = [
        ("f32", DTYPES["f32"], [rows, len(LAYOUT["f32"])], [game.groups["f32"] for game in games]),
        ("frame_id", _FRAME_ID, [rows], [game.frame_id for game in games]),
        ("u16", DTYPES["u16"], [rows, len(LAYOUT["u16"])], [game.groups["u16"] for game in games]),
        ("u8", DTYPES["u8"], [rows, len(LAYOUT["u8"])], [game.groups["u8"] for game in games]),
    ]
    for name, dtype, shape, _ in tensors:
        start, end = end, end + int(np.prod(shape)) * dtype.itemsize
        header[name] = {"dtype": _FORMAT_NAMES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_open(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, dtype, shape, parts in tensors:
            for part in parts:
                assert part.dtype == dtype
                assert list(part.shape[1:]) == shape[1:]
                file.write(np.ascontiguousarray(part).data)


def open_shard(path: Path) -> Shard:
    """Memory-map a shard.

    Raises:
        DataError: the shard is missing, truncated or has another layout.
        InaccessibleError: the system denies access; the shard itself may be intact.
    """
    try:
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(pages[:8], "little")
        header = json.loads(pages[8 : 8 + length])
        groups = {group: _view(pages, 8 + length, header[group], DTYPES[group]) for group in GROUPS}
        frame_id = _view(pages, 8 + length, header["frame_id"], _FRAME_ID)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and (why := explain_os_error(error)) is not None:
            raise InaccessibleError(f"{path}: the shard cannot be opened: {why}") from error
        raise DataError(
            f"{path}: the shard is missing or damaged ({error}); "
            f"delete {path.parent.parent} and build the dataset again"
        ) from error
    for group, view in groups.items():
        if view.shape != (len(frame_id), len(LAYOUT[group])):
            raise DataError(
                f"{path}: '{group}' has shape {view.shape}, "
                f"expected ({len(frame_id)}, {len(LAYOUT[group])}); "
                f"delete {path.parent.parent} and build the dataset again"
            )
    return Shard(groups=groups, frame_id=frame_id)


def _view(pages: mmap.mmap, base: int, entry: dict[str, Any], dtype: np.dtype) -> np.ndarray:
    if entry["dtype"] != _FORMAT_NAMES[dtype]:
        raise ValueError(f"found dtype {entry['dtype']}, expected {_FORMAT_NAMES[dtype]}")
    shape, start = entry["shape"], entry["data_offsets"][0]
    view = np.frombuffer(pages, dtype=dtype, count=int(np.prod(shape)), offset=base + start)
    return view.reshape(shape)
