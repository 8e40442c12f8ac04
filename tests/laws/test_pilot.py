"""A pilot beside a run: it keeps time by anybody's clock, and nothing that becomes of it becomes of the run."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exphil_core.config.preset import Preset
from exphil_core.models.policy import build_policy
from exphil_core.models.weights import write_weights
from exphil_core.pilot.__main__ import _own_cores
from exphil_core.pilot.directory import PilotDirectory, command
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.runs.predictions import PredictionRing
from exphil_core.runs.records import LatencyEvent, decode

START_SECONDS = 120.0


@pytest.fixture
def pilot(tiny: Callable[..., Preset], new_run: Callable[..., RunDirectory]) -> PilotDirectory:
    """Of a run that has weights, and that nobody trains."""
    run = new_run(tiny())
    found = PilotDirectory(run)
    found.path.mkdir()
    save(found, 1)
    return found


def save(pilot: PilotDirectory, seed: int) -> int:
    torch.manual_seed(seed)
    return write_weights(pilot.weights_path, build_policy(pilot.run.preset()).state_dict(), step=seed)


@pytest.fixture
def start() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts pilots, and ends what is left of them."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(pilot: PilotDirectory, **options: Any) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            command(pilot.run, device="cpu", eager=options.pop("eager", True), **options),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for(what: Callable[[], object], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def plays(pilot: PilotDirectory) -> bool:
    return any(event["type"] == "latency" for event in read_events(pilot.events_path))


def ends(process: "subprocess.Popen[bytes]", seconds: float = 30) -> tuple[int, str]:
    """Its exit code, and what it said."""
    _, said = process.communicate(timeout=seconds)
    return process.returncode, said.decode()


def without(path: Path, folder: str) -> dict[str, bytes]:
    """All files of a run but those of a folder."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.relative_to(path).parts[0] != folder
    }


def test_frames_advance_at_sixty_a_second_by_another_clock_and_the_figures_agree(
    pilot: PilotDirectory, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    before = without(pilot.run.path, "pilot")
    process = start(pilot)
    wait_for(lambda: plays(pilot))
    assert pilot.alive()
    status = pilot.status()
    assert status is not None
    assert (status.pid, status.device, status.runtime) == (process.pid, "cpu", "eager")

    def ticks() -> int:
        events = [event for event in read_events(pilot.events_path) if event["type"] == "latency"]
        return int(events[-1]["total_frames"])

    # From one word to the next, since words are six frames apart. All within the first clip.
    first = ticks()
    wait_for(lambda: ticks() > first)
    began, first = time.monotonic(), ticks()
    time.sleep(10.0)
    newest = ticks()
    wait_for(lambda: ticks() > newest)
    seconds, last = time.monotonic() - began, ticks()
    # Nothing of a tick that stands still depends on how busy the machine is, but when we look does.
    assert (last - first) / seconds == pytest.approx(60, rel=0.03)

    # A second one is refused, and the first goes on.
    code, said = ends(start(pilot))
    assert code == 2
    assert f"the pilot of run {pilot.run.name} is held by process {process.pid}" in said
    assert "Traceback" not in said

    save(pilot, 2)
    wait_for(lambda: any(event.get("step") == 2 for event in read_events(pilot.events_path)))
    wait_for(lambda: [e for e in read_events(pilot.events_path) if e["type"] == "latency"][-1]["step"] == 2)
    # Weights that nobody can read are a sentence, and the play goes on.
    pilot.weights_path.write_bytes(b"no weights at all, whatever one does with them")
    wait_for(lambda: any(event["type"] == "warning" for event in read_events(pilot.events_path)))
    played = ticks()
    wait_for(lambda: ticks() > played + 60)

    process.terminate()
    code, said = ends(process)
    assert (code, said) == (0, "")
    assert not pilot.alive()
    assert without(pilot.run.path, "pilot") == before
    ring = PredictionRing.open(pilot.frames_path)
    records = ring.last(ring.capacity)
    events = [json.loads(line) for line in pilot.events_path.read_bytes().splitlines()]
    told = [event for event in events if event["type"] == "latency"]
    assert [event["seq"] for event in events] == list(range(len(events)))
    for line in pilot.events_path.read_bytes().splitlines():
        assert decode(line) is not None
    newest_told = decode(json.dumps(told[-1]).encode())
    assert isinstance(newest_told, LatencyEvent)
    # The ring's records are the last that were played, and the events count every one of them.
    numbers = [int(record["number"]) for record in records]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    played = told[-1]["total_frames"] - told[-1]["total_skipped"]
    assert numbers[-1] - played in range(7)
    lately = [r for r in records if r["number"] <= played][-(told[-1]["frames"] - told[-1]["skipped"]) :]
    assert sum(int(record["missed"]) for record in lately) + told[-1]["skipped"] == told[-1]["missed"]
    took = np.array([record["took_ms"] for record in lately])
    assert told[-1]["max_ms"] == pytest.approx(float(took.max()), rel=1e-5)
    assert told[-1]["p50_ms"] == pytest.approx(
        float(np.percentile(took, 50, method="inverted_cdf")), rel=1e-5
    )
    assert {event["weights"] for event in told[-3:]} == {f"{int(records[-1]['weights']):016x}"}
    assert all(event["recent_missed"] <= event["total_missed"] <= event["total_frames"] for event in told)
    warnings = [event for event in events if event["type"] == "warning"]
    assert [event["code"] for event in warnings] == ["weights_damaged"]
    assert "plays on with the weights of step 2" in warnings[0]["message"]
    # Weights are loaded between two clips, which the events say before it happens.
    assert [event["step"] for event in events if event["type"] == "loading"] == [1, 2]


def test_no_two_pilots_keep_to_the_same_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 8})
    with _own_cores(1) as first, _own_cores(1) as second:
        assert (first, second) == ((8,), (5,))
        with _own_cores(2) as third:
            assert third == ()
        with _own_cores(1) as fourth:
            assert fourth == (3,)
    with _own_cores(2) as both:
        assert both == (5, 8)


