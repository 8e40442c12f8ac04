"""The split is by game, fixed by content, and leaves no character without validation games."""

from pathlib import Path

import pytest

from exphil_core.dataset.index import BuildKey, DatasetIndex
from exphil_core.dataset.split import Ego, select_egos, split_games
from tests.dataset.conftest import entry_of, packed_game


def _index(characters: list[tuple[int, int]], first: int = 0) -> DatasetIndex:
    games = [
        entry_of(packed_game(first + number, frames=3, characters=pair))
        for number, pair in enumerate(characters)
    ]
    games.sort(key=lambda game: game.content_id)
    return DatasetIndex(
        path=Path("nowhere"), key=BuildKey(parser_version="test", options=""), games=tuple(games)
    )


def _ids(index: DatasetIndex, games: tuple[int, ...]) -> set[str]:
    return {index.games[game].content_id for game in games}


@pytest.mark.parametrize("seed", range(20))
def test_every_character_with_two_games_is_on_both_sides(seed: int) -> None:
    index = _index([(2, 20)] * 20 + [(10, 2)] * 3 + [(6, 25), (6, 25)] + [(3, 18), (3, 2)])
    split = split_games(index, validation_share=0.1, seed=seed)
    assert sorted(split.train + split.validation) == list(range(len(index.games)))
    for side in (split.train, split.validation):
        present = {s.external_id for game in side for s in index.games[game].sides}
        assert present >= {2, 20, 10, 6, 25, 3}


@pytest.mark.parametrize("seed", range(20))
def test_the_only_game_to_imitate_a_character_in_is_learned_from(seed: int) -> None:
    games = [entry_of(packed_game(number, frames=3, characters=(2, 20))) for number in range(8)]
    games.append(entry_of(packed_game(8, frames=3, characters=(2, 25))))
    games.append(entry_of(packed_game(9, frames=3, characters=(2, 25), types=("human", "cpu"))))
    index = DatasetIndex(
        path=Path("nowhere"), key=BuildKey(parser_version="test", options=""), games=tuple(games)
    )
    split = split_games(index, validation_share=0.2, seed=seed)
    assert 8 in split.train
    assert 9 in split.validation


def test_the_share_is_about_what_was_asked_for() -> None:
    index = _index([(2, 20)] * 2000)
    held = len(split_games(index, validation_share=0.1, seed=3).validation)
    assert 150 < held < 250


def test_a_share_of_nothing_holds_nothing_out() -> None:
    index = _index([(2, 20)] * 10)
    assert split_games(index, validation_share=0.0, seed=0).validation == ()
    with pytest.raises(ValueError, match="validation_share"):
        split_games(index, validation_share=1.0, seed=0)


def test_games_stay_on_their_side_when_others_join() -> None:
    few = _index([(2, 20)] * 200)
    many = _index([(2, 20)] * 400)
    held = _ids(few, split_games(few, validation_share=0.2, seed=1).validation)
    held_later = _ids(many, split_games(many, validation_share=0.2, seed=1).validation)
    assert held == held_later & {game.content_id for game in few.games}


def test_a_seed_gives_another_split() -> None:
    index = _index([(2, 20)] * 100)
    splits = {split_games(index, validation_share=0.2, seed=seed).validation for seed in range(4)}
    assert len(splits) == 4


def test_egos_are_human_active_and_of_the_wanted_characters() -> None:
    games = [
        entry_of(packed_game(0, frames=3, characters=(10, 2), types=("human", "cpu"))),
        entry_of(packed_game(1, frames=3, characters=(2, 10))),
    ]
    index = DatasetIndex(
        path=Path("nowhere"), key=BuildKey(parser_version="test", options=""), games=tuple(games)
    )
    assert select_egos(index, (0, 1)) == (Ego(0, 0), Ego(1, 0), Ego(1, 1))
    assert select_egos(index, (0, 1), include_cpu=True) == (Ego(0, 0), Ego(0, 1), Ego(1, 0), Ego(1, 1))
    assert select_egos(index, (0, 1), characters=(10,)) == (Ego(0, 0), Ego(1, 1))
    assert select_egos(index, (0,), characters=(2,)) == ()
