"""What is counted of a dataset."""

from collections.abc import Callable
from pathlib import Path

from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.stats import LITTLE_FRAMES, WHY_UNUSABLE, dataset_stats, why_not_taken
from exphil_core.melee.characters import LOW_TIER
from exphil_core.replays.filters import PREDICATES
from exphil_core.replays.refusals import REASONS
from tests.dataset.conftest import packed_game

Make = Callable[..., DatasetIndex]


def test_every_side_is_counted_once_and_a_ditto_is_one_game(make_dataset: Make) -> None:
    games = [packed_game(0, characters=(10, 10)), packed_game(1, characters=(10, 2), types=("human", "cpu"))]
    index = make_dataset(games)
    found = dataset_stats(index.path)
    assert found.games == 2
    assert sum(counts.sides for counts in found.per_character.values()) == 4
    assert found.usable_sides + sum(found.unusable.values()) == 4
    assert (found.per_character["mewtwo"].games, found.per_character["mewtwo"].sides) == (2, 3)
    assert found.per_character["fox"].usable_frames == 0
    assert list(found.per_character) == ["mewtwo", "fox"]
    assert sum(found.stages.values()) == sum(found.versions.values()) == 2


def test_characters_without_a_game_have_little_to_learn_from_too(dojo_dataset: Path) -> None:
    found = dataset_stats(dojo_dataset)
    assert found.low_tier_with_little == LOW_TIER
    assert all(0 < counts.usable_frames < LITTLE_FRAMES for counts in found.per_character.values())
    assert found.sources


def test_every_reason_has_a_sentence_and_an_unknown_one_its_name() -> None:
    for reason in (*(predicate.name for predicate in PREDICATES), *REASONS):
        assert " " in why_not_taken(reason)
    assert why_not_taken("of_tomorrow") == "of_tomorrow"
    assert all(" " in sentence for sentence in WHY_UNUSABLE.values())
