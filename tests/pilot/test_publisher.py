"""Weights for the pilot: when they are saved, what of, and that nothing of it touches the run."""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.errors import DiskFullError
from exphil_core.lock import hold
from exphil_core.models.weights import checksum, read_step, read_weights
from exphil_core.pilot import publisher as module
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.pilot.publisher import Publisher
from exphil_core.runs.directory import RunDirectory


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pilot(tiny: Callable[..., Preset], new_run: Callable[..., RunDirectory]) -> PilotDirectory:
    found = PilotDirectory(new_run(tiny()))
    found.path.mkdir()
    return found


@pytest.fixture
def playing(pilot: PilotDirectory) -> Iterator[ExitStack]:
    """Somebody plays until the stack is closed."""
    with ExitStack() as stack:
        stack.enter_context(hold(pilot.lock_path, "the pilot"))
        yield stack


WEIGHTS = {"one": torch.arange(6.0).reshape(2, 3), "two": torch.tensor([7], dtype=torch.int64)}


def weights() -> Mapping[str, Tensor]:
    return WEIGHTS


def silent(kind: str, **fields: object) -> None:
    raise AssertionError(f"{kind}: {fields}")


def publishing(pilot: PilotDirectory, clock: Clock, emit: Callable[..., None] = silent) -> Any:
    return closing(Publisher(pilot, every_seconds=20, emit=emit, clock=clock))


def written(publisher: Publisher, pilot: PilotDirectory) -> int | None:
    """The step of the file, once what was begun is done."""
    if publisher._writing is not None:
        publisher._writing.result(timeout=30)
    return read_step(pilot.weights_path)


@pytest.mark.usefixtures("playing")
def test_weights_are_saved_at_once_and_then_every_so_many_seconds(
    pilot: PilotDirectory, clock: Clock
) -> None:
    found = {}
    with publishing(pilot, clock) as publisher:
        for step in range(1, 101):
            publisher.between_steps(step, weights)
            found[step] = written(publisher, pilot)
            clock.now += 0.5
    changes = [step for step in found if found[step] != found.get(step - 1)]
    assert changes == [1, 41, 81]
    assert publisher.snapshot_ms == 0
    saved = read_weights(pilot.weights_path)
    assert saved.checksum == checksum(WEIGHTS)
    assert all(torch.equal(saved.tensors[name], tensor) for name, tensor in WEIGHTS.items())


def test_without_a_pilot_nothing_is_copied_and_it_is_asked_for_once_a_second(
    pilot: PilotDirectory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(PilotDirectory, "alive", lambda self: bool(asked.append(clock.now)))

    def never() -> Mapping[str, Tensor]:
        raise AssertionError("weights were asked for")

    with publishing(pilot, clock) as publisher:
        for step in range(100):
            publisher.between_steps(step, never)
            clock.now += 0.25
    assert asked == [100.0 + second for second in range(25)]
    assert not pilot.weights_path.exists()


def test_a_pilot_that_comes_later_need_not_wait(
    pilot: PilotDirectory, clock: Clock, playing: ExitStack
) -> None:
    with publishing(pilot, clock) as publisher:
        publisher.between_steps(1, weights)
        assert written(publisher, pilot) == 1
        playing.close()
        clock.now += 60
        publisher.between_steps(2, weights)
        assert written(publisher, pilot) == 1
        with hold(pilot.lock_path, "another pilot"):
            clock.now += 1
            publisher.between_steps(3, weights)
            assert written(publisher, pilot) == 3


@pytest.mark.usefixtures("playing")
def test_what_is_written_is_of_one_step_whatever_training_does_meanwhile(
    pilot: PilotDirectory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    write = module.write_weights

    def slow(path: Path, weights: Mapping[str, Tensor], *, step: int) -> int:
        go_on.wait(30)
        return write(path, weights, step=step)

    monkeypatch.setattr(module, "write_weights", slow)
    learning = {"one": torch.zeros(1000)}
    with publishing(pilot, clock) as publisher:
        publisher.between_steps(1, lambda: learning)
        learning["one"].add_(1)
        clock.now += 60
        # The first ones are still being written: a second copy would go into the same memory.
        publisher.between_steps(2, lambda: learning)
        go_on.set()
        assert written(publisher, pilot) == 1
        assert not read_weights(pilot.weights_path).tensors["one"].any()
        clock.now += 1
        publisher.between_steps(3, lambda: learning)
        assert written(publisher, pilot) == 3
        assert read_weights(pilot.weights_path).tensors["one"].all()


@pytest.mark.usefixtures("playing")
def test_a_failure_is_one_warning_and_the_next_weights_are_tried_again(
    pilot: PilotDirectory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[dict[str, object]] = []
    write = module.write_weights

    def full(path: Path, weights: Mapping[str, Tensor], *, step: int) -> int:
        raise DiskFullError(f"{path}: no room left on the disk")

    with publishing(
        pilot, clock, lambda kind, **fields: warned.append({"type": kind, **fields})
    ) as publisher:
        monkeypatch.setattr(module, "write_weights", full)
        for step in (1, 2, 3):
            publisher.between_steps(step, weights)
            assert written(publisher, pilot) is None
            clock.now += 20
        monkeypatch.setattr(module, "write_weights", write)
        publisher.between_steps(4, weights)
        assert written(publisher, pilot) == 4
    (warning,) = warned
    assert (warning["type"], warning["code"]) == ("warning", "pilot_weights")
    assert "no room left on the disk" in str(warning["message"])
    assert "the run continues" in str(warning["message"])


@pytest.mark.usefixtures("playing")
def test_the_last_room_on_a_disk_is_left_to_the_checkpoints(
    pilot: PilotDirectory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(tensor.nbytes for tensor in WEIGHTS.values())
    usage = shutil.disk_usage(pilot.path)
    warned: list[object] = []
    for free, saved in ((6 * size - 1, None), (6 * size, 1)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        with publishing(pilot, clock, lambda kind, **fields: warned.append(fields["message"])) as publisher:
            publisher.between_steps(1, weights)
            assert written(publisher, pilot) == saved
    assert len(warned) == 1
    assert "the run's next checkpoint needs them" in str(warned[0])


@pytest.mark.usefixtures("playing")
def test_a_warning_that_cannot_be_written_harms_nobody(
    pilot: PilotDirectory, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(kind: str, **fields: object) -> None:
        raise DiskFullError("events.jsonl: no room left on the disk")

    with publishing(pilot, clock, full) as publisher:
        shutil.rmtree(pilot.path)
        pilot.path.mkdir()
        pilot.weights_path.mkdir()
        with hold(pilot.lock_path, "another pilot"):
            publisher.between_steps(1, weights)
            assert written(publisher, pilot) is None
    said = capsys.readouterr().err
    assert "cannot be saved" in said
    assert "events.jsonl: no room left" in said
