"""Benchmark: frame times of a pilot beside a training run, and its cost to the run. `python -m benchmarks.pilot`

Trains presets of 20 million parameters on demo replays with the real worker and prints one JSON object. Per preset,
`left_a_core` is a run whose preset asks for a pilot (the pilot has the last core, training the others); `by_hand`
trains on all cores while a pilot is started by hand. Each has the pilot's frame times, and the run's throughput with
and without a pilot on the same cores; the two alternate, and the result is the median of the rounds' ratios.

Throughput is by the wall clock and includes weight copies, unlike `frames_per_s` in the run's events. `hz` is by this
process's clock, not the pilot's, from requesting the frames to having them all.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from exphil_core.cli.machine import machine
from exphil_core.cli.pilot_latency import PilotMeasurement, measure_pilot
from exphil_core.config.loader import load_preset
from exphil_core.cpu import available_cores
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dojo.demo import write_demo
from exphil_core.pilot.directory import PilotDirectory, command
from exphil_core.pilot.placement import pin_thread
from exphil_core.replays.ingest import IngestOptions
from exphil_core.runs import launcher
from exphil_core.runs.control import send
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.records import LatencyEvent, Step, decode
from exphil_core.runs.tail import Tail

PRESETS = "attention_20m,mamba_20m"

STEP = {
    "train.batch_size": 2,
    "train.grad_accum_steps": 1,
    "train.log_every_steps": 1,
    "train.precision": "fp32",
}
"""About a second per step, so that a turn holds many steps."""

WARM_FRAMES = 300
"""Frames that a pilot plays before a turn with it begins."""

PATIENCE_S = 300.0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def wait_for(what: Callable[[], object], doing: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, f"it did not come to {doing}"
        time.sleep(0.1)


class Trained:
    """Training throughput of a run by the wall clock."""

    def __init__(self, run: RunDirectory, frames_per_step: int) -> None:
        self._tail = Tail(run.events_path, decode=decode)
        self._frames = frames_per_step

    def frames_per_s(self, seconds: float) -> float:
        """Measure from the first step that ends after the call to the last within `seconds`; at least three steps."""
        self.drain()
        over = time.monotonic() + seconds
        ends: list[tuple[int, float]] = []

        def enough() -> bool:
            steps = [record for record in self.drain() if isinstance(record, Step)]
            ends.extend((step.step, datetime.fromisoformat(step.ts).timestamp()) for step in steps)
            return time.monotonic() >= over and len(ends) > 2

        wait_for(enough, "three steps")
        (first, began), (last, ended) = ends[0], ends[-1]
        return (last - first) * self._frames / (ended - began)

    def drain(self) -> list[Any]:
        found: list[Any] = []
        while records := self._tail.read():
            found += records
        return found


@contextmanager
def training(folder: Path, dataset: Path, name: str, pilot: str) -> Iterator[tuple[RunDirectory, Trained]]:
    """Start a run of that preset, wait for its first step, and stop it at the end of the block."""
    ends = {"train.max_steps": "none", "train.epochs": "none", "train.max_minutes": 600}
    rest = {"evaluation.every_minutes": 500, "train.checkpoint_minutes": 500, "train.device": "cpu"}
    preset = load_preset(name, {**STEP, **ends, **rest, "pilot.device": pilot})
    fingerprint = DatasetIndex.open(dataset).fingerprint
    run = RunDirectory.create(
        folder, preset, name=f"{name}-{pilot}", dataset=dataset, fingerprint=fingerprint
    )
    launcher.start(run)
    trained = Trained(run, preset.train.batch_size * preset.chunk_length)
    try:
        wait_for(lambda: any(isinstance(record, Step) for record in trained.drain()), "a step")
        yield run, trained
    finally:
        send(run, "stop")
        wait_for(lambda: not run.alive(), "the end of the run")


@contextmanager
def pilot_by_hand(run: RunDirectory, cores: tuple[int, ...]) -> Iterator[None]:
    """Run a pilot on these cores, or on any core if there are none."""
    words = command(run, device="cpu", until="stdin")
    with pin_thread(cores):
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    try:
        wait_until_warm(run)
        yield
    finally:
        process.stdin.close()
        process.wait(60)


def wait_until_warm(run: RunDirectory) -> None:
    began = time.time()
    tail = Tail(PilotDirectory(run).events_path, decode=decode)

    def warm() -> bool:
        # Ignore the events of an earlier pilot.
        return any(
            isinstance(record, LatencyEvent)
            and datetime.fromisoformat(record.ts).timestamp() > began
            and (record.total_frames or 0) >= WARM_FRAMES
            for record in tail.read()
        )

    wait_for(warm, "a pilot that plays")


def stop_pilot(run: RunDirectory) -> None:
    pilot = PilotDirectory(run)
    pilot.stop()
    wait_for(lambda: not pilot.alive(), "the end of the pilot")


def felt(run: RunDirectory, seconds: float) -> dict[str, object]:
    """Measure the frames of `seconds`: frame times as the pilot reports them, and frames per second by our clock."""
    began = time.monotonic()
    played = measure_pilot(run, frames=round(seconds * 60), threads=None, see=lambda *seen: None)
    return {**figures(played), "hz": len(played.took_ms) / (time.monotonic() - began)}


def figures(played: PilotMeasurement) -> dict[str, object]:
    found = played.figures
    return {
        "frames": found.frames,
        "missed": found.missed,
        "missed_share": found.missed / (found.frames + played.skipped),
        "skipped": played.skipped,
        "runtime": played.said.runtime,
        "p50_ms": found.p50_ms,
        "p95_ms": found.p95_ms,
        "p99_ms": found.p99_ms,
        "max_ms": found.max_ms,
        "late_p99_ms": played.late_p99_ms,
        "late_max_ms": max(played.late_ms),
        "cpu": played.said.cpu,
        "realtime": played.said.realtime,
        "parameters": played.said.parameters,
        "step": played.said.step,
    }


def compared(
    run: RunDirectory, trained: Trained, *, cores: tuple[int, ...], rounds: int, seconds: float
) -> dict[str, object]:
    """Compare throughput with and without a pilot on these cores, alternating."""
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds):
        for with_pilot in (True, False) if number % 2 else (False, True):
            with ExitStack() as stack:
                if with_pilot:
                    stack.enter_context(pilot_by_hand(run, cores))
                speeds[with_pilot].append(trained.frames_per_s(seconds))
    ratios = [on / off for on, off in zip(speeds[True], speeds[False], strict=True)]
    return {
        "with_pilot_frames_per_s": statistics.median(speeds[True]),
        "without_frames_per_s": statistics.median(speeds[False]),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def measured(folder: Path, dataset: Path, name: str, options: argparse.Namespace) -> dict[str, object]:
    found: dict[str, object] = {}
    cores = available_cores()
    turns = {"rounds": options.rounds, "seconds": options.turn}
    with training(folder, dataset, name, "cpu") as (run, trained):
        say(f"{name}: a pilot on a core that training leaves it")
        wait_until_warm(run)
        told = felt(run, options.seconds)
        stop_pilot(run)
        found["left_a_core"] = {**told, "training": compared(run, trained, cores=cores[-1:], **turns)}
    with training(folder, dataset, name, "off") as (run, trained):
        say(f"{name}: a pilot by hand beside training on all cores")
        with pilot_by_hand(run, ()):
            told = felt(run, options.seconds)
        found["by_hand"] = {**told, "training": compared(run, trained, cores=(), **turns)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--presets", default=PRESETS)
    parser.add_argument("--seconds", type=float, default=60, help="of frames that are measured")
    parser.add_argument("--rounds", type=int, default=5, help="of throughput with and without a pilot")
    parser.add_argument("--turn", type=float, default=30, help="seconds of each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_demo(folder / "demo", games=12, seed=3)
        dataset = folder / "dataset"
        build_dataset([folder / "demo"], dataset, workers=1, options=IngestOptions())
        found = {
            preset: measured(folder / "runs", dataset, preset, options)
            for preset in options.presets.split(",")
        }
    cores = len(available_cores())
    print(json.dumps({"machine": {**machine(cores), "load": os.getloadavg()}, "presets": found}, indent=1))


if __name__ == "__main__":
    main()
