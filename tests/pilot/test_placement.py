"""Where a pilot plays: what `auto` means, which cores are whose, and that threads keep to them."""

import os
import subprocess
import sys
import threading

import pytest

from exphil_core.config.preset import PilotConfig
from exphil_core.cpu import available_cores
from exphil_core.pilot.placement import PilotPlace, pilot_place, pin_process, pin_thread

needs_cores = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(available_cores()) < 2,
    reason="cores cannot be chosen here, or there is one",
)


def place(cores: int, *, trains_on: str = "cpu", **pilot: object) -> PilotPlace:
    return pilot_place(PilotConfig(**pilot), trains_on=trains_on, cores=range(cores))  # type: ignore[arg-type]


def test_off_is_off() -> None:
    assert place(64) == PilotPlace(device=None)


@pytest.mark.parametrize(
    ("cores", "pilots", "runs"), [(3, (2,), (0, 1)), (2, (1,), (0,)), (8, (7,), tuple(range(7)))]
)
def test_a_run_on_the_processor_leaves_its_pilot_the_last_core(
    cores: int, pilots: tuple[int, ...], runs: tuple[int, ...]
) -> None:
    found = place(cores, device="cpu")
    assert (found.device, found.cores, found.run_cores, found.threads) == ("cpu", pilots, runs, 1)
    assert not found.note


def test_a_pilot_of_several_threads_has_as_many_cores_and_training_one_at_least() -> None:
    found = place(8, device="cpu", threads=3)
    assert (found.cores, found.run_cores, found.threads, found.note) == ((5, 6, 7), (0, 1, 2, 3, 4), 3, "")
    found = place(2, device="cpu", threads=3)
    assert (found.cores, found.run_cores, found.threads) == ((1,), (0,), 1)
    assert "pilot.threads is 3" in found.note
    assert "plays with 1" in found.note


def test_on_one_core_they_take_turns_and_that_is_said() -> None:
    found = place(1, device="cpu")
    assert (found.device, found.cores, found.run_cores) == ("cpu", (), ())
    assert "take turns" in found.note


def test_auto_takes_a_core_where_three_are_and_says_why_not_where_two_are() -> None:
    assert place(3, device="auto").cores == (2,)
    found = place(2, device="auto")
    assert found.device is None
    assert "has 2 cores" in found.note
    assert "--pilot cpu" in found.note


def test_auto_plays_on_the_gpu_that_trains_and_leaves_the_cores_alone() -> None:
    assert place(2, device="auto", trains_on="cuda") == PilotPlace(device="cuda")
    assert place(8, device="cuda") == PilotPlace(device="cuda")
    # Asked for: on the processor all the same.
    assert place(8, device="cpu", trains_on="cuda").cores == (7,)


@needs_cores
def test_every_thread_of_the_process_keeps_to_its_cores_and_gets_them_back() -> None:
    all_cores = available_cores()
    seen: list[set[int]] = []
    go_on, told = threading.Event(), threading.Event()

    def other() -> None:
        for _ in range(2):
            go_on.wait(20)
            go_on.clear()
            seen.append(os.sched_getaffinity(0))
            told.set()

    thread = threading.Thread(target=other)
    thread.start()
    try:
        with pin_process(all_cores[:1]):
            assert available_cores() == all_cores[:1]
            go_on.set()
            told.wait(20)
            told.clear()
        go_on.set()
        told.wait(20)
    finally:
        thread.join()
    assert seen == [{all_cores[0]}, set(all_cores)]
    assert available_cores() == all_cores


@needs_cores
def test_a_process_that_is_started_on_other_cores_stays_there() -> None:
    all_cores = available_cores()
    ask = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]
    with pin_process(all_cores[:1]):
        with pin_thread(all_cores[-1:]):
            child = subprocess.run(ask, check=True, capture_output=True, text=True)
        assert available_cores() == all_cores[:1]
    assert child.stdout.strip() == str([all_cores[-1]])


def test_without_cores_of_its_own_nothing_changes() -> None:
    before = available_cores()
    with pin_process(()), pin_thread(()):
        assert available_cores() == before
