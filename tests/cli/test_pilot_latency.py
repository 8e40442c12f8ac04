"""`exphil bench latency --pilot`: frames of a pilot that plays, or of one that is started and ended for them."""

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from exphil_core.cli import pilot_latency as module
from exphil_core.cli.main import run as exphil
from exphil_core.cli.pilot_latency import measure_pilot, pilot_report, pilot_result
from exphil_core.config.loader import load_preset
from exphil_core.config.preset import Preset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.errors import CheckpointError, ExphilError, UsageError
from exphil_core.inference.latency import BUDGET_MS
from exphil_core.lock import hold
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import EventLog
from exphil_core.runs.prediction_layout import ComponentLayout, Layout
from exphil_core.runs.predictions import PredictionRing
from exphil_core.worker import work

LAYOUT = Layout(
    codec="clusters",
    components=(ComponentLayout(name="main", size=3, kind="stick", labels=("a", "b", "c"), points=None),),
    horizon=1,
)


class Stage:
    """What a pilot would write, played a tenth of a second at a time by whoever sleeps."""

    def __init__(self, pilot: PilotDirectory) -> None:
        pilot.path.mkdir(exist_ok=True)
        self._pilot = pilot
        self.open = ExitStack()
        self.frames = 0
        self.skipped = 0

    def begin(self) -> None:
        self.open.enter_context(hold(self._pilot.lock_path, "the pilot"))
        self._pilot.events_path.unlink(missing_ok=True)
        self._log = self.open.enter_context(EventLog(self._pilot.events_path))
        self._ring = PredictionRing.create(self._pilot.frames_path, LAYOUT, {})
        self.frames = 0

    def sleep(self, seconds: float) -> None:
        for _ in range(6):
            self.frames += 1
            record = np.zeros(1, LAYOUT.dtype)
            # What a frame took is its number, so that it can be told which ones were measured.
            record["took_ms"], record["late_ms"] = self.frames / 100, 0.25
            record["missed"] = self.frames % 50 == 0
            self._ring.append(record)
        self._log.append(
            "latency",
            **{"device": "cpu", "backbone": "gru", "runtime": "eager", "parameters": 7, "window_size": 16},
            **{"frames": 600, "p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "max_ms": 1.0, "missed": 0},
            **{"budget_ms": BUDGET_MS, "step": 40, "weights": "0f" * 8, "threads": 1, "realtime": True},
            **{"total_skipped": self.skipped, "total_frames": self.frames, "total_missed": 0, "cpu": 0.3},
            **{"character": "link", "game": "ab" * 16},
        )


@pytest.fixture
def run(tiny: Callable[..., Preset], new_run: Callable[..., RunDirectory]) -> RunDirectory:
    return new_run(tiny())


@pytest.fixture(scope="module")
def finished(dojo_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """With a checkpoint that a pilot can play."""
    preset = load_preset("quick", {"train.max_steps": 1, "evaluation.max_frames": 600, "train.device": "cpu"})
    folder = tmp_path_factory.mktemp("runs")
    fingerprint = DatasetIndex.open(dojo_dataset).fingerprint
    run = RunDirectory.create(folder, preset, name="run", dataset=dojo_dataset, fingerprint=fingerprint)
    assert work(run) == 0
    return run


def with_checkpoint(run: RunDirectory) -> None:
    """As far as can be seen from outside."""
    run.step_directory(10).mkdir()
    run.write_latest(10)


@pytest.fixture
def stage(run: RunDirectory) -> Iterator[Stage]:
    found = Stage(PilotDirectory(run))
    with found.open:
        yield found


def nothing(*seen: object) -> None:
    pass


def test_of_a_pilot_that_plays_the_next_frames_are_measured_and_it_is_left_alone(
    run: RunDirectory, stage: Stage
) -> None:
    stage.begin()
    for _ in range(300):
        stage.sleep(0.1)
    seen: list[tuple[int, int]] = []
    played = measure_pilot(
        run,
        frames=100,
        threads=None,
        see=lambda latency, moments, done: seen.append((latency.total_frames or 0, done)),
        sleep=stage.sleep,
    )
    assert played.took_ms == pytest.approx([number / 100 for number in range(1801, 1901)])
    assert (sum(played.missed), played.warmup) == (2, 0)
    assert seen[0] == (1800, 0)
    assert seen[-1][1] >= 94
    assert PilotDirectory(run).alive()
    result = pilot_result(run, played)
    assert (result["frames"], result["missed"], result["within_budget"]) == (100, 2, False)
    assert result["p50_ms"] == pytest.approx(18.5)
    assert result["late_p99_ms"] == 0.25
    assert (result["run"], result["step"], result["weights"]) == ("run", 40, "0f" * 8)


def test_ticks_that_were_skipped_count_as_missed(run: RunDirectory, stage: Stage) -> None:
    stage.begin()
    stage.skipped = 100
    stage.sleep(0.1)

    def sleep(seconds: float) -> None:
        stage.skipped = 103
        stage.sleep(seconds)

    played = measure_pilot(run, frames=30, threads=None, see=nothing, sleep=sleep)
    assert (played.skipped, played.figures.missed) == (3, 3)


def test_without_a_pilot_one_is_started_warmed_up_and_ended(run: RunDirectory, stage: Stage) -> None:
    with_checkpoint(run)
    # What an earlier pilot left is not taken for the new one's.
    stage.begin()
    stage.sleep(0.1)
    stage.open.close()
    started: list[list[str]] = []
    processes: list[subprocess.Popen[str]] = []

    def start(words: list[str], **options: Any) -> "subprocess.Popen[str]":
        started.append(words)
        until_its_input_ends = "import sys; sys.stdin.read()"
        processes.append(subprocess.Popen([sys.executable, "-c", until_its_input_ends], **options))
        return processes[-1]

    slept = 0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += 1
        if slept == 5:
            stage.begin()
        if slept >= 5:
            stage.sleep(seconds)

    played = measure_pilot(run, frames=50, threads=2, see=nothing, start=start, sleep=sleep)
    (words,) = started
    assert words[-6:] == ["--device", "auto", "--threads", "2", "--until", "stdin"]
    assert played.warmup == module.WARMUP_FRAMES
    assert played.took_ms == pytest.approx([number / 100 for number in range(121, 171)])
    assert processes[0].returncode == 0


def test_a_pilot_that_cannot_play_is_an_error_in_its_own_words(run: RunDirectory) -> None:
    with_checkpoint(run)
    fails = "import sys; print('the dataset is gone', file=sys.stderr); sys.exit(3)"

    def start(words: list[str], **options: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen([sys.executable, "-c", fails], **options)

    with pytest.raises(ExphilError, match="the dataset is gone") as caught:
        measure_pilot(run, frames=50, threads=None, see=nothing, start=start)
    assert caught.value.exit_code == 3


def test_a_pilot_that_ends_meanwhile_is_an_error(run: RunDirectory, stage: Stage) -> None:
    stage.begin()
    stage.sleep(0.1)
    with pytest.raises(ExphilError, match="ended before its frames were measured"):
        measure_pilot(run, frames=50, threads=None, see=nothing, sleep=lambda seconds: stage.open.close())


def test_what_makes_no_sense_is_a_sentence(
    run: RunDirectory, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        measure_pilot(run, frames=50, threads=None, see=nothing)
    stage.begin()
    with pytest.raises(UsageError, match="--threads 1: a pilot of run run plays already"):
        measure_pilot(run, frames=50, threads=1, see=nothing)
    name = ("--pilot", "run", "--runs-dir", str(run.path.parent))
    for arguments, words in (
        (("--window", "60", "--runtime", "eager"), "so --window, --runtime would be ignored"),
        (("--frames", "0"), "--frames 0"),
        (("--threads", "1000"), "--threads 1000"),
    ):
        assert exphil(["bench", "latency", *name, *arguments]) == 2
        assert words in capsys.readouterr().err


def test_the_report_draws_the_gauge_of_just_these_frames(run: RunDirectory, stage: Stage) -> None:
    stage.begin()
    played = measure_pilot(run, frames=60, threads=None, see=nothing, sleep=stage.sleep)
    out = io.StringIO()
    Console(file=out, width=80).print(pilot_report(run, played))
    shown = out.getvalue()
    for words in (
        "run: gru, 60 frames in real time",
        "missed 1/60",
        "weights of step 40",
        "as Link",
        "it keeps running",
    ):
        assert words in shown
    assert max(map(len, shown.splitlines())) <= 80
    # Of the pilot's whole life, nothing.
    assert "in total" not in shown


def test_a_pilot_of_a_finished_run_is_measured_from_the_command_line(
    finished: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WARMUP_FRAMES", 6)
    name = ("--pilot", "run", "--runs-dir", str(finished.path.parent))
    assert exphil(["bench", "latency", *name, "--frames", "60", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    (row,) = found["results"]
    assert (row["run"], row["frames"], row["warmup"], row["step"]) == ("run", 60, 6, 1)
    assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert sum(row["histogram"]) == 60
    assert "measuring the pilot of run run" in said.err
    assert not PilotDirectory(finished).alive()


def test_a_pilot_is_ended_by_the_end_of_whoever_measures_it(finished: RunDirectory) -> None:
    """Its standard input is ours: however we end, it ends."""
    words = [sys.executable, "-m", "exphil_tui", "bench", "latency", "--pilot", "run", "--frames", "100000"]
    process = subprocess.Popen(
        [*words, "--runs-dir", str(finished.path.parent)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pilot = PilotDirectory(finished)
    try:
        _until(pilot.alive)
        process.kill()
        process.wait(60)
        _until(lambda: not pilot.alive())
    finally:
        process.kill()
        process.wait(60)


def _until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
