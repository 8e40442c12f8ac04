"""What a run's process takes of its machine: the fields of a `resources` event.

In: the process it is called in. Out: cores and memory of that process and its children, and what the caller knows
of a GPU. What a reader gets wrong: `cpu` is cores in use on average since the last reading, so 2.5 means two and a
half busy cores.
"""

import time
from collections.abc import Callable, Mapping

import psutil


class Usage:
    """A reading is about the time since the reading before it, the first about the time since this was made."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.gpu: Callable[[], Mapping[str, object]] = dict
        """What is known of a GPU, by key; nothing where there is none."""
        self._clock = clock
        self._process = psutil.Process()
        self._seconds = _cpu_seconds(self._family())
        self._read_at = clock()

    def read(self) -> dict[str, object]:
        family = self._family()
        now, seconds = self._clock(), _cpu_seconds(family)
        cores = (seconds - self._seconds) / max(now - self._read_at, 1e-9)
        self._read_at, self._seconds = now, seconds
        return {
            # A child that ended without being waited for takes its time along.
            "cpu": round(max(0.0, cores), 3),
            "memory_bytes": sum(_memory(member) for member in family),
            "memory_total_bytes": psutil.virtual_memory().total,
            **self.gpu(),
        }

    def _family(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]


def _cpu_seconds(family: list[psutil.Process]) -> float:
    """Of all, and of their children that have ended."""
    total = 0.0
    for member in family:
        try:
            times = member.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _memory(member: psutil.Process) -> int:
    try:
        return int(member.memory_info().rss)
    except psutil.Error:
        return 0
