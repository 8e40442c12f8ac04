"""A stored game shows what the parsed one shows, but for what a dataset does not keep."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.store import ColumnStore
from exphil_core.dataset.stored_game import stored_game
from exphil_core.errors import DataError
from exphil_core.replays.columns import ITEM_SLOTS
from exphil_core.replays.game import Game
from exphil_core.replays.ingest import IngestOptions
from exphil_core.replays.parse import parse_replay
from exphil_tui.model.scene import Replay, Scene, SceneFighter

FILES = (
    "games/ics_vs_falco_dl_v3.12.0.slp",  # Nana, items
    "games/fox_vs_mewtwo_ps_v3.19.1.slp",  # transformations
    "games/falcon_vs_zelda_ys_v2.0.1.slp",  # no velocities, hitlag or items
    "games/zelda_vs_ics_ys_v0.1.0.slp",  # no flags
    "games/yoshi_vs_fox_ys_v3.17.0.slp",  # 8 items at once
)


@pytest.fixture(scope="module")
def built(replays: Path, tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    out = tmp_path_factory.mktemp("stored") / "dataset"
    build_dataset([replays / file for file in FILES], out, workers=1, options=IngestOptions())
    return DatasetIndex.open(out)


def kept(fighter: SceneFighter) -> str:
    """The fighter without its name, and a follower without what a dataset does not keep of it."""
    fighter = dataclasses.replace(fighter, name="")
    if not fighter.follower:
        return repr(fighter)
    lost = ("state_age", "hitstun", "shielding", "offscreen", "fastfalling", "invulnerability", "velocity")
    return repr(dataclasses.replace(fighter, **dict.fromkeys(lost)))


def things(scene: Scene) -> list[str]:
    """In one order: the parsed game has them as they were written, the dataset by spawn id."""
    return sorted(map(repr, scene.items))


def looked_at(game: Game) -> Iterator[tuple[int, Scene]]:
    replay = Replay(game)
    for frame_index in sorted({*range(0, replay.frames, 23), replay.frames - 1}):
        yield frame_index, replay.scene(frame_index)


@pytest.mark.parametrize("file", FILES)
def test_a_stored_game_shows_what_the_parsed_one_shows(replays: Path, built: DatasetIndex, file: str) -> None:
    parsed = parse_replay(replays / file)
    stored = stored_game(built, ColumnStore(built), parsed.content_id)
    assert stored.content_id == parsed.content_id
    assert stored.version == parsed.version
    assert [p.port_index for p in stored.players] == [p.port_index for p in parsed.players]
    assert [p.start_stocks for p in stored.players] == [p.start_stocks for p in parsed.players]
    assert [p.name for p in stored.players] == ["", ""]
    for (_, found), (_, expected) in zip(looked_at(stored), looked_at(parsed), strict=True):
        assert len(expected.items) <= ITEM_SLOTS
        assert things(found) == things(expected)
        # As texts, because an unknown trigger is NaN.
        assert list(map(kept, found.fighters)) == list(map(kept, expected.fighters))
        bare = {"fighters": (), "items": ()}
        assert dataclasses.replace(found, **bare) == dataclasses.replace(expected, **bare)  # type: ignore[arg-type]
    for name in ("stock_losses", "hits"):
        found_moments, expected_moments = (getattr(Replay(game).events, name) for game in (stored, parsed))
        np.testing.assert_array_equal(found_moments, expected_moments)


def test_of_more_items_than_a_dataset_keeps_the_nearest_are_shown(
    tmp_path: Path, handmade_in_dataset: Callable[[int], tuple[DatasetIndex, Game]]
) -> None:
    index, parsed = handmade_in_dataset(12)
    stored = stored_game(index, ColumnStore(index), parsed.content_id)
    shown, all_of_them = Replay(stored).scene(100).items, Replay(parsed).scene(100).items
    assert len(all_of_them) == 12
    assert len(shown) == ITEM_SLOTS
    assert set(shown) <= set(all_of_them)
    assert max(thing.x for thing in shown) < max(thing.x for thing in all_of_them)


@pytest.fixture
def handmade_in_dataset(
    tmp_path: Path, make_dataset: Callable[..., DatasetIndex]
) -> Callable[[int], tuple[DatasetIndex, Game]]:
    from exphil_core.replays.pack import pack_game
    from tests.replays.handmade import Handmade

    def make(items: int) -> tuple[DatasetIndex, Game]:
        path = tmp_path / "game.slp"
        row = [{"spawn_id": number, "x": 20.0 * number} for number in range(items)]
        path.write_bytes(Handmade(items=lambda _: row).build())
        game = parse_replay(path)
        return make_dataset([pack_game(game)]), game

    return make


def test_a_game_that_a_dataset_does_not_have_is_a_sentence(built: DatasetIndex) -> None:
    for unknown in ("0" * 32, "f" * 32):
        with pytest.raises(DataError, match=f"has no game {unknown}"):
            stored_game(built, ColumnStore(built), unknown)
