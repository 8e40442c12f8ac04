"""A pilot seen from outside: whose process it is, and what becomes of a status that nobody is behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from exphil_core.config.loader import load_preset
from exphil_core.lock import hold
from exphil_core.pilot.directory import PilotDirectory, command
from exphil_core.runs.directory import RunDirectory


@pytest.fixture
def pilot(tmp_path: Path) -> PilotDirectory:
    run = RunDirectory.create(
        tmp_path, load_preset("quick"), name="mine", dataset=Path("/data"), fingerprint="abc"
    )
    found = PilotDirectory(run)
    found.path.mkdir()
    return found


def test_a_run_without_a_pilot_has_none(tmp_path: Path) -> None:
    pilot = PilotDirectory(RunDirectory(tmp_path / "nothing"))
    assert not pilot.alive()
    assert pilot.status() is None
    assert pilot.process() is None
    assert not pilot.stop()


def test_a_pilot_is_there_as_long_as_it_holds_its_lock(pilot: PilotDirectory) -> None:
    pilot.write_status("cpu", "eager")
    assert not pilot.alive()
    with hold(pilot.lock_path, "the pilot"):
        assert pilot.alive()
        status = pilot.status()
        assert status is not None
        assert (status.pid, status.device, status.runtime) == (os.getpid(), "cpu", "eager")
        process = pilot.process()
        assert process is not None
        assert process.pid == os.getpid()
    assert not pilot.alive()
    assert not pilot.stop()


@pytest.mark.parametrize(
    "change",
    [
        {"process_identity": "another boot/1"},
        {"host": "elsewhere"},
        {"pid": 2**22 + 1},
        {"v": 2},
        {"pid": "me"},
    ],
)
def test_only_the_process_that_said_so_is_ever_asked_to_end(
    pilot: PilotDirectory, change: dict[str, object]
) -> None:
    with hold(pilot.lock_path, "the pilot"):
        pilot.write_status("cpu", "eager")
        said = {**json.loads(pilot.status_path.read_bytes()), **change}
        pilot.status_path.write_text(json.dumps(said))
        assert pilot.process() is None
        assert not pilot.stop()


def test_a_pilot_can_be_asked_to_end_after_a_step_of_the_clock(
    pilot: PilotDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold(pilot.lock_path, "the pilot"):
        pilot.write_status("cpu", "eager")
        started = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: started(self) + 3600)
        process = pilot.process()
        assert process is not None
        assert process.pid == os.getpid()


def test_a_torn_status_is_none(pilot: PilotDirectory) -> None:
    for content in (b"", b"{", b"[1]", b"null", b"\xff"):
        pilot.status_path.write_bytes(content)
        assert pilot.status() is None


def test_a_pilot_that_is_asked_to_end_ends(pilot: PilotDirectory) -> None:
    holder = (
        "import sys, time; from pathlib import Path\n"
        "from exphil_core.lock import hold; from exphil_core.runs.directory import RunDirectory\n"
        "from exphil_core.pilot.directory import PilotDirectory\n"
        "pilot = PilotDirectory(RunDirectory(Path(sys.argv[1])))\n"
        "with hold(pilot.lock_path, 'the pilot'):\n"
        "    pilot.write_status('cpu', 'eager'); print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(pilot.run.path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert pilot.alive()
        assert pilot.stop()
        assert process.wait(10) != 0
    assert not pilot.alive()
    assert not psutil.pid_exists(process.pid)


def test_a_command_says_everything_in_full(pilot: PilotDirectory, tmp_path: Path) -> None:
    run = pilot.run.path.absolute()
    assert command(pilot.run) == [
        *(sys.executable, "-m", "exphil_core.pilot", str(run)),
        *("--device", "auto", "--threads", "1"),
    ]
    found = command(
        pilot.run, device="cpu", threads=2, until="stdin", frames=60, replay=Path("a.slp"), eager=True
    )
    assert found[4:] == [
        *("--device", "cpu", "--threads", "2", "--until", "stdin", "--frames", "60"),
        *("--replay", str(Path("a.slp").absolute()), "--eager"),
    ]
