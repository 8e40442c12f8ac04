"""Commands to a run: taken in order, by the process they were sent to, and never late."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from exphil_core.config.loader import load_preset
from exphil_core.errors import DiskFullError, ExphilError, UsageError
from exphil_core.runs import control
from exphil_core.runs.command_handler import CommandHandler, StopTraining
from exphil_core.runs.control import COMMANDS, ENDED_PROCESS, Answer, CommandInbox, answer, send
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog, read_events

HOLDER = """
import signal, sys, time
from pathlib import Path
from exphil_core.runs.directory import RunDirectory
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
run = RunDirectory.open(Path(sys.argv[1]))
with run.lock():
    run.write_status("running", 12)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(
        tmp_path, load_preset("quick"), name="mine", dataset=Path("/data"), fingerprint="abc"
    )


@pytest.fixture
def held(run: RunDirectory) -> Iterator[RunDirectory]:
    """The run, held by this process."""
    with run.lock():
        run.write_status("running", 12)
        yield run


@pytest.fixture
def elsewhere(run: RunDirectory) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


class Steered:
    """A command_handler with what it said."""

    def __init__(self, run: RunDirectory) -> None:
        self.log = EventLog(run.events_path)
        self.said: list[tuple[str, int]] = []
        self.slept = 0
        self.while_asleep: Callable[[], None] = lambda: None
        self.run = run
        self.command_handler = CommandHandler(
            CommandInbox(run), emit=self.log.append, say=self._say, sleep=self._sleep
        )

    def _say(self, state: str, step: int) -> None:
        self.said.append((state, step))

    def _sleep(self, seconds: float) -> None:
        self.slept += 1
        assert self.slept < 100, "nobody resumes it"
        self.while_asleep()
        self.command_handler.poll()

    def commands(self) -> list[tuple[str, str]]:
        events = [event for event in read_events(self.run.events_path) if event["type"] == "command"]
        return [(event["command"], event["state"]) for event in events]


def never() -> None:
    raise AssertionError("nothing is to be saved")


def test_commands_are_taken_once_and_in_order_of_sending(held: RunDirectory) -> None:
    inbox = CommandInbox(held)
    sent = [send(held, command) for command in ("pause", "checkpoint", "resume", "checkpoint", "stop")]
    taken = list(inbox.waiting())
    assert [command.id for command in taken] == sent == sorted(sent)
    assert [command.command for command in taken] == ["pause", "checkpoint", "resume", "checkpoint", "stop"]
    for command in taken:
        inbox.discard(command)
    assert list(inbox.waiting()) == []
    assert list((held.path / "control").iterdir()) == []


