"""Which weights a pilot is given: the newest whole ones, each once, and one sentence where there are none."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from exphil_core.config.loader import load_preset
from exphil_core.errors import CheckpointError
from exphil_core.models.weights import Weights, checksum, write_weights
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.pilot.weight_watcher import WeightWatcher
from exphil_core.runs.directory import RunDirectory


class Bench:
    """A run whose checkpoints are in a dictionary."""

    def __init__(self, path: Path) -> None:
        self.run = RunDirectory.create(
            path, load_preset("quick"), name="mine", dataset=Path("/data"), fingerprint="abc"
        )
        self.path = PilotDirectory(self.run).weights_path
        self.path.parent.mkdir()
        self.said: list[tuple[str, str]] = []
        self.damaged = False
        self.newest = WeightWatcher(
            self.run,
            like=weights(0),
            read_checkpoint=self.read_checkpoint,
            warn=lambda code, text: self.said.append((code, text)),
        )

    def save(self, step: int, value: float | None = None) -> None:
        write_weights(self.path, weights(step if value is None else value), step=step)

    def promote(self, step: int) -> None:
        self.run.step_directory(step).mkdir()
        self.run.write_latest(step)

    def read_checkpoint(self, directory: Path) -> Weights:
        if self.damaged:
            raise CheckpointError(f"{directory} is damaged")
        step = int(directory.name.removeprefix("step-"))
        return Weights(step=step, checksum=checksum(weights(step)), tensors=weights(step))

    def step(self) -> int | None:
        found = self.newest.poll()
        if found is None:
            return None
        assert checksum(found.tensors) == found.checksum
        return found.step


def weights(value: float) -> dict[str, Tensor]:
    return {"one": torch.full((300,), float(value)), "two": torch.full((2, 2), -float(value))}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_run_without_weights_is_said_once(bench: Bench) -> None:
    assert [bench.step() for _ in range(3)] == [None] * 3
    assert bench.said == [
        ("no_weights", "run mine has no weights yet; the pilot waits for the first whole ones")
    ]
    bench.save(1)
    assert bench.step() == 1
    assert len(bench.said) == 1


def test_each_of_the_newest_is_given_once(bench: Bench) -> None:
    bench.save(10)
    assert [bench.step(), bench.step()] == [10, None]
    bench.save(20)
    assert [bench.step(), bench.step()] == [20, None]
    # The same weights once more are nothing new.
    bench.save(30, value=20)
    assert bench.step() is None
    assert bench.said == []


def test_the_newer_of_saved_weights_and_checkpoint_is_taken(bench: Bench) -> None:
    bench.promote(5)
    assert bench.step() == 5
    bench.save(9)
    assert bench.step() == 9
    bench.promote(9)
    assert bench.step() is None
    bench.promote(12)
    assert bench.step() == 12
    # Saved before that checkpoint, seen after it.
    bench.save(11)
    assert bench.step() is None
    bench.save(14)
    assert bench.step() == 14
    assert bench.said == []


def test_an_older_file_of_an_earlier_attempt_does_not_hide_a_newer_checkpoint(bench: Bench) -> None:
    bench.save(9)
    bench.promote(12)
    assert bench.step() == 12


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-500] ^= 4
    path.write_bytes(content)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def other_shape(path: Path) -> None:
    write_weights(path, {"one": torch.zeros(3), "two": torch.zeros(2, 2)}, step=99)


@pytest.mark.parametrize("damage", [cut, half, empty, flip, directory, other_shape, Path.unlink])
def test_what_is_damaged_or_gone_is_said_once_and_the_next_whole_ones_are_taken(
    bench: Bench, damage: Callable[[Path], None]
) -> None:
    bench.save(10)
    assert bench.step() == 10
    bench.save(20)
    damage(bench.path)
    assert [bench.step() for _ in range(3)] == [None] * 3
    (said,) = bench.said
    assert said[0] in ("weights_damaged", "weights_gone")
    assert said[1].endswith("; the pilot plays on with the weights of step 10")
    if bench.path.is_dir():
        bench.path.rmdir()
    bench.save(30)
    assert bench.step() == 30
    damage(bench.path)
    assert bench.step() is None
    assert len(bench.said) == 2


def test_many_damaged_files_in_a_row_are_one_sentence(bench: Bench) -> None:
    bench.save(10)
    assert bench.step() == 10
    for length in range(0, 500, 7):
        bench.path.write_bytes(os.urandom(length))
        assert bench.step() is None
    assert len(bench.said) == 1


def test_a_damaged_checkpoint_leaves_what_is_played_too(bench: Bench) -> None:
    bench.save(10)
    assert bench.step() == 10
    bench.damaged = True
    bench.promote(12)
    assert bench.step() is None
    (said,) = bench.said
    assert said[1].endswith("step-000000012 is damaged; the pilot plays on with the weights of step 10")


def test_where_the_newer_checkpoint_is_damaged_what_was_saved_before_it_does(bench: Bench) -> None:
    bench.save(10)
    assert bench.step() == 10
    bench.damaged = True
    bench.promote(12)
    bench.save(11)
    assert bench.step() == 11


def test_a_run_that_went_back_to_a_checkpoint_is_followed(bench: Bench) -> None:
    bench.promote(400)
    bench.save(500)
    assert bench.step() == 500
    bench.save(420)
    assert bench.step() == 420
