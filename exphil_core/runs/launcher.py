"""Starts a run's worker as a process of its own, which nothing that happens to its starter can harm.

In: a run directory. Out: the pid of a process that holds the run. What a reader gets wrong: the worker is in its own
session and has no terminal, so neither Ctrl-C, nor a closed terminal, nor a stopped starter reaches it. While the
starter lives, a thread waits for the worker, so that it leaves no zombie; afterwards the system does.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

from exphil_core.errors import UsageError
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.log_end import last_lines

UNLESS_DONE = "--unless-done"
"""Tells a worker to leave a run alone that is done by the time at which it holds it."""

START_SECONDS = 120.0
"""Until a worker holds its run, on the slowest disk that Python is loaded from."""

_POLL_SECONDS = 0.02


def start(run: RunDirectory, *, unless_done: bool = False) -> int:
    """Trains the run in the background, from where it stands. Returns when its worker holds it.

    With `unless_done`, a run that another process has brought to its end meanwhile is not begun again. UsageError
    where a process holds the run already, or where the worker ends at once: with the end of its log.
    """
    if run.alive():
        raise UsageError(f"run {run.name} is going on already; '{run.typed('attach')}' shows it")
    log = run.path / "worker.log"
    try:
        with log.open("ab") as output:
            begins = output.tell()
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "exphil_core.worker", str(run.path.absolute())),
                    *((UNLESS_DONE,) if unless_done else ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise UsageError(f"run {run.name} cannot be started: {error.filename}: {error.strerror}") from error
    try:
        _wait_until_held(run, process, log, begins)
    finally:
        threading.Thread(target=process.wait, name=f"reaper of {process.pid}", daemon=True).start()
    return process.pid


def _wait_until_held(run: RunDirectory, process: "subprocess.Popen[bytes]", log: Path, begins: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        code = process.poll()
        status = run.status()
        if status is not None and status.pid == process.pid and (code == 0 or run.alive()):
            return
        if code is not None:
            said = "; ".join(last_lines(log, 5, after=begins)) or "it said nothing"
            raise UsageError(
                f"run {run.name} did not start: its process ended at once with exit code {code} ({said})"
            )
        time.sleep(_POLL_SECONDS)
    raise UsageError(
        f"run {run.name}: process {process.pid} was started {START_SECONDS:.0f} s ago and does not hold the run yet; "
        f"look at {log}"
    )
