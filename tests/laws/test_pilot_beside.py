"""Law: whatever becomes of the pilot beside a run, the run learns the same and ends the same."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from exphil_core.config.preset import Preset
from exphil_core.cpu import available_cores
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.pilot.publisher import ASK_SECONDS
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.worker import work

STEPS = 30

Emitted = dict[str, Any]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A sum by two threads is another than that by one, and a run that leaves a core to its pilot may have fewer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def preset_with(tiny: Callable[..., Preset], device: str) -> Preset:
    return tiny(
        backbone={"kind": "gru", "dropout": 0.1},
        train={"max_steps": STEPS, "noise_prob": 0.5},
        evaluation={"every_steps": STEPS},
        pilot={"device": device, "save_seconds": 1.0},
    )


def at_step(step: int, act: Callable[[], None]) -> Callable[[Emitted], None]:
    def sink(event: Emitted) -> None:
        if event["type"] == "step" and event["step"] == step:
            act()

    return sink


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def once_it_waits(pilot: PilotDirectory) -> Callable[[Emitted], None]:
    """The pilot is there before the run goes on, so that it is given weights after one of the next steps."""

    def wait() -> None:
        wait_for(pilot.alive)
        time.sleep(1.1 * ASK_SECONDS)

    return at_step(5, wait)


def latencies(pilot: PilotDirectory) -> list[Emitted]:
    return [event for event in read_events(pilot.events_path) if event["type"] == "latency"]


def same_weights(one: RunDirectory, other: RunDirectory) -> None:
    for name in ("model.safetensors", "optimizer.safetensors", "rng-0.safetensors"):
        first, second = (load_file(run.step_directory(STEPS) / name) for run in (one, other))
        assert first.keys() == second.keys()
        for key, tensor in first.items():
            assert tensor.equal(second[key]), f"{name}: {key} differs"


def test_a_run_with_a_pilot_beside_it_learns_the_same_and_keeps_what_it_measured(
    tiny: Callable[..., Preset], new_run: Callable[..., RunDirectory]
) -> None:
    alone = new_run(preset_with(tiny, "off"), "alone")
    assert work(alone) == 0
    cores = available_cores()

    watched = new_run(preset_with(tiny, "cpu"), "watched")
    pilot = PilotDirectory(watched)
    trained_on: list[set[int]] = []
    played_on: list[set[int]] = []

    def play() -> None:
        wait_for(lambda: latencies(pilot))
        process = pilot.process()
        assert process is not None
        if hasattr(os, "sched_getaffinity"):
            trained_on.append(os.sched_getaffinity(0))
            played_on.append(os.sched_getaffinity(process.pid))

    # No checkpoint yet: nothing is there to be played but what the trainer saved for it.
    assert work(watched, sinks=[once_it_waits(pilot), at_step(10, play)]) == 0
    same_weights(alone, watched)

    events = list(read_events(watched.events_path))
    assert events[-1]["type"] == "run_finished"
    told = [event for event in events if event["type"] == "latency"]
    last = latencies(pilot)[-1]
    assert told[-1]["total_frames"] == last["total_frames"] > 0
    assert (told[-1]["backbone"], told[-1]["device"], told[-1]["threads"]) == ("gru", "cpu", 1)
    assert told[-1]["snapshot_ms"] > 0
    assert not [event for event in events if event.get("code") in ("pilot_ended", "pilot_weights")]
    assert not pilot.alive()
    if len(cores) > 1 and played_on:
        assert played_on == [{cores[-1]}]
        assert trained_on == [set(cores[:-1])]
    assert available_cores() == cores


def test_a_killed_pilot_is_a_warning_and_nothing_else(
    tiny: Callable[..., Preset], new_run: Callable[..., RunDirectory]
) -> None:
    alone = new_run(preset_with(tiny, "off"), "alone")
    assert work(alone) == 0
    watched = new_run(preset_with(tiny, "cpu"), "watched")
    pilot = PilotDirectory(watched)
    family: list[psutil.Process] = []

    def kill() -> None:
        wait_for(lambda: latencies(pilot))
        process = pilot.process()
        assert process is not None
        family.extend((process, *process.children(recursive=True)))
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: not pilot.alive())

    assert work(watched, sinks=[once_it_waits(pilot), at_step(10, kill)]) == 0
    same_weights(alone, watched)
    events = list(read_events(watched.events_path))
    assert events[-1]["status"] == "done"
    (warning,) = [event for event in events if event.get("code") == "pilot_ended"]
    assert "was ended by signal 9" in warning["message"]
    assert "the run continues without it" in warning["message"]
    # Nobody is left behind.
    wait_for(lambda: not any(process.is_running() for process in family))
