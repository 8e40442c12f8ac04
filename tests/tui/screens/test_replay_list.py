"""Which replays are listed to be looked into."""

import os
from pathlib import Path

import pytest

from exphil_tui.screens.replay_list import MOST, recent_replays

NOW = 1_000_000.0


def replay(path: Path, age: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_the_newest_comes_first_and_a_folders_replays_stand_together(tmp_path: Path) -> None:
    old = replay(tmp_path / "june" / "a.slp", 500)
    newest = replay(tmp_path / "july" / "b.slp", 10)
    older = replay(tmp_path / "july" / "c.SLP", 900)
    replay(tmp_path / "july" / "notes.txt", 1)
    replay(tmp_path / "july" / "._b.slp", 1)
    found = recent_replays([tmp_path], now=NOW)
    assert [entry.value for entry in found] == [str(newest), str(older), str(old)]
    assert [entry.title for entry in found] == ["b", "c", "a"]
    assert found[0].detail == "10 s old"
    assert found[0].group == found[1].group != found[2].group


def test_one_replay_is_a_folder_of_one(tmp_path: Path) -> None:
    path = replay(tmp_path / "a.slp", 5)
    assert [entry.value for entry in recent_replays([path], now=NOW)] == [str(path)]


def test_no_more_are_listed_than_one_would_read(tmp_path: Path) -> None:
    for number in range(MOST + 20):
        replay(tmp_path / f"{number:04}.slp", number)
    found = recent_replays([tmp_path], now=NOW)
    assert len(found) == MOST
    assert found[0].title == "0000"


def test_what_is_not_there_has_none_and_links_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert recent_replays([tmp_path, tmp_path / "gone"], now=NOW) == []


def test_a_strangers_name_is_made_safe(tmp_path: Path) -> None:
    replay(tmp_path / "a\x1b[2Jb[/].slp", 5)
    (entry,) = recent_replays([tmp_path], now=NOW)
    assert "\x1b" not in entry.title
