"""The pilot as the workbench sees, starts and ends it: by its files, and by its standard input."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from exphil_core.lock import hold
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.runs.directory import RunDirectory
from exphil_tui.services import pilots
from exphil_tui.services.pilots import FRESH_SECONDS, PilotFollower, PilotProcess
from tests.latencies import fields
from tests.tui.conftest import MakeRun

WAITS = "import sys; sys.stdin.read()"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run(make_run: MakeRun) -> RunDirectory:
    return make_run("running")


@pytest.fixture
def files(run: RunDirectory) -> PilotDirectory:
    found = PilotDirectory(run)
    found.path.mkdir()
    return found


def say(files: PilotDirectory, *events: dict[str, Any]) -> None:
    with files.events_path.open("a") as file:
        for event in events:
            file.write(json.dumps({"v": 1, "seq": 0, "ts": "2026-01-15T12:00:00.000Z", **event}) + "\n")


def latency(**changed: object) -> dict[str, Any]:
    return {"type": "latency", **fields("fast", **changed)}


def program(text: str) -> Callable[..., list[str]]:
    return lambda run, **options: [sys.executable, "-c", text]


# What is seen.


def test_without_a_pilot_nothing_is_seen(run: RunDirectory) -> None:
    found = PilotFollower(run).poll()
    assert not found.alive
    assert found.latency is None
    assert found.moments == ()


def test_measurements_are_seen_and_become_moments(run: RunDirectory, files: PilotDirectory) -> None:
    watch = PilotFollower(run)
    with hold(files.lock_path, "the pilot"):
        say(files, latency(total_frames=6, recent_max_ms=3.0), latency(total_frames=12, recent_max_ms=4.0))
        watch.poll()
        say(files, latency(total_frames=18, recent_max_ms=20.0, recent_missed=1))
        found = watch.poll()
    assert found.alive
    assert found.fresh
    assert [(moment.slowest_ms, moment.missed) for moment in found.moments] == [
        (3.0, False),
        (4.0, False),
        (20.0, True),
    ]
    assert found.latency is not None
    assert found.latency.total_frames == 18


def test_without_a_sample_for_a_while_it_is_not_fresh(run: RunDirectory, files: PilotDirectory) -> None:
    clock = Clock()
    watch = PilotFollower(run, clock=clock)
    with hold(files.lock_path, "the pilot"):
        say(files, latency())
        assert watch.poll().fresh
        clock.now += FRESH_SECONDS
        assert not watch.poll().fresh
        say(files, latency(total_frames=40_000))
        assert watch.poll().fresh
    found = watch.poll()
    assert not found.fresh
    assert found.latency is not None


def test_why_a_pilot_waits_is_seen_until_it_plays(run: RunDirectory, files: PilotDirectory) -> None:
    watch = PilotFollower(run)
    say(files, {"type": "warning", "code": "waiting", "message": "no weights yet \x1b[2J"})
    assert watch.poll().warning == "no weights yet [2J"
    say(files, latency())
    assert watch.poll().warning == ""


def test_loading_is_seen_until_the_next_frame_of_a_living_pilot(
    run: RunDirectory, files: PilotDirectory
) -> None:
    watch = PilotFollower(run)
    with hold(files.lock_path, "the pilot"):
        say(files, latency(), {"type": "loading", "step": 1240})
        assert watch.poll().loading == 1240
        say(files, latency(total_frames=40_000))
        assert watch.poll().loading is None
        say(files, {"type": "loading", "step": 1300})
        assert watch.poll().loading == 1300
    assert watch.poll().loading is None


def test_another_pilot_s_moments_begin_anew(run: RunDirectory, files: PilotDirectory) -> None:
    watch = PilotFollower(run)
    say(files, latency(total_frames=9000))
    watch.poll()
    files.events_path.unlink()
    say(files, latency(total_frames=6), latency(total_frames=12))
    assert [moment.until for moment in watch.poll().moments] == [6, 12]


def test_what_cannot_be_read_is_passed_over(run: RunDirectory, files: PilotDirectory) -> None:
    files.events_path.write_bytes(b"\x00\xff{\n" + b'{"type": "latency", "seq": 0}\n')
    say(files, latency(backbone="\x1b[31mevil"))
    found = PilotFollower(run).poll()
    assert found.latency is not None
    assert found.latency.backbone == "[31mevil"


# A pilot of our own.


async def test_it_is_started_with_an_end_of_its_own(run: RunDirectory) -> None:
    asked: list[object] = []

    def command(of: RunDirectory, **options: object) -> list[str]:
        asked.append((of, options))
        return [sys.executable, "-c", ""]

    assert await PilotProcess(run, command=command).play() == ""
    assert asked == [(run, {"until": "stdin"})]


async def test_asked_to_end_it_ends_without_a_word(run: RunDirectory) -> None:
    process = PilotProcess(run, command=program(WAITS))
    playing = asyncio.create_task(process.play())
    await _started(process)
    process.end()
    assert await playing == ""


async def test_its_last_words_are_why_it_ended(run: RunDirectory) -> None:
    talks = "import sys; print('before'); sys.exit('the [/] checkpoint is \\x1b[2Jdamaged')"
    process = PilotProcess(run, command=program(talks))
    assert await process.play() == f"The pilot of {run.name} exited: the [/] checkpoint is damaged"


async def test_words_of_an_earlier_pilot_are_not_its(run: RunDirectory, files: PilotDirectory) -> None:
    files.log_path.write_text("it was long ago\n")
    process = PilotProcess(run, command=program("import sys; sys.exit(1)"))
    assert await process.play() == f"The pilot of {run.name} exited: exit code 1, no output"


async def test_what_cannot_be_started_is_a_sentence(run: RunDirectory) -> None:
    process = PilotProcess(run, command=lambda run, **options: ["/nowhere/python"])
    said = await process.play()
    assert said.startswith(f"The pilot of {run.name} cannot be started: ")
    assert "No such file or directory" in said


async def test_a_folder_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    said = await PilotProcess(RunDirectory(tmp_path / "gone"), command=program(WAITS)).play()
    assert said.startswith("The pilot of gone cannot be started: ")


@pytest.mark.parametrize("text", [WAITS, DEAF], ids=["listening", "deaf"])
async def test_given_up_it_is_gone(text: str, run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilots, "EXIT_TIMEOUT_S", 0.3)
    process = PilotProcess(run, command=program(text))
    playing = asyncio.create_task(process.play())
    pid = await _started(process)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def _started(process: PilotProcess) -> int:
    while process._process is None:
        await asyncio.sleep(0.01)
    return process._process.pid
