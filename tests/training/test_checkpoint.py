"""A checkpoint is whole or it is not one."""

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from exphil_core.errors import CheckpointError, DiskFullError, InaccessibleCheckpointError
from exphil_core.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        step=step,
        model={"weight": torch.full((4, 3), float(step))},
        config={"name": "test"},
        optimizer={"exp_avg/weight": torch.ones(4, 3)},
        rng={"cpu": torch.get_rng_state()},
        trainer={"seconds": 1.5},
        carried={"0/hidden": torch.full((2, 3), float(step)), "0/valid": torch.ones(2, dtype=torch.bool)},
    )


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = checkpoint(7)
    loaded = load_checkpoint(save_checkpoint(tmp_path / "step-000000007", saved))
    assert loaded.step == 7
    assert torch.equal(loaded.model["weight"], saved.model["weight"])
    assert torch.equal(loaded.optimizer["exp_avg/weight"], saved.optimizer["exp_avg/weight"])
    assert torch.equal(loaded.rng["cpu"], saved.rng["cpu"])
    assert loaded.trainer["seconds"] == 1.5
    assert all(torch.equal(loaded.carried[name], part) for name, part in saved.carried.items())
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000007"]


def test_a_checkpoint_without_a_carried_state_has_no_file_for_it(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "step", replace(checkpoint(1), carried={}))
    assert not list(path.glob("carried*"))
    assert load_checkpoint(path).carried == {}


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "optimizer.safetensors",
        "rng-0.safetensors",
        "carried-0.safetensors",
        "trainer.json",
        "config.json",
    ],
)
def test_a_flipped_bit_a_cut_and_a_missing_file_are_found_in_every_file(tmp_path: Path, name: str) -> None:
    path = save_checkpoint(tmp_path / "step", checkpoint(1)) / name
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    for damaged in (bytes(flipped), whole[:-1], None):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=name):
            load_checkpoint(tmp_path / "step")
        path.write_bytes(whole)
    load_checkpoint(tmp_path / "step")


def test_a_checkpoint_without_its_manifest_is_none(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "step", checkpoint(1))
    (path / "MANIFEST.json").unlink()
    with pytest.raises(CheckpointError, match=r"MANIFEST\.json"):
        load_checkpoint(path)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path: Path) -> None:
    older = save_checkpoint(tmp_path / "step-1", checkpoint(1))
    newer = save_checkpoint(tmp_path / "step-2", checkpoint(2))
    os.truncate(newer / "model.safetensors", 10)
    warnings: list[str] = []
    loaded = load_newest([newer, older], warn=lambda code, text: warnings.append(text))
    assert loaded is not None
    assert loaded.step == 1
    assert len(warnings) == 1
    assert "step-2" in warnings[0]
    os.truncate(older / "model.safetensors", 10)
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        load_newest([newer, older], warn=lambda code, text: None)


def test_a_full_disk_leaves_the_checkpoint_before_it_and_no_litter(tmp_path, monkeypatch) -> None:
    save_checkpoint(tmp_path / "step-1", checkpoint(1))

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="step-2"):
        save_checkpoint(tmp_path / "step-2", checkpoint(2))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert load_checkpoint(tmp_path / "step-1").step == 1


def test_a_folder_whose_name_is_no_text_holds_checkpoints(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    loaded = load_checkpoint(save_checkpoint(folder / "step-000000003", checkpoint(3)))
    assert (loaded.step, float(loaded.model["weight"][0, 0])) == (3, 3.0)


@pytest.mark.parametrize(
    ("number", "helps"), [(errno.EMFILE, "ulimit -n"), (errno.EACCES, "permissions"), (errno.EIO, "disk")]
)
@pytest.mark.parametrize("file", ["MANIFEST.json", "model.safetensors", "optimizer.safetensors"])
def test_what_cannot_be_read_now_is_not_damaged_and_nothing_older_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, helps: str, file: str
) -> None:
    directories = [save_checkpoint(tmp_path / f"step-{step}", checkpoint(step)) for step in (2, 1)]
    real = Path.open

    def open_or_not(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == directories[0] / file:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_or_not)
    warned: list[str] = []
    with pytest.raises(InaccessibleCheckpointError, match=helps):
        load_newest(directories, warn=lambda code, text: warned.append(text))
    assert not warned
