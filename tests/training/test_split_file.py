"""What was held out stays held out, whatever becomes of the dataset while a run rests."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from exphil_core.config.preset import Preset
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.index import BuildKey, DatasetIndex, GameEntry
from exphil_core.dataset.split import Split, split_games
from exphil_core.errors import DataError
from exphil_core.replays.ingest import IngestOptions
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.training.data import open_run_data
from exphil_core.training.split_file import SPLIT_FILE, Keys, kept_of, read_split, write_split
from exphil_core.worker import work
from tests.dataset.conftest import entry_of, packed_game

FOX, MEWTWO, LINK = 2, 10, 6


def index_of(numbers: Sequence[int], characters: tuple[int, int] = (FOX, MEWTWO)) -> DatasetIndex:
    games = [entry_of(packed_game(number, frames=3, characters=characters)) for number in numbers]
    games.sort(key=lambda game: game.content_id)
    key = BuildKey(parser_version="test", options="")
    return DatasetIndex(path=Path("nowhere"), key=key, games=tuple(games))


def joined(*indices: DatasetIndex) -> DatasetIndex:
    games = sorted((game for index in indices for game in index.games), key=lambda game: game.content_id)
    return DatasetIndex(path=Path("nowhere"), key=indices[0].key, games=tuple(games))


def test_no_game_that_was_learned_from_is_held_out_when_others_join() -> None:
    """Drawn anew, the split holds out other games: those that a character which was rare has more of now."""
    small = index_of(range(30))
    kept = kept_of(small, split_games(small, validation_share=0.1, seed=0))
    moved = 0
    for first in range(100, 300, 10):
        grown = joined(small, index_of(range(first, first + 3), (LINK, FOX)))
        anew = kept_of(grown, split_games(grown, validation_share=0.1, seed=0))
        moved += bool(anew.validation - kept.validation)
        now = kept_of(grown, kept.of(grown))
        assert now.validation == kept.validation
        assert now.train > kept.train
        assert kept.grown(grown) == now
    assert moved


def test_a_game_that_was_gone_and_is_back_is_still_known() -> None:
    whole = index_of(range(30))
    kept = kept_of(whole, split_games(whole, validation_share=0.2, seed=0))
    fewer = joined(index_of(range(15)))
    assert kept.of(fewer).validation != kept.of(whole).validation
    assert kept.grown(fewer) == kept
    assert "missing" in kept.changes(fewer)
    assert kept.changes(whole) == ""


def test_a_split_comes_back_as_it_was_written(tmp_path: Path) -> None:
    index = index_of(range(20))
    kept = kept_of(index, split_games(index, validation_share=0.2, seed=0))
    assert read_split(tmp_path) is None
    write_split(tmp_path, kept)
    assert read_split(tmp_path) == kept


@pytest.mark.parametrize(
    "content",
    [
        '{"v": 2, "train": {',
        '{"v": 2}',
        '{"v": 2, "train": [], "validation": []}',
        '{"v": 2, "train": {"a": []}, "validation": {}}',
        '{"v": 1, "train": ["a"], "validation": ["b"]}',
        '{"v": 3, "train": {}, "validation": {}}',
    ],
)
def test_a_damaged_split_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / SPLIT_FILE).write_text(content)
    with pytest.raises(DataError, match=r"split\.json"):
        read_split(tmp_path)


def game_of(number: int, *, match: str = "", twins: tuple[str, ...] = ()) -> GameEntry:
    return entry_of(packed_game(number, frames=3, match_key=match, twin_keys=twins))


def index_with(*games: GameEntry) -> DatasetIndex:
    ordered = tuple(sorted(games, key=lambda game: game.content_id))
    return DatasetIndex(path=Path("nowhere"), key=BuildKey(parser_version="test", options=""), games=ordered)


def test_games_of_a_held_out_match_join_it_and_those_of_others_are_learned_from() -> None:
    held, learned = game_of(0, match="one"), game_of(1, match="other")
    alone = game_of(2)
    small = index_with(held, learned, alone)
    number = small.games.index(held)
    split = Split(train=tuple(n for n in range(3) if n != number), validation=(number,))
    kept = kept_of(small, split)
    joins = (game_of(3, match="one"), game_of(4, match="other"), game_of(5), game_of(6, match="new"))
    grown = index_with(held, learned, alone, *joins)
    assert {grown.games[n].content_id for n in kept.of(grown).validation} == {
        held.content_id,
        joins[0].content_id,
    }
    assert kept.grown(grown).validation == {held.content_id, joins[0].content_id}
    said = kept.changes(grown)
    assert "new training games: 3" in said
    assert "new games of held-out matches, held out too: 1" in said
    # Also when the match's first game is gone.
    assert kept.grown(grown).of(index_with(*joins)).validation == (index_with(*joins).games.index(joins[0]),)
    later = game_of(7, match="one")
    assert kept.of(index_with(later)).validation == (0,)


def test_another_recording_takes_the_side_of_the_one_that_was_there() -> None:
    held, learned = game_of(0, twins=("a", "b")), game_of(1, twins=("c",))
    small = index_with(held, learned)
    number = small.games.index(held)
    kept = kept_of(small, Split(train=(1 - number,), validation=(number,)))
    # The longer recording of the other player is what the dataset keeps now.
    twin, twin_learned = game_of(2, twins=("b", "x")), game_of(3, twins=("c", "y"))
    now = index_with(twin, twin_learned)
    assert [now.games[n] for n in kept.of(now).validation] == [twin]
    assert kept.changes(now) == ""
    # And a third one that only the second is known to be the game of.
    third = index_with(game_of(4, twins=("x",)), learned)
    assert [
        game.twin_keys for n, game in enumerate(third.games) if n in kept.grown(now).of(third).validation
    ] == [("x",)]
    assert kept.learned_from(now) == (1, 0)


def test_games_beside_those_that_were_learned_from_are_counted() -> None:
    learned = index_with(game_of(0, match="one", twins=("a",)))
    kept = kept_of(learned, Split(train=(0,), validation=()))
    others = index_with(
        game_of(0, match="one", twins=("a",)),
        game_of(1, match="one", twins=("b",)),
        game_of(2, twins=("a", "c")),
        game_of(3),
    )
    assert kept.learned_from(others) == (2, 1)


@pytest.fixture
def growing(dojo_replays: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Builds the first so many of the dojo's games into one dataset directory."""

    def grow(count: int) -> Path:
        folder = tmp_path / "replays"
        folder.mkdir(exist_ok=True)
        for replay in sorted(dojo_replays.glob("*.slp"))[:count]:
            shutil.copy(replay, folder)
        build_dataset([folder], tmp_path / "grown", workers=1, options=IngestOptions())
        return tmp_path / "grown"

    return grow


