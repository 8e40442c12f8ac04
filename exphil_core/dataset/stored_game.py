"""Convert a game of a dataset to a `Game`, as viewers use it.

Columns are views of the mapped shards. A dataset stores no names, costumes, seeds or spawn ids, at most `ITEM_SLOTS`
items per frame, and few columns of a follower: what it does not store is missing, empty or 0 here.
"""

from bisect import bisect_left

import numpy as np

from exphil_core.dataset.index import DatasetIndex, GameEntry
from exphil_core.dataset.store import ColumnStore, Rows
from exphil_core.errors import DataError
from exphil_core.replays.columns import (
    DTYPES,
    FOLLOWER_COLUMNS,
    ITEM_COLUMNS,
    ITEM_SLOTS,
    MISSING,
    PLAYER_COLUMNS,
    POSITION,
    STAGE_COLUMNS,
    Column,
    Version,
)
from exphil_core.replays.game import Columns, Game, Items, Player

_ITEMS_SINCE = min(column.since for column in ITEM_COLUMNS)
_NO_SPAWN_ID = np.iinfo(np.uint32).max


def stored_game(index: DatasetIndex, store: ColumnStore, content_id: str) -> Game:
    """Return the game with this content id.

    Raises:
        DataError: the dataset does not have it.
    """
    games = index.games
    place = bisect_left(games, content_id, key=lambda game: game.content_id)
    if place == len(games) or games[place].content_id != content_id:
        raise DataError(f"{index.path}: the dataset has no game {content_id}")
    entry, rows = games[place], store.game(place)
    version = Version(*map(int, entry.version.split(".")))
    return Game(
        content_id=content_id,
        version=version,
        external_stage_id=entry.external_stage_id,
        is_teams=False,
        is_pal=None,
        random_seed=0,
        match_id="",
        played_on="",
        end_method=None,
        frame_id=rows.frame_id,
        players=(_player(entry, rows, 0), _player(entry, rows, 1)),
        items=_items(rows) if version >= _ITEMS_SINCE else None,
        stage=_block(rows, "stage", STAGE_COLUMNS),
        rollback_rows=0,
        salvaged=entry.salvaged,
        repaired=tuple(entry.repaired.split()),
    )


def _block(rows: Rows, block: str, columns: tuple[Column, ...]) -> dict[str, np.ndarray]:
    positions = {column.name: POSITION[f"{block}.{column.name}"] for column in columns}
    return {name: rows.columns[group][:, at] for name, (group, at) in positions.items()}


def _player(entry: GameEntry, rows: Rows, slot: int) -> Player:
    side = entry.sides[slot]
    leader = _block(rows, f"p{slot}", PLAYER_COLUMNS)
    return Player(
        port_index=side.port_index,
        external_id=side.selected_external_id,
        type=side.type,
        costume=0,
        team=None,
        start_stocks=int(leader["stocks"][0]),
        name="",
        code="",
        leader=leader,
        follower=_follower(rows, slot),
        floor=side.floor,
    )


def _follower(rows: Rows, slot: int) -> Columns | None:
    """Return the follower's columns; None if it is absent on every frame."""
    kept = _block(rows, f"n{slot}", FOLLOWER_COLUMNS)
    if (kept["action_state"] == MISSING["u16"]).all():
        return None
    frames = len(rows.frame_id)
    return {
        column.name: kept.get(column.name, np.full(frames, column.missing, DTYPES[column.group]))
        for column in PLAYER_COLUMNS
    }


def _items(rows: Rows) -> Items:
    slots = [_block(rows, f"item{slot}", ITEM_COLUMNS) for slot in range(ITEM_SLOTS)]
    there = np.stack([slot["type"] != MISSING["u16"] for slot in slots], axis=1)
    offsets = np.concatenate(([0], np.cumsum(there.sum(axis=1, dtype=np.int64))))
    columns = {
        column.name: np.stack([slot[column.name] for slot in slots], axis=1)[there] for column in ITEM_COLUMNS
    }
    spawn_id = np.full(int(offsets[-1]), _NO_SPAWN_ID, np.uint32)
    return Items(offsets=offsets, spawn_id=spawn_id, columns=columns)
