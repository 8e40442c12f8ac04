"""Which cores a player keeps to: its own thread to the first, the threads that help it to those after it.

In: how many threads a policy plays with. Out: cores of this process, and contexts in which its threads keep to one
each and go before others. What a reader gets wrong: this is not about speed on average. Between two frames all
threads sleep, and a scheduler may wake two of them on one core while another is idle; they then take turns for as
long as it leaves them there. Measured at 60 Hz on two cores, GRU of 20 million parameters in ONNX Runtime: p99 of 5.6
and 7.6 ms, against 11.6 and 11.8 ms where threads were free.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from exphil_core import TRAINING_SPINS
from exphil_core.cpu import available_cores

PLAYING_SPINS = "20000"
"""Turns of its loop that a thread of torch's waits awake for its share of the next operation: through the gaps within
a frame, and not from one frame to the next. With the turns of training the threads of a frame of Mamba-2 fell asleep
30 times, and it took 10.5 ms instead of 9.0 (p50, 20 million parameters, two cores)."""

WATCHED_S = 0.1
"""For how long work is repeated to see which threads share it."""

_TASKS = Path("/proc/self/task")


def wait_awake() -> None:
    """For a process that plays, before torch is loaded. What a person has set stays."""
    if os.environ.get("GOMP_SPINCOUNT") == TRAINING_SPINS:
        os.environ["GOMP_SPINCOUNT"] = PLAYING_SPINS


def player_cores(threads: int) -> tuple[int, ...]:
    """One core a thread; none where there is one thread, fewer cores, or a system that doesn't let them be chosen."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    cores = available_cores()
    return cores[:threads] if 1 < threads <= len(cores) else ()


@contextmanager
def kept_to(cores: tuple[int, ...], helpers: Sequence[int] = ()) -> Iterator[None]:
    """The calling thread keeps to the first of `cores`, `helpers` to the others; without cores, all stay free."""
    threads = (threading.get_native_id(), *helpers)
    before = {}
    try:
        # No `strict`: there may be fewer helpers than cores, or none that are known.
        for thread, core in zip(threads, cores):  # noqa: B905
            before[thread] = os.sched_getaffinity(thread)
            os.sched_setaffinity(thread, {core})
        yield
    finally:
        for thread, allowed in before.items():
            os.sched_setaffinity(thread, allowed)


@contextmanager
def ahead_of_others(helpers: Sequence[int] = ()) -> Iterator[bool]:
    """The calling thread and `helpers` run as soon as they are awake, whatever else wants their core.

    Gives whether they do: most systems let only some users ask for it (`ulimit -r`), and then nothing changes. The
    lowest of the real-time priorities is enough, and a player sleeps for most of each frame.
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


def helpers_in(work: Callable[[], object], count: int) -> tuple[int, ...]:
    """The `count` other threads of this process that `work` keeps busy most, by the time they have run meanwhile.

    A thread pool inside a library has no names and no handles. None where the system does not tell threads' times.
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
    """Time on a core by thread of this process."""
    found = {}
    for task in _TASKS.iterdir():
        try:
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # It has just ended.
    return found
