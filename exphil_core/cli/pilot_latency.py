"""`exphil bench latency --pilot RUN`: measure the next frames of a run's pilot.

Frames are read from the pilot's prediction ring; a pilot is started for the measurement where none is running.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from exphil_core.cli.gauge import GaugeView
from exphil_core.errors import CheckpointError, ExphilError, UsageError
from exphil_core.inference.latency import BUDGET_MS, Percentiles, histogram, percentiles
from exphil_core.pilot.directory import PilotDirectory, command
from exphil_core.render.gauge import LatencySample, samples_after, samples_of
from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.predictions import PredictionRing
from exphil_core.runs.records import LatencyEvent, Record, decode
from exphil_core.runs.tail import Tail

POLL_SECONDS = 0.1

WARMUP_FRAMES = 120
"""Frames that a pilot started for the measurement plays before it is measured."""

END_SECONDS = 10.0
"""Seconds to wait for a pilot started here to exit before it is killed."""

See = Callable[[LatencyEvent, tuple[LatencySample, ...], int], None]
"""Progress callback: the pilot's newest `latency` record, the moments so far, the number of measured frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotMeasurement:
    """The measured frames, in order."""

    took_ms: tuple[float, ...]
    late_ms: tuple[float, ...]
    missed: tuple[bool, ...]
    skipped: int
    """Frames of the game that were not played during the measurement."""
    warmup: int
    """Unmeasured frames before them; 0 where the pilot was already running."""
    said: LatencyEvent
    """The pilot's newest `latency` record at the end of the measurement."""

    @property
    def figures(self) -> Percentiles:
        return percentiles(self.took_ms, missed=sum(self.missed) + self.skipped)

    @property
    def late_p99_ms(self) -> float:
        return float(np.percentile(self.late_ms, 99, method="inverted_cdf"))

    @property
    def latency(self) -> LatencyEvent:
        """The `latency` record of the measured frames only."""
        found = self.figures
        return msgspec.structs.replace(
            self.said,
            frames=found.frames + self.skipped,
            p50_ms=found.p50_ms,
            p95_ms=found.p95_ms,
            p99_ms=found.p99_ms,
            max_ms=found.max_ms,
            missed=found.missed,
            skipped=self.skipped,
            headroom_ms=BUDGET_MS - found.p99_ms,
            histogram=list(histogram(self.took_ms)),
            late_p99_ms=self.late_p99_ms,
            total_frames=None,
            total_missed=None,
            total_skipped=None,
        )


def measure_pilot(
    run: RunDirectory,
    *,
    frames: int,
    threads: int | None,
    see: See,
    start: Callable[..., "subprocess.Popen[str]"] = subprocess.Popen,
    sleep: Callable[[float], object] = time.sleep,
) -> PilotMeasurement:
    """Measure the next frames of the run's pilot, or of one that is started and stopped here.

    Args:
        frames: Number of frames to measure.
        threads: Processor threads of a pilot started here (default: 1).
        see: Progress callback.
        start: Process launcher, called like `subprocess.Popen`.

    Raises:
        UsageError: `threads` is given and the run's pilot is already running.
        CheckpointError: the run has neither a checkpoint nor a live process.
        ExphilError: the pilot ended before all frames were measured.
    """
    pilot = PilotDirectory(run)
    if pilot.alive():
        if threads is not None:
            raise UsageError(
                f"--threads {threads}: a pilot of run {run.name} plays already, with threads of its own; leave "
                "--threads out"
            )

        def gone() -> None:
            if not pilot.alive():
                raise ExphilError(f"the pilot of run {run.name} ended before its frames were measured")

        return _next_frames(pilot, frames, warmup=0, unlike=None, look=gone, see=see, sleep=sleep)
    if run.latest_step() is None and not run.alive():
        raise CheckpointError(f"{run.path}: there is no checkpoint yet that a pilot could play")
    before = _identity(pilot.frames_path)
    with _own_pilot(run, threads or 1, start) as process:

        def ended() -> None:
            if process.poll() is not None:
                raise _as_error(process, run)

        return _next_frames(
            pilot, frames, warmup=WARMUP_FRAMES, unlike=before, look=ended, see=see, sleep=sleep
        )


