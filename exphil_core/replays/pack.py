"""Pack a two-player game into dataset rows: one array per dtype group, with the columns of `columns.LAYOUT`.

A worker process sends only the `PackedGame` to the dataset writer. Side 0 is the player with the lower port; the ego
is chosen later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exphil_core.replays.columns import (
    DTYPES,
    GROUPS,
    ITEM_COLUMNS,
    ITEM_SLOTS,
    LAYOUT,
    MISSING,
    POSITION,
    Group,
    Version,
)
from exphil_core.replays.game import Columns, Floor, Game, Items, Player
from exphil_core.replays.identity import match_key, twin_keys

PARSER_VERSION = "peppi-py-vladfi 0.9.2, reader 2"
"""Part of a dataset's cache key: raise the reader's number when the same file would give other columns."""

_ROWS_AT_A_TIME = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSide:
    """One player of a game: its characters and header fields. Without names: a dataset stores none."""

    port_index: int
    selected_external_id: int
    frames_by_character: Mapping[int, int]
    """External character id → frames on the stage, most played first."""
    type: Literal["human", "cpu", "demo"]
    floor: Floor | None = None

    @property
    def external_id(self) -> int:
        """The character played most, which is not always the one selected."""
        return next(iter(self.frames_by_character))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedGame:
    content_id: str
    version: Version
    external_stage_id: int
    end_method: str | None
    salvaged: bool
    rollback_rows: int
    sides: tuple[PackedSide, PackedSide]
    frame_id: np.ndarray
    """int32 [T], strictly increasing."""
    groups: Mapping[Group, np.ndarray]
    """One array [T, len(LAYOUT[group])] per group, C-contiguous, in the group's dtype."""
    repaired: tuple[str, ...] = ()
    """Repairs made to the file before it was read: keys of `repair.REPAIRS`."""
    match_key: str = ""
    """Key shared by all games of one match; empty if unknown."""
    twin_keys: tuple[str, ...] = ()
    """Keys of the game: two recordings that share any of them are of the same game."""

    @property
    def frames(self) -> int:
        return len(self.frame_id)


def pack_game(game: Game) -> PackedGame:
    """Pack a two-player game. Of more than `ITEM_SLOTS` items in a frame, those nearest to a player are kept."""
    first, second = game.players
    blocks: dict[str, Columns] = {"p0": first.leader, "p1": second.leader, "stage": game.stage}
    for name, player in (("n0", first), ("n1", second)):
        if player.follower is not None:
            blocks[name] = player.follower
    groups = {group: _rows(group, blocks, game.frames) for group in GROUPS}
    if game.items is not None and len(game.items.spawn_id):
        _fill_items(groups, game, game.items)
    return PackedGame(
        content_id=game.content_id,
        version=game.version,
        external_stage_id=game.external_stage_id,
        end_method=game.end_method,
        salvaged=game.salvaged,
        rollback_rows=game.rollback_rows,
        sides=(_side(first), _side(second)),
        frame_id=game.frame_id,
        groups=groups,
        repaired=game.repaired,
        match_key=match_key(game),
        twin_keys=twin_keys(game),
    )


def _side(player: Player) -> PackedSide:
    return PackedSide(
        port_index=player.port_index,
        selected_external_id=player.external_id,
        frames_by_character=player.played,
        type=player.type,
        floor=player.floor,
    )


def _rows(group: Group, blocks: Mapping[str, Columns], frames: int) -> np.ndarray:
    """[T, columns of the group]; columns that no block provides are missing."""
    rows = np.full((frames, len(LAYOUT[group])), MISSING[group], DTYPES[group])
    columns: list[tuple[int, np.ndarray]] = []
    for index, full_name in enumerate(LAYOUT[group]):
        block, name = full_name.split(".")
        if block in blocks:
            columns.append((index, blocks[block][name]))
    # In chunks of rows, so that the strided writes of all columns stay within the CPU cache.
    for start in range(0, frames, _ROWS_AT_A_TIME):
        stop = min(start + _ROWS_AT_A_TIME, frames)
        for index, column in columns:
            rows[start:stop, index] = column[start:stop]
    return rows


def _fill_items(groups: Mapping[Group, np.ndarray], game: Game, items: Items) -> None:
    """Write items into the slots of their frames, by spawn id: an item mostly keeps its slot while it exists."""
    counts = np.diff(items.offsets)
    frame = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((items.spawn_id, frame))
    if counts.max() > ITEM_SLOTS:
        order = order[_nearest(game, items, frame)[order]]
    frame = frame[order]
    # The slot is the index among the kept items of the frame.
    slot = np.arange(len(frame)) - np.searchsorted(frame, frame, side="left")
    for column in ITEM_COLUMNS:
        first = POSITION[f"item0.{column.name}"][1]
        step = POSITION[f"item1.{column.name}"][1] - first
        groups[column.group][frame, first + slot * step] = items.columns[column.name][order]


def _nearest(game: Game, items: Items, frame: np.ndarray) -> np.ndarray:
    """[N] bool: whether an item is among the `ITEM_SLOTS` items of its frame nearest to either player."""
    distance = np.full(len(frame), np.inf, np.float32)
    for player in game.players:
        x = items.columns["position_x"] - player.leader["position_x"][frame]
        y = items.columns["position_y"] - player.leader["position_y"][frame]
        distance = np.fmin(distance, np.hypot(x, y))
    by_distance = np.lexsort((items.spawn_id, distance, frame))
    rank = np.empty(len(frame), np.int64)
    rank[by_distance] = np.arange(len(frame)) - items.offsets[frame[by_distance]]
    return rank < ITEM_SLOTS
