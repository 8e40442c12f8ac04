"""Parent side of a parser worker: start it, send requests, wait for answers, kill it when it hangs.

Uses plain pipes and one thread: a `multiprocessing.Queue` blocks forever if its other end is killed while writing,
and `multiprocessing` does not start inside a running Textual app.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from exphil_core.replays.isolation import ipc

_START_SECONDS = 120.0

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Arrow's own allocators reserve gigabytes of address space, which count towards the memory limit.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class WorkerProcess:
    """One worker process and its pipes. Must not be used after `end`."""

    def __init__(
        self, command: Sequence[str], *, spool: Path, number: int, memory_mib: int, seconds: int
    ) -> None:
        self._log = spool / f"worker-{number}.log"
        self._inbox = ipc.MessageBuffer()
        self.ready = False
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(spool), str(memory_mib), str(seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env={**os.environ, **_ENVIRONMENT},
                # Ctrl-C must reach only the parent, which then ends its workers.
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests = self._process.stdin
        self._answers = self._process.stdout
        self.deadline = time.monotonic() + _START_SECONDS

    def fileno(self) -> int:
        return self._answers.fileno()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a request. A worker that has died is detected when its answer is read."""
        try:
            ipc.send(self._requests.fileno(), message)
        except BrokenPipeError:
            return

    def read(self) -> bool:
        """Read what is available, blocking if nothing is. False when the process has closed its end."""
        data = os.read(self._answers.fileno(), 2**20)
        self._inbox.feed(data)
        return bool(data)

    def answers(self) -> Iterator[dict[str, Any]]:
        """Yield the complete answers among the data read. Raises `ipc.InvalidMessage`."""
        while (message := self._inbox.take()) is not None:
            if "ready" in message:
                self.ready = True
            else:
                yield message

    def wait(self, seconds: float) -> dict[str, Any] | None:
        """Return the next answer; None if the process ended, sent an invalid message or took too long."""
        self.deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while True:
                try:
                    for message in self.answers():
                        return message
                except ipc.InvalidMessage:
                    return None
                left = self.deadline - time.monotonic()
                if left <= 0 or not selector.select(left) or not self.read():
                    return None

    def is_gone(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> str:
        """Kill the process if it is still running, and describe how it ended."""
        running = not self.is_gone()
        if running:
            self._process.kill()
        code = self._process.wait()
        self._requests.close()
        self._answers.close()
        if running:
            return "it was ended"
        if code < 0:
            return f"signal {signal.Signals(-code).name}"
        return f"exit code {code}"

    def last_words(self) -> str:
        try:
            return self._log.read_text(errors="replace")[-2000:]
        except OSError:
            return ""