def test_a_killed_pilot_leaves_the_run_as_it_was_and_another_can_start(
    pilot: PilotDirectory, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    before = without(pilot.run.path, "pilot")
    killed = start(pilot)
    wait_for(lambda: plays(pilot))
    killed.send_signal(signal.SIGKILL)
    killed.wait(10)
    wait_for(lambda: not pilot.alive(), seconds=5)
    assert without(pilot.run.path, "pilot") == before
    assert not pilot.stop()

    # The next one ends with its standard input.
    process = start(pilot, until="stdin")
    wait_for(lambda: pilot.alive() and plays(pilot))
    assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    code, said = ends(process)
    assert (code, said) == (0, "")
    assert "its standard input ended" in pilot.log_path.read_text()
    assert "Traceback" not in pilot.log_path.read_text()


def test_a_pilot_ends_when_its_run_is_deleted_underneath(
    pilot: PilotDirectory, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    process = start(pilot)
    wait_for(lambda: plays(pilot))
    with pilot.log_path.open("rb") as log:
        shutil.rmtree(pilot.run.path)
        code, said = ends(process)
        text = log.read().decode()
    assert (code, said) == (0, "")
    assert "was deleted" in text
    assert "Traceback" not in text
    assert not pilot.run.path.exists()


def test_a_pilot_waits_for_weights_and_ends_with_its_run(
    pilot: PilotDirectory, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    pilot.weights_path.unlink()
    with pilot.run.lock():
        pilot.run.write_status("running", 7)
        process = start(pilot, until="run", frames=1_000_000)
        wait_for(lambda: pilot.events_path.is_file() and list(read_events(pilot.events_path)))
        (waits,) = read_events(pilot.events_path)
        assert (waits["type"], waits["code"]) == ("warning", "no_weights")
        save(pilot, 3)
        wait_for(lambda: plays(pilot))
        assert process.poll() is None
        pilot.run.write_status("done", 7)
    code, said = ends(process)
    assert (code, said) == (0, "")
    assert "the run has ended" in pilot.log_path.read_text()


@pytest.mark.slow
def test_a_pilot_plays_with_onnx_runtime_where_it_is_installed(
    pilot: PilotDirectory, start: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    pytest.importorskip("onnxruntime")
    code, said = ends(start(pilot, eager=False, frames=60), seconds=300)
    assert (code, said) == (0, "")
    status = pilot.status()
    assert status is not None
    assert status.runtime == "onnx"
    runtimes = {e["runtime"] for e in read_events(pilot.events_path) if e["type"] == "latency"}
    assert runtimes == {"onnx"}


def test_what_cannot_be_played_is_a_sentence_and_an_exit_code(
    pilot: PilotDirectory, start: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    replay = tmp_path / "none.slp"
    replay.write_bytes(b"no replay")
    code, said = ends(start(pilot, replay=replay))
    assert code == 3
    assert "none.slp" in said
    assert "Traceback" not in said + pilot.log_path.read_text()


def test_a_replay_is_played_as_whoever_the_run_learns(
    pilot: PilotDirectory, start: Callable[..., "subprocess.Popen[bytes]"], dojo_replays: Path
) -> None:
    replay = next(iter(sorted(dojo_replays.rglob("*.slp"))))
    code, said = ends(start(pilot, replay=replay, frames=60))
    assert (code, said) == (0, "")
    assert PredictionRing.open(pilot.frames_path).count == 60
