"""CPU cores that this process may use."""

import os


def available_cores() -> tuple[int, ...]:
    """Their numbers, ascending. Where the system binds no process to cores (macOS), all of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def core_count() -> int:
    """How many processes can run at once for this one."""
    return len(available_cores())
