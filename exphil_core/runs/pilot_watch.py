"""What a run does about the pilot beside it: starts its own where the preset asks for one, watches it, and ends it.

In: a run, where its pilot is to play, and a look several times a second. Out: `latency` events in the run's own
history, and a warning where its own pilot died. What a reader gets wrong: a pilot may also have been started by hand;
its measurements belong to the run's history, its life and death do not.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.log_end import last_lines
from exphil_core.runs.pilot import PilotDirectory, command
from exphil_core.runs.pilot_place import PilotPlace, thread_on
from exphil_core.runs.records import Event, Latency, Record, decode
from exphil_core.runs.tail import Tail

LATENCY_SECONDS = 10.0
"""Between two `latency` events of a run."""

END_SECONDS = 5.0
"""That a pilot is given to end."""

_LOG_LINES = 5


class PilotWatch:
    """`begin` and `close` belong to the training thread, `look` to the heartbeat's."""

    def __init__(
        self,
        run: RunDirectory,
        place: PilotPlace,
        *,
        emit: Callable[..., None],
        snapshot_ms: Callable[[], float | None] = lambda: None,
        start: Callable[..., "subprocess.Popen[bytes]"] = subprocess.Popen,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`snapshot_ms` is what copying the weights cost the trainer last."""
        self._run = run
        self._pilot = PilotDirectory(run)
        self._place = place
        self._emit = emit
        self._snapshot_ms = snapshot_ms
        self._start = start
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._tail: Tail[Record] = Tail(self._pilot.events_path, decode=decode)
        self._looked: float | None = None
        self._looking = threading.Lock()

    def begin(self) -> None:
        """Training has begun: starts the pilot, where one is to play and none does."""
        if self._looked is not None:
            return
        with self._looking:
            # What an earlier pilot said is in the history, or of an earlier process.
            self._newest()
            self._looked = self._clock()
        if self._place.note:
            self._emit("warning", code="pilot_place", message=self._place.note)
        if self._place.device is None or self._pilot.alive():
            return
        words = command(self._run, device=self._place.device, threads=self._place.threads, until="run")
        try:
            self._pilot.path.mkdir(exist_ok=True)
            with self._pilot.log_path.open("ab") as log, thread_on(self._place.cores):
                # What an earlier pilot said is not this one's reason.
                log.truncate(0)
                self._process = self._start(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            self._emit(
                "warning",
                code="pilot_ended",
                message=f"the pilot cannot be started ({error.filename}: {error.strerror}); the run goes on without",
            )

    def look(self) -> None:
        """Tells of the pilot's death, and every few seconds what it measured."""
        if self._looked is None:
            return
        with self._looking:
            if self._process is not None and (code := self._process.poll()) is not None:
                self._process = None
                self._tell_of_death(code)
            if self._looked is not None and self._clock() - self._looked >= LATENCY_SECONDS:
                self._looked = self._clock()
                self._hand_on()

    def close(self) -> None:
        """Ends the run's own pilot and hands on what was measured last."""
        with self._looking:
            if self._process is not None:
                _end(self._process)
                self._process = None
            if self._looked is None:
                return
            self._looked = None
            try:
                self._hand_on()
            except Exception as error:
                # How the run ended is for others to say.
                print(f"the last latency of run {self._run.name}: {error}", file=sys.stderr, flush=True)

    def _tell_of_death(self, code: int) -> None:
        if code == 0:
            # Somebody asked it to end.
            return
        said = "; ".join(last_lines(self._pilot.log_path, _LOG_LINES))
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._emit(
            "warning",
            code="pilot_ended",
            message=f"the pilot {how} ({said or 'it said nothing'}); the run goes on without it",
        )

    def _hand_on(self) -> None:
        latency = self._newest()
        if latency is not None:
            told = {name: getattr(latency, name) for name in Latency.__struct_fields__}
            for own in Event.__struct_fields__:
                del told[own]
            self._emit("latency", **{**told, "snapshot_ms": self._snapshot_ms()})

    def _newest(self) -> Latency | None:
        """Of the `latency` events since the last time; None where there is none, or none that can be read."""
        found = None
        with suppress(OSError):
            while records := self._tail.read():
                latencies = [record for record in records if isinstance(record, Latency)]
                found = latencies[-1] if latencies else found
        return found


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
