"""CPU, memory and GPU use of a run's process and its children: the fields of a `resources` event.

`cpu` is the average number of cores in use since the last reading: 2.5 means two and a half busy cores.
"""

import time
from collections.abc import Callable, Mapping

import psutil


class Usage:
    """Each reading covers the time since the previous one, the first the time since construction."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.gpu: Callable[[], Mapping[str, object]] = dict
        """Callback that returns GPU fields; empty without a GPU."""
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
            # The sum can fall: the time of a child that ends without being waited for is lost.
            "cpu": round(max(0.0, cores), 3),
            "memory_bytes": sum(_memory(member) for member in family),
            "memory_total_bytes": psutil.virtual_memory().total,
            **self.gpu(),
        }

    def _family(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]


def _cpu_seconds(family: list[psutil.Process]) -> float:
    """Return the CPU seconds of all processes and of their ended children."""
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
