"""Laws of observations and targets: alignment, only what is visible, reflection."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from exphil_core.config.encoder import EncoderConfig
from exphil_core.dataset.batches import Batch
from exphil_core.encoding.batch import TensorBatch, build_targets, controller_at, to_tensors
from exphil_core.encoding.codecs import CodecName, ControllerTensors, build_codec
from exphil_core.encoding.mirror import apply_mirror
from exphil_core.encoding.observation import ObservationEncoder
from exphil_core.melee.action_states import COUNT
from exphil_core.melee.controller import BUTTON_BITS, BUTTON_MASK, BUTTONS
from exphil_core.replays.columns import DTYPES, GROUPS, HALF, LAYOUT, MISSING, POSITION, PRE_COLUMNS, Group
from exphil_core.replays.pack import pack_game
from exphil_core.replays.parse import parse_replay

CONFIG = EncoderConfig(width=32, character_width=8, action_state_width=8)


def batch_of(length: int, rows: int = 4, seed: int = 0, missing: float = 0.1, stage: int = 8) -> Batch:
    """Random but possible columns, a share of them missing."""
    rng = np.random.default_rng(seed)
    columns: dict[Group, np.ndarray] = {
        "f32": rng.normal(0, 30, (rows, length, len(LAYOUT["f32"]))).astype(np.float32),
        "u16": rng.integers(0, COUNT, (rows, length, len(LAYOUT["u16"]))).astype(np.uint16),
        "u8": rng.integers(0, 4, (rows, length, len(LAYOUT["u8"]))).astype(np.uint8),
    }
    for group in GROUPS:
        columns[group][rng.random(columns[group].shape) < missing] = MISSING[group]
        assert columns[group].dtype == DTYPES[group]
    for name in ("main_x", "main_y", "c_x", "c_y"):
        columns["f32"][..., POSITION[f"p0.{name}"][1]] = rng.integers(-80, 81, (rows, length)) / 80
    columns["u8"][..., POSITION["p0.stocks"][1]] = 4
    return Batch(
        columns=columns,
        frame_id=np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
        valid=np.ones((rows, length), np.bool_),
        reset=np.tile(np.arange(length) == 0, (rows, 1)),
        ego_slot=(np.arange(rows) % 2).astype(np.uint8),
        external_id=np.zeros(rows, np.uint8),
        stage=np.full(rows, stage, np.uint8),
        mirror=np.zeros(rows, np.bool_),
        game=np.arange(rows, dtype=np.int32),
        start=np.zeros(rows, np.int32),
    )


def tensors_of(length: int, seed: int = 0, missing: float = 0.1) -> TensorBatch:
    return to_tensors(batch_of(length, seed=seed, missing=missing), "cpu")


def encoder() -> ObservationEncoder:
    torch.manual_seed(0)
    return ObservationEncoder(CONFIG).eval()


def observe(module: ObservationEncoder, batch: TensorBatch) -> Tensor:
    return module(batch.columns, batch.frame_id, batch.stage, batch.ego_slot, batch.mirror)


def changed(batch: TensorBatch, frames: slice, names: list[str], seed: int = 9) -> TensorBatch:
    """Other values in the named columns at those frames."""
    other = tensors_of(batch.frame_id.shape[1], seed=seed, missing=0.0)
    columns = {group: values.clone() for group, values in batch.columns.items()}
    for name in names:
        group, index = POSITION[name]
        columns[group][:, frames, index] = other.columns[group][:, frames, index]
    return replace(batch, columns=columns)


@pytest.mark.parametrize("horizon", [1, 2, 19])
@pytest.mark.parametrize("codec_name", get_args(CodecName))
def test_the_target_of_t_is_the_controller_of_t_plus_horizon(codec_name: CodecName, horizon: int) -> None:
    codec = build_codec(codec_name)
    length, chunk = 60, 40
    host = batch_of(length, rows=1)
    # A controller that tells its frame: which of the 256 combinations of buttons is held.
    bits = np.array([BUTTON_BITS[name] for name in BUTTONS])
    held = [int(bits[[bool(frame & 1 << k) for k in range(8)]].sum()) for frame in range(length)]
    host.columns["u16"][0, :, POSITION["p0.buttons"][1]] = held
    found = build_targets(to_tensors(host, "cpu"), codec, horizon=horizon, chunk_length=chunk)
    assert found.mask_BT.all()
    assert codec.decode(found.tokens_BTK).buttons[0].tolist() == held[horizon : horizon + chunk]
    assert codec.decode(found.previous_BTK).buttons[0].tolist() == held[:chunk]


def test_what_is_seen_at_t_depends_on_frame_t_alone() -> None:
    module, batch = encoder(), tensors_of(12)
    before = observe(module, batch)
    for t in (0, 5, 11):
        others = changed(changed(batch, slice(0, t), list(POSITION)), slice(t + 1, None), list(POSITION))
        after = observe(module, others)
        assert torch.equal(before[:, t], after[:, t])
        assert not torch.equal(before, after)


def test_the_opponents_controller_is_not_seen() -> None:
    module, batch = encoder(), tensors_of(6)
    names = [f"p1.{column.name}" for column in PRE_COLUMNS]
    assert torch.equal(observe(module, batch), observe(module, changed(batch, slice(None), names)))


@pytest.mark.parametrize("name", [column.name for column in PRE_COLUMNS])
def test_the_egos_own_controller_is_seen(name: str) -> None:
    module, batch = encoder(), tensors_of(6)
    assert not torch.equal(
        observe(module, batch), observe(module, changed(batch, slice(None), [f"p0.{name}"]))
    )


def test_frame_by_frame_equals_the_whole_window() -> None:
    module, batch = encoder(), tensors_of(10)
    whole = observe(module, batch)
    for t in range(10):
        columns = {group: values[:, t : t + 1] for group, values in batch.columns.items()}
        one = module(columns, batch.frame_id[:, t : t + 1], batch.stage, batch.ego_slot, batch.mirror)
        torch.testing.assert_close(one[:, 0], whole[:, t])


@pytest.mark.parametrize("missing", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("mode", ["learned", "one_hot"])
def test_what_is_missing_never_reaches_the_network_as_nan(mode: str, missing: float) -> None:
    module = ObservationEncoder(CONFIG.model_copy(update={"character_mode": mode}))
    batch = tensors_of(8, missing=missing)
    if missing == 1.0:
        everything = {
            group: torch.full_like(values, MISSING[group]) for group, values in batch.columns.items()
        }
        batch = replace(batch, columns=everything)
    x = observe(module, batch)
    x.square().sum().backward()
    assert x.isfinite().all()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())


def test_reflecting_twice_changes_nothing() -> None:
    batch = replace(tensors_of(8), mirror=torch.tensor([True, False, True, True]))
    twice = apply_mirror(apply_mirror(batch))
    for group in GROUPS:
        torch.testing.assert_close(twice.columns[group], batch.columns[group], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("codec_name", get_args(CodecName))
def test_a_reflected_row_has_reflected_targets(codec_name: CodecName) -> None:
    codec = build_codec(codec_name)
    batch = replace(tensors_of(30), mirror=torch.tensor([True, False, True, False]))
    plain = codec.decode(codec.encode(controller_at(batch.columns)))
    reflected = codec.decode(codec.encode(controller_at(apply_mirror(batch).columns)))
    sign = torch.where(batch.mirror, -1.0, 1.0)[:, None]
    for name in ControllerTensors._fields:
        expected = getattr(plain, name) * (sign if name in ("main_x", "c_x") else 1)
        assert torch.equal(getattr(reflected, name), expected), name


@pytest.mark.parametrize("slot", [0, 1])
def test_a_real_game_is_seen_and_aimed_at_from_both_sides(replays: Path, slot: int) -> None:
    codec, module, length = build_codec("clusters"), encoder(), 600
    for name in ("ics_vs_falco_dl_v3.12.0", "falco_vs_falcon_ys_v2.0.1", "fox_vs_ganon_dl_v0.1.0"):
        game = parse_replay(replays / "games" / f"{name}.slp")
        packed = pack_game(game)
        columns = {}
        for group in GROUPS:
            first, second, rest = np.split(
                packed.groups[group][:length], [HALF[group], 2 * HALF[group]], axis=1
            )
            halves = (first, second, rest) if slot == 0 else (second, first, rest)
            columns[group] = np.concatenate(halves, axis=1)[None]
        host = replace(
            batch_of(length, rows=1),
            columns=columns,
            frame_id=packed.frame_id[None, :length],
            stage=np.array([game.external_stage_id], np.uint8),
            ego_slot=np.array([slot], np.uint8),
        )
        batch = to_tensors(host, "cpu")
        assert observe(module, batch).isfinite().all()
        found = build_targets(batch, codec, horizon=1, chunk_length=length - 1)
        assert torch.equal(found.mask_BT[0], batch.frame_id[0, 1:] >= -39)
        buttons = torch.from_numpy(game.players[slot].leader["buttons"][1:length].astype(np.int64))
        assert torch.equal(codec.decode(found.tokens_BTK).buttons[0], buttons & BUTTON_MASK)