def _next_frames(
    pilot: PilotDirectory,
    wanted: int,
    *,
    warmup: int,
    unlike: tuple[int, int] | None,
    look: Callable[[], None],
    see: See,
    sleep: Callable[[float], object],
) -> PilotMeasurement:
    """Collect `wanted` frames after the warm-up, once the ring file's identity differs from `unlike`."""
    while unlike == _identity(pilot.frames_path):
        look()
        sleep(POLL_SECONDS)
    ring = PredictionRing.open(pilot.frames_path)
    seen = warmup or ring.count
    tail: Tail[Record] = Tail(pilot.events_path, decode=decode)
    said: LatencyEvent | None = None
    moments: tuple[LatencySample, ...] = ()
    skipped_before = 0
    found: list[tuple[float, float, bool]] = []
    while len(found) < wanted or said is None:
        look()
        newest = ring.count
        for number in range(seen + 1, newest + 1):
            frame = ring.at(number)
            # None only where this process was suspended until the ring wrapped around.
            if frame is not None:
                found.append((float(frame["took_ms"]), float(frame["late_ms"]), bool(frame["missed"])))
        seen = max(seen, newest)
        for record in tail.read():
            if isinstance(record, LatencyEvent):
                said, moments = record, samples_after(moments, record)
        if said is not None:
            if not found:
                skipped_before = said.total_skipped or 0
            see(said, moments, len(found))
        sleep(POLL_SECONDS)
    took_ms, late_ms, missed = zip(*found[:wanted], strict=True)
    return PilotMeasurement(
        took_ms=took_ms,
        late_ms=late_ms,
        missed=missed,
        skipped=(said.total_skipped or 0) - skipped_before,
        warmup=warmup,
        said=said,
    )


@contextmanager
def _own_pilot(
    run: RunDirectory, threads: int, start: Callable[..., "subprocess.Popen[str]"]
) -> Iterator["subprocess.Popen[str]"]:
    """Run a pilot for the duration of the block.

    The pilot exits when its stdin closes, so it also ends when this process is killed.
    """
    process = start(
        command(run, threads=threads, until="stdin"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()


def _as_error(process: "subprocess.Popen[str]", run: RunDirectory) -> ExphilError:
    """Return an error with the last stderr line and the exit code of the ended pilot."""
    assert process.stderr is not None
    said = [sanitise(line, limit=400) for line in process.stderr.read().splitlines() if line.strip()]
    error = ExphilError(
        said[-1] if said else f"the pilot of run {run.name} ended with exit code {process.returncode}"
    )
    error.exit_code = max(1, process.returncode)
    return error


def _identity(path: Path) -> tuple[int, int] | None:
    """Return (device, inode) of a file, which changes when it is replaced; None where it is missing."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def live_gauge(run: RunDirectory, frames: int, *, quiet: bool) -> Iterator[See]:
    """Show the measurement in progress: a live gauge on a terminal, one line on stderr elsewhere."""
    heading = f"the pilot of run {run.name}: {frames:,} frames, at 60 a second"
    if quiet or not (sys.stderr.isatty() and sys.stdout.isatty()):
        print(f"measuring {heading}", file=sys.stderr, flush=True)
        yield lambda latency, moments, done: None
        return
    with Live(
        Text(f"waiting for {heading}"), console=Console(stderr=True), auto_refresh=False, transient=True
    ) as live:

        def see(latency: LatencyEvent, moments: tuple[LatencySample, ...], done: int) -> None:
            line = f"{done:,} of {heading}" if done else f"waiting for {heading}"
            live.update(
                Group(Text(line, style="dim"), GaugeView(latency=latency, moments=moments)), refresh=True
            )

        yield see


def pilot_report(run: RunDirectory, played: PilotMeasurement) -> RenderableType:
    """Render the gauge of the measured frames, with a heading and where the pilot came from."""
    whose = (
        f"A pilot that was started for this, of the weights that run {run.name} had: {played.warmup} frames of "
        "warm-up do not count."
        if played.warmup
        else f"The pilot that plays beside run {run.name}; it keeps running."
    )
    heading = f"{run.name}: {played.said.backbone}, {len(played.took_ms):,} frames in real time"
    gauge = GaugeView(latency=played.latency, moments=samples_of(played.took_ms, played.missed))
    return Group(Text(heading, style="bold"), gauge, Text(), Text(whose))


def pilot_result(run: RunDirectory, played: PilotMeasurement) -> dict[str, object]:
    """Return the JSON keys of an `exphil bench latency --json` row, plus those only a pilot has."""
    said, figures = played.said, played.figures
    return {
        "backbone": said.backbone,
        "size": run.name,
        "parameters": said.parameters,
        "window_size": said.window_size,
        "device": said.device,
        "runtime": said.runtime,
        "frames": figures.frames,
        "warmup": played.warmup,
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "p99_ms": figures.p99_ms,
        "max_ms": figures.max_ms,
        "missed": figures.missed,
        "within_budget": figures.within_budget,
        "realtime": said.realtime,
        "histogram": histogram(played.took_ms),
        "late_p99_ms": played.late_p99_ms,
        # Error of the step against the forward pass: a pilot only runs the step.
        "max_abs_error": None,
        "run": run.name,
        "step": said.step,
        "weights": said.weights,
        "threads": said.threads,
        "headroom_ms": BUDGET_MS - figures.p99_ms,
        "skipped": played.skipped,
        "cpu": said.cpu,
        "character": said.character,
        "game": said.game,
    }
