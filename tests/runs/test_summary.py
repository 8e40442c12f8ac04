"""A folder of runs, looked at again and again; and the end of a worker's log, safe to show."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from exphil_core.config.loader import load_preset
from exphil_core.runs import summary
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog
from exphil_core.runs.log_tail import last_lines
from exphil_core.runs.summary import RECENT_LOSSES, RunList, summarise


def create(folder: Path, name: str) -> RunDirectory:
    return RunDirectory.create(
        folder, load_preset("quick"), name=name, dataset=Path("/data/replays"), fingerprint="abc"
    )


def write_steps(run: RunDirectory, steps: range, **beside: Any) -> None:
    with EventLog(run.events_path) as log:
        for step in steps:
            log.append("step", step=step, loss=10.0 / step, per_character={}, heads={}, **beside)


def test_only_what_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [create(tmp_path, f"run-{number}") for number in range(20)]
    for run in runs:
        write_steps(run, range(1, 11))
    listed = RunList(tmp_path)
    assert len(listed.refresh()) == 20

    described: list[str] = []
    plain = RunDirectory.described

    def watched(self: RunDirectory) -> Any:
        described.append(self.name)
        return plain(self)

    monkeypatch.setattr(RunDirectory, "described", watched)
    before = listed.refresh()
    assert described == []
    write_steps(runs[3], range(11, 14))
    after = listed.refresh()
    assert described == ["run-3"]
    changed = [
        one.name for one, other in zip(before, after, strict=True) if one.recent_losses != other.recent_losses
    ]
    assert changed == ["run-3"]


def test_state_step_and_age_are_of_now(tmp_path: Path) -> None:
    now = [0.0]
    run = create(tmp_path, "mine")
    listed = RunList(tmp_path, clock=lambda: now[0])
    assert [one.state for one in listed.refresh()] == ["new"]
    run.write_status("paused", 40)
    status = run.status()
    assert status is not None
    now[0] = status.heartbeat + 100
    with run.lock():
        (one,) = listed.refresh()
        assert (one.state, one.step, one.age_s) == ("paused", 40, pytest.approx(100))
    (one,) = listed.refresh()
    assert (one.state, one.step) == ("crashed", 40)


def test_runs_come_and_go_and_the_newest_is_first(tmp_path: Path) -> None:
    import os

    listed = RunList(tmp_path)
    assert listed.refresh() == []
    for age, name in enumerate(("new", "middle", "old")):
        os.utime(create(tmp_path, name).path / "run.toml", (1e9 - age, 1e9 - age))
    assert [one.name for one in listed.refresh()] == ["new", "middle", "old"]
    shutil.rmtree(tmp_path / "middle")
    assert [one.name for one in listed.refresh()] == ["new", "old"]
    # Under the same name another run.
    shutil.rmtree(tmp_path / "old")
    write_steps(create(tmp_path, "old"), range(1, 2))
    assert listed.refresh()[0].recent_losses == (10.0,)


def test_a_run_that_goes_while_it_is_looked_at_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [create(tmp_path, "here"), create(tmp_path, "gone")]
    monkeypatch.setattr(summary, "run_directories", lambda folder: runs)
    shutil.rmtree(runs[1].path)
    assert [one.name for one in RunList(tmp_path).refresh()] == ["here"]


def test_the_small_curve_grows_with_the_run_and_stays_small(tmp_path: Path) -> None:
    run = create(tmp_path, "mine")
    listed = RunList(tmp_path)
    write_steps(run, range(1, 51))
    (one,) = listed.refresh()
    assert one.recent_losses == tuple(10.0 / step for step in range(1, 51))
    write_steps(run, range(51, 1001))
    (one,) = listed.refresh()
    assert len(one.recent_losses) == RECENT_LOSSES
    # Of the last steps, the oldest first; the same as who looks for the first time sees.
    assert list(one.recent_losses) == sorted(one.recent_losses, reverse=True)
    assert one.recent_losses[-1] == pytest.approx(10.0 / 996, rel=0.02)


def test_a_long_history_is_read_at_its_end_alone(tmp_path: Path) -> None:
    run = create(tmp_path, "long")
    write_steps(run, range(1, 2001), padding="x" * 400)
    assert run.events_path.stat().st_size > 3 * summary._FIRST_READ
    (one,) = RunList(tmp_path).refresh()
    assert len(one.recent_losses) >= RECENT_LOSSES
    assert one.recent_losses[0] < 10.0 / 1000


def test_steps_that_a_resumed_run_takes_again_are_shown_once(tmp_path: Path) -> None:
    run = create(tmp_path, "mine")
    write_steps(run, range(1, 21))
    with EventLog(run.events_path) as log:
        log.append("run_started", run="mine", resumed_from=10)
    listed = RunList(tmp_path)
    assert len(listed.refresh()[0].recent_losses) == 10
    write_steps(run, range(11, 13))
    assert len(listed.refresh()[0].recent_losses) == 12


def test_an_event_file_cut_anywhere_is_listed(tmp_path: Path) -> None:
    run = create(tmp_path, "mine")
    write_steps(run, range(1, 4))
    with EventLog(run.events_path) as log:
        log.append("evaluated", loss=1.5)
        log.append("step", step=float("nan"), loss=None)
    text = run.events_path.read_bytes() + b'\xff\x00{\n[1]\n"type"\n'
    listed = RunList(tmp_path)
    for end in range(len(text)):
        run.events_path.write_bytes(text[:end])
        (one,) = RunList(tmp_path).refresh()
        assert len(one.recent_losses) <= 3
        # Followed, whatever was there before.
        assert listed.refresh()[0].recent_losses == one.recent_losses
    assert one.recent_losses == (10.0, 5.0, pytest.approx(10 / 3))
    assert one.best_loss == 1.5


def test_a_run_that_is_mended_is_no_longer_unreadable(tmp_path: Path) -> None:
    run = create(tmp_path, "mine")
    text = (run.path / "run.toml").read_text()
    listed = RunList(tmp_path)
    (run.path / "run.toml").write_text("v = ")
    (one,) = listed.refresh()
    assert one.state == "unreadable"
    assert "is damaged" in one.problem
    (run.path / "run.toml").write_text(text)
    (one,) = listed.refresh()
    assert (one.state, one.problem) == ("new", "")
    (run.path / "status.json").write_text(json.dumps({"v": 1, "state": 3}))
    assert summarise(run).state == "new"


def test_the_end_of_a_log_is_plain_text_with_its_indents(tmp_path: Path) -> None:
    run = create(tmp_path, "mine")
    assert last_lines(run.path / "worker.log", 20) == []
    hostile = (
        "first\n"
        "\x1b[2J\x1b]0;title\x07\x1b[31mred\x1b[0m [/bold]\n"
        "10%\r50%\r100%\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1\n'
        "\tdeep‮er\n"
        f"{'x' * 10_000}\n"
        "last, without its end \udcff"
    )
    (run.path / "worker.log").write_bytes(hostile.encode(errors="surrogateescape") + b"\n\n\n")
    assert last_lines(run.path / "worker.log", 7) == [
        "red [/bold]",
        "100%",
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
        "    deeper",
        "x" * 300,
        "last, without its end �",
    ]
    assert last_lines(run.path / "worker.log", 1) == ["last, without its end �"]
    (run.path / "worker.log").write_bytes(b"y" * (1 << 17) + b"\nend\n")
    assert last_lines(run.path / "worker.log", 20) == ["end"]
