"""Slippi's folders on every system, from what is on the disk and from the launcher's settings."""

import json
import os
from pathlib import Path

import pytest

from exphil_core.replays.folders import ReplayCount, count_replays, usual_folders


def _found(home: Path, system: str = "linux", **environment: str) -> list[Path]:
    return usual_folders(system=system, home=home, documents=home / "Dokumente", environment=environment)


def _settings(path: Path, settings: object) -> None:
    path.mkdir(parents=True)
    (path / "Settings").write_text(json.dumps({"settings": settings}))


def test_only_folders_that_are_there_are_found_and_none_twice(tmp_path: Path) -> None:
    assert _found(tmp_path) == []
    (tmp_path / "Slippi" / "Spectate").mkdir(parents=True)
    (tmp_path / "Dokumente" / "Slippi").mkdir(parents=True)
    (tmp_path / "Documents").symlink_to(tmp_path / "Dokumente")
    assert _found(tmp_path) == [tmp_path / "Slippi", tmp_path / "Dokumente" / "Slippi"]


@pytest.mark.parametrize(
    ("system", "folder"),
    [
        ("linux", ".config/Slippi Launcher"),
        ("darwin", "Library/Application Support/Slippi Launcher"),
        ("win32", "AppData/Roaming/Slippi Launcher"),
    ],
)
def test_the_launchers_choice_comes_first(system: str, folder: str, tmp_path: Path) -> None:
    chosen, extra = tmp_path / "disk" / "games", tmp_path / "disk" / "more"
    for path in (chosen / "Spectate", extra, tmp_path / "Slippi"):
        path.mkdir(parents=True)
    _settings(
        tmp_path / folder,
        {
            "rootSlpPath": str(chosen),
            "spectateSlpPath": str(chosen / "Spectate"),
            "extraSlpPaths": [str(extra)],
        },
    )
    assert _found(tmp_path, system) == [chosen, extra, tmp_path / "Slippi"]


def test_the_settings_are_found_where_the_environment_says(tmp_path: Path) -> None:
    chosen = tmp_path / "games"
    chosen.mkdir()
    _settings(tmp_path / "elsewhere" / "Slippi Launcher", {"rootSlpPath": str(chosen)})
    assert _found(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "elsewhere")) == [chosen]
    assert _found(tmp_path, "win32", APPDATA=str(tmp_path / "elsewhere")) == [chosen]


@pytest.mark.parametrize(
    "settings",
    [
        None,
        [],
        {"rootSlpPath": 7, "extraSlpPaths": "no list"},
        {"rootSlpPath": "relative", "extraSlpPaths": [None, "a\0b"]},
        {"rootSlpPath": "/nowhere/at/all"},
        {"rootSlpPath": "/" + "x" * 5000},
    ],
)
def test_settings_of_another_shape_are_nothing(settings: object, tmp_path: Path) -> None:
    _settings(tmp_path / ".config" / "Slippi Launcher", settings)
    assert _found(tmp_path) == []


def test_damaged_settings_are_nothing(tmp_path: Path) -> None:
    _settings(tmp_path / ".config" / "Slippi Launcher", {})
    (tmp_path / ".config" / "Slippi Launcher" / "Settings").write_bytes(b"\xff{" + b"[" * 100_000)
    assert _found(tmp_path) == []


def test_replays_are_counted_without_being_opened(tmp_path: Path) -> None:
    (tmp_path / "2024-01").mkdir()
    for name in (
        "a.slp",
        "2024-01/B.SLP",
        "._a.slp",
        "notes.txt",
        "sets.zip",
        "2024-01/more.tar.gz",
        "b.rar",
    ):
        (tmp_path / name).write_bytes(b"xy")
        (tmp_path / name).chmod(0)
    os.utime(tmp_path / "2024-01" / "B.SLP", (1e9, 2e9))
    assert count_replays(tmp_path) == ReplayCount(replays=2, archives=2, bytes=8, newest=2e9)
    assert count_replays(tmp_path / "a.slp").replays == 1
    (tmp_path / "2024-01" / "c.slp.gz").touch()
    assert count_replays(tmp_path / "2024-01").replays == 2
    assert count_replays(tmp_path / "nowhere") == ReplayCount()


def test_linked_folders_are_counted_once_as_a_build_reads_them(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.slp").touch()
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "disk")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    assert count_replays(tmp_path / "in").replays == 1


def test_a_count_goes_so_deep_and_no_link_around(tmp_path: Path) -> None:
    deep = tmp_path / "1" / "2" / "3"
    deep.mkdir(parents=True)
    (deep / "a.slp").touch()
    (deep / "again").symlink_to(tmp_path)
    assert count_replays(tmp_path, depth=3) == count_replays(tmp_path)
    assert count_replays(tmp_path).replays == 1
    assert count_replays(tmp_path, depth=2).replays == 0
    assert not count_replays(tmp_path, depth=2).whole


def test_a_count_that_takes_too_long_is_at_least_what_was_seen(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.slp").touch()
    assert count_replays(tmp_path, entries=5).replays == 5
    assert not count_replays(tmp_path, entries=5).whole
    assert not count_replays(tmp_path, stopped=lambda: True).whole
    ticks = iter(range(100))
    assert not count_replays(tmp_path, seconds=3, clock=lambda: next(ticks)).whole
