"""Benchmark: cost of the workbench while it follows a run. `python -m benchmarks.following`

Writes a run's events at a steady rate and measures time to first paint, share of a core, bytes to the terminal and
event loop lag. The first three are of the unmodified program (`exphil attach`) in a pty; the lag is of a second
workbench with one more task in its event loop. The reference for CPU is an empty Textual app in the same pty.
"""

import argparse
import asyncio
import inspect
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pexpect
import psutil

from exphil_core.config.loader import load_preset
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog

COLUMNS, ROWS = 120, 40
RATE = 500
"""Events per second."""
NAME = "followed"
CHARACTERS = ("mewtwo", "ganondorf", "link", "gameandwatch", "zelda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    core_share: float
    bytes_per_s: float


def write_events(log: EventLog, first: int, count: int) -> None:
    """Append steps like those of a real run, and a checkpoint every 1000 steps."""
    for step in range(first, first + count):
        loss = 1.2 + 3.0 / (1 + step / 400)
        log.append(
            "step",
            step=step,
            epoch=step / 1000,
            loss=loss,
            per_character={
                name: {
                    "loss": loss * (1 + 0.05 * place) + 0.1 * ((step * (place + 7)) % 13) / 13,
                    "frames": 512,
                }
                for place, name in enumerate(CHARACTERS)
            },
            heads={"main": loss * 0.7, "c": loss * 0.05, "triggers": loss * 0.1, "buttons": loss * 0.15},
            lr=3e-4,
            grad_norm=1.0,
            frames_per_s=20_000.0 + step % 100,
            data_wait=0.01,
            progress=min(1.0, step / 1e6),
            eta_s=600.0,
        )
        if step % 1000 == 0:
            log.append("checkpoint_saved", step=step, path=f"step-{step:09d}", best=False)


@contextmanager
def running_run(folder: Path) -> Iterator[RunDirectory]:
    """Hold a run's lock while a thread writes its events."""
    preset = load_preset("quick")
    run = RunDirectory.create(folder, preset, name=NAME, dataset=folder / "data", fingerprint="0" * 32)
    over = threading.Event()

    def write() -> None:
        began, written = time.monotonic(), 0
        with EventLog(run.events_path) as log:
            log.append(
                "run_started",
                run=NAME,
                preset=preset.name,
                backbone=preset.backbone.kind,
                window_size=preset.backbone.window_size,
                parameters=1_000_000,
                device="cpu",
                precision="fp32",
                kernel=None,
                dataset={"games": 100, "frames": 1_000_000, "per_character": {}, "shares": {}},
                steps=1_000_000,
                resumed_from=None,
            )
            while not over.is_set():
                due = int((time.monotonic() - began) * RATE)
                write_events(log, written + 1, due - written)
                written = due
                if written % RATE < 50:
                    run.write_status("running", step=written)
                over.wait(0.02)

    with run.lock():
        run.write_status("running", step=0)
        thread = threading.Thread(target=write)
        thread.start()
        try:
            yield run
        finally:
            over.set()
            thread.join()


class Terminal:
    """A program in a pty; counts the bytes that it sends."""

    def __init__(self, *command: str, cwd: Path | None = None) -> None:
        environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        environment.pop("NO_COLOR", None)
        self.began = time.perf_counter()
        self._child = pexpect.spawn(
            command[0], list(command[1:]), dimensions=(ROWS, COLUMNS), env=environment, timeout=None, cwd=cwd
        )
        self.sent = 0

    def read(self, seconds: float, *, until: bytes | None = None) -> bool:
        """Read output for `seconds`, or until `until` appears; return whether it did."""
        found = b""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            try:
                data = self._child.read_nonblocking(1 << 16, timeout=left)
            except pexpect.TIMEOUT:
                break
            except pexpect.EOF:
                return False
            self.sent += len(data)
            if until is not None:
                found += data
                if until in found:
                    return True
        return False

    def cost(self, seconds: float) -> Cost:
        process = psutil.Process(self._child.pid)
        before, sent, began = process.cpu_times(), self.sent, time.perf_counter()
        self.read(seconds)
        after, took = process.cpu_times(), time.perf_counter() - began
        busy = after.user + after.system - before.user - before.system
        return Cost(core_share=busy / took, bytes_per_s=(self.sent - sent) / took)

    def close(self) -> None:
        self._child.send("q")
        self.read(5)
        self._child.close(force=True)


def seconds_until(words: str, *arguments: str, cwd: Path) -> float:
    """Median time, over five tries, from the start of `exphil …` until it has sent a screen with these words."""
    found = []
    for _ in range(5):
        terminal = Terminal(sys.executable, "-m", "exphil_tui", *arguments, cwd=cwd)
        assert terminal.read(20, until=words.encode()), "the workbench drew nothing"
        found.append(time.perf_counter() - terminal.began)
        terminal.close()
    return sorted(found)[2]


def following(seconds: float, *command: str) -> Cost:
    terminal = Terminal(*command)
    try:
        terminal.read(5)
        return terminal.cost(seconds)
    finally:
        terminal.close()


def _watched_workbench(runs_dir: Path, out: Path, seconds: float) -> None:
    """Run a workbench on the run, with a task that records the lag of its event loop."""
    from exphil_tui.app import Workbench

    late_ms: list[float] = []

    async def watch() -> None:
        await asyncio.sleep(3)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (now := loop.time()) < end:
            await asyncio.sleep(0.01)
            late_ms.append((loop.time() - now - 0.01) * 1e3)
        out.write_text(json.dumps(late_ms))
        app.exit()

    class Watched(Workbench):
        # Textual resolves CSS_PATH relative to the file of the class that sets it.
        CSS_PATH = Path(inspect.getfile(Workbench)).with_name("app.tcss")

        def on_ready(self) -> None:
            self.run_worker(watch(), exclusive=False)

    app = Watched(runs_dir=runs_dir, run=NAME)
    app.run()


_EMPTY = "from textual.app import App; App().run()"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--watched", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watched:
        _watched_workbench(*arguments.watched, arguments.seconds)
        return
    with tempfile.TemporaryDirectory() as name, running_run(Path(name) / "runs") as run:
        runs_dir, out = run.path.parent, Path(name) / "late.json"
        attach = (sys.executable, "-m", "exphil_tui", "attach", run.name, "--runs-dir", str(runs_dir))
        time.sleep(1)
        first = seconds_until("Runs", cwd=runs_dir)
        named = seconds_until(run.name, *attach[3:], cwd=runs_dir)
        empty = following(arguments.seconds, sys.executable, "-c", _EMPTY)
        cost = following(arguments.seconds, *attach)
        watched = Terminal(
            *(sys.executable, "-m", "benchmarks.following", "--seconds", str(arguments.seconds)),
            *("--watched", str(runs_dir), str(out)),
        )
        watched.read(arguments.seconds + 15)
        late = sorted(json.loads(out.read_text()))
        watched.close()
    print(f"{psutil.cpu_count()} cores, Python {sys.version.split()[0]}, {RATE} events/s, {COLUMNS}×{ROWS}")
    print(
        f"first paint: {first * 1e3:.0f} ms (goal 600); attached to a run, its name drawn: {named * 1e3:.0f} ms"
    )
    print(
        f"following: {cost.core_share:.1%} of a core (an empty Textual app: {empty.core_share:.1%}; goal 5%)"
    )
    print(f"to the terminal: {cost.bytes_per_s / 1e3:.1f} kB/s (goal 100)")
    p50, p99 = (late[int(share * len(late))] for share in (0.5, 0.99))
    print(f"event loop late by: p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {late[-1]:.1f} ms (goal p99 20)")


if __name__ == "__main__":
    main()
