"""CPU cores that this process may use, and how long its idle OpenMP threads spin."""

import os

TRAINING_SPINS = "5000"
"""GOMP_SPINCOUNT of exphil's processes. Torch's CPU threads busy-wait for each other, for 300,000 spins by default.
Beside another busy process that costs nearly all throughput; 5,000 spins cost a few per cent on an idle machine (both
measured: docs/measurements.md)."""


def limit_openmp_spins() -> None:
    """Set the spin count of this process and its children; call before torch is loaded.

    A value that the user has set is kept. Programs call this; importing exphil_core does not.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", TRAINING_SPINS)


def available_cores() -> tuple[int, ...]:
    """Return the core numbers this process may run on, ascending; all cores on a system without affinity (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def core_count() -> int:
    """Return the number of cores this process may run on."""
    return len(available_cores())
