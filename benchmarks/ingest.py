"""Benchmark: replay ingest in frames/s, against the parser's own speed on the same files.

Compares one worker process with peppi's `read_slippi` in a loop in this process, and two workers with one, and times
a whole build; reports medians of alternating rounds. Uses only replays that are kept, copied so that a run is long.
Two bare reader processes against one show what the machine can give: less than two on busy or shared cores.

Ingest rates count from the first outcome to the last; process start-up is reported separately (`start_s`). The share
by CPU time counts all processes, start-up included.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from peppi_py import read_slippi

from exphil_core.dataset.build import build_dataset
from exphil_core.replays.ingest import IngestOptions, ingest

SHARE_GOAL, SCALING_GOAL = 0.4, 1.7

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    frames_per_s: float
    frames_per_cpu_s: float
    start_s: float
    """Time until the first outcome."""


def run_ingest(files: Sequence[Path], workers: int) -> Run:
    cpu, began = _cpu_seconds(), time.perf_counter()
    first = last = 0.0
    counted = total = 0
    for outcome in ingest(files, workers=workers, options=IngestOptions()):
        last = time.perf_counter()
        assert outcome.packed is not None, outcome.detail
        total += outcome.packed.frames
        if first:
            counted += outcome.packed.frames
        else:
            first = last
    return Run(
        frames_per_s=counted / (last - first),
        frames_per_cpu_s=total / (_cpu_seconds() - cpu),
        start_s=first - began,
    )


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


READER = """
import sys, time
from peppi_py import read_slippi
files = sys.stdin.read().split("\\n")
read_slippi(files[0])
print("ready", flush=True)
began = time.perf_counter()
for file in files:
    read_slippi(file)
print(time.perf_counter() - began)
"""


def reader_seconds(files: Sequence[Path], count: int) -> float:
    """Time of the slowest of `count` processes that each read all files at the same time."""
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    text = "\n".join(map(str, files))
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.write(text)
        reader.stdin.close()
    seconds = []
    for reader in readers:
        assert reader.stdout is not None
        seconds.append(float(reader.stdout.read().split()[-1]))
        reader.wait()
    return max(seconds)


def kept_files(replays: Path, folder: Path, copies: int) -> tuple[list[Path], int]:
    """Copy the replays that a dataset keeps; return the copies, and the total frames of one copy of each."""
    kept = [
        (Path(outcome.source.path), outcome.packed.frames)
        for outcome in ingest([replays], workers=2, options=IngestOptions())
        if outcome.packed is not None and outcome.source.member is None and not outcome.salvaged
    ]
    files = []
    for copy in range(copies):
        for number, (path, _) in enumerate(kept):
            files.append(folder / f"{copy:03d}-{number:06d}.slp")
            shutil.copyfile(path, files[-1])
    return files, sum(frames for _, frames in kept)


def measure(replays: Path, *, copies: int, rounds: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "replays").mkdir()
        files, frames = kept_files(replays, folder / "replays", copies)
        frames *= copies
        read, one, two, readers = [], [], [], []
        for _ in range(rounds):
            began = time.perf_counter()
            for file in files:
                read_slippi(str(file))
            read.append(frames / (time.perf_counter() - began))
            one.append(run_ingest(files, 1))
            two.append(run_ingest(files, 2))
            readers.append(2 * reader_seconds(files, 1) / reader_seconds(files, 2))
        out = folder / "dataset"
        options = IngestOptions()
        report = build_dataset([replays], out, workers=2, options=options)
        again = build_dataset([replays], out, workers=2, options=options)
    reference = statistics.median(read)
    single, double = (_median(runs, lambda run: run.frames_per_s) for runs in (one, two))
    by_cpu = _median(one, lambda run: run.frames_per_cpu_s)
    return {
        "files": len(files),
        "frames": frames,
        "rounds": rounds,
        "read_slippi_frames_per_s": reference,
        "one_worker_frames_per_s": single,
        "share_of_read_slippi": single / reference,
        "share_by_cpu_time": by_cpu / reference,
        "share_goal": SHARE_GOAL,
        "two_workers_frames_per_s": double,
        "two_over_one": _median(
            list(zip(one, two, strict=True)), lambda pair: pair[1].frames_per_s / pair[0].frames_per_s
        ),
        "two_bare_readers_over_one": statistics.median(readers),
        "two_over_one_goal": SCALING_GOAL,
        "start_s": _median(one, lambda run: run.start_s),
        "build_s": report.seconds,
        "build_frames_per_s": report.frames_per_s,
        "second_build_s": again.seconds,
    }


def _median(values: Sequence[_T], of: Callable[[_T], float]) -> float:
    return statistics.median(of(value) for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--replays", type=Path, required=True, help="a folder of replays")
    parser.add_argument("--copies", type=int, default=5, help="of each kept replay, so that a run is long")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = measure(chosen.replays, copies=chosen.copies, rounds=chosen.rounds)
    if chosen.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:26s} {value:14,.3f}" if isinstance(value, float) else f"{name:26s} {value:14,}")


if __name__ == "__main__":
    main()
