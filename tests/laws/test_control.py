"""Law: however a run is steered, and whatever becomes of who started it, it learns what it would have alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from exphil_core.config.preset import Preset
from exphil_core.runs.control import answer, send
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.runs.launcher import start

STEPS = 120
EVERY = 40
"""Steps between two evaluations."""

NewRun = Callable[[Preset, str], RunDirectory]

STARTER = """
import sys, time
from pathlib import Path
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.launcher import start
print(start(RunDirectory.open(Path(sys.argv[1]))), flush=True)
time.sleep(600)
"""


@pytest.fixture
def preset(tiny: Callable[..., Preset]) -> Callable[[bool], Preset]:
    # Dropout, noise and mirroring are on: whatever draws random numbers must take them up again.
    return lambda carry_state: tiny(
        encoder={"dropout": 0.1},
        backbone={"kind": "gru", "dropout": 0.1},
        policy={"head_dropout": 0.1},
        train={
            "max_steps": STEPS,
            "grad_accum_steps": 2,
            "carry_state": carry_state,
            "noise_prob": 0.5,
            "loader_workers": 2,
            "keep_checkpoints": 2,
        },
        # One game after the other, so that an evaluation takes long enough to be met half-way.
        evaluation={"every_steps": EVERY, "max_frames": 8000, "batch_size": 1},
    )


@pytest.fixture
def started(new_run: NewRun) -> Iterator[NewRun]:
    """`new_run`, whose processes do not outlive a test that fails."""
    runs: list[RunDirectory] = []

    def make(preset: Preset, name: str) -> RunDirectory:
        runs.append(new_run(preset, name))
        return runs[-1]

    yield make
    for run in runs:
        if (pid := run.process_id()) is not None:
            os.kill(pid, signal.SIGKILL)


def events_of(run: RunDirectory, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run.events_path) if event["type"] == kind]


def wait_for(what: Callable[[], object], run: RunDirectory, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return
        time.sleep(0.005)
    pytest.fail(f"run {run.name} stood still: {(run.path / 'worker.log').read_text()}")


def wait_for_step(run: RunDirectory, step: int) -> None:
    wait_for(lambda: any(event["step"] >= step for event in events_of(run, "step")), run)


def wait_for_end(run: RunDirectory) -> None:
    wait_for(lambda: not run.alive(), run)
    status = run.status()
    assert status is not None
    assert status.state == "done", (run.path / "worker.log").read_text()


def obeyed(run: RunDirectory, command: str) -> None:
    found = answer(run, send(run, command), seconds=60)
    assert (found.state, found.reason) == ("done", ""), command


def stop(run: RunDirectory) -> None:
    obeyed(run, "stop")
    wait_for(lambda: not run.alive(), run)
    status = run.status()
    assert status is not None
    assert status.state == "stopped"


def same_end(one: RunDirectory, other: RunDirectory, *, carry_state: bool = False) -> None:
    names = ["model.safetensors", "optimizer.safetensors", "rng-0.safetensors"]
    for name in [*names, "carried-0.safetensors"] if carry_state else names:
        first, second = (load_file(run.step_directory(STEPS) / name) for run in (one, other))
        assert first.keys() == second.keys()
        for key, tensor in first.items():
            assert tensor.equal(second[key]), f"{name}: {key} differs"

    def validations(run: RunDirectory) -> list[tuple[int, float]]:
        return [(event["step"], event["loss"]) for event in events_of(run, "evaluated")]

    assert validations(one) == validations(other)
    assert one.best() == other.best()


@pytest.mark.slow
@pytest.mark.parametrize("carry_state", [False, True])
def test_a_steered_run_ends_with_bitwise_the_state_of_one_left_alone(
    carry_state: bool, preset: Callable[[bool], Preset], started: NewRun
) -> None:
    straight = started(preset(carry_state), "straight")
    start(straight)
    wait_for_end(straight)

    chance = random.Random(2027)
    steered = started(preset(carry_state), "steered")
    start(steered)
    wait_for_step(steered, 3 + chance.randrange(5))
    obeyed(steered, "pause")
    obeyed(steered, "checkpoint")
    obeyed(steered, "resume")
    wait_for_step(steered, 15 + chance.randrange(5))
    obeyed(steered, "checkpoint")
    stop(steered)

    # A stop during an evaluation gives it up; resumed, it is taken at the same step as if nothing had been.
    start(steered)
    wait_for_step(steered, EVERY)
    stop(steered)
    assert steered.latest_step() == EVERY
    assert [event["step"] for event in events_of(steered, "evaluated")] == [0]

    start(steered)
    wait_for_step(steered, EVERY + 20)
    obeyed(steered, "pause")
    # Paused, a run still stops.
    stop(steered)
    start(steered)
    wait_for_end(steered)

    same_end(straight, steered, carry_state=carry_state)
    starts = [event["resumed_from"] for event in events_of(steered, "run_started")]
    assert len(starts) == 4
    # Nothing was taken twice: each resume went on from the step that the stop had saved.
    steps = [event["step"] for event in events_of(steered, "step")]
    assert steps == list(range(1, STEPS + 1))


@pytest.mark.slow
@pytest.mark.usefixtures("terminal_signals")
def test_what_becomes_of_its_starter_does_not_touch_a_run(
    preset: Callable[[bool], Preset], started: NewRun
) -> None:
    straight = started(preset(False), "straight")
    start(straight)
    wait_for_end(straight)
    for signals in ([signal.SIGSTOP, signal.SIGKILL], [signal.SIGHUP]):
        run = started(preset(False), signals[0].name)
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(run.path)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            assert starter.stdout is not None
            pid = int(starter.stdout.readline())
            for number, what in enumerate(signals):
                wait_for_step(run, 5 + 20 * number)
                # The whole group, as a terminal does it.
                os.killpg(starter.pid, what)
            starter.wait(timeout=20)
            wait_for_end(run)
        finally:
            starter.kill()
            starter.wait()
        wait_for(partial(_is_gone, pid), run, seconds=20)
        assert len(events_of(run, "run_started")) == 1
        same_end(straight, run)


@pytest.mark.slow
def test_time_paused_is_not_time_trained(preset: Callable[[bool], Preset], started: NewRun) -> None:
    run = started(preset(False), "paused")
    start(run)

    def trained() -> float:
        """Seconds, by the checkpoint that is saved now."""
        obeyed(run, "checkpoint")
        step = run.latest_step()
        assert step is not None
        return float(json.loads((run.step_directory(step) / "trainer.json").read_bytes())["seconds"])

    wait_for_step(run, 5)
    obeyed(run, "pause")
    status = run.status()
    assert status is not None
    assert status.state == "paused"
    first, began = trained(), time.monotonic()
    time.sleep(6)
    # It is still heard of while it waits.
    later = run.status()
    assert later is not None
    assert later.heartbeat > status.heartbeat
    assert later.step == status.step
    obeyed(run, "resume")
    wait_for_step(run, status.step + 3)
    obeyed(run, "pause")
    assert 0 < trained() - first < time.monotonic() - began - 6
    before, after = (
        next(event for event in events_of(run, "step") if event["step"] == step)
        for step in (status.step, status.step + 1)
    )
    assert after["frames_per_s"] > before["frames_per_s"] / 20
    stop(run)


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def test_the_law_is_about_real_processes(preset: Callable[[bool], Preset], started: NewRun) -> None:
    run = started(preset(False), "real")
    pid = start(run)
    process = psutil.Process(pid)
    assert os.getsid(pid) == pid != os.getsid(0)
    assert "exphil_core.worker" in " ".join(process.cmdline())
    for stream, expected in ((0, "/dev/null"), (1, "worker.log"), (2, "worker.log")):
        link = Path(f"/proc/{pid}/fd/{stream}")
        if link.exists():
            assert str(link.readlink()).endswith(expected)
    stop(run)
    wait_for(partial(_is_gone, pid), run, seconds=20)
