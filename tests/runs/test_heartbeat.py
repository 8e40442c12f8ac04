"""The thread that keeps a run heard of: beats, measurements, and that it harms nobody."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exphil_core.config.loader import load_preset
from exphil_core.runs import heartbeat
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog, read_events
from exphil_core.runs.heartbeat import Heartbeat
from exphil_core.runs.records import Resources, decode
from exphil_core.runs.resources import Usage


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr(heartbeat, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "RESOURCES_SECONDS", 0.05)
    monkeypatch.setattr(heartbeat, "_LOOK_SECONDS", 0.01)
    return RunDirectory.create(
        tmp_path, load_preset("quick"), name="mine", dataset=Path("/data"), fingerprint="abc"
    )


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def test_a_busy_run_is_heard_of_and_another_state_is_written_at_once(run: RunDirectory) -> None:
    run.write_status("stopped", 40)
    with Heartbeat(run, emit=lambda *_, **__: None) as beats:
        first = run.status()
        assert first is not None
        # What it stood at is not forgotten while it is read in again.
        assert (first.state, first.step, first.pid) == ("starting", 40, os.getpid())
        wait_for(lambda: (now := run.status()) is not None and now.heartbeat > first.heartbeat)
        beats.say("paused", 41)
        paused = run.status()
        assert paused is not None
        assert (paused.state, paused.step) == ("paused", 41)
    run.write_status("done", 42)
    time.sleep(0.2)
    last = run.status()
    assert last is not None
    assert last.state == "done"


def test_measurements_begin_with_the_run_and_read_as_records(run: RunDirectory) -> None:
    with EventLog(run.events_path) as log, Heartbeat(run, emit=log.append) as beats:
        time.sleep(0.2)
        assert list(read_events(run.events_path)) == []
        beats.measure_gpu(lambda: {"gpu_memory_bytes": 5, "gpu_memory_total_bytes": 7})
        beats.say("running", 1)
        wait_for(lambda: list(read_events(run.events_path)))
    record = decode(run.events_path.read_bytes().splitlines()[0])
    assert isinstance(record, Resources)
    assert record.memory_bytes > 10_000_000
    assert record.memory_bytes < record.memory_total_bytes
    assert (record.gpu_memory_bytes, record.gpu_memory_total_bytes, record.gpu_utilization) == (5, 7, None)


def test_nothing_that_goes_wrong_ends_the_run_and_each_thing_is_said_once(
    run: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("the driver is gone")

    with Heartbeat(run, emit=lambda *_, **__: None) as beats:
        looks: list[int] = []
        beats.poll = lambda: looks.append(1)
        beats.poll_pilot = breaks
        beats.measure_gpu(breaks)
        beats.say("running", 1)
        time.sleep(0.3)
        monkeypatch.setattr(RunDirectory, "write_status", breaks)
        beats.say("paused", 2)
        before = len(looks)
        wait_for(lambda: len(looks) > before + 3)
    said = capsys.readouterr().err.splitlines()
    assert said == ["the heartbeat of run mine: the driver is gone"]


def test_a_deleted_folder_is_noticed_and_not_made_again(run: RunDirectory, tmp_path: Path) -> None:
    import shutil

    gone = threading.Event()
    with Heartbeat(run, emit=lambda *_, **__: None) as beats:
        beats.on_run_deleted = gone.set
        shutil.rmtree(run.path)
        assert gone.wait(20)
        time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []


def test_cores_are_those_of_the_process_and_its_children() -> None:
    usage = Usage()
    burn = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", burn], check=True)
    spent = time.monotonic() - began
    cpu = usage.read()["cpu"]
    assert isinstance(cpu, float)
    assert 0.5 / spent < cpu < 4
