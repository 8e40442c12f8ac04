"""What a run does about its pilot: it starts one, hands on what is measured, tells of a death, and ends its own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exphil_core.config.loader import load_preset
from exphil_core.errors import DiskFullError
from exphil_core.lock import hold
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.pilot.placement import PilotPlace
from exphil_core.pilot.supervisor import PilotSupervisor
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog
from exphil_core.runs.records import LatencyEvent

LATENCY: dict[str, Any] = {
    "device": "cpu",
    "backbone": "gru",
    "frames": 600,
    "p50_ms": 4.5,
    "p95_ms": 6.0,
    "p99_ms": 7.5,
    "max_ms": 20.0,
    "missed": 1,
    "budget_ms": 16.67,
    "histogram": [1, 2, 3],
    "step": 40,
}

ON_CPU = PilotPlace(device="cpu")

SLEEPS = "import time; time.sleep(600)"


class Told:
    """Events, the commands that were started, and a clock."""

    def __init__(self, script: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.words: list[list[str]] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.now = 0.0
        self._script = script

    def emit(self, kind: str, **fields: object) -> None:
        self.events.append({"type": kind, **fields})

    def start(self, words: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        self.words.append(words)
        self.processes.append(subprocess.Popen([sys.executable, "-c", self._script], **options))
        return self.processes[-1]

    def clock(self) -> float:
        return self.now


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(
        tmp_path, load_preset("quick"), name="mine", dataset=Path("/data"), fingerprint="abc"
    )


@pytest.fixture
def watching(run: RunDirectory) -> Callable[..., tuple[PilotSupervisor, Told]]:
    def make(place: PilotPlace = ON_CPU, script: str = SLEEPS) -> tuple[PilotSupervisor, Told]:
        told = Told(script)
        watch = PilotSupervisor(
            run, place, emit=told.emit, snapshot_ms=lambda: 21.5, start=told.start, clock=told.clock
        )
        return watch, told

    return make


Watching = Callable[..., tuple[PilotSupervisor, Told]]


def test_a_pilot_is_started_once_when_training_begins_and_ended_with_the_run(
    run: RunDirectory, watching: Watching
) -> None:
    watch, told = watching(PilotPlace(device="cpu", threads=2))
    watch.poll()
    assert told.words == []
    for _ in range(3):
        watch.begin()
        watch.poll()
    (words,) = told.words
    assert words[:3] == [sys.executable, "-m", "exphil_core.pilot"]
    assert words[3:] == [str(run.path), "--device", "cpu", "--threads", "2", "--until", "run"]
    (process,) = told.processes
    assert process.poll() is None
    watch.close()
    assert process.poll() == -15
    watch.poll()
    assert told.events == []


def test_a_pilot_that_does_not_end_when_it_is_asked_to_is_ended_all_the_same(
    watching: Watching, monkeypatch: pytest.MonkeyPatch, run: RunDirectory
) -> None:
    monkeypatch.setattr("exphil_core.pilot.supervisor.END_SECONDS", 0.2)
    deaf = (
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); {SLEEPS}"
    )
    watch, told = watching(script=deaf)
    watch.begin()
    while b"ready" not in PilotDirectory(run).log_path.read_bytes():
        assert told.processes[0].poll() is None
    watch.close()
    assert told.processes[0].poll() == -9


def test_without_a_place_none_is_started_and_a_note_is_a_warning(watching: Watching) -> None:
    watch, told = watching(PilotPlace(device=None, note="no pilot plays"))
    watch.begin()
    watch.begin()
    assert told.words == []
    assert told.events == [{"type": "warning", "code": "pilot_place", "message": "no pilot plays"}]
    watch.close()


def test_a_death_is_one_warning_with_the_end_of_the_log(run: RunDirectory, watching: Watching) -> None:
    pilot = PilotDirectory(run)
    pilot.path.mkdir()
    pilot.log_path.write_text("what an earlier pilot said\n")
    watch, told = watching(script="import sys; print('no such table'); sys.exit(3)")
    watch.begin()
    told.processes[0].wait(60)
    for _ in range(3):
        watch.poll()
    (warning,) = told.events
    assert (warning["type"], warning["code"]) == ("warning", "pilot_ended")
    assert warning["message"] == (
        "the pilot ended with exit code 3 (no such table); the run continues without it"
    )
    watch.close()


def test_a_pilot_that_was_killed_is_said_to_be(watching: Watching) -> None:
    watch, told = watching()
    watch.begin()
    told.processes[0].kill()
    told.processes[0].wait(60)
    watch.poll()
    (warning,) = told.events
    assert "was ended by signal 9 (no output)" in warning["message"]
    watch.close()


def test_a_pilot_that_was_asked_to_end_is_no_warning(watching: Watching) -> None:
    watch, told = watching(script="pass")
    watch.begin()
    told.processes[0].wait(60)
    watch.poll()
    watch.close()
    assert told.events == []


def test_a_pilot_that_cannot_be_started_is_a_warning(run: RunDirectory, watching: Watching) -> None:
    PilotDirectory(run).path.write_text("no folder")
    watch, told = watching()
    watch.begin()
    (warning,) = told.events
    assert warning["code"] == "pilot_ended"
    assert "cannot be started" in warning["message"]
    watch.poll()
    watch.close()


def test_a_pilot_that_was_started_by_hand_is_left_alone(run: RunDirectory, watching: Watching) -> None:
    pilot = PilotDirectory(run)
    pilot.path.mkdir()
    watch, told = watching()
    with hold(pilot.lock_path, "the pilot"):
        watch.begin()
        watch.close()
    assert (told.words, told.events) == ([], [])


def test_the_newest_measurement_is_handed_on_every_ten_seconds_and_at_the_end(
    run: RunDirectory, watching: Watching
) -> None:
    pilot = PilotDirectory(run)
    pilot.path.mkdir()
    watch, told = watching(PilotPlace(device=None))
    with EventLog(pilot.events_path) as log:
        log.append("latency", **{**LATENCY, "p99_ms": 99.0})
        # What was measured before this process began is not of it.
        watch.begin()
        for tenth in range(250):
            told.now = tenth / 10
            log.append("latency", **{**LATENCY, "p50_ms": told.now, "new_in_a_later_version": 1})
            log.append("warning", code="of_the_pilot", message="is in its own history")
            watch.poll()
        # Nothing new comes any more: nothing is repeated.
        told.now = 40.0
        watch.poll()
        told.now = 60.0
        watch.poll()
        log.append("latency", **{**LATENCY, "p50_ms": 61.0})
        watch.close()
    assert [event["p50_ms"] for event in told.events] == [10.0, 20.0, 24.9, 61.0]
    event = told.events[0]
    assert {key: event[key] for key in LATENCY if key != "p50_ms"} == {
        key: value for key, value in LATENCY.items() if key != "p50_ms"
    }
    assert event["snapshot_ms"] == 21.5
    assert event.keys() == set(LatencyEvent.__struct_fields__) - {"seq", "ts", "v"} | {"type"}


def test_a_full_disk_at_the_end_does_not_change_how_the_run_ended(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(kind: str, **fields: object) -> None:
        raise DiskFullError("no room left on the disk")

    pilot = PilotDirectory(run)
    pilot.path.mkdir()
    watch = PilotSupervisor(run, PilotPlace(device=None), emit=full)
    watch.begin()
    with EventLog(pilot.events_path) as log:
        log.append("latency", **LATENCY)
    watch.close()
    assert "no room left on the disk" in capsys.readouterr().err


def test_events_that_cannot_be_read_keep_no_run_from_beginning(run: RunDirectory, watching: Watching) -> None:
    PilotDirectory(run).events_path.mkdir(parents=True)
    watch, told = watching(PilotPlace(device=None))
    watch.begin()
    told.now = 30.0
    watch.poll()
    watch.close()
    assert told.events == []
