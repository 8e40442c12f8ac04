"""Law: a run that is killed at any moment and resumed ends with the weights of one that was not, bit for bit."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from safetensors.torch import load_file

from exphil_core.config.preset import Preset
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events

STEPS = 60


class MakePreset(Protocol):
    def __call__(self, kind: str, carry_state: bool, *, strategies: bool = False) -> Preset: ...


@pytest.fixture
def preset(tiny: Callable[..., Preset]) -> MakePreset:
    # Whatever draws random numbers is on, for it must take them up again.
    def make(kind: str, carry_state: bool, *, strategies: bool = False) -> Preset:
        policy: dict[str, object] = {"head_dropout": 0.1}
        train: dict[str, object] = {
            "max_steps": STEPS,
            "accumulation": 2,
            "carry_state": carry_state,
            "noise_share": 0.5,
            "loader_workers": 2,
            "checkpoint_minutes": 0.005,
            "keep_checkpoints": 2,
        }
        if strategies:
            policy |= {"prediction": "interleaved", "delay": 1, "delays": [0, 6]}
            train |= {
                "action_dropout": 0.2,
                "scheduled_sampling": 0.2,
                "label_smoothing": 0.05,
                "focal_gamma": 1.0,
                "press_weight": 2.0,
                "balance_characters": True,
            }
        return tiny(
            encoder={"dropout": 0.1},
            backbone={"kind": kind, "dropout": 0.1},
            policy=policy,
            train=train,
            evaluation={"every_steps": 20},
        )

    return make


def worker(run: RunDirectory) -> subprocess.Popen[bytes]:
    log = (run.path / "worker.log").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", "exphil_core.worker", str(run.path)], stdout=log, stderr=log
    )


def finish(run: RunDirectory) -> None:
    process = worker(run)
    assert process.wait(timeout=300) == 0, (run.path / "worker.log").read_text()


def last_checkpoint(run: RunDirectory) -> Path:
    directory = run.step_directory(STEPS)
    assert directory.is_dir()
    return directory


def wait_for_step(run: RunDirectory, step: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if run.events_path.exists() and any(
            event["type"] == "step" and event["step"] >= step for event in read_events(run.events_path)
        ):
            return
        time.sleep(0.01)
    pytest.fail(
        f"the worker ended or stood still before step {step}: {(run.path / 'worker.log').read_text()}"
    )


def same_tensors(one: Path, other: Path, name: str) -> None:
    first, second = load_file(one / name), load_file(other / name)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert tensor.equal(second[key]), f"{name}: {key} differs"


@pytest.mark.parametrize(
    ("kind", "carry_state", "strategies"),
    [("attention", False, False), ("attention", True, False), ("gru", True, False), ("gru", False, True)],
)
def test_a_killed_and_resumed_run_ends_with_bitwise_the_same_weights(
    kind: str, carry_state: bool, strategies: bool, preset: MakePreset, new_run: Callable[..., RunDirectory]
) -> None:
    straight = new_run(preset(kind, carry_state, strategies=strategies), "straight")
    finish(straight)

    chance = random.Random(2026)
    killed = new_run(preset(kind, carry_state, strategies=strategies), "killed")
    for least in (5, 25):
        process = worker(killed)
        wait_for_step(killed, least + chance.randrange(10), process)
        # Anywhere within a step, an event or a checkpoint that is half written.
        time.sleep(chance.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finish(killed)

    names = ["model.safetensors", "optimizer.safetensors", "rng-0.safetensors"]
    names += ["carried-0.safetensors"] if carry_state else []
    for name in names:
        same_tensors(last_checkpoint(straight), last_checkpoint(killed), name)

    events = list(read_events(killed.events_path))
    assert [event["seq"] for event in events] == list(range(len(events)))
    starts = [event for event in events if event["type"] == "run_started"]
    assert len(starts) == 3
    assert starts[-1]["resumed_from"] is not None
    assert events[-1]["type"] == "run_finished"
    assert events[-1]["status"] == "done"


def test_a_preempted_run_saves_and_goes_on(preset: MakePreset, new_run: Callable[..., RunDirectory]) -> None:
    run = new_run(preset("attention", False))
    process = worker(run)
    wait_for_step(run, 5, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 75
    events = list(read_events(run.events_path))
    assert events[-1]["status"] == "preempted"
    assert run.step_directory(events[-1]["step"]).is_dir()
    finish(run)
    resumed = [event for event in read_events(run.events_path) if event["type"] == "run_started"][-1]
    assert resumed["resumed_from"] == events[-1]["step"]
