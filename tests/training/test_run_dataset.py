"""A run whose dataset was cleared out of the cache, and one that is to be trained for longer."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from exphil_core.cli import main
from exphil_core.dataset.discovery import DATASET_FILE
from exphil_core.errors import DataError
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.training.data import open_run_data
from exphil_core.worker import work

TYPED = (
    *("--set", "backbone.width=32", "backbone.layers=1", "backbone.heads=2", "backbone.window_size=16"),
    *("encoder.width=32", "policy.head_width=32", "train.batch_size=4", "train.chunk_length=32"),
    *("train.warmup_steps=1", "evaluation.max_frames=2000", "train.carry_state=false"),
)


@pytest.fixture
def trained(
    tmp_path: Path, dojo_replays: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunDirectory:
    """A run of two steps, typed as a person does, with its dataset in the cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    shutil.copytree(dojo_replays, tmp_path / "games")
    words = ["train", "--headless", "--preset", "quick", "--replays", "games", "--name", "mine"]
    assert main.run([*words, "--runs-dir", "more runs", "--max-steps", "2", "--device", "cpu", *TYPED]) == 0
    return RunDirectory.find(Path("more runs"), "mine")


def test_a_dataset_that_left_the_cache_is_read_again(
    trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From wherever the run is resumed; and likewise one that this exphil cannot read any more."""
    monkeypatch.chdir("/")
    run = RunDirectory(tmp_path / trained.path)
    shutil.rmtree(tmp_path / "cache")
    fingerprint = run.dataset_fingerprint()
    assert work(run) == 0
    assert f"reading {tmp_path / 'games'} again" in capsys.readouterr().err
    assert not [event for event in read_events(run.events_path) if event.get("code") == "dataset_changed"]

    described = run.dataset_path() / DATASET_FILE
    described.write_text(json.dumps({**json.loads(described.read_bytes()), "schema_version": 0}))
    (run.dataset_path() / "index.parquet").unlink()
    data = open_run_data(run, run.preset())
    assert data.store.index.fingerprint == fingerprint


def test_what_cannot_be_built_again_is_a_sentence_that_says_how(
    trained: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(tmp_path / "cache")
    games = (tmp_path / "games").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="games, which it was built from, is gone: put the replays back"):
        open_run_data(trained, trained.preset())
    games.rename(tmp_path / "games")
    # Outside the cache a folder is its owner's.
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "another cache"))
    with pytest.raises(DataError, match=r"'exphil data build .*games --out .*' builds it again"):
        open_run_data(trained, trained.preset())
    assert not (tmp_path / "cache").exists()


def test_a_finished_run_names_the_command_that_trains_for_longer_and_it_works(
    trained: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    typed = ["train", "--headless", "--runs-dir", "more runs", "--resume", "mine"]
    assert main.run([*typed, "--max-steps", "4"]) == 2
    refused = capsys.readouterr().err
    assert "--max-steps would be ignored" in refused
    assert main.run(typed) == 0
    assert "run mine is done. To train its policy for longer" in (done := capsys.readouterr().err)
    command = (
        refused.partition("or another: ")[2].strip().removesuffix(".").removeprefix("'").removesuffix("'")
    )
    assert command in done
    words = shlex.split(command)
    assert words[0] == "exphil"
    assert main.run([*words[1:], "--headless", "--max-steps", "1", "--name", "longer"]) == 0
    longer = RunDirectory.find(Path("more runs"), "longer")
    started = longer.preset().train.init_from
    assert started == str(trained.step_directory(2).absolute())
    assert longer.preset().backbone == trained.preset().backbone
    (split, of_longer) = (json.loads((run.path / "split.json").read_bytes()) for run in (trained, longer))
    assert split == of_longer


def test_a_preset_out_of_a_run_tells_mistakes_by_their_lines(
    trained: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained.path / "run.toml"
    lines = path.read_text().splitlines()
    number = next(number for number, line in enumerate(lines, start=1) if line.startswith("lr = "))
    path.write_text("\n".join([*lines[: number - 1], "lr = -1", *lines[number:]]))
    capsys.readouterr()
    assert main.run(["presets", "show", str(path)]) == 2
    assert f"run.toml:{number}: train.lr" in capsys.readouterr().err
