"""`exphil runs …` says how runs stand and steers them, for people and for scripts."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exphil_core.atomic import remove_partials
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


HOLDER = """
import sys
from pathlib import Path
from exphil_core.runs.control import CommandInbox
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog
from exphil_core.runs.heartbeat import Heartbeat
from exphil_core.runs.command_handler import CommandHandler, StopTraining
import time
run = RunDirectory.open(Path(sys.argv[1]))
with run.lock(), EventLog(run.events_path) as log:
    beats = Heartbeat(run, emit=log.append)
    handler = CommandHandler(CommandInbox(run), emit=log.append, say=beats.say)
    beats.poll = handler.poll
    step = 210
    with beats:
        beats.say("running", step)
        print("held", flush=True)
        try:
            while True:
                handler.between_steps(step, lambda: (run.step_directory(step).mkdir(), run.write_latest(step)))
                step += 1
                time.sleep(0.05)
        except StopTraining:
            pass
    handler.close("stopped")
    run.write_status("stopped", step)
"""


@pytest.fixture
def alive(runs_dir: Path) -> Iterator[Path]:
    """The same folder, with a process that counts steps behind the run and does as it is told."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(runs_dir / "mine")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield runs_dir
    process.kill()
    process.wait()


def test_a_run_is_paused_saved_resumed_and_stopped_by_name(
    capsys: pytest.CaptureFixture[str], alive: Path
) -> None:
    where = ["--runs-dir", str(alive)]
    for command, words in (
        ("pause", "run mine is paused at step"),
        ("checkpoint", "run mine has a checkpoint of step"),
        ("resume", "run mine continues from step"),
        ("stop", "exphil train --resume mine"),
    ):
        assert main.run(["runs", command, "mine", *where]) == 0
        said = capsys.readouterr()
        assert words in said.out
        assert said.err == ""
    assert not RunDirectory.find(alive, "mine").alive()
    assert main.run(["runs", "stop", *where]) == 2
    assert "has no process" in capsys.readouterr().err


def test_what_became_of_a_command_is_one_object(capsys: pytest.CaptureFixture[str], alive: Path) -> None:
    where = ["--runs-dir", str(alive), "--json"]
    for command in ("pause", "resume", "stop"):
        assert main.run(["runs", command, *where]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["run"], said["command"], said["state"]) == ("mine", command, "done")
        assert said["step"] >= 210


def test_a_command_that_makes_no_sense_is_a_sentence(capsys: pytest.CaptureFixture[str], alive: Path) -> None:
    where = ["--runs-dir", str(alive)]
    for command, words in (("resume", "is not paused"), ("delete", "is running")):
        assert main.run(["runs", command, "mine", *where]) == 2
        assert words in capsys.readouterr().err


def test_a_run_without_a_process_is_resumed_by_train(
    capsys: pytest.CaptureFixture[str], runs_dir: Path
) -> None:
    assert main.run(["runs", "resume", "--runs-dir", str(runs_dir)]) == 2
    assert "exphil train --resume mine" in capsys.readouterr().err


def test_a_run_is_deleted_only_where_somebody_said_so(
    capsys: pytest.CaptureFixture[str], runs_dir: Path
) -> None:
    delete = ["runs", "delete", "mine", "--runs-dir", str(runs_dir)]
    assert main.run(delete) == 2
    assert "--yes" in capsys.readouterr().err
    assert (runs_dir / "mine" / "run.toml").is_file()
    assert main.run([*delete, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] is True
    assert list(runs_dir.iterdir()) == []
    assert main.run([*delete, "--yes"]) == 2
    assert "no run 'mine'" in capsys.readouterr().err


def test_of_a_link_to_a_run_the_link_is_deleted_and_the_run_stays(
    capsys: pytest.CaptureFixture[str], runs_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    linked = tmp_path_factory.mktemp("linked")
    (linked / "far").symlink_to(runs_dir / "mine")
    delete = ["runs", "delete", "far", "--runs-dir", str(linked), "--yes"]
    assert main.run(delete) == 0
    assert f"the run itself stays in {runs_dir / 'mine'}" in capsys.readouterr().out
    assert list(linked.iterdir()) == []
    assert RunDirectory.find(runs_dir, "mine").steps() == (200,)


def test_a_checkpoint_that_lies_on_another_disk_is_pruned_as_its_link(runs_dir: Path, tmp_path: Path) -> None:
    run = RunDirectory.find(runs_dir, "mine")
    other = tmp_path / "other disk"
    other.mkdir()
    run.step_directory(100).symlink_to(other)
    (run.path / "step-000000050.removed.partial").symlink_to(other)
    assert run.prune(1) == (100,)
    remove_partials(run.path)
    assert run.steps() == (200,)
    assert not list(run.path.glob("*.partial"))
    assert other.is_dir()
