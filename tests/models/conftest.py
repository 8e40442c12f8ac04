"""Batches of columns for a policy, made up or from a real replay."""

import importlib
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch

from exphil_core.encoding.batch import TensorBatch
from exphil_core.replays.columns import LAYOUT, MISSING, POSITION

MakeBatch = Callable[[int, int], TensorBatch]


@pytest.fixture
def made_up_batch() -> MakeBatch:
    """(rows, frames) → a batch of random columns, some of them missing, none of them a likely game."""

    def make(rows: int, frames: int) -> TensorBatch:
        generator = torch.Generator().manual_seed(rows * 1000 + frames)
        f32 = torch.rand(rows, frames, len(LAYOUT["f32"]), generator=generator) * 2 - 1
        f32[:, :, POSITION["p1.hitlag"][1]] = torch.nan
        u16 = torch.randint(0, 300, (rows, frames, len(LAYOUT["u16"])), generator=generator)
        u8 = torch.randint(0, 5, (rows, frames, len(LAYOUT["u8"])), generator=generator)
        u8[:, :, POSITION["p1.hurtbox_state"][1]] = MISSING["u8"]
        u8[:, :, POSITION["p0.stocks"][1]] = 4
        reset = torch.zeros(rows, frames, dtype=torch.bool)
        reset[:, 0] = True
        return TensorBatch(
            columns={"f32": f32, "u16": u16.to(torch.int32), "u8": u8.to(torch.uint8)},
            frame_id=torch.arange(frames, dtype=torch.int32).expand(rows, -1),
            valid=torch.ones(rows, frames, dtype=torch.bool),
            reset=reset,
            ego_slot=torch.zeros(rows, dtype=torch.uint8),
            external_id=torch.full((rows,), 2, dtype=torch.uint8),
            stage=torch.full((rows,), 31, dtype=torch.uint8),
            mirror=torch.zeros(rows, dtype=torch.bool),
        )

    return make


@pytest.fixture(scope="session")
def transformers() -> Iterator[ModuleType]:
    """The package, kept quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("transformers")
        module.logging.set_verbosity_error()
        yield module


@pytest.fixture
def cuda() -> torch.device:
    """Skips where there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device("cuda")
