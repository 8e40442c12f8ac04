"""Which targets count, and what a batch becomes on a device."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from exphil_core.dataset.batches import Batch
from exphil_core.encoding.batch import build_targets, to_tensors
from exphil_core.encoding.codecs import build_codec

CODEC = build_codec("clusters")
LENGTH, CHUNK, HORIZON = 12, 9, 3


@pytest.fixture
def host(empty_batch: Callable[[int, int], Batch], put: Callable[..., None]) -> Batch:
    """A row with a controller at every frame."""
    batch = empty_batch(1, LENGTH)
    for name in ("main_x", "main_y", "c_x", "c_y", "buttons"):
        put(batch, f"p0.{name}", 0)
    return batch


def mask(batch: Batch) -> list[bool]:
    found = build_targets(to_tensors(batch, "cpu"), CODEC, horizon=HORIZON, chunk_length=CHUNK)
    return found.mask_BT[0].tolist()


def test_every_frame_counts_where_nothing_is_missing(host: Batch) -> None:
    assert mask(host) == [True] * CHUNK


def test_padding_counts_neither_as_observation_nor_as_target(host: Batch) -> None:
    host.valid[0, 7:] = False
    assert mask(host) == [True] * 4 + [False] * 5


@pytest.mark.parametrize(("name", "missing"), [("c_y", np.nan), ("main_x", np.nan), ("buttons", 65535)])
def test_a_missing_controller_is_no_target(
    host: Batch, put: Callable[..., None], name: str, missing: float
) -> None:
    values = np.zeros(LENGTH)
    values[5] = missing
    put(host, f"p0.{name}", values)
    assert mask(host) == [t + HORIZON != 5 for t in range(CHUNK)]


def test_missing_triggers_are_no_reason_to_leave_a_target_out(host: Batch, put: Callable[..., None]) -> None:
    put(host, "p0.trigger_l", np.nan)
    assert mask(host) == [True] * CHUNK


def test_the_countdown_is_observed_but_no_target(host: Batch) -> None:
    host.frame_id[0] = np.arange(LENGTH) - 39 - 5
    assert mask(host) == [t + HORIZON >= 5 for t in range(CHUNK)]


def test_an_ego_without_stocks_is_not_imitated(host: Batch, put: Callable[..., None]) -> None:
    put(host, "p0.stocks", [1] * 4 + [0] * 8)
    assert mask(host) == [t < 4 for t in range(CHUNK)]


def test_a_batch_too_short_for_its_horizon_is_refused(host: Batch) -> None:
    batch = to_tensors(host, "cpu")
    with pytest.raises(ValueError, match="chunk_length \\+ horizon = 13"):
        build_targets(batch, CODEC, horizon=4, chunk_length=CHUNK)
    with pytest.raises(ValueError, match="horizon of at least 1"):
        build_targets(batch, CODEC, horizon=0, chunk_length=CHUNK)


def test_tensors_keep_the_missing_values(host: Batch) -> None:
    batch = to_tensors(host, "cpu")
    assert {group: values.dtype for group, values in batch.columns.items()} == {
        "f32": torch.float32,
        "u16": torch.int32,
        "u8": torch.uint8,
    }
    assert batch.columns["u16"].max() == 65535
    assert batch.columns["u8"].max() == 255
    assert batch.columns["f32"].isnan().any()
