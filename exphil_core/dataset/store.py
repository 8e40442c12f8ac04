"""Reads games and windows of a dataset out of its mapped shards, the ego first.

In: a `DatasetIndex`. Out: views of whole games as they are stored (side 0 is the lower port), or windows
copied into arrays of the caller with the ego's half swapped to the front. Nothing is kept in memory but the
mappings: what was touched is page cache, which the system takes back when it needs it.
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
"""`frame_id` of padding: before every frame of a game, and near enough to be harmless as a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Consecutive frames. [..., T, columns] and [..., T]."""

    columns: Mapping[Group, np.ndarray]
    frame_id: np.ndarray
    """int32."""
    valid: np.ndarray
    """bool; False where the row is padding."""


def empty_rows(*shape: int) -> Rows:
    """Rows of the given leading shape to be filled: their content is undefined."""
    return Rows(
        columns={group: np.empty((*shape, len(LAYOUT[group])), DTYPES[group]) for group in GROUPS},
        frame_id=np.empty(shape, np.int32),
        valid=np.empty(shape, np.bool_),
    )


class ColumnStore:
    """The mapped shards of a dataset. Safe to read from several threads."""

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
        """The whole game as it is stored: read-only views, side 0 first."""
        entry = self.index.games[game]
        shard = self._shards[entry.shard]
        span = slice(entry.row_start, entry.row_start + entry.frames)
        return Rows(
            columns={group: shard.groups[group][span] for group in GROUPS},
            frame_id=shard.frame_id[span],
            valid=np.ones(entry.frames, np.bool_),
        )

    def window(self, game: int, start: int, length: int, slot: int) -> Rows:
        """`length` frames from `start`, the player of `slot` first; padded past the end of the game."""
        rows = empty_rows(1, length)
        self.read(rows, 0, game=game, start=start, slot=slot)
        return Rows(
            columns={group: rows.columns[group][0] for group in GROUPS},
            frame_id=rows.frame_id[0],
            valid=rows.valid[0],
        )

    def read(self, rows: Rows, row: int, *, game: int, start: int, slot: int) -> None:
        """Fills row `row` of `rows` [B, L] with the window that begins at frame index `start`."""
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
