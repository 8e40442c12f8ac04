"""Benchmark: parts of the workbench. `python -m benchmarks.workbench [NAME…]` prints one JSON object per measurement.

Each result has its goal and a reference measured alternately with it. Nothing here starts the workbench itself;
`benchmarks.following` does that.
"""

import argparse
import asyncio
import gc
import json
import os
import platform
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from exphil_tui.model.run_state import RunState, reduce
from exphil_tui.services.follow import Follower

EVENTS = 1_000_000
ROUNDS = 3
REFERENCE_LINES = 50_000

OPENING_GOAL_S = 3.0
LAG_GOAL_MS = 20.0

CHARACTERS = ("mewtwo", "ganondorf", "link", "gameandwatch", "zelda")
HEADS = ("main", "c", "triggers", "buttons")
BUTTONS = ("A", "B", "X", "Y", "Z", "L", "R", "D_UP")


def events(count: int) -> Iterator[dict[str, object]]:
    """Events of a long run; per thousand: 976 `step`, 20 `resources`, 2 `evaluated`, 1 `latency`, 1 checkpoint."""
    chance = random.Random(0)
    step = 0
    for seq in range(count):
        head = {
            "v": 1,
            "seq": seq,
            "ts": f"2026-11-22T{seq // 3600 % 24:02}:{seq // 60 % 60:02}:{seq % 60:02}.951Z",
        }
        match seq % 1000:
            case 500 | 999:
                yield {**head, "type": "evaluated", **_evaluated(step, chance)}
            case 501:
                yield {
                    **head,
                    "type": "checkpoint_saved",
                    "step": step,
                    "path": f"step-{step:09d}",
                    "best": False,
                }
            case 502:
                yield {**head, "type": "latency", **_latency(chance)}
            case place if place % 50 == 25:
                memory = {"memory_bytes": chance.randrange(2**34), "memory_total_bytes": 2**34}
                yield {**head, "type": "resources", "cpu": 2 * chance.random(), **memory}
            case _:
                step += 10
                yield {**head, "type": "step", **_step(step, chance)}


def _step(step: int, chance: random.Random) -> dict[str, object]:
    return {
        "step": step,
        "epoch": step * 0.002564650566360333,
        "loss": 0.45 + chance.random() / 10,
        "per_character": {
            name: {"loss": 0.45 + chance.random() / 5, "frames": chance.randrange(2000, 5000)}
            for name in CHARACTERS
        },
        "heads": {name: chance.random() for name in HEADS},
        "frames_per_s": 35_000 + 4_000 * chance.random(),
        "data_wait": chance.random() / 100,
        "progress": step / 10_000_000,
        "lr": chance.random() / 1000,
        "grad_norm": chance.random(),
        "eta_s": 1e5 * chance.random(),
    }


def _evaluated(step: int, chance: random.Random) -> dict[str, object]:
    judged = {
        name: {
            "loss": chance.random(),
            "frames": 8000,
            "games": 2,
            "baseline_marginal": 2.2 + chance.random(),
            "baseline_repeat": 0.8 + chance.random(),
            "baseline_markov": 0.7 + chance.random(),
            "press_rates": {
                button: {"policy": chance.random() / 20, "human": chance.random() / 20} for button in BUTTONS
            },
        }
        for name in CHARACTERS
    }
    return {
        "step": step,
        "split": "validation",
        "loss": chance.random(),
        "frames": 40_000,
        "per_character": judged,
        "heads": {name: chance.random() for name in HEADS},
        "transition_f1": {name: chance.random() for name in HEADS},
        "copycat": chance.random(),
    }


def _latency(chance: random.Random) -> dict[str, object]:
    return {
        "device": "cpu",
        "backbone": "attention",
        "frames": 600,
        **{f"{name}_ms": 5 * chance.random() for name in ("p50", "p95", "p99", "max")},
        "missed": 0,
        "budget_ms": 16.67,
        "histogram": [chance.randrange(100) for _ in range(40)],
    }


def opening() -> dict[str, object]:
    """Open a run of a million events: read, decode, queue and reduce them as a screen does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        with path.open("w") as file:
            file.writelines(json.dumps(event) + "\n" for event in events(EVENTS))
        # The file was just written, so every round finds it in the page cache.
        opened, parsed, lags = [], [], []
        for _ in range(ROUNDS):
            gc.collect()
            seconds, lag, state = asyncio.run(_open(path))
            assert state.events == EVENTS
            assert not state.bad_lines
            opened.append(seconds)
            lags += lag
            parsed.append(_parse(path) * EVENTS / REFERENCE_LINES)
            del state
        seconds, reference = statistics.median(opened), statistics.median(parsed)
        return {
            "goal_s": OPENING_GOAL_S,
            "seconds": [round(second, 2) for second in opened],
            "megabytes": round(path.stat().st_size / 1e6),
            "reference": f"json.loads of {REFERENCE_LINES:,} of the lines, scaled to all",
            "reference_s": [round(second, 2) for second in parsed],
            "ratio": round(seconds / reference, 3),
            "lag_goal_ms": LAG_GOAL_MS,
            **_percentiles("lag", lags),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "met": seconds < OPENING_GOAL_S and _percentiles("lag", lags)["lag_p99_ms"] < LAG_GOAL_MS,
        }


async def _open(path: Path) -> tuple[float, list[float], RunState]:
    """Return (seconds until all events are in the state, event loop lags in ms meanwhile, the state)."""
    lag: list[float] = []
    follower = Follower(path)
    state = RunState()
    begun = time.perf_counter()
    tasks = [asyncio.create_task(follower.run()), asyncio.create_task(_watch_lag(lag))]
    # Count events instead of waiting for the follower to catch up: its last read may return no events.
    while state.events < EVENTS:
        state = await asyncio.to_thread(reduce, state, await follower.queue.get())
    seconds = time.perf_counter() - begun
    for task in tasks:
        task.cancel()
    return seconds, lag, state


async def _watch_lag(lag: list[float], every: float = 0.005) -> None:
    while True:
        due = time.perf_counter() + every
        await asyncio.sleep(every)
        lag.append(1000 * (time.perf_counter() - due))


def _parse(path: Path) -> float:
    with path.open("rb") as file:
        lines = list(islice(file, REFERENCE_LINES))
    begun = time.perf_counter()
    for line in lines:
        json.loads(line)
    return time.perf_counter() - begun


def _percentiles(name: str, values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {
        f"{name}_p50_ms": round(cuts[49], 2),
        f"{name}_p99_ms": round(cuts[98], 2),
        f"{name}_max_ms": round(max(values), 2),
    }


def _machine() -> dict[str, object]:
    found = Path("/proc/cpuinfo")
    models = (
        [line for line in found.read_text().splitlines() if line.startswith("model name")]
        if found.exists()
        else []
    )
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        **{name: version(name) for name in ("msgspec", "numpy", "textual")},
    }


MEASUREMENTS: dict[str, Callable[[], dict[str, object]]] = {"opening": opening}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}")
    names = parser.parse_args().names or list(MEASUREMENTS)
    for name in names:
        if name not in MEASUREMENTS:
            parser.error(f"there is no measurement '{name}': choose from {', '.join(MEASUREMENTS)}")
    print(json.dumps({"machine": _machine()}))
    for name in names:
        print(json.dumps({name: MEASUREMENTS[name]()}))


if __name__ == "__main__":
    main()
