"""What `exphil data` prints and refuses; on real replays, that every file is accounted for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from exphil_core.cli.data import data_app
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.store import ColumnStore
from exphil_core.errors import DataError, UsageError
from exphil_core.melee.frames import FIRST_FRAME_ID
from tests.dataset.conftest import packed_game

Make = Callable[..., DatasetIndex]


def _run(*words: object) -> Result:
    result = CliRunner().invoke(data_app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _json(*words: object) -> dict[str, Any]:
    result = _run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def built(replays: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The report and the dataset of the real replays."""
    out = tmp_path_factory.mktemp("built") / "dataset"
    return _json("build", replays, "--out", out, "--workers", 2), out


def test_every_real_file_is_accounted_for(built: tuple[dict[str, Any], Path], replays: Path) -> None:
    report, _ = built
    files = len(list(replays.rglob("*.slp")))
    counted = report["kept"] + report["duplicates"]
    counted += sum(report["filtered"].values()) + sum(report["refused"].values())
    assert counted == report["sources"] == files
    assert report["games"] == report["kept"]
    assert report["salvaged"] >= 1
    assert sum(entry["frames"] for entry in report["per_character"].values()) == 2 * report["frames"]


def test_a_second_build_of_real_replays_reads_nothing(
    built: tuple[dict[str, Any], Path], replays: Path
) -> None:
    report, out = built
    again = _json("build", replays, "--out", out)
    assert again["new_sources"] == 0
    timing = ("seconds", "frames_per_s", "new_sources")
    assert {k: v for k, v in again.items() if k not in timing} == {
        k: v for k, v in report.items() if k not in timing
    }


def test_real_games_are_stored_from_their_first_frame(built: tuple[dict[str, Any], Path]) -> None:
    index = DatasetIndex.open(built[1])
    store = ColumnStore(index)
    for number, game in enumerate(index.games):
        rows = store.game(number)
        assert rows.frame_id[0] == FIRST_FRAME_ID
        assert len(rows.frame_id) == game.frames


def test_stats_say_what_is_usable(built: tuple[dict[str, Any], Path]) -> None:
    found = _json("stats", built[1])
    assert found["usable_sides"] + sum(found["unusable"].values()) == found["sides"]
    assert found["unusable"]["not_human"] > 0
    assert sum(found["stages"].values()) == sum(found["versions"].values()) == found["games"]
    assert "link" in found["low_tier_with_little"]
    shown = _run("stats", built[1]).stdout
    assert "Link: no training data" in shown
    assert "Mewtwo" in shown


def test_check_says_why_a_replay_is_not_taken(replays: Path) -> None:
    found = _json("check", replays / "broken" / "corrupt.slp")
    assert found["status"] == "refused"
    assert found["reason"]
    salvaged = _json("check", replays / "broken" / "incomplete.slp")
    assert (salvaged["status"], salvaged["salvaged"]) == ("kept", True)
    assert [set(side) >= {"character", "port", "type", "activity"} for side in salvaged["sides"]] == [
        True
    ] * 2
    assert "salvaged" in _run("check", replays / "broken" / "incomplete.slp").stdout
    repaired = _json("check", replays / "broken" / "unknown_event.slp")
    assert (repaired["status"], repaired["repaired"]) == ("kept", ["unknown_event"])
    assert "were left out" in _run("check", replays / "broken" / "unknown_event.slp").stdout


def test_stats_of_a_synthetic_dataset_put_the_low_tier_first(make_dataset: Make) -> None:
    games = [
        packed_game(0, characters=(2, 20)),
        packed_game(1, characters=(10, 2), types=("human", "cpu")),
    ]
    found = _json("stats", make_dataset(games).path)
    assert list(found["per_character"]) == ["mewtwo", "falco", "fox"]
    assert found["per_character"]["fox"]["usable_sides"] == 1
    assert found["unusable"] == {"not_human": 1, "idle": 0, "implausible": 0}


def test_stats_without_a_folder_take_the_newest_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="data build"):
        _run("stats")


@pytest.mark.parametrize("command", ["build", "stats", "check"])
def test_what_is_not_there_is_a_sentence(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="no such"):
        _run(command, tmp_path / "nowhere")


def test_a_folder_without_replays_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no replays found"):
        _run("build", tmp_path / "empty", "--out", tmp_path / "out")


def test_check_takes_one_replay(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        _run("check", tmp_path)
