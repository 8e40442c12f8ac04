"""`exphil replay`: what it opens, and what it says where it cannot."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.cli import main
from exphil_core.config.preset import Preset
from exphil_core.runs.directory import RunDirectory

Opened = list[tuple[Path, str | None, Path | None, str | None]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """A workbench on a terminal, which says only what it was opened on."""
    found: Opened = []

    def open_it(
        runs_dir: Path, run: str | None, *, replay: Path | None = None, checkpoint: str | None = None
    ) -> int:
        found.append((runs_dir, run, replay, checkpoint))
        return 0

    monkeypatch.setattr(main, "workbench", open_it)
    monkeypatch.setattr("exphil_core.cli.replay.workbench_problem", lambda: None)
    return found


def replay_in(folder: Path) -> Path:
    path = folder / "game.slp"
    path.write_bytes(b"x")
    return path


def test_it_opens_the_workbench_on_the_replay(opened: Opened, tmp_path: Path) -> None:
    path = replay_in(tmp_path)
    assert main.run(["replay", str(path)]) == 0
    assert opened == [(Path("checkpoints"), None, path, None)]


def test_a_checkpoint_goes_along(
    opened: Opened,
    tmp_path: Path,
    tiny: Callable[..., Preset],
    new_run: Callable[..., RunDirectory],
) -> None:
    run = new_run(tiny(), "first")
    path = replay_in(tmp_path)
    where = ["--runs-dir", str(run.path.parent)]
    assert main.run(["replay", str(path), "--checkpoint", "first", *where]) == 0
    assert main.run(["replay", str(path), "--checkpoint", str(run.path), *where]) == 0
    assert [checkpoint for _, _, _, checkpoint in opened] == ["first", str(run.path)]


def test_a_run_that_is_not_there_is_a_sentence_with_the_nearest(
    opened: Opened,
    tmp_path: Path,
    tiny: Callable[..., Preset],
    new_run: Callable[..., RunDirectory],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = new_run(tiny(), "first")
    path = replay_in(tmp_path)
    assert main.run(["replay", str(path), "--checkpoint", "frist", "--runs-dir", str(run.path.parent)]) == 2
    assert "did you mean 'first'?" in capsys.readouterr().err
    assert opened == []


def test_a_file_that_is_not_there_and_a_folder_are_sentences(
    opened: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["replay", str(tmp_path / "gone.slp")]) == 3
    assert "there is no such file" in capsys.readouterr().err
    assert main.run(["replay", str(tmp_path)]) == 3
    assert "name one replay in it" in capsys.readouterr().err
    assert opened == []


def test_without_a_terminal_it_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    path = replay_in(tmp_path)
    command = [sys.executable, "-m", "exphil_tui", "replay", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a terminal" in done.stderr
    assert "exphil data check" in done.stderr
