"""Mamba-2 is the published one: against transformers, against its own recurrence, and by the names of its weights."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from exphil_core.config.backbones import Mamba2Config
from exphil_core.models.mamba2 import BLOCK, Mamba2Backbone, Mamba2Mixer
from tests.models.published import WIDTH, features, found_by, stepped, stirred

CPU = torch.device("cpu")
LAYERS, HEAD_WIDTH, D_STATE = 3, 8, 10
FRAMES = 2 * BLOCK + 5


def config(**values: Any) -> Mamba2Config:
    defaults = {
        "width": WIDTH,
        "layers": LAYERS,
        "head_width": HEAD_WIDTH,
        "d_state": D_STATE,
        "kernel": "torch",
    }
    return Mamba2Config(**{**defaults, **values})


NAMES = {
    "layers.{}.norm.weight": "layers.{}.norm.weight",
    "layers.{}.mixer.in_proj.weight": "layers.{}.mixer.in_proj.weight",
    "layers.{}.mixer.conv1d.weight": "layers.{}.mixer.conv1d.weight",
    "layers.{}.mixer.conv1d.bias": "layers.{}.mixer.conv1d.bias",
    "layers.{}.mixer.dt_bias": "layers.{}.mixer.dt_bias",
    "layers.{}.mixer.A_log": "layers.{}.mixer.A_log",
    "layers.{}.mixer.D": "layers.{}.mixer.D",
    "layers.{}.mixer.norm.weight": "layers.{}.mixer.norm.weight",
    "layers.{}.mixer.out_proj.weight": "layers.{}.mixer.out_proj.weight",
    "norm.weight": "norm_f.weight",
}
"""Our names → those of transformers' Mamba2Model."""


@torch.no_grad()
def test_equals_the_model_of_transformers(transformers: ModuleType) -> None:
    torch.manual_seed(0)
    reference = stirred(
        transformers.Mamba2Model(
            transformers.Mamba2Config(
                vocab_size=2,
                hidden_size=WIDTH,
                num_heads=2 * WIDTH // HEAD_WIDTH,
                head_dim=HEAD_WIDTH,
                state_size=D_STATE,
                num_hidden_layers=LAYERS,
                n_groups=1,
                chunk_size=16,
            )
        )
    )
    theirs = reference.state_dict()
    backbone = Mamba2Backbone(config()).eval()
    backbone.load_state_dict(
        {
            ours.format(layer): theirs[name.format(layer)]
            for ours, name in NAMES.items()
            for layer in range(LAYERS)
        },
        strict=True,
    )
    for frames in (1, 2, BLOCK, FRAMES):
        x_BTD, reset_BT = features(frames)
        expected = reference(inputs_embeds=x_BTD).last_hidden_state
        y_BTD, _ = backbone.forward(x_BTD, reset_BT)
        torch.testing.assert_close(y_BTD, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(stepped(backbone, x_BTD), expected, rtol=0, atol=1e-5)


def test_weights_of_mamba_ssm_load_strictly() -> None:
    """Names and shapes as `mamba_ssm.Mamba2(d_model=24, d_state=10, headdim=8)` has them, listed by hand."""
    weights = {
        "dt_bias": torch.zeros(6),
        "A_log": torch.zeros(6),
        "D": torch.zeros(6),
        "in_proj.weight": torch.zeros(48 + 48 + 10 + 10 + 6, 24),
        "conv1d.weight": torch.zeros(48 + 10 + 10, 1, 4),
        "conv1d.bias": torch.zeros(48 + 10 + 10),
        "norm.weight": torch.zeros(48),
        "out_proj.weight": torch.zeros(24, 48),
    }
    Mamba2Mixer(config()).load_state_dict(weights, strict=True)


def written_out(mixer: Mamba2Mixer, x_TD: Tensor, conv_KX: Tensor, ssm_NI: Tensor) -> tuple[Tensor, ...]:
    """The mixer from the paper, of one row, frame by frame."""
    seen = list(conv_KX)
    state_HPN = ssm_NI.reshape(D_STATE, -1, HEAD_WIDTH).permute(1, 2, 0)
    outs = []
    for x_D in x_TD:
        gate_I, seen_X, dt_H = (mixer.in_proj.weight @ x_D).split([48, 68, 6])
        seen.append(seen_X)
        taps = mixer.conv1d.weight[:, 0].unbind(1)
        bias = mixer.conv1d.bias
        assert bias is not None
        seen_X = functional.silu(
            bias + sum(tap * frame for tap, frame in zip(taps, seen[-len(taps) :], strict=True))
        )
        u_I, B_N, C_N = seen_X.split([48, D_STATE, D_STATE])
        u_HP = u_I.view(-1, HEAD_WIDTH)
        dt_H = (1 + (dt_H + mixer.dt_bias).exp()).log()
        kept_H = (-dt_H * mixer.A_log.exp()).exp()
        state_HPN = kept_H[:, None, None] * state_HPN + (dt_H[:, None] * u_HP)[:, :, None] * B_N
        y_I = (state_HPN @ C_N + mixer.D[:, None] * u_HP).flatten() * gate_I * gate_I.sigmoid()
        y_I = y_I / (y_I.square().mean() + 1e-5).sqrt() * mixer.norm.weight
        outs.append(mixer.out_proj.weight @ y_I)
    last_NI = state_HPN.permute(2, 0, 1).reshape(D_STATE, -1)
    return torch.stack(outs), torch.stack(seen[-len(conv_KX) :]), last_NI


@pytest.mark.parametrize("frames", [1, BLOCK, FRAMES])
def test_a_mixer_is_its_recurrence_written_out(frames: int) -> None:
    torch.manual_seed(1)
    mixer = stirred(Mamba2Mixer(config()).double())
    x_BTD, _ = features(frames, dtype=torch.float64)
    conv_BKX = torch.randn(3, 3, 68, dtype=torch.float64, requires_grad=True)
    ssm_BNI = torch.randn(3, D_STATE, 48, dtype=torch.float64, requires_grad=True)
    expected = [written_out(mixer, *row) for row in zip(x_BTD, conv_BKX, ssm_BNI, strict=True)]
    found = mixer(x_BTD, conv_BKX, ssm_BNI, "torch")
    stacked = [torch.stack(rows) for rows in zip(*expected, strict=True)]
    weights = [torch.randn_like(part) for part in found]
    for part, wanted in zip(found, stacked, strict=True):
        torch.testing.assert_close(part, wanted, rtol=0, atol=1e-12)
    # And the gradient of every parameter, and of the state that came in, is that of the recurrence.
    given = x_BTD, conv_BKX, ssm_BNI
    found = [found_by(mixer, kernel, *given) for kernel in ("torch", "fused")]
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-2 * one.abs().max() + 1e-4
