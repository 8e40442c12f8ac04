"""Reflection and noise: what they touch and what they leave alone."""

from collections.abc import Callable
from dataclasses import replace

import torch

from exphil_core.dataset.batches import Batch
from exphil_core.encoding.batch import TensorBatch, to_tensors
from exphil_core.encoding.mirror import apply_mirror
from exphil_core.encoding.noise import apply_noise
from exphil_core.replays.columns import LAYOUT, POSITION

Empty = Callable[[int, int], Batch]
Put = Callable[..., None]

NOISY = {"position_x", "position_y", "velocity_air_x", "velocity_ground_x", "velocity_y", "percent"}


def filled(empty_batch: Empty, rows: int) -> TensorBatch:
    batch = to_tensors(empty_batch(rows, 6), "cpu")
    numbers = torch.ones_like(batch.columns["f32"])
    return replace(batch, columns={**batch.columns, "f32": numbers})


def column(batch: TensorBatch, name: str) -> torch.Tensor:
    group, index = POSITION[name]
    return batch.columns[group][..., index]


def test_left_becomes_right_in_chosen_rows_only(empty_batch: Empty) -> None:
    batch = replace(filled(empty_batch, 2), mirror=torch.tensor([True, False]))
    mirrored = apply_mirror(batch)
    for name in (
        "p0.main_x",
        "p1.c_x",
        "p0.position_x",
        "n1.position_x",
        "p1.direction",
        "p0.velocity_air_x",
        "p0.velocity_ground_x",
        "p1.knockback_x",
        "item7.position_x",
        "item0.velocity_x",
    ):
        assert column(mirrored, name)[0].eq(-1).all(), name
        assert column(mirrored, name)[1].eq(1).all(), name
    for name in ("p0.main_y", "p0.position_y", "p1.percent", "p0.trigger_l", "item0.velocity_y", "n0.shield"):
        assert column(mirrored, name).eq(1).all(), name


def test_fountains_platforms_change_sides(empty_batch: Empty, put: Put) -> None:
    host = empty_batch(1, 3)
    put(host, "stage.fod_left", 20.0)
    host.mirror[:] = True
    mirrored = apply_mirror(to_tensors(host, "cpu"))
    assert column(mirrored, "stage.fod_right").eq(20.0).all()
    assert column(mirrored, "stage.fod_left").isnan().all()


def test_reflection_leaves_its_input_alone(empty_batch: Empty) -> None:
    batch = replace(filled(empty_batch, 1), mirror=torch.tensor([True]))
    apply_mirror(batch)
    assert batch.columns["f32"].eq(1).all()


def test_noise_touches_the_players_numbers_alone(empty_batch: Empty) -> None:
    batch = filled(empty_batch, 3)
    noisy = apply_noise(batch, seed=1, share=1.0, scale=0.01)
    touched = {name for name in LAYOUT["f32"] if not torch.equal(column(batch, name), column(noisy, name))}
    assert touched == {f"{who}.{name}" for who in ("p0", "p1") for name in NOISY}
    spread = (column(noisy, "p0.position_x") - 1).abs().max()
    assert 0 < spread < 100 * 0.01 * 6


def test_noise_keeps_missing_values_missing(empty_batch: Empty) -> None:
    batch = to_tensors(empty_batch(2, 4), "cpu")
    assert apply_noise(batch, seed=1, share=1.0, scale=0.1).columns["f32"].isnan().all()


def test_the_same_seed_gives_the_same_noise(empty_batch: Empty) -> None:
    batch = filled(empty_batch, 4)
    first, again, other = (apply_noise(batch, seed=seed, share=0.5, scale=0.1) for seed in (3, 3, 4))
    assert torch.equal(first.columns["f32"], again.columns["f32"])
    assert not torch.equal(first.columns["f32"], other.columns["f32"])


def test_noise_reaches_about_its_share_of_rows(empty_batch: Empty) -> None:
    batch = filled(empty_batch, 400)
    noisy = apply_noise(batch, seed=5, share=0.25, scale=0.1)
    rows = (noisy.columns["f32"] != 1).flatten(1).any(dim=1).float().mean()
    assert 0.15 < rows < 0.35


def test_without_a_share_the_batch_stays_as_it_is(empty_batch: Empty) -> None:
    batch = filled(empty_batch, 2)
    assert apply_noise(batch, seed=1, share=0.0, scale=0.1) is batch
