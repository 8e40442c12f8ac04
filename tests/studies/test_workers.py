"""Several workers on one study, killed at any moment: every variant ends exactly once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from exphil_core.runs.directory import RunDirectory, run_directories
from exphil_core.runs.events import read_events
from exphil_core.studies.storage import JOURNAL, StudyStorage
from tests.studies.tiny import AFTER

PRETEND = Path(__file__).with_name("pretend.py")

WIDTHS = ("narrow", "wide", "wider")

THREE = """
[axes.width.values.wider]
backbone.width = 64
encoder.width = 64
"""

CHAIN = """
[axes.width.values.later]
starts_from = "after"
backbone.width = 16
encoder.width = 16
"""
"""A value that starts from one that starts from another."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def started(runs: Path) -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    """Starts a worker; whatever is left of it is ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(file: Path) -> "subprocess.Popen[str]":
        errors = (runs / f"worker-{len(processes)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, str(PRETEND), str(file), str(runs)], stderr=errors, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
    for run in run_directories(runs):
        if (pid := run.process_id()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def ended(runs: Path) -> Counter[str]:
    """Of each run, how often the journal says that it ended."""
    told: Counter[str] = Counter()
    names: list[str] = []
    for line in (runs / "studies" / "tiny" / JOURNAL).read_text().splitlines():
        said: dict[str, Any] = json.loads(line)
        if said["op_code"] == 4:
            names.append(said["user_attrs"]["run"])
        elif said["op_code"] == 6 and said["state"] in (1, 3):
            told[names[said["trial_id"]]] += 1
    return told


def check(runs: Path, specs: set[str]) -> None:
    """Every trial has ended once, in one run that has ended once."""
    assert ended(runs) == dict.fromkeys(specs, 1)
    assert {run.name for run in run_directories(runs)} == specs
    for name in specs:
        events = list(read_events(runs / name / "events.jsonl"))
        # Two trainers at once would have written one number twice.
        assert [event["seq"] for event in events] == list(range(len(events)))
        assert [e["status"] for e in events if e["type"] == "run_finished"].count("done") == 1
        # A resume goes on from what was kept: nothing that was kept is done again.
        saved = [event["step"] for event in events if event["type"] == "checkpoint_saved"]
        assert saved == sorted(set(saved))


def names(seeds: int, widths: Sequence[str] = WIDTHS) -> set[str]:
    return {f"tiny.{width}.{seed}" for width in widths for seed in range(seeds)}


def began_and_ended(runs: Path, name: str) -> tuple[str, str]:
    """When, in the order of time."""
    events = list(read_events(runs / name / "events.jsonl"))
    return events[0]["ts"], events[-1]["ts"]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(
    ("more", "widths"),
    [(THREE, WIDTHS), (CHAIN + AFTER, ("narrow", "wide", "after", "later"))],
    ids=["apart", "one after the other"],
)
def test_every_variant_ends_once_whoever_is_killed_whenever(
    number: int,
    more: str,
    widths: Sequence[str],
    write_study: Callable[..., Path],
    runs: Path,
    started: Callable[..., "subprocess.Popen[str]"],
) -> None:
    file = write_study(("seeds = [0, 1]", "seeds = [0, 1, 2]"), more=more)
    chance = random.Random(number)
    steady, unlucky = started(file), started(file)
    killed = 0
    deadline = time.monotonic() + 240
    while steady.poll() is None:
        assert time.monotonic() < deadline
        # Starting takes about a second, a run less: some are killed before they begin, most somewhere within.
        time.sleep(chance.uniform(0.3, 2.5))
        if unlucky.poll() is None and killed < 8:
            unlucky.kill()
            unlucky.wait()
            killed += 1
            for run in run_directories(runs):
                # Half of the time the machine dies, and not only the worker.
                if chance.random() < 0.5 and (pid := run.process_id()) is not None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            unlucky = started(file)
    assert steady.returncode == 0, (runs / "worker-0.log").read_text()
    assert killed
    assert unlucky.wait(timeout=60) == 0
    check(runs, names(3, widths))
    for seed in range(3) if "later" in widths else ():
        for before, after in (("narrow", "after"), ("after", "later")):
            ended_at = began_and_ended(runs, f"tiny.{before}.{seed}")[1]
            assert ended_at <= began_and_ended(runs, f"tiny.{after}.{seed}")[0]


def test_a_worker_that_waits_for_the_run_to_start_from_goes_on_with_it_when_another_s_is_killed(
    write_study: Callable[..., Path], runs: Path, started: Callable[..., "subprocess.Popen[str]"]
) -> None:
    file = write_study(
        ("seeds = [0, 1]", "seeds = [0]"),
        ("frames = 6_400", "frames = 64_000"),
        ("[axes.width.values.wide]", "[axes.width.values.after]"),
        ("backbone.width = 32\nencoder.width = 32", 'starts_from = "narrow"'),
        ("backbone.width = 16\nencoder.width = 16", ""),
    )
    first = started(file)
    run = RunDirectory(runs / "tiny.narrow.0")
    while not (run.path / "kept.json").exists():
        assert first.poll() is None
        time.sleep(0.02)
    second = started(file)
    while "study tiny" not in (runs / "worker-1.log").read_text():
        assert second.poll() is None
        time.sleep(0.02)
    pid = run.process_id()
    assert pid is not None
    first.kill()
    os.kill(pid, signal.SIGKILL)
    first.wait()
    assert second.wait(timeout=60) == 0
    assert ended(runs) == {"tiny.narrow.0": 1, "tiny.after.0": 1}
    begun = RunDirectory(runs / "tiny.after.0").preset().train.init_from
    best = run.best_step()
    assert best is not None
    assert begun == str(run.step_directory(best).absolute())


@pytest.mark.slow
def test_a_finished_study_is_extended_by_what_starts_from_its_runs(
    write_study: Callable[..., Path], runs: Path, started: Callable[..., "subprocess.Popen[str]"]
) -> None:
    assert started(write_study()).wait(timeout=60) == 0
    before = {run.name: run.events_path.read_bytes() for run in run_directories(runs)}
    assert started(write_study(more=AFTER)).wait(timeout=60) == 0
    check(runs, names(2, ("narrow", "wide", "after")))
    assert {name: (runs / name / "events.jsonl").read_bytes() for name in before} == before


def test_a_killed_worker_s_run_is_resumed_by_another(
    write_study: Callable[..., Path], runs: Path, started: Callable[..., "subprocess.Popen[str]"]
) -> None:
    file = write_study(("seeds = [0, 1]", "seeds = [0]"), ("frames = 6_400", "frames = 64_000"))
    first = started(file)
    run = RunDirectory(runs / "tiny.narrow.0")
    while not (run.path / "kept.json").exists():
        assert first.poll() is None
        time.sleep(0.02)
    pid = run.process_id()
    assert pid is not None
    first.kill()
    os.kill(pid, signal.SIGKILL)
    first.wait()
    assert started(file).wait(timeout=60) == 0
    events = list(read_events(run.events_path))
    begun = [event["resumed_from"] for event in events if event["type"] == "run_started"]
    assert begun[0] is None
    assert begun[1] >= 10
    assert "resumed" in (runs / "worker-1.log").read_text()
    assert ended(runs) == {"tiny.narrow.0": 1, "tiny.wide.0": 1}


def test_a_run_that_outlives_its_worker_is_waited_for_and_not_begun_again(
    write_study: Callable[..., Path], runs: Path, started: Callable[..., "subprocess.Popen[str]"]
) -> None:
    file = write_study(("seeds = [0, 1]", "seeds = [0]"), ("frames = 6_400", "frames = 64_000"))
    first = started(file)
    run = RunDirectory(runs / "tiny.narrow.0")
    while run.process_id() is None:
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    assert run.alive()
    assert started(file).wait(timeout=60) == 0
    events = list(read_events(run.events_path))
    assert [event["type"] for event in events].count("run_started") == 1


def test_a_worker_that_is_asked_to_end_saves_its_run_and_leaves_it_to_the_next(
    write_study: Callable[..., Path], runs: Path, started: Callable[..., "subprocess.Popen[str]"]
) -> None:
    file = write_study(("seeds = [0, 1]", "seeds = [0]"), ("frames = 6_400", "frames = 64_000"))
    first = started(file)
    run = RunDirectory(runs / "tiny.narrow.0")
    while not (run.path / "kept.json").exists():
        assert first.poll() is None
        time.sleep(0.02)
    first.terminate()
    first.wait(timeout=60)
    assert run.standing()[0] == "preempted"
    assert started(file).wait(timeout=60) == 0
    assert ended(runs) == {"tiny.narrow.0": 1, "tiny.wide.0": 1}


@pytest.mark.slow
def test_more_seeds_and_values_are_added_and_nothing_that_ended_runs_again(
    write_study: Callable[..., Path], runs: Path, started: Callable[..., "subprocess.Popen[str]"]
) -> None:
    assert started(write_study()).wait(timeout=60) == 0
    before = {run.name: run.events_path.read_bytes() for run in run_directories(runs)}
    assert len(before) == 4
    more = write_study(("seeds = [0, 1]", "seeds = [0, 1, 2]"), more=THREE)
    assert started(more).wait(timeout=60) == 0
    check(runs, names(3))
    assert {name: (runs / name / "events.jsonl").read_bytes() for name in before} == before


def test_a_journal_that_a_killed_writer_left_torn_is_written_on(
    write_study: Callable[..., Path], runs: Path
) -> None:
    from exphil_core.studies.plan import trial_specs
    from exphil_core.studies.study import load_study

    specs = trial_specs(load_study(str(write_study())))
    folder = runs / "studies" / "tiny"
    StudyStorage(folder).extend(specs[:2])
    with (folder / JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"torn')
    storage = StudyStorage(folder)
    assert storage.extend(specs) == len(specs) - 2
    assert [trial.run for trial in storage.trials()] == [spec.run for spec in specs]
