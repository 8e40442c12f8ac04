"""Actions between the states: what a policy knows of them, and from when."""

from dataclasses import replace

import pytest
import torch

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import TensorBatch
from exphil_core.models.attention import AttentionBackbone
from exphil_core.models.interleaved import InterleavedBackbone
from exphil_core.models.policy import Policy, build_policy, slice_frames
from exphil_core.replays.columns import POSITION

from .conftest import MakeBatch

REMEMBERING = [kind for kind in BACKBONE_KINDS if kind != "mlp"]
WINDOW = 6


def _policy(kind: str, **policy: object) -> Policy:
    torch.manual_seed(0)
    preset = Preset.model_validate(
        {
            "name": "small",
            "encoder": {"width": 32, "character_width": 8, "action_state_width": 8},
            "backbone": {"kind": kind, "width": 32, "window_size": WINDOW},
            "policy": {"head_width": 16, "prediction": "interleaved", **policy},
            "train": {"max_steps": 1},
        }
    )
    return build_policy(preset).eval()


def _with_main_x(batch: TensorBatch, t: int, value: float) -> TensorBatch:
    group, index = POSITION["p0.main_x"]
    columns = {name: column.clone() for name, column in batch.columns.items()}
    columns[group][:, t, index] = value
    return replace(batch, columns=columns)


@pytest.mark.parametrize("kind", REMEMBERING)
@torch.no_grad()
def test_an_action_changes_its_own_frame_and_later_ones_only(kind: str, made_up_batch: MakeBatch) -> None:
    policy = _policy(kind)
    batch = made_up_batch(2, 12)
    one, _ = policy.forward_features(_with_main_x(batch, 5, -1.0))
    other, _ = policy.forward_features(_with_main_x(batch, 5, 1.0))
    assert torch.equal(one[:, :5], other[:, :5])
    assert not torch.equal(one[:, 5], other[:, 5])
    assert not torch.equal(one[:, 6], other[:, 6])


@torch.no_grad()
def test_the_states_own_token_does_not_hold_the_action(made_up_batch: MakeBatch) -> None:
    policy = _policy("gru")
    batch = made_up_batch(2, 12)
    one, other = (
        policy.encode(_with_main_x(batch, 5, value))[:, 5].chunk(2, dim=-1) for value in (-1.0, 1.0)
    )
    assert not torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


@torch.no_grad()
def test_a_window_is_as_many_frames_as_without_the_actions(made_up_batch: MakeBatch) -> None:
    policy = _policy("attention")
    assert isinstance(policy.backbone, InterleavedBackbone)
    assert isinstance(policy.backbone.tokens, AttentionBackbone)
    layers = policy.backbone.tokens.config.layers
    reach = layers * (WINDOW - 1) + 1
    batch = made_up_batch(1, reach + 4)
    one, _ = policy.forward_features(_with_main_x(batch, 0, -1.0))
    other, _ = policy.forward_features(_with_main_x(batch, 0, 1.0))
    changed = (one != other).any(dim=-1)[0]
    assert changed[: reach - 1].all()
    assert not changed[reach + 1 :].any()


@pytest.mark.parametrize("kind", REMEMBERING)
@torch.no_grad()
def test_a_reset_forgets_the_actions_before_it(kind: str, made_up_batch: MakeBatch) -> None:
    policy = _policy(kind)
    batch = made_up_batch(2, 14)
    batch.reset[:, 7] = True
    whole, _ = policy.forward_features(batch)
    alone, _ = policy.forward_features(slice_frames(batch, 7, 14))
    torch.testing.assert_close(whole[:, 7:], alone, rtol=0, atol=1e-5)
    carried, _ = policy.forward_features(
        slice_frames(batch, 7, 14), policy.forward_features(slice_frames(batch, 0, 7))[1]
    )
    torch.testing.assert_close(carried, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", REMEMBERING)
def test_both_tokens_learn(kind: str, made_up_batch: MakeBatch) -> None:
    policy = _policy(kind)
    nll_BTK, _, _ = policy.nll(made_up_batch(3, 20))
    nll_BTK.sum().backward()
    for name in ("encoder.project.weight", "encoder.state.project.weight"):
        gradient = policy.get_parameter(name).grad
        assert gradient is not None
        assert gradient.abs().sum() > 0
