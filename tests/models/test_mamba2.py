"""Mamba-2 is the published one: against transformers, against its own recurrence, and by the names of its weights."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from exphil_core.config.backbones import Mamba2Config
from exphil_core.errors import UsageError
from exphil_core.models import mamba2
from exphil_core.models.backbone import resolve_kernel
from exphil_core.models.mamba2 import BLOCK, Mamba2Backbone, Mamba2Mixer, matmul_scan, resolve_matmul
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
    learned = [conv_BKX, ssm_BNI, *mixer.parameters()]
    totals = [
        torch.stack([(part * weight).sum() for part, weight in zip(parts, weights, strict=True)]).sum()
        for parts in (found, stacked)
    ]
    ours, theirs = (torch.autograd.grad(total, learned) for total in totals)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("size", [1e-6, 0.05, 30.0])
def test_the_scan_and_its_gradient_hold_for_short_and_long_memories(size: float) -> None:
    """In float32, against the recurrence in float64: decays from next to none to e to the minus 480 a frame."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    dt_BTH = size * (0.5 + torch.rand(2, FRAMES, 3, generator=generator, dtype=torch.float64))
    A_H = torch.tensor([-1.0, -4.0, -16.0], dtype=torch.float64)
    given = [
        draw(2, FRAMES, 3, 4),
        dt_BTH,
        A_H,
        draw(2, FRAMES, 5),
        draw(2, FRAMES, 5),
        draw(3),
        draw(2, 5, 12),
    ]
    exact = [part.float().double().requires_grad_() for part in given]
    x_BTHP, dt_BTH, A_H, B_BTN, C_BTN, D_H, state_BNI = exact
    state_BNHP = state_BNI.view(2, 5, 3, 4)
    outs = []
    for t in range(FRAMES):
        kept_BH = (dt_BTH[:, t] * A_H).exp()
        written_BHP = dt_BTH[:, t, :, None] * x_BTHP[:, t]
        state_BNHP = (
            kept_BH[:, None, :, None] * state_BNHP + B_BTN[:, t, :, None, None] * written_BHP[:, None]
        )
        outs.append(torch.einsum("bnhp,bn->bhp", state_BNHP, C_BTN[:, t]) + D_H[:, None] * x_BTHP[:, t])
    expected = torch.stack(outs, dim=1).flatten(2), state_BNHP.flatten(2)

    rounded = [part.detach().float().requires_grad_() for part in exact]
    found = matmul_scan(*rounded)
    weights = [draw(*part.shape) for part in found]
    theirs = torch.autograd.grad(expected, exact, weights)
    ours = torch.autograd.grad(found, rounded, [weight.float() for weight in weights])
    for one, other in zip((*found, *ours), (*expected, *theirs), strict=True):
        assert one.isfinite().all()
        assert (one - other).abs().max() <= 1e-4 * other.abs().max() + 1e-6


def test_a_fresh_mixer_has_the_published_distribution() -> None:
    torch.manual_seed(0)
    mixer = Mamba2Mixer(config(width=256, head_width=1))
    dt_H = functional.softplus(mixer.dt_bias)
    assert 0.9e-3 < dt_H.min() < 1.5e-3
    assert 0.07 < dt_H.max() < 0.11
    assert 1 <= mixer.A_log.exp().min() < 1.5
    assert 15.5 < mixer.A_log.exp().max() <= 16.001
    assert mixer.D.eq(1).all()


def test_the_scan_is_exact_where_the_products_are_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.dtype] = []

    def blocks(part: Tensor) -> Tensor:
        given.append(part.dtype)
        return real(part)

    real = mamba2._blocks
    monkeypatch.setattr(mamba2, "_blocks", blocks)
    backbone = Mamba2Backbone(config())
    x_BTD, reset_BT = features(FRAMES)
    with torch.autocast("cpu", torch.bfloat16):
        y_BTD, state = backbone(x_BTD.bfloat16(), reset_BT)
        y_BTD.square().mean().backward()
    assert set(given) == {torch.float32}
    assert {part.dtype for part in (y_BTD, *state)} == {torch.float32}
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_a_kernel_that_is_not_there_is_refused_with_what_would_work() -> None:
    assert resolve_matmul("auto", CPU) == "torch"
    assert resolve_kernel(config(kernel="auto"), CPU) == "torch"
    with pytest.raises(UsageError, match=r"backbone\.kernel is 'fused'.* device is cpu.* expected 'torch'"):
        resolve_matmul("fused", CPU)


@pytest.mark.gpu
@torch.no_grad()
def test_a_mixer_equals_the_module_of_mamba_ssm(cuda: torch.device) -> None:
    theirs = pytest.importorskip("mamba_ssm", reason="mamba-ssm is not installed: the extra 'cuda'")
    torch.manual_seed(0)
    module = stirred(theirs.Mamba2(d_model=64, d_state=64, headdim=32)).to(cuda)
    for kernel in ("torch", "fused"):
        mixer = Mamba2Mixer(config(width=64, d_state=64, head_width=32)).to(cuda)
        mixer.load_state_dict(module.state_dict(), strict=True)
        x_BTD = torch.randn(2, 200, 64, device=cuda)
        zeros = x_BTD.new_zeros(2, 3, 128 + 2 * 64), x_BTD.new_zeros(2, 64, 128)
        y_BTD, _, _ = mixer(x_BTD, *zeros, kernel)
        # Their products round float32 to TF32.
        torch.testing.assert_close(y_BTD, module(x_BTD), rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
def test_fused_kernels_carry_state_and_gradients_as_torch_does(cuda: torch.device) -> None:
    pytest.importorskip("mamba_ssm", reason="mamba-ssm is not installed: the extra 'cuda'")
    torch.manual_seed(0)
    mixer = stirred(Mamba2Mixer(config(width=64, d_state=64, head_width=32))).to(cuda)
    x_BTD = torch.randn(2, 200, 64, device=cuda)
    conv_BKX = torch.randn(2, 3, 128 + 2 * 64, device=cuda, requires_grad=True)
    ssm_BNI = torch.randn(2, 64, 128, device=cuda, requires_grad=True)
    given = x_BTD, conv_BKX, ssm_BNI
    found = [found_by(mixer, kernel, *given) for kernel in ("torch", "fused")]
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-2 * one.abs().max() + 1e-4
