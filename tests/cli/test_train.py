"""`exphil train` and `exphil eval` as people and scripts call them: what they print and how they exit."""

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from exphil_core.cli.main import run
from exphil_core.melee.characters import LOW_TIER
from exphil_core.replays.columns import SCHEMA_VERSION
from exphil_core.runs.events import read_events

SMALL = (
    *("encoder.width=32", "backbone.width=32", "backbone.layers=1", "backbone.heads=2"),
    *("backbone.window_size=16", "policy.head_width=32", "train.batch_size=4", "train.precision=fp32"),
    *("train.epochs=none", "train.log_every_steps=1", "train.warmup_steps=2", "evaluation.max_frames=2000"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))


def train(tmp_path: Path, *arguments: str, settings: Sequence[str] = SMALL) -> int:
    return run(["train", "--headless", "--runs-dir", str(tmp_path / "runs"), *arguments, "--set", *settings])


def test_a_run_from_replays_ends_with_a_table_and_what_to_type_next(
    tmp_path: Path, dojo_replays: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = train(tmp_path, "--replays", str(dojo_replays), "--max-steps", "3", "--name", "first")
    said = capsys.readouterr()
    assert code == 0, said.err
    for word in ("Mewtwo", "Ganondorf", "Link", "Mr. Game & Watch", "Zelda", "markov", "floor", "closed"):
        assert word in said.out
    assert "exphil runs show first" in said.err


def test_what_the_steps_take_is_said_on_stderr_before_the_first(
    tmp_path: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from exphil_core.training.metrics import TrainingMetrics

    before: list[str] = []
    monkeypatch.setattr(TrainingMetrics, "add", lambda self, *given: before.append(capsys.readouterr().err))
    arguments = ("--replays", str(dojo_dataset), "--max-steps", "1")
    assert train(tmp_path, *arguments, "--name", "first") == 0
    assert re.search(
        r"expected: .* kFLOP a frame, .*FLOP a step; about .* of memory .*activations.*; .* in play",
        before[0],
    )
    before.clear()
    assert train(tmp_path, *arguments, "--name", "second", "--json") == 0
    assert "expected" not in before[0]


def test_json_prints_the_events_and_nothing_else(
    tmp_path: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = train(tmp_path, "--replays", str(dojo_dataset), "--max-steps", "3", "--name", "events", "--json")
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert events == list(read_events(tmp_path / "runs" / "events" / "events.jsonl"))
    assert [event["seq"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    assert {"step", "evaluated", "checkpoint_saved"} <= set(kinds)
    promised = {"step", "epoch", "loss", "per_character", "heads", "lr", "grad_norm", "frames_per_s"}
    assert promised | {"data_wait", "eta_s"} <= events[kinds.index("step")].keys()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pilot", "gpu"), "--pilot: pilot.device: unknown value 'gpu'; did you mean 'cpu'?"),
        (("--pilot", "off", "--set", "pilot.threads=2"), "no pilot would play with them"),
        (("--pilot", "cpu", "--set", "pilot.device=cuda"), "both set pilot.device"),
        (("--pilot", "cpu", "--set", "pilot.save_seconds=0.1"), "pilot.save_seconds: expected"),
        (("--resume", "first", "--pilot", "cpu"), "so --pilot would be ignored"),
    ],
)
def test_where_a_pilot_plays_is_said_as_any_other_setting(
    arguments: Sequence[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["train", "--headless", "--runs-dir", str(tmp_path / "runs"), *arguments])
    assert code == 2
    assert words in capsys.readouterr().err


def test_on_few_cores_a_run_says_why_no_pilot_plays_beside_it(
    tmp_path: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exphil_core.cpu.available_cores", lambda: (0, 1))
    arguments = ("--replays", str(dojo_dataset), "--max-steps", "2", "--pilot", "auto", "--device", "cpu")
    assert train(tmp_path, *arguments, "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (warning,) = [event for event in events if event.get("code") == "pilot_place"]
    assert "this machine has 2 cores" in warning["message"]
    assert "--pilot cpu" in warning["message"]
    assert events[0]["type"] == "run_started"


def test_eval_measures_the_run_on_other_replays_and_warns_of_those_it_has_seen(
    tmp_path: Path, dojo_replays: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "--replays", str(dojo_dataset), "--max-steps", "2", "--name", "trained")
    capsys.readouterr()
    where = ["--runs-dir", str(tmp_path / "runs"), "--json"]
    assert run(["eval", "trained", *where]) == 0
    own = capsys.readouterr()
    assert own.err == ""
    assert run(["eval", "trained", "--replays", str(dojo_replays), "--character", "zelda", *where]) == 0
    other = capsys.readouterr()
    assert "were trained on by trained" in other.err
    for said in (own, other):
        fields = json.loads(said.out)
        assert {"loss", "baseline_marginal", "baseline_repeat", "baseline_markov", "copycat"} <= fields.keys()
    assert set(json.loads(other.out)["per_character"]) == {"zelda"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_held_out_loss_of_eval_is_the_one_of_the_run(
    precision: str, tmp_path: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"train.precision={precision}" if "precision" in setting else setting for setting in SMALL]
    arguments = ("--replays", str(dojo_dataset), "--max-steps", "2", "--name", "twice", "--json")
    train(tmp_path, *arguments, settings=settings)
    finished = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert run(["eval", "twice", "--runs-dir", str(tmp_path / "runs"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["loss"] == pytest.approx(finished["summary"]["validation"]["loss"], abs=1e-6)


def test_eval_shows_games_as_it_is_told_to(
    tmp_path: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*SMALL, "backbone.kind=gru"]
    settings.remove("backbone.heads=2")
    train(tmp_path, "--replays", str(dojo_dataset), "--max-steps", "2", "--name", "shown", settings=settings)
    capsys.readouterr()
    found = {}
    for regime in ("carried", "windows"):
        where = ["--runs-dir", str(tmp_path / "runs"), "--json", "--regime", regime]
        assert run(["eval", "shown", *where]) == 0
        found[regime] = json.loads(capsys.readouterr().out)
        assert found[regime]["regime"] == regime
    assert len({fields["frames"] for fields in found.values()}) == 1
    assert found["windows"]["loss"] != found["carried"]["loss"]
    assert run(["eval", "shown", "--runs-dir", str(tmp_path / "runs"), "--regime", "step"]) == 2
    assert "did you mean 'stepped'" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_trained_on_what_and_leaves_no_run(
    tmp_path: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--replays", str(dojo_dataset), "--max-steps", "3", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "max_steps = 3" in said
    assert "parameters" in said
    assert "held out" in said
    assert "FLOP a frame" in said
    assert "of memory in play" in said
    assert not (tmp_path / "runs").exists()


STRATEGIES: list[tuple[list[str], str, object]] = [
    (["--character", "mewtwo,ganondorf,link,gnw,zelda"], "data.characters", list(LOW_TIER)),
    (["--balance-characters"], "train.balance_characters", True),
    *((["--window-size", str(frames)], "backbone.window_size", frames) for frames in (60, 75, 120, 180, 300)),
    *((["--character-mode", mode], "encoder.character_mode", mode) for mode in ("one_hot", "learned")),
    *((["--prediction", how], "policy.prediction", how) for how in ("last", "dense", "interleaved")),
    (["--delay", "18"], "policy.delay", 18),
    (["--delay", "0-18"], "policy.delay_range", [0, 18]),
    (["--mirror-prob", "0.25"], "train.mirror_prob", 0.25),
    (["--noise-prob", "0.3"], "train.noise_prob", 0.3),
    (["--ema-decay", "0.99"], "train.ema_decay", 0.99),
    (["--patience", "3"], "evaluation.patience", 3),
    (["--label-smoothing", "0.05"], "train.label_smoothing", 0.05),
    (["--focal-gamma", "2"], "train.focal_gamma", 2.0),
    (["--press-weight", "3"], "train.press_weight", 3.0),
    (["--action-dropout", "0.1"], "train.action_dropout", 0.1),
    (["--scheduled-sampling", "0.2"], "train.scheduled_sampling", 0.2),
]


@pytest.mark.parametrize(("arguments", "key", "value"), STRATEGIES, ids=lambda part: str(part))
def test_every_strategy_is_a_preset_key_and_a_flag(
    arguments: list[str], key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--dry-run", "--json", "--preset", "quick", *arguments]) == 0
    section, _, name = key.partition(".")
    assert json.loads(capsys.readouterr().out)["preset"][section][name] == value


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--replays", "no/such/folder"], 3, ["no/such/folder", "no such file or folder"]),
        ([], 2, ["--replays PATH", "exphil train --preset quick"]),
        (["--character", ""], 2, ["--character ''", "names no character", "leave --character out"]),
        (["--character", " , "], 2, ["names no character"]),
        (["--preset", "low_tier_small"], 2, ["--preset low_tier_unified --size small"]),
        (["--size", "smal"], 2, ["--size", "did you mean 'small'"]),
        (["--resume", "old", "--size", "small"], 2, ["--resume", "--size"]),
        (["--preset", "low_teir_unified"], 2, ["low_teir_unified", "did you mean 'low_tier_unified'"]),
        (["--character", "mewtoo"], 2, ["mewtoo", "did you mean 'mewtwo'"]),
        (["--backbone", "atention"], 2, ["atention", "did you mean 'attention'"]),
        (["--set", "train.lrr=1"], 2, ["lrr", "did you mean 'lr'"]),
        (["--lr", "0.1", "--set", "train.lr=0.2"], 2, ["--lr", "--set train.lr"]),
        (["--resume", "old", "--lr", "0.1"], 2, ["--resume", "--lr"]),
        (["--resume", "old"], 2, ["no run 'old'"]),
        (["--delay", "0..18"], 2, ["--delay 0..18", "such as 0-18"]),
        (["--delay", "3-18"], 2, ["--delay", "delay is 0", "3 to 18"]),
        (["--delay", "0-18", "--set", "policy.delay_range=[0,3]"], 2, ["--delay", "policy.delay_range"]),
        (["--delay", "-3"], 2, ["--delay", "found -3"]),
        (["--prediction", "interlaced"], 2, ["interlaced", "interleaved"]),
        (["--window-size", "1"], 2, ["window_size"]),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_with_its_exit_code(
    arguments: list[str], code: int, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--headless", "--runs-dir", str(tmp_path), *arguments]) == code
    said = capsys.readouterr().err
    for word in words:
        assert word in said
    assert "Traceback" not in said


def test_quick_without_replays_trains_on_demo_games_and_writes_them_where_they_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("exphil_core.dojo.demo.DEFAULT_GAMES", 8)
    words = ("--preset", "quick", "--max-steps", "1")
    assert train(tmp_path, *words, "--name", "first") == 0
    said = capsys.readouterr()
    assert "training on the dojo's demo games" in said.err
    assert "Mewtwo" in said.out
    written = sorted((tmp_path / "cache" / "demo").glob("*.slp"))
    assert len(written) == 8
    times = [path.stat().st_mtime_ns for path in written]
    assert train(tmp_path, *words, "--name", "second") == 0
    assert [path.stat().st_mtime_ns for path in written] == times


def test_replays_where_slippi_keeps_them_are_offered_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my replays"
    folder.mkdir()
    monkeypatch.setattr("exphil_core.replays.folders.usual_folders", lambda: [folder])
    words = ["train", "--preset", "low_tier_unified", "--headless", "--max-minutes", "3"]
    assert run(words) == 2
    assert "no replays to train on" in capsys.readouterr().err
    (folder / "Game.slp").touch()
    assert run(words) == 2
    assert capsys.readouterr().err.splitlines() == [
        "no replays were named; Slippi keeps some on this machine, so type:",
        f"  exphil train --preset low_tier_unified --headless --max-minutes 3 --replays '{folder}'",
    ]


def test_a_dry_run_says_which_size_would_be_trained_and_why(
    dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--dry-run", "--json", "--preset", "low_tier_unified", "--max-minutes", "3"]
    assert run([*words, "--replays", str(dojo_dataset)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["size"] == told["preset"]["size"] == "small"
    assert told["reasons"][0].startswith("size small: ")
    assert told["preset"]["data"]["train_on_all_characters"] is True


def test_a_folder_without_a_usable_replay_is_an_error_that_says_where_to_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert train(tmp_path, "--replays", str(tmp_path / "empty"), "--max-steps", "1") == 3
    assert "empty" in capsys.readouterr().err


def test_a_dataset_of_another_schema_version_is_refused(
    tmp_path: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    shutil.copytree(dojo_dataset, old)
    about = old / "dataset.json"
    about.write_text(about.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'))
    assert train(tmp_path, "--replays", str(old), "--max-steps", "1") == 3
    assert "schema version 99" in capsys.readouterr().err


def test_a_damaged_only_checkpoint_has_its_own_exit_code(
    tmp_path: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, "--replays", str(dojo_dataset), "--max-steps", "1", "--name", "damaged")
    for directory in (tmp_path / "runs" / "damaged").glob("step-*"):
        os.truncate(directory / "model.safetensors", 64)
    capsys.readouterr()
    assert run(["train", "--headless", "--runs-dir", str(tmp_path / "runs"), "--resume", "damaged"]) == 5
    assert "model.safetensors" in capsys.readouterr().err
