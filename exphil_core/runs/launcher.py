"""Starts a run's worker as a detached background process.

The worker has its own session and no terminal: Ctrl-C, a closed terminal or a killed parent do not reach it. While
the parent lives, a thread waits for the worker, so that it leaves no zombie.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

from exphil_core.errors import UsageError
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.log_tail import last_lines

UNLESS_DONE = "--unless-done"
"""Tells a worker to exit if the run is done by the time it holds the run."""

START_SECONDS = 120.0
"""Timeout until a worker holds its run, for the slowest disk that Python is loaded from."""

_POLL_SECONDS = 0.02


def start(run: RunDirectory, *, unless_done: bool = False) -> int:
    """Train the run in the background from its current state; return the pid once its worker holds the run.

    Args:
        unless_done: Do nothing if another process has finished the run meanwhile.

    Raises:
        UsageError: A process already holds the run, or the worker exited at once (with the end of its log).
    """
    if run.alive():
        raise UsageError(f"run {run.name} is running already; '{run.typed('attach')}' shows it")
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
            said = "; ".join(last_lines(log, 5, after=begins)) or "no output"
            raise UsageError(
                f"run {run.name} did not start: the worker exited at once with exit code {code} ({said})"
            )
        time.sleep(_POLL_SECONDS)
    raise UsageError(
        f"run {run.name}: process {process.pid} was started {START_SECONDS:.0f} s ago and does not hold the run yet; "
        f"see {log}"
    )
