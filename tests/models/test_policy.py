"""A policy is what its preset says, and its two faces agree."""

from dataclasses import replace

import pytest
import torch

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import build_targets
from exphil_core.models.policy import Policy, build_policy, prediction_mask, slice_frames

from .conftest import MakeBatch


def _preset(kind: str = "gru", **policy: object) -> Preset:
    return Preset.model_validate(
        {
            "name": "small",
            "encoder": {"width": 32, "character_width": 8, "action_state_width": 8},
            "backbone": {"kind": kind, "width": 32, "window_size": 6},
            "policy": {"head_width": 16, **policy},
            "train": {"max_steps": 1},
        }
    )


def _policy(kind: str = "gru", **policy: object) -> Policy:
    torch.manual_seed(0)
    return build_policy(_preset(kind, **policy)).eval()


@pytest.mark.parametrize("codec", ["clusters", "axes"])
@pytest.mark.parametrize("kind", BACKBONE_KINDS)
def test_every_kind_and_codec_scores_a_batch_and_learns(
    kind: str, codec: str, made_up_batch: MakeBatch
) -> None:
    policy = _policy(kind, codec=codec, delay=2)
    batch = made_up_batch(3, 20)
    nll_BTK, targets, _ = policy.nll(batch)
    assert nll_BTK.shape == (3, 17, len(policy.codec.components))
    assert nll_BTK.dtype == torch.float32
    assert targets.mask_BT.all()
    nll_BTK.sum().backward()
    unused = [name for name, p in policy.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in unused if not name.startswith("encoder.")]


def test_the_embeddings_of_ids_learn(made_up_batch: MakeBatch) -> None:
    policy = _policy()
    nll_BTK, _, _ = policy.nll(made_up_batch(3, 20))
    nll_BTK.sum().backward()
    embeddings = {
        name: module for name, module in policy.named_modules() if isinstance(module, torch.nn.Embedding)
    }
    assert len(embeddings) >= 9
    for name, module in embeddings.items():
        assert module.weight.grad is not None, name
        assert module.weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("delay", [0, 3])
def test_the_target_lies_one_frame_and_the_delay_ahead(delay: int, made_up_batch: MakeBatch) -> None:
    policy = _policy(delay=delay)
    batch = made_up_batch(2, 12)
    _, targets, _ = policy.nll(batch)
    expected = build_targets(batch, policy.codec, horizon=1 + delay, chunk_length=11 - delay)
    assert torch.equal(targets.tokens_BTK, expected.tokens_BTK)


def test_what_lies_ahead_changes_the_target_and_not_the_features(made_up_batch: MakeBatch) -> None:
    policy = _policy()
    batch = made_up_batch(2, 12)
    before, _ = policy.forward_features(slice_frames(batch, 0, 11))
    last_frame_changed = {group: column.clone() for group, column in batch.columns.items()}
    for column in last_frame_changed.values():
        column[:, -1] = 0
    changed = replace(batch, columns=last_frame_changed)
    after, _ = policy.forward_features(slice_frames(changed, 0, 11))
    assert torch.equal(before, after)
    one, other = policy.nll(batch)[0], policy.nll(changed)[0]
    assert torch.equal(one[:, :-1], other[:, :-1])
    assert not torch.equal(one[:, -1], other[:, -1])


@pytest.mark.parametrize("kind", BACKBONE_KINDS)
@torch.no_grad()
def test_state_carried_over_chunks_gives_the_nats_of_the_whole(kind: str, made_up_batch: MakeBatch) -> None:
    policy = _policy(kind)
    batch = made_up_batch(2, 31)
    whole, _, _ = policy.nll(batch)
    first, _, state = policy.nll(slice_frames(batch, 0, 11))
    second, _, _ = policy.nll(slice_frames(batch, 10, 31), state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_nats_are_those_of_the_distributions(made_up_batch: MakeBatch) -> None:
    policy = _policy()
    batch = made_up_batch(2, 9)
    nll_BTK, targets, _ = policy.nll(batch)
    parts, _ = policy.distributions(slice_frames(batch, 0, 8), targets.tokens_BTK)
    picked = [
        part.gather(-1, token[..., None])[..., 0]
        for part, token in zip(parts, targets.tokens_BTK.unbind(-1), strict=True)
    ]
    torch.testing.assert_close(-torch.stack(picked, dim=-1), nll_BTK)


def test_prediction_last_counts_the_last_frame_of_each_window(made_up_batch: MakeBatch) -> None:
    policy = _policy()
    _, targets, _ = policy.nll(made_up_batch(2, 9))
    assert torch.equal(prediction_mask(targets, "dense"), targets.mask_BT)
    assert prediction_mask(targets, "last").nonzero().tolist() == [[0, 7], [1, 7]]


def test_describe_counts_every_parameter_once() -> None:
    policy = _policy()
    parts = policy.describe()
    assert list(parts) == ["encoder", "backbone", "head"]
    assert sum(parts.values()) == sum(parameter.numel() for parameter in policy.parameters())
