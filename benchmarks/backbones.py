"""Benchmark: loss of each backbone on the dojo after equal training time, and whether stepping changes it.

Each is trained by `exphil train` on dojo games, then measured on held-out games by `exphil eval` in three regimes:
carried (whole games in chunks with carried state), stepped (frame by frame from each game's first frame, as in play)
and windows (each training window from a fresh state). With `--real`, each also takes 200 steps on real replays, whose
loss must stay finite. Training time is equal, not frames: a slow backbone has seen less data.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.dojo.demo import write_demo
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events

HALF_WAY = 0.5
"""Goal: gap closed, from the best baseline to the floor, for the worst character."""

STREAMED = 0.01
"""Goal: largest relative difference between the stepped and the carried loss."""

REAL_STEPS = 200
CARRYING = ("lstm", "gru", "lstm_hybrid", "mamba", "jamba", "tx_like", "mamba2")
"""Backbones whose memory reaches past a training window; they are trained with carried state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    backbone: str
    parameters: int
    kernel: str | None
    steps: int
    frames_per_s: float
    """Median over the run's `step` events."""
    loss: float
    """Carried loss on the held-out games."""
    closed: float
    """Gap closed: share of the way from the best baseline to the floor, for the worst character."""
    stepped: float
    windows: float
    difference: float
    """|stepped - carried| / carried."""
    real_loss: float | None
    """Loss of the last `step` event on real replays; None if none were given."""

    @property
    def reaches_goals(self) -> bool:
        far_enough = self.backbone == "mlp" or self.closed >= HALF_WAY
        return far_enough and self.difference < STREAMED


def exphil(arguments: Sequence[str], *, threads: int) -> str:
    """Run an `exphil` command and return its stdout; its stderr goes to ours."""
    command = [sys.executable, "-c", "from exphil_tui.cli import main; main()", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def measure(kind: str, *, minutes: float, demo: Path, real: Path | None, runs: Path, threads: int) -> Row:
    common = ["--preset", "quick", "--backbone", kind, "--headless", "--json", "--runs-dir", str(runs)]
    carry = f"train.carry_state={str(kind in CARRYING).lower()}"

    def train(name: str, replays: Path, *options: str) -> list[dict[str, Any]]:
        exphil(
            ["train", *common, "--name", name, "--replays", str(replays), *options, "--set", carry],
            threads=threads,
        )
        return list(read_events(RunDirectory.find(runs, name).events_path))

    events = train(kind, demo, "--max-minutes", str(minutes))
    losses = {
        regime: json.loads(
            exphil(["eval", kind, "--regime", regime, "--json", "--runs-dir", str(runs)], threads=threads)
        )
        for regime in ("carried", "stepped", "windows")
    }
    started = next(event for event in events if event["type"] == "run_started")
    steps = [event for event in events if event["type"] == "step"]
    real_loss = None
    if real is not None:
        short = ("train.max_minutes=none", "evaluation.max_frames=5000")
        taken = train(f"{kind}-real", real, "--max-steps", str(REAL_STEPS), "--set", *short)
        ended = taken[-1]
        assert (ended["type"], ended["status"], ended["step"]) == ("run_finished", "done", REAL_STEPS), ended
        real_loss = [event for event in taken if event["type"] == "step"][-1]["loss"]
    carried_loss, stepped_loss = losses["carried"]["loss"], losses["stepped"]["loss"]
    return Row(
        backbone=kind,
        parameters=started["parameters"],
        kernel=started.get("kernel"),
        steps=steps[-1]["step"],
        frames_per_s=statistics.median(event["frames_per_s"] for event in steps),
        loss=carried_loss,
        closed=min(_closed(who) for who in losses["carried"]["per_character"].values()),
        stepped=stepped_loss,
        windows=losses["windows"]["loss"],
        difference=abs(stepped_loss - carried_loss) / carried_loss,
        real_loss=real_loss,
    )


def _closed(who: dict[str, Any]) -> float:
    best = min(who["baseline_marginal"], who["baseline_repeat"], who["baseline_markov"])
    return float((best - who["loss"]) / (best - who["floor"]))


def markdown(rows: Sequence[Row]) -> str:
    lines = [
        "| backbone | parameters | kernel | steps | frames/s | loss | closed | stepped | difference | windows | "
        "200 real steps |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        real = "–" if row.real_loss is None else f"{row.real_loss:.2f}"
        lines.append(
            f"| {row.backbone} | {row.parameters:,} | {row.kernel or '–'} | {row.steps:,} | {row.frames_per_s:,.0f} "
            f"| {row.loss:.4f} | {row.closed:.0%} | {row.stepped:.4f} | {row.difference:.4%} "
            f"| {row.windows:.4f} | {real} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbone", default="all", help="kinds, joined by commas")
    parser.add_argument("--minutes", type=float, default=4.0, help="of training on the dojo, each")
    parser.add_argument("--games", type=int, default=100, help="of the dojo")
    parser.add_argument("--real", type=Path, help="a folder of real replays")
    parser.add_argument("--jobs", type=int, default=2, help="backbones at once, the cores shared evenly")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    kinds = BACKBONE_KINDS if chosen.backbone == "all" else tuple(chosen.backbone.split(","))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(chosen.jobs) as pool:
        replays, demo, runs = (Path(folder) / name for name in ("replays", "demo", "runs"))
        write_demo(replays, games=chosen.games, seed=0)
        # Built once, since runs that start at the same moment would wait for each other to build it.
        exphil(["data", "build", str(replays), "--out", str(demo), "--json"], threads=1)
        real = None
        if chosen.real is not None:
            real = Path(folder) / "real"
            exphil(["data", "build", str(chosen.real), "--out", str(real), "--json"], threads=1)
        rows = list(
            pool.map(
                lambda kind: measure(
                    kind,
                    minutes=chosen.minutes,
                    demo=demo,
                    real=real,
                    runs=runs,
                    threads=max(1, (os.cpu_count() or 1) // chosen.jobs),
                ),
                kinds,
            )
        )
    if chosen.json:
        print(json.dumps([asdict(row) for row in rows]))
    else:
        print(markdown(rows))
    missed = [row.backbone for row in rows if not row.reaches_goals]
    if missed:
        sys.exit(f"short of a goal: {', '.join(missed)}")


if __name__ == "__main__":
    main()
