"""The split is by game, fixed by content, and leaves no character without validation games."""

from dataclasses import replace
from pathlib import Path
from random import Random

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


def _with_matches(pairs: list[tuple[int, int]], matches: list[str]) -> DatasetIndex:
    index = _index(pairs)
    by_number = {packed_game(n, frames=3).content_id: match for n, match in enumerate(matches)}
    games = tuple(replace(game, match_key=by_number[game.content_id]) for game in index.games)
    return replace(index, games=games)


def _random_matches(seed: int) -> DatasetIndex:
    """About 60 games in matches of one to five, some of them of characters that have few; of some none is known."""
    random = Random(seed)
    pairs: list[tuple[int, int]] = []
    matches: list[str] = []
    while len(pairs) < 60:
        pair = (random.choice([2, 2, 2, 20, 9, 6, 25]), random.choice([2, 20, 20, 10, 3]))
        name = f"match at {len(pairs)}" if random.random() < 0.8 else ""
        games = random.randint(1, 5)
        pairs += [pair] * games
        matches += [name] * games
    return _with_matches(pairs, matches)


@pytest.mark.parametrize("seed", range(20))
def test_a_match_is_on_one_side(seed: int) -> None:
    index = _random_matches(seed)
    for share in (0.05, 0.2, 0.5):
        split = split_games(index, validation_share=share, seed=seed)
        assert sorted(split.train + split.validation) == list(range(len(index.games)))
        learned, held = (
            {index.games[game].match_key for game in games} - {""}
            for games in (split.train, split.validation)
        )
        assert not learned & held


@pytest.mark.parametrize("seed", range(20))
def test_every_character_with_two_matches_is_on_both_sides(seed: int) -> None:
    index = _random_matches(seed)
    matches: dict[int, set[str]] = {}
    for game in index.games:
        for side in game.sides:
            matches.setdefault(side.external_id, set()).add(game.match_key or game.content_id)
    split = split_games(index, validation_share=0.1, seed=seed)
    for games in (split.train, split.validation):
        present = {side.external_id for game in games for side in index.games[game].sides}
        assert present >= {character for character, found in matches.items() if len(found) >= 2}


def test_games_that_join_a_match_are_where_it_is() -> None:
    pairs = [(2, 20)] * 300
    few = _with_matches(pairs[:150], [f"match {number % 50}" for number in range(150)])
    many = _with_matches(pairs, [f"match {number % 50}" for number in range(300)])
    before = _ids(few, split_games(few, validation_share=0.2, seed=1).validation)
    after = _ids(many, split_games(many, validation_share=0.2, seed=1).validation)
    assert before == after & {game.content_id for game in few.games}
    assert len(after) == 2 * len(before) > 0


def test_of_one_match_nothing_is_held_out() -> None:
    index = _with_matches([(2, 20)] * 5, ["the only match"] * 5)
    assert split_games(index, validation_share=0.5, seed=0).validation == ()
