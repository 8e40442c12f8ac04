"""Workers in the background: real processes, killed and starved of their folder."""

import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from textual.app import App

from exphil_core.config.preset import Preset
from exphil_core.errors import UsageError
from exphil_core.runs.control import answer, send
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.runs.launcher import start
from exphil_core.runs.log_tail import last_lines
from exphil_core.runs.summary import summarise

NewRun = Callable[..., RunDirectory]


@pytest.fixture
def endless(tiny: Callable[..., Preset], new_run: NewRun) -> Iterator[RunDirectory]:
    """A run that goes on until somebody ends it."""
    run = new_run(tiny(train={"max_steps": 1_000_000}, evaluation={"every_steps": 1_000_000}))
    yield run
    if (pid := run.process_id()) is not None:
        os.kill(pid, signal.SIGKILL)


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def steps(run: RunDirectory) -> int:
    return sum(event["type"] == "step" for event in read_events(run.events_path))


def test_a_killed_worker_reads_as_crashed_within_seconds_and_can_be_resumed(endless: RunDirectory) -> None:
    pid = start(endless)
    assert endless.process_id() == pid
    assert summarise(endless).state in ("starting", "running")
    with pytest.raises(UsageError, match="is running already"):
        start(endless)
    wait_for(lambda: steps(endless) > 3)
    assert answer(endless, send(endless, "checkpoint"), seconds=30).state == "done"
    saved = endless.latest_step()
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    wait_for(lambda: summarise(endless).state == "crashed", seconds=5)
    assert time.monotonic() - began < 5
    # Its starter goes on, and still it left no zombie.
    wait_for(lambda: not psutil.pid_exists(pid), seconds=5)

    start(endless)
    wait_for(lambda: summarise(endless).state == "running")
    starts = [event for event in read_events(endless.events_path) if event["type"] == "run_started"]
    assert starts[-1]["resumed_from"] == saved
    assert answer(endless, send(endless, "stop"), seconds=30).state == "done"
    wait_for(lambda: summarise(endless).state == "stopped", seconds=20)


def test_a_worker_that_ends_at_once_is_told_with_what_it_said(
    tiny: Callable[..., Preset], new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tiny())
    (run.path / "worker.log").write_text("what an earlier process said\n")
    monkeypatch.setenv("PYTHONSTARTUP", "")
    (run.path / "events.jsonl").mkdir()
    with pytest.raises(UsageError, match=r"exit code 1 \(.*events\.jsonl: Is a directory") as told:
        start(run)
    assert "earlier" not in str(told.value)
    assert not run.alive()


def test_what_the_worker_cannot_learn_from_is_in_its_events_and_its_log(
    tiny: Callable[..., Preset], new_run: NewRun, dojo_dataset: Path, tmp_path: Path
) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(dojo_dataset, dataset)
    run = new_run(tiny(), "lost", dataset)
    shutil.rmtree(dataset)
    with suppress(UsageError):
        start(run)
    wait_for(lambda: not run.alive())
    assert summarise(run).state == "failed"
    *_, error, finished = read_events(run.events_path)
    assert (error["type"], finished["status"]) == ("error", "failed")
    # A long line is shown in part: the message holds paths.
    shown = last_lines(run.path / "worker.log", 20)[-1]
    assert error["message"].startswith(shown.removesuffix("…"))
    assert len(shown) > 100
    assert "Traceback" not in "\n".join(last_lines(run.path / "worker.log", 100))


def test_a_log_that_cannot_be_written_is_a_sentence(tiny: Callable[..., Preset], new_run: NewRun) -> None:
    run = new_run(tiny())
    (run.path / "worker.log").mkdir()
    with pytest.raises(UsageError, match=r"cannot be started: .*worker\.log: Is a directory"):
        start(run)


def test_a_run_whose_folder_is_deleted_underneath_ends_without_a_traceback(
    endless: RunDirectory, tmp_path: Path
) -> None:
    pid = start(endless)
    wait_for(lambda: steps(endless) > 3)
    log = (endless.path / "worker.log").open("rb")
    with log:
        shutil.rmtree(endless.path)
        wait_for(lambda: not psutil.pid_exists(pid), seconds=30)
        said = log.read().decode()
    assert "was deleted while the run was training" in said
    assert "Traceback" not in said
    assert not endless.path.exists()


def test_a_run_is_started_from_within_the_workbench(endless: RunDirectory) -> None:
    class Bench(App[None]):
        pid: int | None = None

        def on_mount(self) -> None:
            self.run_worker(self.begin, thread=True)

        def begin(self) -> None:
            self.pid = start(endless)

    async def opened() -> int | None:
        bench = Bench()
        async with bench.run_test() as pilot:
            await pilot.app.workers.wait_for_complete()
        return bench.pid

    import asyncio

    pid = asyncio.run(opened())
    assert pid is not None
    assert endless.process_id() == pid
    assert answer(endless, send(endless, "stop"), seconds=30).state == "done"


def test_two_who_start_one_run_get_one_worker(endless: RunDirectory) -> None:
    found: list[int | str] = []

    def begin() -> None:
        try:
            found.append(start(endless))
        except UsageError as error:
            found.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pids = [one for one in found if isinstance(one, int)]
    assert pids == [endless.process_id()]
    assert all("is held by" in one or "is running" in one for one in found if isinstance(one, str))


def test_a_disk_that_becomes_read_only_ends_the_run_with_a_sentence(
    tiny: Callable[..., Preset],
    new_run: NewRun,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from exphil_core.worker import work

    run = new_run(tiny(train={"max_steps": 5}, evaluation={"every_steps": 100}))

    def read_only(self: Path, *arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    plain = os.write

    def write(file: int, line: bytes) -> int:
        if b'"step": 3' in line:
            monkeypatch.setattr(Path, "open", read_only)
            raise OSError(errno.EROFS, "Read-only file system", str(run.events_path))
        return plain(file, line)

    monkeypatch.setattr(os, "write", write)
    assert work(run) == 1
    said = capfd.readouterr().err
    assert f"{run.events_path}: Read-only file system" in said
    assert "Traceback" not in said
