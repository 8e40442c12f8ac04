"""A run's directory: unique, locked by one process, and never promoting what is not there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exphil_core.atomic import atomic_write
from exphil_core.config.loader import load_preset
from exphil_core.errors import CheckpointError, UsageError
from exphil_core.runs.directory import RunDirectory, run_directories
from exphil_core.runs.events import EventLog
from exphil_core.runs.summary import list_runs, summarise


def create(folder: Path, name: str | None = None) -> RunDirectory:
    return RunDirectory.create(
        folder, load_preset("quick"), name=name, dataset=Path("/data/replays"), fingerprint="abc"
    )


HOLDER = """
import sys, time
from pathlib import Path
from exphil_core.runs.directory import RunDirectory
run = RunDirectory.open(Path(sys.argv[1]))
with run.lock():
    run.write_status("running", 12)
    print("held", flush=True)
    time.sleep(60)
"""


def hold(run: RunDirectory) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_gives_back_what_it_was_created_with(tmp_path: Path) -> None:
    run = RunDirectory.open(create(tmp_path).path)
    assert run.preset() == load_preset("quick")
    assert run.dataset_path() == Path("/data/replays")
    assert run.dataset_fingerprint() == "abc"
    described = run.described()
    assert described["v"] == 2
    assert {"python", "torch", "exphil"} <= described["packages"].keys()


def test_unnamed_runs_of_one_second_get_different_names(tmp_path: Path) -> None:
    names = {create(tmp_path).name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("quick-") for name in names)


def test_a_name_that_is_taken_is_refused_with_what_to_do(tmp_path: Path) -> None:
    create(tmp_path, "mine")
    with pytest.raises(UsageError, match="--resume mine"):
        create(tmp_path, "mine")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "-x", "a b", "x" * 101, "new\nline"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="run name"):
        create(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_found_by_name_by_path_or_as_the_newest(tmp_path: Path) -> None:
    first, second = create(tmp_path, "first"), create(tmp_path, "second")
    os.utime(first.path / "run.toml", (1, 1))
    assert RunDirectory.find(tmp_path, None).name == "second"
    assert RunDirectory.find(tmp_path, "first").path == first.path
    assert RunDirectory.find(tmp_path / "elsewhere", str(second.path)).path == second.path
    with pytest.raises(UsageError, match="did you mean 'second'"):
        RunDirectory.find(tmp_path, "secnd")
    with pytest.raises(UsageError, match="exphil train"):
        RunDirectory.find(tmp_path / "elsewhere", None)


def test_a_checkpoint_directory_names_its_run_and_step(tmp_path: Path) -> None:
    run = create(tmp_path, "mine")
    run.step_directory(12000).mkdir()
    assert run.step_directory(12000).name == "step-000012000"
    for name in ("mine/step-000012000", str(run.step_directory(12000))):
        found, step = RunDirectory.find_checkpoint(tmp_path, name)
        assert (found.path, step) == (run.path, 12000)
    assert RunDirectory.find_checkpoint(tmp_path, "mine")[1] is None
    with pytest.raises(UsageError, match="steps it has: 12000"):
        RunDirectory.find_checkpoint(tmp_path, "mine/step-000000007")


def test_another_process_that_holds_the_run_is_named(tmp_path: Path) -> None:
    run = create(tmp_path)
    process = hold(run)
    try:
        assert run.alive()
        assert summarise(run).state == "running"
        with pytest.raises(UsageError, match=f"held by process {process.pid} on"), run.lock():
            pass
    finally:
        process.kill()
        process.wait()


def test_a_killed_process_lets_go_and_the_run_reads_as_crashed(tmp_path: Path) -> None:
    run = create(tmp_path)
    process = hold(run)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not run.alive()
    summary = summarise(run)
    assert (summary.state, summary.step) == ("crashed", 12)
    with run.lock():
        assert run.alive()
    assert not run.alive()


def test_asking_whether_a_run_is_alive_changes_nothing(tmp_path: Path) -> None:
    run = create(tmp_path)
    before = sorted(path.name for path in run.path.iterdir())
    assert not run.alive()
    assert sorted(path.name for path in run.path.iterdir()) == before


def test_a_status_without_a_step_keeps_the_step(tmp_path: Path) -> None:
    run = create(tmp_path)
    assert run.status() is None
    run.write_status("running", 40)
    run.write_status("failed", None)
    status = run.status()
    assert status is not None
    assert (status.state, status.step, status.pid) == ("failed", 40, os.getpid())


def test_only_a_checkpoint_that_is_there_is_promoted(tmp_path: Path) -> None:
    run = create(tmp_path)
    assert (run.latest_step(), run.best_step()) == (None, None)
    with pytest.raises(AssertionError):
        run.write_latest(10)
    run.step_directory(10).mkdir()
    run.write_latest(10)
    run.write_best(10, loss=1.25)
    assert (run.latest_step(), run.best_step()) == (10, 10)
    best = run.best()
    assert best is not None
    assert best.loss == 1.25
    assert json.loads((run.path / "latest.json").read_text())["path"] == "step-000000010"


def test_a_damaged_pointer_is_a_sentence(tmp_path: Path) -> None:
    run = create(tmp_path)
    (run.path / "latest.json").write_text('{"v": 1, "st')
    with pytest.raises(CheckpointError, match=r"latest\.json is damaged"):
        run.latest_step()


def test_pruning_keeps_the_newest_the_latest_and_the_best(tmp_path: Path) -> None:
    run = create(tmp_path)
    for step in range(1, 8):
        run.step_directory(step).mkdir()
        (run.step_directory(step) / "file").write_text("x")
    run.write_best(2, loss=1.0)
    run.write_latest(4)
    assert run.prune(2) == (1, 3, 5)
    assert run.steps() == (2, 4, 6, 7)
    assert not list(run.path.glob(".removed-*"))
    assert run.prune(2) == ()


def test_a_folder_of_runs_is_listed_with_the_damaged_among_them(tmp_path: Path) -> None:
    good, bad = create(tmp_path, "good"), create(tmp_path, "bad")
    with EventLog(good.events_path) as log:
        for loss in (2.0, 1.5, 1.75, float("nan")):
            log.append("evaluated", loss=loss)
    good.write_status("done", 99)
    (bad.path / "run.toml").write_text("v = ")
    (tmp_path / "not a run").mkdir()
    runs = {run.name: run for run in list_runs(tmp_path)}
    assert runs.keys() == {"good", "bad"}
    assert (runs["good"].state, runs["good"].step, runs["good"].best_loss) == ("done", 99, 1.5)
    assert runs["bad"].state == "unreadable"
    assert "run.toml is damaged" in runs["bad"].problem


def test_a_run_of_another_version_is_refused(tmp_path: Path) -> None:
    run = create(tmp_path)
    path = run.path / "run.toml"
    path.write_text(path.read_text().replace("v = 2", "v = 1", 1))
    words = r"run\.toml is of version 1, written by exphil \d.*reads version 2: start a new run"
    with pytest.raises(UsageError, match=words):
        run.preset()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("v = 2", r"table \[preset\]"),
        ("v = 2\npreset = 3", r"table \[preset\]"),
        ("v = 2\n[preset]", r"table \[dataset\] with path and fingerprint"),
        ('v = 2\n[preset]\n[dataset]\npath = 3\nfingerprint = "x"', r"\[dataset\] with path and fingerprint"),
    ],
)
def test_a_run_that_lacks_a_table_is_damaged(text: str, words: str, tmp_path: Path) -> None:
    run = create(tmp_path)
    (run.path / "run.toml").write_text(text)
    with pytest.raises(UsageError, match=rf"run\.toml is damaged: .*{words}"):
        run.preset()
    assert summarise(run).state == "unreadable"


def test_a_run_written_by_hand_with_a_mistake_names_it(tmp_path: Path) -> None:
    run = create(tmp_path)
    path = run.path / "run.toml"
    path.write_text(path.read_text().replace("batch_size", "bach_size"))
    with pytest.raises(UsageError, match=r"run\.toml: preset\.train\.bach_size: unknown key"):
        run.preset()


def test_no_folder_means_no_runs(tmp_path: Path) -> None:
    assert run_directories(tmp_path / "nowhere") == []


def test_a_failed_replacement_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def breaks(self: Path, target: Path) -> Path:
        raise OSError("no")

    monkeypatch.setattr(Path, "replace", breaks)
    with pytest.raises(OSError, match="no"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_names_that_are_no_text_are_kept_or_refused_at_the_start(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    run = create(tmp_path / odd, "one")
    assert RunDirectory.open(run.path).described()["dataset"]["path"] == "/data/replays"
    with pytest.raises(UsageError, match="not UTF-8"):
        RunDirectory.create(
            tmp_path, load_preset("quick"), name="two", dataset=Path("/data") / odd, fingerprint="abc"
        )
    assert not (tmp_path / "two").exists()
