"""Where a pilot plays beside a run, and which cores the run leaves it.

In: what the preset asks for, what trains, and the cores of this process. Out: a `PilotPlace`, and contexts in which
threads keep to their cores. What a reader gets wrong: a share of the time would not do. A player wants its core
within a millisecond, 60 times a second, so the trainer leaves one alone, even where it then has only one itself.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from exphil_core.config.preset import PilotConfig
from exphil_core.cpu import available_cores

MOST_OF_THE_MACHINE = 3
"""Cores of which `auto` takes one away from training."""

_TASKS = Path("/proc/self/task")


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotPlace:
    device: str | None
    """cpu or cuda; None where no pilot plays."""
    cores: tuple[int, ...] = ()
    """The pilot's; empty where it has none to itself."""
    run_cores: tuple[int, ...] = ()
    """The run's; empty where it has them all."""
    threads: int = 1
    note: str = ""
    """Why it is not as the preset has it: a sentence."""


def pilot_place(config: PilotConfig, *, trains_on: str, cores: Sequence[int]) -> PilotPlace:
    """`trains_on` is cpu or cuda, `cores` are those that this process may use."""
    device = config.device
    if device == "auto":
        device = "cuda" if trains_on == "cuda" else "cpu"
        if device == "cpu" and len(cores) < MOST_OF_THE_MACHINE:
            return PilotPlace(device=None, note=_too_few(len(cores)))
    if device == "off":
        return PilotPlace(device=None)
    if device == "cuda":
        return PilotPlace(device="cuda")
    left = min(config.threads, len(cores) - 1)
    if left < 1:
        note = (
            "this machine has one core: the pilot and the training take turns on it, and slow each other down"
        )
        return PilotPlace(device="cpu", note=note)
    note = ""
    if left < config.threads:
        note = (
            f"pilot.threads is {config.threads} but this machine has {len(cores)} cores, of which training keeps "
            f"one: the pilot plays with {left}"
        )
    ordered = sorted(cores)
    return PilotPlace(
        device="cpu",
        cores=tuple(ordered[-left:]),
        run_cores=tuple(ordered[:-left]),
        threads=left,
        note=note,
    )


@contextmanager
def process_on(cores: Sequence[int]) -> Iterator[None]:
    """Every thread of this process keeps to `cores`, and those that they start; without cores all stay free."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = available_cores()
    _set_all(cores)
    try:
        yield
    finally:
        _set_all(before)


@contextmanager
def thread_on(cores: Sequence[int]) -> Iterator[None]:
    """The calling thread keeps to `cores`, and so does a process that it starts; without cores it stays free."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _set_all(cores: Sequence[int]) -> None:
    try:
        threads = [int(task.name) for task in _TASKS.iterdir()]
    except OSError:
        threads = [threading.get_native_id()]
    for thread in threads:
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cores)


def _too_few(count: int) -> str:
    have = "one core" if count == 1 else f"{count} cores"
    return (
        f"no pilot plays beside this run: pilot.device is 'auto' and this machine has {have}, of which a pilot would "
        "take one from the training. --pilot cpu starts one all the same; for a run that goes on, 'exphil bench "
        "latency --pilot RUN' and the gauge in the workbench do"
    )
