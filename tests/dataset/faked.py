"""Indexes of games that no file holds, for whoever needs to know of games only how long and whose they are."""

from pathlib import Path

import numpy as np

from exphil_core.dataset.index import BuildKey, DatasetIndex, GameEntry, GameSide


def _side(character: int, port: int, frames: int) -> GameSide:
    return GameSide(
        external_id=character,
        selected_external_id=character,
        frames_by_character={character: frames},
        port_index=port,
        type="human",
        human=True,
        active=True,
        plausible=True,
        activity=0.5,
    )


def faked_index(
    lengths: list[int], characters: list[tuple[int, int]], path: Path = Path("nowhere")
) -> DatasetIndex:
    """Games of so many frames, each of two people who play these characters (external ids) from start to end."""
    starts = np.cumsum([0, *lengths])
    games = [
        GameEntry(
            content_id=f"{number:032x}",
            shard="all.safetensors",
            row_start=int(starts[number]),
            frames=frames,
            external_stage_id=32,
            version="3.16.0",
            sides=(_side(pair[0], 0, frames), _side(pair[1], 1, frames)),
            salvaged=False,
            source="",
        )
        for number, (frames, pair) in enumerate(zip(lengths, characters, strict=True))
    ]
    return DatasetIndex(path=path, key=BuildKey(parser_version="", options=""), games=tuple(games))
