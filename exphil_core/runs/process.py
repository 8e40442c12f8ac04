"""Process identity that survives clock steps and suspends.

A pid alone may name a later process, and a start time in seconds since 1970 moves whenever the clock is set: on Linux
it is computed as boot time plus ticks since boot, and the boot time is derived from the clock.
"""

import os
import subprocess
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_START_TICKS = 19
"""Index of `starttime` (field 22 of proc_pid_stat(5)) among the fields after the command's name."""

_PS_TIMEOUT_S = 10


def process_identity(pid: int) -> str | None:
    """Return the identity of process `pid` on this machine; None if there is none, or only a zombie.

    With `/proc` mounted, it is the boot id and the start in clock ticks since boot. Elsewhere (macOS), it is the
    start time that the kernel recorded, which later clock steps do not change.
    """
    if not Path("/proc/self/stat").exists():
        return _start_by_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command's name is in parentheses and may contain any byte.
    fields = stat[stat.rindex(b")") + 1 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return f"{_boot_id()}/{int(fields[_START_TICKS])}"


def own_identity() -> str:
    """Return this process's identity; empty if the system does not report it."""
    return _identity_of_self(os.getpid())


@cache
def _identity_of_self(pid: int) -> str:
    # Cached by pid: a fork is another process.
    return process_identity(pid) or ""


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        # Some sandboxes mount /proc without it; ticks alone distinguish processes of one boot.
        return "unknown"


def _start_by_ps(pid: int) -> str | None:
    # Fixed locale and time zone, since both change how ps prints the time.
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        done = subprocess.run(
            ["ps", "-p", str(pid), "-o", "stat=,lstart="],
            capture_output=True,
            env=environment,
            text=True,
            timeout=_PS_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    state, _, started = done.stdout.strip().partition(" ")
    return f"started {' '.join(started.split())}" if started and not state.startswith("Z") else None