def test_a_clock_that_is_set_back_does_not_change_the_order(
    held: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = send(held, "pause")
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    assert send(held, "checkpoint") > first


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_a_clock_that_steps_leaves_a_run_steerable(
    seconds: float, held: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step moves what the system calls the start of every process: it is computed from the boot time."""
    steered = Steered(held)
    send(held, "pause")
    steered.command_handler.poll()
    step_the_clock(monkeypatch, seconds)
    # What the heartbeat does every two seconds.
    held.write_status("running", 13)
    with pytest.raises(UsageError, match="is paused already"):
        send(held, "pause")
    steered.command_handler.between_chunks()
    send(held, "checkpoint")
    saved: list[int] = []
    send(held, "resume")
    steered.command_handler.poll()
    steered.command_handler.between_steps(13, lambda: saved.append(13))
    assert saved == [13]
    assert [state for _, state in steered.commands()].count("refused") == 0


def test_commands_of_many_senders_at_once_all_arrive(held: RunDirectory) -> None:
    threads = [threading.Thread(target=send, args=(held, "checkpoint")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(CommandInbox(held).waiting())) == 20


@pytest.mark.parametrize(
    ("typed", "words"),
    [("pasue", "did you mean 'pause'"), ("", "expected one of pause"), ("../../x", "unknown command")],
)
def test_an_unknown_command_names_the_nearest(typed: str, words: str, held: RunDirectory) -> None:
    with pytest.raises(UsageError, match=words):
        send(held, typed)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_without_a_process_takes_no_command(command: str, run: RunDirectory) -> None:
    with pytest.raises(UsageError, match=r"no process \(ended\).*--resume mine"):
        send(run, command)
    run.write_status("running", 3)
    with pytest.raises(UsageError, match=r"no process \(crashed\).*--resume mine"):
        send(run, command)
    assert not (run.path / "control").exists()


def test_what_makes_no_sense_after_what_was_sent_before_is_refused_with_a_sentence(
    held: RunDirectory,
) -> None:
    with pytest.raises(UsageError, match="is not paused"):
        send(held, "resume")
    send(held, "pause")
    # Not carried out yet, but sent.
    with pytest.raises(UsageError, match="is paused already"):
        send(held, "pause")
    send(held, "resume")
    send(held, "pause")
    send(held, "stop")
    for command in COMMANDS:
        with pytest.raises(UsageError, match="is stopping"):
            send(held, command)


def test_what_was_received_counts_until_it_is_done(held: RunDirectory) -> None:
    steered = Steered(held)
    send(held, "pause")
    steered.command_handler.poll()
    assert list((held.path / "control").iterdir()) == []
    with pytest.raises(UsageError, match="is paused already"):
        send(held, "pause")
    send(held, "resume")
    steered.command_handler.poll()
    steered.command_handler.between_steps(13, never)
    with pytest.raises(UsageError, match="is not paused"):
        send(held, "resume")
    assert steered.slept == 0


def test_a_paused_run_waits_saves_goes_on_and_stops_as_it_is_told(held: RunDirectory) -> None:
    steered = Steered(held)
    saved: list[int] = []
    send(held, "pause")
    steered.command_handler.poll()
    asked = iter(["checkpoint", "resume"])

    def ask() -> None:
        if steered.slept in (3, 6):
            held.write_status("paused", 7)
            send(held, next(asked))

    steered.while_asleep = ask
    steered.command_handler.between_steps(7, lambda: saved.append(7))
    assert saved == [7]
    assert steered.slept == 6
    assert steered.commands() == [
        (command, state) for command in ("pause", "checkpoint", "resume") for state in ("received", "done")
    ]
    assert steered.said == [("running", 7), ("paused", 7), ("running", 7)]

    held.write_status("running", 7)
    send(held, "pause")
    steered.command_handler.poll()
    send(held, "stop")
    steered.command_handler.poll()
    with pytest.raises(StopTraining) as ending:
        steered.command_handler.between_steps(8, never)
    assert ending.value.status == "stopped"
    # Done is said once the run has saved, not before.
    assert ("stop", "done") not in steered.commands()
    steered.command_handler.close("stopped")
    assert steered.commands()[-2:] == [("pause", "refused"), ("stop", "done")]


def test_a_stop_is_noticed_within_an_evaluation_and_any_other_command_waits(held: RunDirectory) -> None:
    steered = Steered(held)
    for command in ("checkpoint", "pause"):
        send(held, command)
        steered.command_handler.poll()
        steered.command_handler.between_chunks()
    send(held, "stop")
    steered.command_handler.poll()
    with pytest.raises(StopTraining):
        steered.command_handler.between_chunks()


def test_sigterm_ends_a_paused_run_as_preempted(held: RunDirectory) -> None:
    steered = Steered(held)
    send(held, "pause")
    steered.command_handler.poll()

    def terminate() -> None:
        steered.command_handler.preempted = True

    steered.while_asleep = terminate
    with pytest.raises(StopTraining) as ending:
        steered.command_handler.between_steps(7, never)
    assert ending.value.status == "preempted"


def test_a_command_whose_saving_fails_is_refused(held: RunDirectory) -> None:
    steered = Steered(held)
    send(held, "checkpoint")
    steered.command_handler.poll()

    def fails() -> None:
        raise DiskFullError("no room")

    with pytest.raises(DiskFullError):
        steered.command_handler.between_steps(7, fails)
    steered.command_handler.close("failed")
    assert steered.commands() == [("checkpoint", "received"), ("checkpoint", "refused")]


def test_nothing_can_be_saved_in_a_run_that_was_deleted(held: RunDirectory) -> None:
    steered = Steered(held)
    steered.command_handler.lost = "the run was deleted"
    with pytest.raises(ExphilError, match="was deleted"):
        steered.command_handler.between_steps(7, never)


def test_a_command_to_a_process_that_has_ended_is_refused_by_the_next(
    run: RunDirectory, elsewhere: "subprocess.Popen[str]"
) -> None:
    send(run, "stop")
    elsewhere.kill()
    elsewhere.wait()
    with run.lock():
        run.write_status("starting", None)
        steered = Steered(run)
        steered.command_handler.poll()
        steered.command_handler.between_steps(13, never)
    (event,) = read_events(run.events_path)
    assert (event["command"], event["state"], event["reason"]) == ("stop", "refused", ENDED_PROCESS)
    assert list((run.path / "control").iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"stop"',
        b'{"v": 2, "command": "stop"}',
        b"\xff" * 9000,
        json.dumps({"v": 2, "command": "stop", "host": "x", "pid": "y", "process_identity": "z"}).encode(),
    ],
)
def test_a_file_that_is_no_command_is_refused_and_taken_away(content: bytes, held: RunDirectory) -> None:
    folder = held.path / "control"
    folder.mkdir()
    (folder / "stop.json").write_bytes(content)
    (folder / "half.json.17.partial").write_bytes(b"{")
    steered = Steered(held)
    steered.command_handler.poll()
    steered.command_handler.between_steps(13, never)
    assert [state for _, state in steered.commands()] == ["refused"]
    assert [path.name for path in folder.iterdir()] == ["half.json.17.partial"]


def test_a_command_of_another_version_is_refused(held: RunDirectory) -> None:
    id = send(held, "stop")
    path = held.path / "control" / f"{id}.json"
    for change in ({"v": 1}, {"v": 3}, {"command": "dance"}):
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
        (command,) = CommandInbox(held).waiting()
        assert "does not know" in command.refusal


def test_a_command_that_cannot_be_taken_away_is_still_carried_out_once(
    held: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    steered = Steered(held)
    send(held, "checkpoint")
    monkeypatch.setattr(Path, "unlink", refuses)
    saved: list[int] = []
    for _ in range(3):
        steered.command_handler.poll()
        steered.command_handler.between_steps(7, lambda: saved.append(7))
    assert saved == [7]


def test_stop_goes_by_signal_where_the_folder_cannot_be_written_and_nothing_else_does(
    run: RunDirectory, elsewhere: "subprocess.Popen[str]"
) -> None:
    (run.path / "control").write_text("a file where the folder should be")
    with pytest.raises(UsageError, match=r"'pause' cannot be left.*no signal means the same"):
        send(run, "pause")
    assert send(run, "stop") == ""
    assert elsewhere.wait(timeout=20) == 75
    assert answer(run, "", seconds=5) == Answer(state="done")


def test_a_full_disk_does_not_keep_a_run_from_being_stopped(
    run: RunDirectory, elsewhere: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise DiskFullError(f"{path}: no room left on the disk")

    monkeypatch.setattr(control, "atomic_write", full)
    with pytest.raises(UsageError, match="no room left"):
        send(run, "checkpoint")
    assert send(run, "stop") == ""
    assert elsewhere.wait(timeout=20) == 75


def test_no_signal_is_sent_to_another_machine(held: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    change_status(held, host="far-away")
    (held.path / "control").write_text("")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal was sent"))
    with pytest.raises(UsageError, match="is on far-away"):
        send(held, "stop")


def test_a_process_that_has_not_said_who_it_is_takes_no_command_yet(held: RunDirectory) -> None:
    change_status(held, process_identity="another boot/1")
    with pytest.raises(UsageError, match="just starting"):
        send(held, "stop")


def test_an_answer_is_waited_for_until_there_is_one(held: RunDirectory) -> None:
    steered = Steered(held)
    id = send(held, "checkpoint")
    assert answer(held, id, seconds=0) == Answer(state="sent")
    steered.command_handler.poll()
    assert answer(held, id, seconds=0.1) == Answer(state="received")
    thread = threading.Timer(0.2, lambda: steered.command_handler.between_steps(7, lambda: None))
    thread.start()
    assert answer(held, id, seconds=20) == Answer(state="done")
    thread.join()


def test_an_answer_is_not_waited_for_once_the_process_has_ended(
    run: RunDirectory, elsewhere: "subprocess.Popen[str]"
) -> None:
    id = send(run, "stop")
    elsewhere.send_signal(signal.SIGKILL)
    elsewhere.wait()
    assert answer(run, id, seconds=60) == Answer(state="ended")


def test_a_run_that_was_deleted_takes_no_command(held: RunDirectory) -> None:
    import shutil

    shutil.rmtree(held.path)
    with pytest.raises(UsageError, match="is gone"):
        send(held, "stop")
    assert not held.path.exists()


def test_a_command_reaches_a_run_on_another_machine_through_the_shared_folder(run: RunDirectory) -> None:
    run.write_status("running", 12)
    change_status(run, host="far-away", pid=1, process_identity="its boot/5")
    id = send(run, "stop")
    left = json.loads((run.path / "control" / f"{id}.json").read_bytes())
    assert (left["host"], left["pid"], left["process_identity"]) == ("far-away", 1, "its boot/5")
    # Here nobody takes it for his own.
    (command,) = CommandInbox(run).waiting()
    assert command.refusal == ENDED_PROCESS
    assert socket.gethostname() != "far-away"


def step_the_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """As a set clock or a suspend does: the time, and with it the start of processes in seconds since 1970."""
    started, now, now_ns = psutil.Process.create_time, time.time, time.time_ns
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: started(self) + seconds)
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(seconds * 1e9))


def change_status(run: RunDirectory, **values: Any) -> None:
    path = run.path / "status.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}))
