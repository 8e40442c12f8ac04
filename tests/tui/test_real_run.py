"""A real run under the real workbench in a real terminal: from an empty folder to its end, and what may go wrong."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from exphil_core.config.preset import Preset
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.runs.launcher import start as start_run
from tests.tui.terminal import Terminal

pytestmark = pytest.mark.slow

PATIENCE_S = 120.0

MakeRun = Callable[..., RunDirectory]
Start = Callable[..., Terminal]


@pytest.fixture
def training(new_run: MakeRun, tiny: Callable[..., Preset]) -> Iterator[MakeRun]:
    """`training(name, steps)`: a tiny run, started; killed at the end of the test where it still goes on."""
    runs = []

    def begin(name: str = "run", *, steps: int = 1_000_000) -> RunDirectory:
        evaluation = {"every_steps": 100, "max_frames": 500}
        run = new_run(tiny(train={"max_steps": steps, "log_every_steps": 1}, evaluation=evaluation), name)
        runs.append(run)
        start_run(run)
        return run

    yield begin
    for run in runs:
        if (pid := run.process_id()) is not None:
            os.kill(pid, signal.SIGKILL)


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def steps_of(run: RunDirectory) -> list[int]:
    return [event["step"] for event in read_events(run.events_path) if event["type"] == "step"]


def attached(start: Start, run: RunDirectory) -> Terminal:
    opened = start("attach", run.name, "--runs-dir", str(run.path.parent), size=(120, 40))
    opened.until(run.name)
    return opened


def test_from_an_empty_folder_to_a_finished_run_and_back(
    start: Start, tmp_path: Path, dojo_replays: Path
) -> None:
    settings = ("--max-steps", "12", "--set", "train.log_every_steps=1", "--name", "first")
    opened = start("train", "--preset", "quick", "--replays", str(dojo_replays), *settings, size=(120, 40))
    opened.until("first", patience_s=PATIENCE_S)
    opened.until("done", patience_s=PATIENCE_S)
    assert "Mewtwo" in opened.text
    opened.press("escape")
    opened.until("1 run")
    opened.until("done")
    opened.press("q")
    assert opened.ends() == 0
    assert b"Traceback" not in opened.sent
    run = RunDirectory.open(tmp_path / "checkpoints" / "first")
    status = run.status()
    assert status is not None
    assert (status.state, status.step) == ("done", 12)


def test_a_killed_worker_is_shown_as_crashed_with_the_end_of_its_log_and_can_be_resumed(
    start: Start, training: MakeRun
) -> None:
    run = training()
    wait_for(lambda: len(steps_of(run)) > 5)
    opened = attached(start, run)
    opened.until("running")
    opened.press("k")
    wait_for(run.latest_step)
    with (run.path / "worker.log").open("a") as log:
        log.write("the last words of the worker\n")
    pid = run.process_id()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    opened.until("crashed")
    opened.until("the last words of the worker")
    opened.press("r")
    opened.until("running", patience_s=PATIENCE_S)
    # For a moment between two processes there is none.
    wait_for(lambda: run.process_id() not in (None, pid))


@pytest.mark.usefixtures("terminal_signals")
def test_what_becomes_of_a_workbench_does_not_change_what_a_run_learns(
    start: Start, training: MakeRun
) -> None:
    steps = 300
    alone = training("alone", steps=steps)
    wait_for(lambda: not alone.alive())
    for signals in ((signal.SIGKILL,), (signal.SIGSTOP, signal.SIGKILL), (signal.SIGHUP,)):
        run = training(f"watched-{'-'.join(number.name for number in signals)}", steps=steps)
        wait_for(lambda run=run: len(steps_of(run)) > 3)  # type: ignore[misc]
        opened = attached(start, run)
        for number in signals:
            os.kill(opened.process.pid, number)
            seen = len(steps_of(run))
            wait_for(lambda run=run, seen=seen: not run.alive() or len(steps_of(run)) > seen + 5)  # type: ignore[misc]
        assert run.alive(), "it was over before its workbench was"
        wait_for(lambda run=run: not run.alive())  # type: ignore[misc]
        for name in ("model.safetensors", "optimizer.safetensors", "rng-0.safetensors"):
            one, other = (load_file(found.step_directory(steps) / name) for found in (alone, run))
            assert one.keys() == other.keys()
            assert all(tensor.equal(other[key]) for key, tensor in one.items()), (signals, name)

        again = attached(start, run)
        again.until("done")
        again.until(f"{steps:,}")
        assert len(steps_of(run)) == steps
        wait_for(lambda opened=opened: not opened.process.isalive())  # type: ignore[misc]
