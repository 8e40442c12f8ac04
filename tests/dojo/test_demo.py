from collections import Counter
from pathlib import Path

import pytest

from exphil_core.dojo import demo
from exphil_core.dojo.demo import write_demo
from exphil_core.dojo.match import plan_match
from exphil_core.melee.characters import LOW_TIER, by_name


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    alone = write_demo(tmp_path / "alone", games=3, seed=7)
    again = write_demo(tmp_path / "again", games=3, seed=7, workers=2)
    assert [path.name for path in alone] == [path.name for path in again]
    assert [path.read_bytes() for path in alone] == [path.read_bytes() for path in again]


def test_a_smaller_demo_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    few = write_demo(tmp_path / "few", games=1, seed=7)
    more = write_demo(tmp_path / "more", games=2, seed=7)
    assert few[0].read_bytes() == more[0].read_bytes()


def test_another_seed_gives_other_games(tmp_path: Path) -> None:
    one = write_demo(tmp_path, games=1, seed=1)[0]
    two = write_demo(tmp_path, games=1, seed=2)[0]
    assert one.read_bytes() != two.read_bytes()


def test_every_character_plays_as_often_as_the_others() -> None:
    for games in (25, 100):
        played = Counter(
            external for number in range(games) for external in plan_match(3, number).external_ids
        )
        assert played == {by_name(name).external_id: games * 2 // 5 for name in LOW_TIER}


def test_stages_and_ports_vary() -> None:
    plans = [plan_match(0, number) for number in range(50)]
    assert len({match.stage.name for match in plans}) == 3
    assert len({match.port_indices for match in plans}) > 3
    assert all(match.port_indices[0] < match.port_indices[1] for match in plans)


def test_a_match_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(match: object) -> bytes:
        raise OSError("no space")

    monkeypatch.setattr(demo, "play_match", fail)
    with pytest.raises(OSError, match="no space"):
        write_demo(tmp_path, games=1, seed=0)
    assert list(tmp_path.iterdir()) == []
