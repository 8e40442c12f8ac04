"""Benchmark: does the memory of a training run grow with its dataset?

Compares the peak anonymous memory (RssAnon) of the same run on a dojo dataset and on one ten times larger, each in
its own process. File-backed pages do not count, since the operating system can reclaim them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from exphil_core.config.loader import load_preset
from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dojo.demo import write_demo
from exphil_core.replays.ingest import IngestOptions
from exphil_core.runs.directory import RunDirectory

GOAL = 0.05
FACTOR = 10
STEPS = 150


def rss_anon(pid: int) -> int:
    """Anonymous resident memory in KiB; 0 once the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0].split()[1]) if found else 0


def peak_of_run(folder: Path, replays: Path, name: str) -> dict[str, int]:
    dataset = folder / f"dataset-{name}"
    build_dataset([replays], dataset, workers=2, options=IngestOptions())
    index = DatasetIndex.open(dataset)
    preset = load_preset(
        "quick",
        {
            "train.max_steps": STEPS,
            "train.max_minutes": "none",
            "train.precision": "fp32",
            "evaluation.max_frames": 20_000,
            # No more than the smaller dataset can fill, so that both runs evaluate equally many games at a time.
            "evaluation.batch_size": 8,
            "evaluation.every_minutes": "none",
            "evaluation.every_steps": 50,
        },
    )
    run = RunDirectory.create(
        folder / "runs", preset, name=name, dataset=dataset, fingerprint=index.fingerprint
    )
    peak = 0
    with (run.path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "exphil_core.worker", str(run.path)], stdout=log, stderr=log
        )
        while process.poll() is None:
            peak = max(peak, rss_anon(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit((run.path / "worker.log").read_text())
    return {"games": len(index.games), "frames": index.frames, "peak_rss_anon_kib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--games", type=int, default=20, help="of the smaller dataset")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = folder / "small", folder / "large"
        write_demo(small, games=chosen.games, seed=0, workers=2)
        write_demo(large, games=chosen.games * FACTOR, seed=0, workers=2)
        runs = [peak_of_run(folder, small, "small"), peak_of_run(folder, large, "large")]
    growth = runs[1]["peak_rss_anon_kib"] / runs[0]["peak_rss_anon_kib"] - 1
    found = {
        "small": runs[0],
        "large": runs[1],
        "growth": growth,
        "goal": GOAL,
        "reaches_goal": growth < GOAL,
    }
    if chosen.json:
        print(json.dumps(found))
        return
    for run in runs:
        mib = run["peak_rss_anon_kib"] / 1024
        print(f"{run['games']:5} games {run['frames']:10,} frames  peak RssAnon {mib:8.1f} MiB")
    print(f"growth {growth:+.2%} (goal: under {GOAL:.0%})")


if __name__ == "__main__":
    main()
