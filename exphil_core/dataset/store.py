"""Read games and windows of a dataset from its memory-mapped shards.

Whole games are views as stored (side 0 is the lower port); windows are copied with the ego's half first. Only the
mappings stay in memory; touched pages are page cache, which the system can reclaim.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.shards import SHARD_FOLDER, Shard, open_shard
from exphil_core.errors import DataError
from exphil_core.melee.frames import FIRST_FRAME_ID
from exphil_core.replays.columns import DTYPES, GROUPS, HALF, LAYOUT, MISSING, Group

MISSING_FRAME_ID = FIRST_FRAME_ID - 1
"""`frame_id` of padding: one before the first frame of every game."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Consecutive frames: arrays [..., T, columns] and [..., T]."""

    columns: Mapping[Group, np.ndarray]
    frame_id: np.ndarray
    """int32."""
    valid: np.ndarray
    """bool; False is padding."""


def empty_rows(*shape: int) -> Rows:
    """Allocate rows of the given leading shape; their content is undefined."""
    return Rows(
        columns={group: np.empty((*shape, len(LAYOUT[group])), DTYPES[group]) for group in GROUPS},
        frame_id=np.empty(shape, np.int32),
        valid=np.empty(shape, np.bool_),
    )


class ColumnStore:
    """The memory-mapped shards of a dataset. Thread-safe.

    Raises:
        DataError: a shard is missing, damaged or shorter than the index says.
    """

    def __init__(self, index: DatasetIndex) -> None:
        self.index = index
        names = {game.shard for game in index.games}
        self._shards: dict[str, Shard] = {
            name: open_shard(index.path / SHARD_FOLDER / name) for name in sorted(names)
        }
        for game in index.games:
            rows = len(self._shards[game.shard].frame_id)
            if game.row_start + game.frames > rows:
                raise DataError(
                    f"{index.path}: the index places game {game.content_id} beyond the {rows} rows of shard "
                    f"{game.shard}; delete the folder and build the dataset again"
                )

    def game(self, game: int) -> Rows:
        """Return a whole game as stored: read-only views, side 0 first."""
        entry = self.index.games[game]
        shard = self._shards[entry.shard]
        span = slice(entry.row_start, entry.row_start + entry.frames)
        return Rows(
            columns={group: shard.groups[group][span] for group in GROUPS},
            frame_id=shard.frame_id[span],
            valid=np.ones(entry.frames, np.bool_),
        )

    def window(self, game: int, start: int, length: int, slot: int) -> Rows:
        """Return `length` frames from `start`, the player of `slot` first; padded past the end of the game."""
        rows = empty_rows(1, length)
        self.read(rows, 0, game=game, start=start, slot=slot)
        return Rows(
            columns={group: rows.columns[group][0] for group in GROUPS},
            frame_id=rows.frame_id[0],
            valid=rows.valid[0],
        )

    def read(self, rows: Rows, row: int, *, game: int, start: int, slot: int) -> None:
        """Fill row `row` of `rows` [B, L] with the window at frame index `start`, the player of `slot` first."""
        entry = self.index.games[game]
        shard = self._shards[entry.shard]
        length = rows.frame_id.shape[1]
        found = max(0, min(length, entry.frames - start))
        begin = entry.row_start + start
        for group in GROUPS:
            source = shard.groups[group][begin : begin + found]
            target = rows.columns[group][row]
            if slot == 0:
                target[:found] = source
            else:
                half = HALF[group]
                target[:found, :half] = source[:, half : 2 * half]
                target[:found, half : 2 * half] = source[:, :half]
                target[:found, 2 * half :] = source[:, 2 * half :]
            target[found:] = MISSING[group]
        rows.frame_id[row, :found] = shard.frame_id[begin : begin + found]
        rows.frame_id[row, found:] = MISSING_FRAME_ID
        rows.valid[row, :found] = True
        rows.valid[row, found:] = False
