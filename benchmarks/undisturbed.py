"""Benchmark: does a workbench slow down the run that it follows? `python -m benchmarks.undisturbed`

Trains on demo replays and compares the run's frames/s without a workbench, with one just killed (SIGKILL) and with
one stopped (SIGSTOP). Cores may be shared, so the three alternate; the result is the median of the rounds' ratios.
"""

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pexpect
import psutil

from exphil_core.config.loader import load_preset
from exphil_core.dataset.build import build_dataset
from exphil_core.dojo.demo import write_demo
from exphil_core.replays.ingest import IngestOptions
from exphil_core.runs import launcher
from exphil_core.runs.control import send
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.tail import Tail

SETTLE_S = 1.0


def started(folder: Path) -> RunDirectory:
    """Start a run that outlasts the benchmark, on one core: the other core is for the benchmark itself."""
    write_demo(folder / "demo", games=12, seed=3)
    dataset = folder / "dataset"
    build_dataset([folder / "demo"], dataset, workers=1, options=IngestOptions())
    preset = load_preset(
        "quick", {"train.max_minutes": 60, "evaluation.every_minutes": 50, "train.log_every_steps": 1}
    )
    run = RunDirectory.create(folder / "runs", preset, name="watched", dataset=dataset, fingerprint="")
    os.environ["OMP_NUM_THREADS"] = "1"
    launcher.start(run)
    return run


def workbench(run: RunDirectory) -> pexpect.spawn:
    environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    command = ["-m", "exphil_tui", "attach", run.name, "--runs-dir", str(run.path.parent)]
    child = pexpect.spawn(sys.executable, command, dimensions=(40, 120), env=environment)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with suppress(pexpect.TIMEOUT):
            child.read_nonblocking(1 << 16, timeout=0.2)
    return child


def frames_per_s(tail: Tail, seconds: float) -> float:
    """Median frames/s of the steps in the next `seconds`."""
    time.sleep(SETTLE_S)
    while tail.read():
        pass
    time.sleep(seconds)
    speeds = [record["frames_per_s"] for record in tail.read() if record["type"] == "step"]
    return statistics.median(speeds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=8, help="of each turn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = started(Path(name))
        tail = Tail(run.events_path)
        end = time.monotonic() + 60
        while not any(record["type"] == "step" for record in tail.read()):
            assert time.monotonic() < end, "the run did not start"
            time.sleep(0.2)
        found: dict[str, list[float]] = {"alone": [], "killed": [], "stopped": []}
        end_of: dict[str, Callable[[pexpect.spawn], None]] = {
            "killed": lambda child: os.kill(child.pid, signal.SIGKILL),
            "stopped": lambda child: os.kill(child.pid, signal.SIGSTOP),
        }
        for number in range(arguments.rounds):
            for turn in ("alone", *(("killed", "stopped") if number % 2 else ("stopped", "killed"))):
                child = None
                if turn in end_of:
                    child = workbench(run)
                    end_of[turn](child)
                found[turn].append(frames_per_s(tail, arguments.seconds))
                if child is not None:
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)
                    child.close(force=True)
        send(run, "stop")
        while run.alive():
            time.sleep(0.2)
    alone = statistics.median(found["alone"])
    print(
        f"{psutil.cpu_count()} cores, Python {sys.version.split()[0]}, "
        f"{arguments.rounds} rounds of {arguments.seconds:g} s a turn"
    )
    print(f"alone: {alone:,.0f} frames/s (of {min(found['alone']):,.0f} to {max(found['alone']):,.0f})")
    for turn in ("killed", "stopped"):
        ratios = [one / other for one, other in zip(found[turn], found["alone"], strict=True)]
        print(
            f"workbench {turn}: {statistics.median(ratios) - 1:+.2%} (median of the rounds' ratios; goal within 2%)"
        )


if __name__ == "__main__":
    main()
