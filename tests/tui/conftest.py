"""Fixtures: run directories in every state, cut out of one recorded run, and a fixed clock.

`recorded/demo.jsonl` holds the events of a real run of the preset `quick` on the dojo's games. Times are shifted so
that the last event is two seconds before `NOW`.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from exphil_core.config.loader import load_preset
from exphil_core.runs.directory import RunDirectory
from tests.tui.terminal import Terminal

RECORDED = Path(__file__).parent / "recorded" / "demo.jsonl"

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC).timestamp()
"""What the clock of every test says: seconds since 1970."""

ALIVE = ("starting", "running", "paused", "lagging")
"""States with a process behind them."""

TRACEBACK = """\
Traceback (most recent call last):
  File "exphil_core/worker.py", line 62, in main
    finished = _train(run, emit, stop)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
"""

MakeRun = Callable[..., RunDirectory]


@pytest.fixture(scope="session")
def recorded() -> tuple[dict[str, Any], ...]:
    """The recorded events, in order."""
    return tuple(json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines())


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day are shown where the viewer is: here, in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def clock() -> Callable[[], float]:
    return lambda: NOW


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def make_run(runs_dir: Path, recorded: tuple[dict[str, Any], ...]) -> Iterator[MakeRun]:
    """`make_run(state, name=...)`: a run directory in that state, held by this process where one would hold it.

    States: new (never started), starting (a process, no events), running, paused, lagging (the newest validation is
    long past), crashed, stopped, preempted, failed, diverged, finished, unreadable.
    """
    with ExitStack() as held:

        def make(state: str, name: str | None = None) -> RunDirectory:
            run = RunDirectory.create(
                runs_dir,
                load_preset("quick"),
                name=name or f"quick-{state}",
                dataset=Path("data/dojo"),
                fingerprint="0123456789abcdef",
            )
            events = events_of(state, recorded)
            write_events(run.events_path, events)
            (run.path / "control").mkdir(exist_ok=True)
            _write_log(run, state)
            _promote(run, events)
            if state != "new":
                _write_status(run, state, events)
            if state in ALIVE:
                held.enter_context(run.lock())
            if state == "unreadable":
                (run.path / "run.toml").write_text("v = 1\n[preset", encoding="utf-8")
            begun = _seconds(events[0]["ts"]) if events else NOW - 3.0
            os.utime(run.path / "run.toml", (begun, begun))
            return run

        yield make


def events_of(state: str, recorded: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of a run in that state, the last of them two seconds before `NOW`."""
    whole = _with_measurements(recorded)
    last = {"finished": 1.0, "lagging": 0.95, "new": 0.0, "starting": 0.0, "unreadable": 0.0}.get(state, 0.8)
    kept = whole[: int(last * len(whole))] if last < 1 else whole
    while last < 1 and kept and kept[-1]["type"] != "step":
        kept.pop()
    if state == "lagging":
        seen = [event for event in kept if event["type"] == "evaluated"]
        late = {id(event) for event in seen[max(1, len(seen) // 2) :]}
        kept = [event for event in kept if id(event) not in late]
    step = next((event["step"] for event in reversed(kept) if event["type"] == "step"), 0)
    kept += [{"ts": kept[-1]["ts"], **event} for event in _ends(state, step)] if kept else []
    shift = NOW - 2.0 - _seconds(kept[-1]["ts"]) if kept else 0.0
    return [
        {**event, "seq": seq, "ts": _text(_seconds(event["ts"]) + shift)} for seq, event in enumerate(kept)
    ]


def write_events(path: Path, events: Iterable[dict[str, Any]]) -> None:
    """No file where there is no event, as in a run that has said nothing."""
    lines = [json.dumps(event) + "\n" for event in events]
    if lines:
        path.write_text("".join(lines), encoding="utf-8")


def _with_measurements(recorded: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The recorded events with `resources` after each step where none was recorded."""
    events = [dict(event) for event in recorded]
    if any(event["type"] == "resources" for event in events):
        return events
    measured: list[dict[str, Any]] = []
    for event in events:
        measured.append(event)
        if event["type"] == "step":
            measured.append(
                {
                    "v": 1,
                    "ts": event["ts"],
                    "type": "resources",
                    "cpu": 1.7,
                    "memory_bytes": 1_310_720_000,
                    "memory_total_bytes": 16_777_216_000,
                }
            )
    return measured


def _ends(state: str, step: int) -> list[dict[str, Any]]:
    """What a run in that state says last."""
    finished = {"v": 1, "type": "run_finished", "step": step, "summary": {}}
    match state:
        case "paused":
            command = {"v": 1, "type": "command", "command": "pause", "id": "0001"}
            return [{**command, "state": "received"}, {**command, "state": "done"}]
        case "stopped" | "preempted":
            return [{**finished, "status": state}]
        case "failed":
            message = "CUDA ran out of memory at a batch of 64 windows: lower train.batch_size"
            return [
                {"v": 1, "type": "error", "code": "OutOfMemory", "message": message},
                {**finished, "status": state},
            ]
        case "diverged":
            message = f"the loss was not a number at step {step}: lower optim.learning_rate"
            return [
                {"v": 1, "type": "error", "code": "DivergedError", "message": message},
                {**finished, "status": state},
            ]
    return []


def _write_log(run: RunDirectory, state: str) -> None:
    if state not in ("new", "unreadable"):
        text = f"run {run.name}: starting\n" + (TRACEBACK if state in ("crashed", "failed") else "")
        (run.path / "worker.log").write_text(text, encoding="utf-8")


def _promote(run: RunDirectory, events: Iterable[dict[str, Any]]) -> None:
    """The checkpoints that the events speak of, as empty folders."""
    for event in events:
        if event["type"] == "checkpoint_saved":
            run.step_directory(event["step"]).mkdir(exist_ok=True)
            run.write_latest(event["step"])
            if event["best"]:
                losses = [
                    e["loss"] for e in events if e["type"] == "evaluated" and e["step"] == event["step"]
                ]
                run.write_best(event["step"], losses[0] if losses else None)


def _write_status(run: RunDirectory, state: str, events: Iterable[dict[str, Any]]) -> None:
    said = {"finished": "done", "lagging": "running", "crashed": "running", "unreadable": "failed"}
    step = max((event["step"] for event in events if event["type"] == "step"), default=0)
    run.write_status(said.get(state, state), step=step)
    path = run.path / "status.json"
    status = json.loads(path.read_bytes())
    status["heartbeat"] = NOW - 2.0
    if state not in ALIVE:
        # This process has the pid, but began later: the pid of a dead process, used again.
        status["process_identity"] = "another boot/1"
    path.write_text(json.dumps(status), encoding="utf-8")


def _seconds(ts: str) -> float:
    return datetime.fromisoformat(ts).timestamp()


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts `exphil …` in an empty folder."""
    with ExitStack() as stack:

        def begin(*arguments: str, **options: object) -> Terminal:
            terminal = Terminal(*arguments, cwd=tmp_path, **options)  # type: ignore[arg-type]
            stack.callback(terminal.close)
            return terminal

        yield begin
