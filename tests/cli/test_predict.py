"""`exphil predict` as people and scripts call it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exphil_core.cli.main import run
from exphil_core.config.preset import Preset
from exphil_core.models.weights import checksum
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.predictions import PredictionFile, partial_of
from exphil_core.training.checkpoint_manager import load_for_play
from exphil_core.worker import work
from tests.replays.handmade import Handmade


@pytest.fixture
def runs(new_run: Callable[..., RunDirectory], tiny: Callable[..., Preset]) -> Path:
    """A folder with a run that has taken two steps, and has a delay."""
    made = new_run(tiny(train={"max_steps": 2}, policy={"delay": 2}))
    assert work(made) == 0
    return made.path.parent


@pytest.fixture
def replay(dojo_replays: Path) -> Path:
    return min(dojo_replays.glob("*.slp"), key=lambda path: path.stat().st_size)


def predict(runs: Path, replay: Path, *arguments: str) -> int:
    return run(["predict", "run", str(replay), "--runs-dir", str(runs), "--threads", "1", *arguments])


def predicted(
    runs: Path, replay: Path, capsys: pytest.CaptureFixture[str], *arguments: str
) -> dict[str, Any]:
    capsys.readouterr()
    assert predict(runs, replay, "--json", *arguments) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("source", ["dojo", "real"])
def test_the_mean_of_what_is_kept_is_what_eval_says(
    source: str, runs: Path, replay: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if source == "real":
        replay = request.getfixturevalue("replays") / "games/fox_vs_gnw_fd_v3.19.1.slp"
    said = predicted(runs, replay, capsys)
    arguments = ["eval", "run", "--runs-dir", str(runs), "--replays", str(replay), "--json"]
    assert run([*arguments, "--device", "cpu"]) == 0
    evaluated = json.loads(capsys.readouterr().out)

    file = PredictionFile.open(Path(said["path"]), content_id=said["content_id"], frames=said["frames"])
    # Eval leaves out a side that hardly moves.
    sides = [side for side in said["sides"] if side["character"] in evaluated["per_character"]]
    assert sides
    nats = np.concatenate([file.nll(side["slot"]) for side in sides])
    counted = nats[~np.isnan(nats).any(axis=1)].astype(np.float64)
    assert len(counted) == evaluated["frames"] == sum(side["frames"] for side in sides)
    assert counted.sum(axis=1).mean() == pytest.approx(evaluated["loss"], abs=1e-5)
    for component, mean in zip(file.layout.components, counted.mean(axis=0), strict=True):
        assert mean == pytest.approx(evaluated["heads"][component.name], abs=1e-5)
    both = sum(side["loss"] * side["frames"] for side in sides)
    assert both / len(counted) == pytest.approx(evaluated["loss"], abs=1e-5)
    assert said["horizon"] == 3


def test_the_path_is_printed_and_a_finished_file_is_used_again(
    runs: Path, replay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert predict(runs, replay) == 0
    said = capsys.readouterr()
    path = Path(said.out.strip())
    assert path.parent == runs / "run" / "predictions"
    assert path.name.endswith("-step-000000002.predictions")
    assert "predicted 8 of " in said.err
    before = path.stat()

    again = predicted(runs, replay, capsys)
    assert again["reused"]
    assert path.stat().st_ino == before.st_ino

    # One that is damaged is made anew.
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert predict(runs, replay) == 0
    said = capsys.readouterr()
    assert "is cut short" in said.err
    assert "it is written anew" in said.err
    assert path.read_bytes() == data


def test_a_file_of_other_weights_is_not_used_again(
    runs: Path, replay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "p"
    first = predicted(runs, replay, capsys, "--out", str(out))
    step = RunDirectory(runs / "run").step_directory(2)
    _, _, policy = load_for_play(step, torch.device("cpu"))
    assert first["weights"] == f"{checksum(policy.state_dict()):016x}"

    kept = PredictionFile.open(out)
    assert kept.meta.weights == int(first["weights"], 16)
    other = PredictionFile.create(out, kept.layout, replace(kept.meta, weights=kept.meta.weights ^ 1))
    for slot in (0, 1):
        records = [kept.record(slot, index) for index in range(kept.frames)]
        other.write(slot, 0, np.array(records, kept.layout.dtype))
    other.finish()
    assert not predicted(runs, replay, capsys, "--out", str(out))["reused"]
    assert predicted(runs, replay, capsys, "--out", str(out))["reused"]


def test_a_file_that_is_something_else_is_not_written_over(
    runs: Path, replay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("dear diary")
    assert predict(runs, replay, "--out", str(out)) == 2
    assert "is not a prediction file" in capsys.readouterr().err
    assert out.read_text() == "dear diary"


def test_a_replay_that_cannot_be_predicted_is_refused_in_a_sentence(
    runs: Path, replays: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, words in (
        ("odd/falco_vs_fox_vs_marth_ys_v3.13.0.slp", "has 3 players; a policy predicts games of two"),
        ("odd/fox_vs_fox_vs_fox_vs_fox_fd_v3.12.0.slp", "has 4 players; a policy predicts games of two"),
        ("broken/corrupt_game_1.slp", "does not start as a Slippi replay does"),
        ("broken/corrupt.slp", "no complete frame was written"),
        ("nothing.slp", "no such file"),
    ):
        capfd.readouterr()
        assert predict(runs, replays / name) == 3
        said = capfd.readouterr()
        assert words in said.err
        assert len(said.err.splitlines()) == 1
        assert said.out == ""
    assert not (runs / "run" / "predictions").exists()


def test_what_nobody_would_learn_from_is_predicted_all_the_same(
    runs: Path, replays: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A CPU player, 142 frames, and nobody takes damage.
    said = predicted(runs, replays / "odd/falco_vs_roy_fd_v1.7.1.slp", capsys)
    assert [side["type"] for side in said["sides"]] == ["human", "cpu"]
    assert all(side["frames"] > 50 and side["known"] for side in said["sides"])


def test_a_replay_without_the_policys_character_is_warned_about(
    new_run: Callable[..., RunDirectory],
    tiny: Callable[..., Preset],
    replays: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = new_run(tiny(train={"max_steps": 1}, data={"characters": ("mewtwo",)}))
    assert work(made) == 0
    capsys.readouterr()
    arguments = ["predict", "run", str(replays / "odd/fox_vs_falco_ys_v3.16.0.slp"), "--json"]
    assert run([*arguments, "--runs-dir", str(made.path.parent)]) == 0
    said = capsys.readouterr()
    assert "warning: " in said.err
    assert "Fox and Falco play here, but run was trained on mewtwo only" in said.err
    found = json.loads(said.out)
    assert [side["known"] for side in found["sides"]] == [False, False]
    file = PredictionFile.open(Path(found["path"]))
    assert not any(side.known for side in file.meta.sides)


def test_a_stage_that_no_policy_has_seen_is_warned_about(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay = tmp_path / "elsewhere.slp"
    replay.write_bytes(Handmade(stage=10, frame_ids=range(-123, 20)).build())
    capsys.readouterr()
    assert predict(runs, replay) == 0
    assert "run was not trained on this stage" in capsys.readouterr().err


def test_what_is_wrong_is_said_in_a_sentence(
    runs: Path, replay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (["--threads", "0"], "--threads 0: expected 1 to "),
        (["--device", "tpu"], "--device tpu: expected auto, cpu or cuda"),
        (["--runs-dir", "/nowhere"], "no run 'run' in /nowhere"),
    ):
        assert predict(runs, replay, *arguments) == 2
        assert words in capsys.readouterr().err


def test_a_command_that_is_killed_is_made_good_by_the_next(
    runs: Path, replay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = "import sys; from exphil_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["predict", "run", str(replay), "--runs-dir", str(runs), "--threads", "1"]
    child = subprocess.Popen(
        [sys.executable, "-c", start, *arguments],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    folder = runs / "run" / "predictions"
    while child.poll() is None:
        partials = [PredictionFile.find(path.with_suffix("")) for path in folder.glob("*.partial")]
        if any(file is not None and file.done(0) > 0 for file in partials):
            break
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    (left,) = folder.iterdir()
    assert left.name.endswith(".predictions.partial")

    said = predicted(runs, replay, capsys)
    assert not said["reused"]
    assert [path.name for path in folder.iterdir()] == [Path(said["path"]).name]
    assert not partial_of(Path(said["path"])).exists()
    assert PredictionFile.open(Path(said["path"])).done(1) == said["frames"]
