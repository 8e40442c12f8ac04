"""Synthetic packed games: every value says which game, frame and column it is."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from exphil_core.dataset.index import BuildKey, DatasetIndex, GameEntry, GameSide, write_index
from exphil_core.dataset.shards import SHARD_FOLDER, shard_name, write_shard
from exphil_core.melee.characters import by_external_id
from exphil_core.replays.columns import DTYPES, GROUPS, LAYOUT, POSITION, SCHEMA_VERSION, Version
from exphil_core.replays.pack import PackedGame, PackedSide

MakeGame = Callable[..., PackedGame]
MakeIndex = Callable[..., DatasetIndex]


def packed_game(
    number: int,
    frames: int = 700,
    characters: tuple[int, int] = (10, 2),
    types: tuple[str, str] = ("human", "human"),
    salvaged: bool = False,
    match_key: str = "",
    twin_keys: tuple[str, ...] = (),
) -> PackedGame:
    random = np.random.default_rng(number)
    groups = {}
    for group in GROUPS:
        shape = (frames, len(LAYOUT[group]))
        groups[group] = (random.random(shape) * 250).astype(DTYPES[group])
    for slot, character in enumerate(characters):
        group, at = POSITION[f"p{slot}.internal_id"]
        groups[group][:, at] = by_external_id(character).internal_id
    return PackedGame(
        content_id=f"{number * 7919 % 65537:032x}",
        version=Version(3, 16, 0),
        external_stage_id=31,
        end_method="game",
        salvaged=salvaged,
        rollback_rows=0,
        sides=tuple(  # type: ignore[arg-type]
            PackedSide(
                port_index=port,
                selected_external_id=character,
                frames_by_character={character: frames},
                type=kind,  # type: ignore[arg-type]
            )
            for port, (character, kind) in enumerate(zip(characters, types, strict=True))
        ),
        frame_id=np.arange(-123, frames - 123, dtype=np.int32),
        groups=groups,
        match_key=match_key,
        twin_keys=twin_keys,
    )


def entry_of(game: PackedGame, *, shard: str = "", row_start: int = 0) -> GameEntry:
    first, second = (
        GameSide(
            external_id=side.external_id,
            selected_external_id=side.selected_external_id,
            frames_by_character=side.frames_by_character,
            port_index=side.port_index,
            type=side.type,
            human=side.type == "human",
            active=True,
            plausible=True,
            activity=0.4,
        )
        for side in game.sides
    )
    return GameEntry(
        content_id=game.content_id,
        shard=shard,
        row_start=row_start,
        frames=game.frames,
        external_stage_id=game.external_stage_id,
        version=str(game.version),
        sides=(first, second),
        salvaged=game.salvaged,
        source=f"/replays/{game.content_id}.slp",
        match_key=game.match_key,
        twin_keys=game.twin_keys,
    )


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[[Sequence[PackedGame]], DatasetIndex]:
    """Writes games as one shard with its index, and opens it."""

    def make(games: Sequence[PackedGame]) -> DatasetIndex:
        key = BuildKey(parser_version="test", options="test")
        name = shard_name(key, [game.content_id for game in games])
        (tmp_path / SHARD_FOLDER).mkdir(exist_ok=True)
        write_shard(tmp_path / SHARD_FOLDER / name, games)
        entries, row = [], 0
        for game in games:
            entries.append(entry_of(game, shard=name, row_start=row))
            row += game.frames
        (tmp_path / "dataset.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION}))
        write_index(tmp_path, key, entries)
        return DatasetIndex.open(tmp_path)

    return make
