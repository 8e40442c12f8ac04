"""CPU affinity and real-time priority of a player: its own thread on the first core, its helpers on the next.

Between two frames all threads sleep, and the scheduler may wake two of them on one core while another is idle; they
then take turns for as long as it leaves them there. Measured at 60 Hz on two cores, GRU of 20 million parameters in
ONNX Runtime: p99 of 5.6 and 7.6 ms pinned, 11.6 and 11.8 ms unpinned.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from exphil_core.cpu import TRAINING_SPINS, available_cores

PLAY_SPIN_COUNT = "20000"
"""GOMP_SPINCOUNT of a process that plays: a torch thread spins through the gaps within a frame, but not from one
frame to the next. With the spin count of training, the threads fell asleep 30 times within a frame of Mamba-2, and it
took 10.5 ms instead of 9.0 (p50, 20 million parameters, two cores)."""

WATCHED_S = 0.1
"""Seconds for which work is repeated to find the threads that share it."""

_TASKS = Path("/proc/self/task")


def set_play_spin_count() -> None:
    """Set the spin count for play; call before torch is loaded. A value that the user has set is kept."""
    if os.environ.get("GOMP_SPINCOUNT") == TRAINING_SPINS:
        os.environ["GOMP_SPINCOUNT"] = PLAY_SPIN_COUNT


def player_cores(threads: int) -> tuple[int, ...]:
    """Return one core per thread; empty for one thread, too few cores, or a system without CPU affinity."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    cores = available_cores()
    return cores[:threads] if 1 < threads <= len(cores) else ()


@contextmanager
def pin_threads(cores: tuple[int, ...], helpers: Sequence[int] = ()) -> Iterator[None]:
    """Pin the calling thread to the first of `cores` and `helpers` to the others; without cores, change nothing."""
    threads = (threading.get_native_id(), *helpers)
    before = {}
    try:
        # No `strict`: there may be fewer helpers than cores, or none known.
        for thread, core in zip(threads, cores):  # noqa: B905
            before[thread] = os.sched_getaffinity(thread)
            os.sched_setaffinity(thread, {core})
        yield
    finally:
        for thread, allowed in before.items():
            os.sched_setaffinity(thread, allowed)


@contextmanager
def realtime_priority(helpers: Sequence[int] = ()) -> Iterator[bool]:
    """Give the calling thread and `helpers` real-time priority (SCHED_RR, lowest level) while the block runs.

    Yields whether all of them got it: most systems allow it only to some users (`ulimit -r`), and otherwise nothing
    changes. The lowest level is enough, and a player sleeps for most of each frame.
    """
    before = {}
    try:
        for thread in (threading.get_native_id(), *helpers) if hasattr(os, "sched_setscheduler") else ():
            usual = os.sched_getscheduler(thread), os.sched_getparam(thread)
            try:
                os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))
            except PermissionError:
                break
            before[thread] = usual
        yield len(before) == 1 + len(helpers)
    finally:
        for thread, (policy, parameters) in before.items():
            os.sched_setscheduler(thread, policy, parameters)


def busiest_threads(work: Callable[[], object], count: int) -> tuple[int, ...]:
    """Return the native ids of up to `count` other threads that `work` keeps busiest, by CPU time.

    Libraries do not expose the threads of their pools. Empty where the system does not report CPU time per thread
    (`/proc/self/task/*/schedstat`).
    """
    if not (_TASKS / str(threading.get_native_id()) / "schedstat").is_file():
        return ()
    before = _nanoseconds()
    end = time.perf_counter() + WATCHED_S
    while time.perf_counter() < end:
        work()
    ran = {thread: time_ns - before.get(thread, 0) for thread, time_ns in _nanoseconds().items()}
    ran.pop(threading.get_native_id())
    busiest = sorted(ran, key=lambda thread: ran[thread], reverse=True)[:count]
    return tuple(thread for thread in busiest if ran[thread] > WATCHED_S * 1e9 / 10)


def _nanoseconds() -> dict[int, int]:
    """Return CPU time in nanoseconds by thread id of this process."""
    found = {}
    for task in _TASKS.iterdir():
        try:
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # The thread has just ended.
    return found
