"""What the ego did, hidden or replaced: there and nowhere else, and the same for the same seed."""

from collections.abc import Callable

import torch

from exphil_core.dataset.batches import Batch
from exphil_core.encoding.action_dropout import drop_own_actions, replace_own_actions
from exphil_core.encoding.batch import TensorBatch, controller_at, to_tensors
from exphil_core.encoding.codecs import ControllerTensors
from exphil_core.replays.columns import MISSING, POSITION, PRE_COLUMNS

OWN = {POSITION[f"p0.{column.name}"] for column in PRE_COLUMNS}


def _batch(empty_batch: Callable[[int, int], Batch], put: Callable[..., None]) -> TensorBatch:
    host = empty_batch(8, 50)
    for column in PRE_COLUMNS:
        put(host, f"p0.{column.name}", 0.5 if column.group == "f32" else 0x0100)
        put(host, f"p1.{column.name}", 0.25 if column.group == "f32" else 0x0200)
    return to_tensors(host, "cpu")


def _others_equal(one: TensorBatch, other: TensorBatch) -> bool:
    for group, column in one.columns.items():
        keep = [at for at in range(column.shape[-1]) if (group, at) not in OWN]
        if not torch.equal(column[..., keep].nan_to_num(-9), other.columns[group][..., keep].nan_to_num(-9)):
            return False
    return True


def test_the_share_of_frames_is_hidden_and_nothing_else(
    empty_batch: Callable[[int, int], Batch], put: Callable[..., None]
) -> None:
    batch = _batch(empty_batch, put)
    seen = drop_own_actions(batch, seed=3, share=0.3)
    controller = controller_at(seen.columns)
    hidden = controller.main_x.isnan()
    assert torch.equal(hidden, controller.buttons == MISSING["u16"])
    assert 0.2 < hidden.float().mean() < 0.4
    assert (controller.main_x[~hidden] == 0.5).all()
    assert _others_equal(batch, seen)
    assert not controller_at(batch.columns).main_x.isnan().any()


def test_the_same_seed_hides_the_same_frames(
    empty_batch: Callable[[int, int], Batch], put: Callable[..., None]
) -> None:
    batch = _batch(empty_batch, put)
    one, same, other = (
        controller_at(drop_own_actions(batch, seed=seed, share=0.3).columns).main_x.isnan()
        for seed in (3, 3, 4)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_replaced_are_some_of_the_known_frames(
    empty_batch: Callable[[int, int], Batch], put: Callable[..., None]
) -> None:
    batch = _batch(empty_batch, put)
    guess = torch.full((8, 50), -1.0)
    known = torch.zeros(8, 50, dtype=torch.bool)
    known[:, 10:] = True
    seen = replace_own_actions(
        batch,
        ControllerTensors(guess, guess, guess, guess, guess, guess, torch.full((8, 50), 0x0400)),
        known,
        seed=5,
        share=0.5,
    )
    controller = controller_at(seen.columns)
    replaced = controller.main_x == -1
    assert torch.equal(replaced, controller.buttons == 0x0400)
    assert not replaced[:, :10].any()
    assert 0.4 < replaced[:, 10:].float().mean() < 0.6
    assert _others_equal(batch, seen)
