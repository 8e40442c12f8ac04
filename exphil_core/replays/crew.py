"""Worker processes as ingest sees them: asked, waited for, and ended when they hang.

Plain pipes and one thread. A `multiprocessing.Queue` whose other end is killed while it writes blocks for
ever, and `multiprocessing` does not start inside a running Textual app.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from exphil_core.replays import wire

_START_SECONDS = 120.0

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Arrow's own allocators reserve address space by the gigabyte, which counts towards the memory limit.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class Worker:
    """One process; owns its pipes. Not to be used after `end`."""

    def __init__(
        self, command: Sequence[str], *, spool: Path, number: int, memory_mib: int, seconds: int
    ) -> None:
        self._log = spool / f"worker-{number}.log"
        self._inbox = wire.Inbox()
        self.ready = False
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, str(spool), str(memory_mib), str(seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                env={**os.environ, **_ENVIRONMENT},
                # Ctrl-C is for whoever started the ingest, who then ends its workers.
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
        """A worker that is gone is noticed where its answer is read."""
        try:
            wire.send(self._requests.fileno(), message)
        except BrokenPipeError:
            return

    def read(self) -> bool:
        """Reads what is there, or waits for something. False when the process has closed its end."""
        data = os.read(self._answers.fileno(), 2**20)
        self._inbox.feed(data)
        return bool(data)

    def answers(self) -> Iterator[dict[str, Any]]:
        """The whole answers among what was read. Raises `wire.Garbled`."""
        while (message := self._inbox.take()) is not None:
            if "ready" in message:
                self.ready = True
            else:
                yield message

    def wait(self, seconds: float) -> dict[str, Any] | None:
        """The next answer, or None where the process has ended or not answered within the time."""
        self.deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while True:
                try:
                    for message in self.answers():
                        return message
                except wire.Garbled:
                    return None
                left = self.deadline - time.monotonic()
                if left <= 0 or not selector.select(left) or not self.read():
                    return None

    def is_gone(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> str:
        """Ends the process, if it has not ended, and says how it did."""
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
