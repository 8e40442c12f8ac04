"""Supervisor of the pilot beside a run: starts it if the preset asks for one, watches it, and ends it.

It copies the pilot's measurements to the run's events as `latency`, and warns if its own pilot died. A pilot may also
have been started by hand: its measurements are copied, its life and death are not.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from exphil_core.pilot.directory import PilotDirectory, command
from exphil_core.pilot.placement import PilotPlace, pin_thread
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.log_tail import last_lines
from exphil_core.runs.records import Event, LatencyEvent, Record, decode
from exphil_core.runs.tail import Tail

LATENCY_SECONDS = 10.0
"""Interval between two `latency` events of a run."""

END_SECONDS = 5.0
"""Time that a pilot is given to exit."""

_LOG_LINES = 5


class PilotSupervisor:
    """Starts, watches and ends a pilot. `begin` and `close` run on the training thread, `look` on the heartbeat's."""

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
        """`snapshot_ms` returns how long the last copy of the weights took the trainer."""
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
        """Start the pilot once training has begun, if one is configured and none is playing."""
        if self._looked is not None:
            return
        with self._looking:
            # Skip measurements of earlier pilots.
            self._newest()
            self._looked = self._clock()
        if self._place.note:
            self._emit("warning", code="pilot_place", message=self._place.note)
        if self._place.device is None or self._pilot.alive():
            return
        words = command(self._run, device=self._place.device, threads=self._place.threads, until="run")
        try:
            self._pilot.path.mkdir(exist_ok=True)
            with self._pilot.log_path.open("ab") as log, pin_thread(self._place.cores):
                # Drop an earlier pilot's log, which does not explain how this one ends.
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
                message=(
                    f"the pilot cannot be started ({error.filename}: {error.strerror}); the run continues without "
                    "it"
                ),
            )

    def poll(self) -> None:
        """Report the pilot's death, and its measurements every `LATENCY_SECONDS`."""
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
        """End the run's own pilot and emit its last measurement."""
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
                # Printed only: an error here must not hide how the run ended.
                print(f"the last latency of run {self._run.name}: {error}", file=sys.stderr, flush=True)

    def _tell_of_death(self, code: int) -> None:
        if code == 0:
            # It was asked to end.
            return
        said = "; ".join(last_lines(self._pilot.log_path, _LOG_LINES))
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._emit(
            "warning",
            code="pilot_ended",
            message=f"the pilot {how} ({said or 'no output'}); the run continues without it",
        )

    def _hand_on(self) -> None:
        latency = self._newest()
        if latency is not None:
            told = {name: getattr(latency, name) for name in LatencyEvent.__struct_fields__}
            for own in Event.__struct_fields__:
                del told[own]
            self._emit("latency", **{**told, "snapshot_ms": self._snapshot_ms()})

    def _newest(self) -> LatencyEvent | None:
        """Return the newest `latency` event since the last call; None if there is none that can be read."""
        found = None
        with suppress(OSError):
            while records := self._tail.read():
                latencies = [record for record in records if isinstance(record, LatencyEvent)]
                found = latencies[-1] if latencies else found
        return found


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