def test_a_run_resumed_on_a_larger_dataset_is_judged_on_the_same_games(
    tiny: Callable[..., Preset], new_run: Callable[..., RunDirectory], growing: Callable[[int], Path]
) -> None:
    preset = tiny(
        backbone={"kind": "gru"},
        train={"max_steps": 4, "carry_state": True},
        data={"validation_share": 0.3, "include_idle": True},
    )
    run = new_run(preset, dataset=growing(6))
    assert work(run) == 0
    kept = read_split(run.path)
    assert kept is not None
    growing(12)
    data = open_run_data(run, preset)
    games = data.store.index.games
    assert {games[ego.game].content_id for ego in data.validation} <= kept.validation
    assert not {games[ego.game].content_id for ego in data.train} & kept.validation
    assert len({ego.game for ego in data.train}) > len(kept.train)

    assert work(run) == 0
    events = list(read_events(run.events_path))
    frames = {event["frames"] for event in events if event["type"] == "evaluated" and event.get("best")}
    assert len(frames) == 1
    warnings = {event["code"]: event["message"] for event in events if event["type"] == "warning"}
    assert "new training games: 6" in warnings["dataset_changed"]
    # What the rows remembered was of games that other rows play now.
    assert "carried_state_cleared" in warnings
    again = read_split(run.path)
    assert again is not None
    assert (len(again.train), again.validation) == (len(kept.train) + 6, kept.validation)


def test_without_its_split_a_run_does_not_go_on_with_another_dataset(
    tiny: Callable[..., Preset],
    new_run: Callable[..., RunDirectory],
    growing: Callable[[int], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = new_run(tiny(train={"max_steps": 2}, data={"include_idle": True}), dataset=growing(6))
    assert work(run) == 0
    (run.path / SPLIT_FILE).unlink()
    assert work(run) == 0, "the same dataset gives the same split"
    (run.path / SPLIT_FILE).unlink()
    growing(12)
    assert work(run) == 3
    assert "split.json is missing" in capsys.readouterr().err


def test_a_run_whose_held_out_games_are_gone_is_not_judged_on_others(
    tiny: Callable[..., Preset], new_run: Callable[..., RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    run = new_run(tiny(train={"max_steps": 2}))
    index = DatasetIndex.open(run.dataset_path())
    everything = kept_of(index, split_games(index, validation_share=0.0, seed=0))
    gone = Keys(match_key="", twin_keys=())
    write_split(
        run.path,
        replace(everything, validation=frozenset({"f" * 32}), keys={**everything.keys, "f" * 32: gone}),
    )
    assert work(run) == 3
    assert "that the run holds out" in capsys.readouterr().err
