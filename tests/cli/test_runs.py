"""`exphil runs …` says how runs stand and steers them, for people and for scripts."""

import json
from pathlib import Path

import pytest

from exphil_core.cli import main
from exphil_core.config.loader import load_preset
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    run = RunDirectory.create(
        tmp_path, load_preset("quick"), name="mine", dataset=Path("/data"), fingerprint="abc"
    )
    with EventLog(run.events_path) as log:
        log.append(
            "evaluated",
            step=200,
            split="validation",
            loss=1.5,
            frames=3000,
            baseline_marginal=4.0,
            baseline_repeat=2.0,
            baseline_markov=1.75,
            heads={"main": 1.0, "buttons": 0.5},
            transition_f1={"main": 0.25, "buttons": None},
            leak_probe=None,
            copycat=None,
            per_character={
                "zelda": {
                    "games": 1,
                    "loss": 1.5,
                    "frames": 3000,
                    "baseline_marginal": 4.0,
                    "baseline_repeat": 2.0,
                    "baseline_markov": 1.75,
                    "floor": 1.25,
                    "floor_stderr": 0.01,
                    "closed": 0.5,
                }
            },
        )
    run.step_directory(200).mkdir()
    run.write_latest(200)
    run.write_best(200, loss=1.5)
    run.write_status("running", 210)
    return tmp_path


def test_a_folder_without_runs_says_how_to_start_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main.run(["runs", "list", "--runs-dir", str(tmp_path)]) == 0
    assert "exphil train" in capsys.readouterr().out
    assert main.run(["runs", "list", "--runs-dir", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": []}


def test_a_run_whose_process_is_gone_is_listed_as_crashed(
    capsys: pytest.CaptureFixture[str], runs_dir: Path
) -> None:
    assert main.run(["runs", "list", "--runs-dir", str(runs_dir)]) == 0
    shown = capsys.readouterr().out
    for word in ("mine", "crashed", "quick", "attention", "210", "1.5000"):
        assert word in shown
    assert main.run(["runs", "list", "--runs-dir", str(runs_dir), "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["run"], run["state"], run["step"], run["best_loss"]) == ("mine", "crashed", 210, 1.5)


def test_show_has_the_last_validation_per_character_and_how_to_go_on(
    capsys: pytest.CaptureFixture[str], runs_dir: Path
) -> None:
    assert main.run(["runs", "show", "--runs-dir", str(runs_dir)]) == 0
    shown = capsys.readouterr().out
    for word in ("Zelda", "markov", "floor", "1.2500", "1.7500", "exphil train --resume mine"):
        assert word in shown


def test_show_as_json_is_one_object_with_the_resolved_preset(
    capsys: pytest.CaptureFixture[str], runs_dir: Path
) -> None:
    assert main.run(["runs", "show", "mine", "--runs-dir", str(runs_dir), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["config"]["name"] == "quick"
    assert shown["checkpoints"] == [200]
    assert shown["last_evaluated"]["loss"] == 1.5
    assert shown["last_step"] is None


def test_show_says_which_kernel_ran_the_scan_when_the_run_last_started(
    capsys: pytest.CaptureFixture[str], runs_dir: Path
) -> None:
    where = ["--runs-dir", str(runs_dir)]
    assert main.run(["runs", "show", *where]) == 0
    assert "scan kernel" not in capsys.readouterr().out
    with EventLog(runs_dir / "mine" / "events.jsonl") as log:
        log.append("run_started", run="mine", kernel="torch")
        log.append("run_started", run="mine", kernel="compiled")
        # More than is read of a long run's end.
        log.append("warning", code="long", message="x" * (2 << 20))
    assert main.run(["runs", "show", *where]) == 0
    assert "compiled scan kernel" in capsys.readouterr().out
    assert main.run(["runs", "show", "mine", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kernel"] == "compiled"


def test_an_unknown_run_names_the_nearest(capsys: pytest.CaptureFixture[str], runs_dir: Path) -> None:
    assert main.run(["runs", "show", "mien", "--runs-dir", str(runs_dir)]) == 2
    assert "did you mean 'mine'?" in capsys.readouterr().err
