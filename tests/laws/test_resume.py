"""Law: a run that is killed at any moment and resumed, in whatever way, ends with the weights of one that was not,
bit for bit."""

import asyncio
import os
import pty
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest
import torch
from safetensors.torch import load_file

from exphil_core.config.preset import Preset
from exphil_core.runs.control import answer, send
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.studies import worker as study_worker
from exphil_core.training import loop
from exphil_core.training.checkpoint_manager import CheckpointManager
from exphil_core.training.data import open_run_data
from exphil_tui.services.subprocess import run_exphil

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
            "grad_accum_steps": 2,
            "carry_state": carry_state,
            "noise_prob": 0.5,
            "loader_workers": 2,
            "checkpoint_minutes": 0.005,
            "keep_checkpoints": 2,
        }
        if strategies:
            policy |= {"prediction": "interleaved", "delay": 1, "delay_range": [0, 6]}
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


def arguments(run: RunDirectory, *how: str) -> list[str]:
    return ["train", "--resume", run.name, "--runs-dir", str(run.path.parent), *how]


def on_a_terminal(run: RunDirectory) -> None:
    """`--headless` as a person types it, with a progress bar."""
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "exphil_tui", *arguments(run, "--headless")]
    subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)

    def read() -> None:
        with suppress(OSError):
            while os.read(master, 4096):
                pass
        os.close(master)

    # A terminal that nobody reads holds up who writes to it.
    threading.Thread(target=read, daemon=True).start()


def into_a_file(run: RunDirectory, how: str) -> None:
    with (run.path / "worker.log").open("ab") as log:
        command = [sys.executable, "-m", "exphil_tui", *arguments(run, how)]
        subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


WAYS: dict[str, Callable[[RunDirectory], object]] = {
    "headless": lambda run: into_a_file(run, "--headless"),
    "json": lambda run: into_a_file(run, "--json"),
    "terminal": on_a_terminal,
    "workbench": lambda run: asyncio.run(run_exphil(arguments(run, "--detach"))),
    "study": study_worker._launch,
}
"""Every way in which a run is started. `--detach` alone is what the workbench starts as its child."""

MANY_STEPS = 300


def losses(run: RunDirectory) -> list[tuple[int, float]]:
    return [
        (event["step"], event["loss"]) for event in read_events(run.events_path) if event["type"] == "step"
    ]


def wait(until: Callable[[], bool], run: RunDirectory) -> None:
    deadline = time.monotonic() + 120
    while not until():
        if time.monotonic() > deadline:
            pytest.fail(f"run {run.name} stood still: {(run.path / 'worker.log').read_text()}")
        time.sleep(0.01)


def small(preset: Preset, *, steps: int, evaluated_every: int) -> Preset:
    train = {"max_steps": steps, "grad_accum_steps": 1, "batch_size": 2}
    evaluation = {"every_steps": evaluated_every, "max_frames": 500}
    return preset.model_copy(
        update={
            "train": preset.train.model_copy(update=train),
            "evaluation": preset.evaluation.model_copy(update=evaluation),
        }
    )


@pytest.fixture
def new_runs(new_run: Callable[..., RunDirectory]) -> Iterator[Callable[..., RunDirectory]]:
    """`new_run`, whose processes do not outlive a test that fails."""
    runs: list[RunDirectory] = []

    def make(preset: Preset, name: str) -> RunDirectory:
        runs.append(new_run(preset, name))
        return runs[-1]

    yield make
    for run in runs:
        if (pid := run.process_id()) is not None:
            os.kill(pid, signal.SIGKILL)


def test_however_a_run_is_started_killed_and_stopped_it_learns_the_same(
    preset: MakePreset, new_runs: Callable[..., RunDirectory]
) -> None:
    settings = small(preset("gru", False), steps=MANY_STEPS, evaluated_every=200)
    straight = new_runs(settings, "straight")
    finish(straight)
    expected = dict(losses(straight))
    assert len(expected) == MANY_STEPS
    names = list(WAYS)
    # Two runs are passed from way to way: the ways that are killed in one are stopped in the other.
    for first in (0, 1):
        run = new_runs(settings, f"begun-by-{names[first]}")
        for way in names[first:] + names[:first]:
            before = len(losses(run))
            WAYS[way](run)
            wait(lambda run=run, before=before: len(losses(run)) > before, run)  # type: ignore[misc]
            if (names.index(way) + first) % 2:
                assert answer(run, send(run, "stop"), seconds=60).state == "done", way
            elif (pid := run.process_id()) is not None:
                os.kill(pid, signal.SIGKILL)
            wait(lambda run=run: not run.alive(), run)  # type: ignore[misc]
            found = losses(run)
            assert found[-1][0] < MANY_STEPS, "it was over before it could be killed"
            assert [each for each in found if each[1] != expected[each[0]]] == [], f"started by {way}"
        finish(run)
        directories = [each.step_directory(MANY_STEPS) for each in (straight, run)]
        for name in ("model.safetensors", "optimizer.safetensors", "rng-0.safetensors"):
            same_tensors(*directories, name)


def test_what_listeners_draw_does_not_change_what_is_learned(
    preset: MakePreset, new_run: Callable[..., RunDirectory]
) -> None:
    def trained(name: str, draw: Callable[..., None]) -> Path:
        settings = small(preset("gru", False), steps=8, evaluated_every=3)
        run = new_run(settings, name)
        manager = CheckpointManager(run, keep=2, emit=draw)
        loop.train(
            settings,
            open_run_data(run, settings),
            manager,
            device=torch.device("cpu"),
            run_name=name,
            emit=draw,
            between_steps=draw,
            between_chunks=draw,
            publish=draw,
        )
        return run.step_directory(8)

    def draw(*given: object, **fields: object) -> None:
        torch.rand(3)

    quiet, noisy = trained("quiet", lambda *given, **fields: None), trained("noisy", draw)
    for name in ("model.safetensors", "optimizer.safetensors", "rng-0.safetensors"):
        same_tensors(quiet, noisy, name)
