"""Placement of a pilot beside a run: its device, and which cores the run leaves to it.

The trainer leaves whole cores alone, even if it keeps only one: a player needs its core within a millisecond, 60
times a second, so a share of CPU time is not enough.
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
"""Minimum number of cores for which `auto` takes one away from training."""

_TASKS = Path("/proc/self/task")


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotPlace:
    """Device and cores of the pilot and the run."""

    device: str | None
    """cpu or cuda; None if no pilot plays."""
    cores: tuple[int, ...] = ()
    """The pilot's own cores; empty if it shares them."""
    run_cores: tuple[int, ...] = ()
    """The run's cores; empty if it may use all."""
    threads: int = 1
    note: str = ""
    """Sentence saying why the placement differs from the preset; empty otherwise."""


def pilot_place(config: PilotConfig, *, trains_on: str, cores: Sequence[int]) -> PilotPlace:
    """Choose the placement; `trains_on` is cpu or cuda, `cores` are those that this process may use."""
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
def pin_process(cores: Sequence[int]) -> Iterator[None]:
    """Pin all threads of this process, and those they start, to `cores` while the block runs; no cores: no change."""
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
def pin_thread(cores: Sequence[int]) -> Iterator[None]:
    """Pin the calling thread, and processes it starts, to `cores` while the block runs; no cores: no change."""
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
        "take one from the training. --pilot cpu starts one anyway; for a running run, 'exphil bench "
        "latency --pilot RUN' and the gauge in the workbench do"
    )
