"""`exphil train --detach`, `exphil attach`, and what becomes of a run whose output nobody reads."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exphil_core.cli import attach, main
from exphil_core.cli.main import run
from exphil_core.runs.control import answer, send
from exphil_core.runs.directory import RunDirectory, run_directories
from exphil_core.runs.events import read_events

SMALL = (
    *("encoder.width=32", "backbone.width=32", "backbone.layers=1", "backbone.heads=2"),
    *("backbone.window_size=16", "policy.head_width=32", "train.batch_size=4", "train.precision=fp32"),
    *("train.epochs=none", "train.log_every_steps=1", "train.warmup_steps=2", "evaluation.max_frames=2000"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def runs_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "runs"
    yield folder
    for left in run_directories(folder):
        if (pid := left.process_id()) is not None and pid != os.getpid():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str | None]]:
    """A workbench on a terminal, which says only what it was opened on."""
    found: list[tuple[Path, str | None]] = []

    def open_it(runs_dir: Path, name: str | None) -> int:
        found.append((runs_dir, name))
        return 0

    monkeypatch.setattr(main, "workbench", open_it)
    monkeypatch.setenv("TERM", "xterm-256color")

    class Terminal:
        def isatty(self) -> bool:
            return True

        def __getattr__(self, name: str) -> Any:
            return getattr(sys.__stdout__, name)

    monkeypatch.setattr(
        attach, "sys", type("Streams", (), dict.fromkeys(("stdin", "stdout", "stderr"), Terminal()))
    )
    return found


def train(runs_dir: Path, replays: Path, *arguments: str, steps: int = 1_000_000) -> list[str]:
    typed = ["train", "--replays", str(replays), "--runs-dir", str(runs_dir), "--max-steps", str(steps)]
    return [*typed, *arguments, "--set", *SMALL]


def steps(run: RunDirectory) -> int:
    return sum(event["type"] == "step" for event in read_events(run.events_path))


def stop(run: RunDirectory) -> None:
    deadline = time.monotonic() + 60
    while not steps(run):
        assert time.monotonic() < deadline, "it takes no step"
        time.sleep(0.02)
    assert answer(run, send(run, "stop"), seconds=60).state == "done"
    assert answer(run, "", seconds=60).state == "done"


def test_a_detached_run_is_one_object_and_resumes_in_the_background_too(
    runs_dir: Path, dojo_dataset: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(train(runs_dir, dojo_dataset, "--name", "mine", "--detach", "--json")) == 0
    said = json.loads(capfd.readouterr().out)
    mine = RunDirectory.find(runs_dir, "mine")
    assert said == {"run": "mine", "path": str(mine.path), "pid": mine.process_id()}
    assert run(["train", "--resume", "mine", "--detach", "--runs-dir", str(runs_dir)]) == 2
    assert "running already" in capfd.readouterr().err
    stop(mine)
    assert run(["train", "--resume", "mine", "--detach", "--runs-dir", str(runs_dir)]) == 0
    out = capfd.readouterr().out
    for words in ("run mine is training in the background", "exphil attach mine", "exphil runs stop mine"):
        assert words in out
    stop(mine)
    starts = [event for event in read_events(mine.events_path) if event["type"] == "run_started"]
    assert len(starts) == 2
    assert starts[1]["resumed_from"] is not None


@pytest.mark.parametrize("beside", ["--headless", "--dry-run", "--tensorboard"])
def test_what_a_detached_run_would_ignore_is_refused(
    beside: str,
    runs_dir: Path,
    dojo_dataset: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exphil_core.cli.train.require_tensorboard", lambda: None)
    assert run(train(runs_dir, dojo_dataset, "--detach", beside)) == 2
    assert f"{beside} would be without effect" in capsys.readouterr().err
    assert not runs_dir.exists()


def test_a_name_that_is_taken_is_refused_before_replays_are_read(
    runs_dir: Path, dojo_replays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs_dir / "mine").mkdir(parents=True)
    assert run(train(runs_dir, dojo_replays, "--name", "mine", "--detach")) == 2
    assert "--resume mine" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_on_a_terminal_a_run_goes_on_in_the_background_under_the_workbench(
    runs_dir: Path, dojo_dataset: Path, opened: list[tuple[Path, str | None]]
) -> None:
    assert run(train(runs_dir, dojo_dataset, "--name", "mine")) == 0
    assert opened == [(runs_dir, "mine")]
    mine = RunDirectory.find(runs_dir, "mine")
    # The workbench was left, the run was not.
    assert mine.alive()
    assert mine.process_id() != os.getpid()
    stop(mine)
    assert run(["attach", "--runs-dir", str(runs_dir)]) == 0
    assert run(["attach", str(mine.path)]) == 0
    assert opened[1:] == [(runs_dir, "mine")] * 2
    assert run(["attach", "mien", "--runs-dir", str(runs_dir)]) == 2


def test_without_a_terminal_attach_is_a_sentence_and_train_prints(
    runs_dir: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "workbench", lambda runs_dir, name: pytest.fail("it was opened"))
    assert run(train(runs_dir, dojo_dataset, "--name", "mine", steps=2)) == 0
    said = capsys.readouterr()
    assert "needs a terminal; this is none: training prints here" in said.err
    assert "run mine: attention" in said.out
    assert run(["attach", "--runs-dir", str(runs_dir)]) == 2
    assert f"'exphil runs show mine --runs-dir {runs_dir}' prints" in capsys.readouterr().err


def test_a_probe_without_a_dry_run_is_refused(
    runs_dir: Path, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(train(runs_dir, dojo_dataset, "--probe", "1")) == 2
    assert "belongs to --dry-run" in capsys.readouterr().err
    assert run(["train", "--resume", "mine", "--probe", "1"]) == 2
    assert "--probe would be ignored" in capsys.readouterr().err


EXPHIL = [sys.executable, "-m", "exphil_tui"]


@pytest.mark.parametrize("form", ["--json", "--headless"])
def test_a_run_whose_reader_goes_away_goes_on(
    form: str, runs_dir: Path, dojo_dataset: Path, tmp_path: Path
) -> None:
    errors = (tmp_path / "errors").open("w+")
    process = subprocess.Popen(
        [*EXPHIL, *train(runs_dir, dojo_dataset, "--name", "mine", form, steps=200)],
        stdout=subprocess.PIPE,
        stderr=errors,
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    errors.seek(0)
    assert "Traceback" not in errors.read()
    mine = RunDirectory(runs_dir / "mine")
    *_, last = read_events(mine.events_path)
    assert (last["type"], last["status"]) == ("run_finished", "done")
    assert steps(mine) == 200


@pytest.mark.usefixtures("terminal_signals")
def test_a_run_whose_terminal_is_closed_saves_and_ends(runs_dir: Path, dojo_dataset: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*EXPHIL, *train(runs_dir, dojo_dataset, "--name", "mine", "--headless")],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    deadline = time.monotonic() + 120
    mine = RunDirectory(runs_dir / "mine")
    while not steps(mine):
        # A terminal that nobody reads would hold the run up.
        assert os.read(leader, 1 << 16)
        assert time.monotonic() < deadline
    os.close(leader)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=120) == 75
    status = mine.status()
    assert status is not None
    assert status.state == "preempted"
    assert mine.latest_step() is not None
