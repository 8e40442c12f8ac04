"""Whether a run goes on: by its lock, its process and its heartbeat, each where it can tell."""

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from exphil_core.config.loader import load_preset
from exphil_core.errors import UsageError
from exphil_core.runs import directory
from exphil_core.runs.directory import FRESH_SECONDS, RunDirectory, name_problem, run_directories
from exphil_core.runs.launcher import start
from exphil_core.runs.process import own_identity
from exphil_core.runs.summary import summarise


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(
        tmp_path, load_preset("quick"), name="mine", dataset=Path("/data"), fingerprint="abc"
    )


def say(run: RunDirectory, **values: Any) -> None:
    run.write_status("running", 7)
    path = run.path / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}))


def without_locks(path: Path) -> bool:
    raise OSError(errno.ENOLCK, "No locks available", str(path))


def test_a_machine_that_slept_is_not_a_crash(run: RunDirectory) -> None:
    with run.lock():
        say(run, heartbeat=time.time() - 86_400)
        assert run.alive()
        summary = summarise(run)
        assert summary.state == "running"
        assert summary.age_s > 86_000


def test_a_pid_that_was_used_again_is_not_alive(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "is_held", without_locks)
    say(run)
    assert run.alive()
    assert run.process_id() == os.getpid()
    say(run, process_identity=f"{own_identity()}0")
    assert not run.alive()
    assert run.process_id() is None
    say(run, pid=2**22 + 1)
    assert not run.alive()


def test_a_clock_that_steps_an_hour_is_not_a_crash(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there are no locks and the run's process does not come to say anything meanwhile."""
    monkeypatch.setattr(directory, "is_held", without_locks)
    say(run)
    started, now = psutil.Process.create_time, time.time
    for seconds in (3600.0, -3600.0):
        monkeypatch.setattr(psutil.Process, "create_time", lambda self, by=seconds: started(self) + by)
        monkeypatch.setattr(time, "time", lambda by=seconds: now() + by)
        assert summarise(run).state == "running"
        assert run.process_id() == os.getpid()


def test_a_status_of_an_older_exphil_still_says_how_the_run_ended(run: RunDirectory) -> None:
    say(run, state="done", process_started=5.0)
    path = run.path / "status.json"
    said = json.loads(path.read_bytes())
    del said["process_identity"]
    path.write_text(json.dumps(said))
    assert summarise(run).state == "done"


def test_a_run_that_says_it_has_ended_is_not_alive_though_its_process_is(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "is_held", without_locks)
    say(run, state="done")
    assert not run.alive()


def test_another_machine_that_was_heard_of_lately_holds_the_run(run: RunDirectory) -> None:
    say(run, host="far-away", pid=1)
    assert run.alive()
    assert summarise(run).state == "running"
    assert run.process_id() is None
    with pytest.raises(UsageError, match="held by process 1 on far-away"), run.lock():
        pass
    with pytest.raises(UsageError, match="is running"):
        start(run)
    with pytest.raises(UsageError, match="is running"):
        run.delete()
    for heartbeat in (time.time() - 2 * FRESH_SECONDS, time.time() + 2 * FRESH_SECONDS):
        say(run, host="far-away", pid=1, heartbeat=heartbeat)
        assert not run.alive()
        assert summarise(run).state == "crashed"


def test_a_held_run_that_has_said_nothing_is_starting(run: RunDirectory) -> None:
    assert summarise(run).state == "new"
    with run.lock():
        assert summarise(run).state == "starting"


@pytest.mark.parametrize(
    "values", [{"heartbeat": "now"}, {"state": 3}, {"pid": None}, {"step": []}, {"v": 2}]
)
def test_a_status_that_makes_no_sense_is_none(values: dict[str, Any], run: RunDirectory) -> None:
    say(run, **values)
    assert run.status() is None
    assert summarise(run).state == "new"
    with run.lock():
        assert summarise(run).state == "starting"


def test_a_deleted_run_is_gone_for_good(run: RunDirectory, tmp_path: Path) -> None:
    with run.lock(), pytest.raises(UsageError, match="is running"):
        run.delete()
    assert run.path.is_dir()
    run.delete()
    assert list(tmp_path.iterdir()) == []
    # What still asks for it hears a sentence.
    assert (run.status(), run.steps(), run.alive()) == (None, (), False)
    for ask in (run.preset, run.described, lambda: summarise(run)):
        with pytest.raises(UsageError, match="gone"):
            ask()
    with pytest.raises(UsageError, match="cannot be deleted"):
        run.delete()


def test_half_of_a_deleted_run_is_not_listed(run: RunDirectory, tmp_path: Path) -> None:
    run.path.rename(tmp_path / ".mine.17.removed.partial")
    assert run_directories(tmp_path) == []


def test_a_folder_of_runs_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be read as a folder of runs"):
        run_directories(tmp_path / "file")


def test_whether_a_name_can_be_had_is_known_before_anything_is_made(
    run: RunDirectory, tmp_path: Path
) -> None:
    assert name_problem(tmp_path, "yours") is None
    assert "--resume mine" in str(name_problem(tmp_path, "mine"))
    assert "beginning with a letter" in str(name_problem(tmp_path, "-x"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
