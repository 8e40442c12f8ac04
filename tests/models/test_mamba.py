"""Mamba is the published one: against transformers, against its own recurrence, and by the names of its weights."""

import math
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from exphil_core.config.backbones import MambaConfig
from exphil_core.errors import UsageError
from exphil_core.models import mamba
from exphil_core.models.backbone import resolve_kernel
from exphil_core.models.mamba import MambaBackbone, MambaMixer
from tests.models.published import WIDTH, features, found_by, learned_by, stepped, stirred

CPU = torch.device("cpu")
LAYERS, FRAMES = 3, 37


def config(**values: Any) -> MambaConfig:
    return MambaConfig(**{"width": WIDTH, "layers": LAYERS, "kernel": "torch", **values})


NAMES = {
    "layers.{}.norm.weight": "layers.{}.norm.weight",
    "layers.{}.mixer.in_proj.weight": "layers.{}.mixer.in_proj.weight",
    "layers.{}.mixer.conv1d.weight": "layers.{}.mixer.conv1d.weight",
    "layers.{}.mixer.conv1d.bias": "layers.{}.mixer.conv1d.bias",
    "layers.{}.mixer.x_proj.weight": "layers.{}.mixer.x_proj.weight",
    "layers.{}.mixer.dt_proj.weight": "layers.{}.mixer.dt_proj.weight",
    "layers.{}.mixer.dt_proj.bias": "layers.{}.mixer.dt_proj.bias",
    "layers.{}.mixer.A_log": "layers.{}.mixer.A_log",
    "layers.{}.mixer.D": "layers.{}.mixer.D",
    "layers.{}.mixer.out_proj.weight": "layers.{}.mixer.out_proj.weight",
    "norm.weight": "norm_f.weight",
}
"""Our names → those of transformers' MambaModel."""


@pytest.mark.parametrize(("d_state", "d_conv", "dt_rank"), [(16, 4, None), (5, 3, 7)])
@torch.no_grad()
def test_equals_the_model_of_transformers(
    transformers: ModuleType, d_state: int, d_conv: int, dt_rank: int | None
) -> None:
    torch.manual_seed(0)
    reference = stirred(
        transformers.MambaModel(
            transformers.MambaConfig(
                vocab_size=2,
                hidden_size=WIDTH,
                state_size=d_state,
                num_hidden_layers=LAYERS,
                conv_kernel=d_conv,
                expand=2,
                time_step_rank=dt_rank or math.ceil(WIDTH / 16),
            )
        )
    )
    theirs = reference.state_dict()
    backbone = MambaBackbone(config(d_state=d_state, d_conv=d_conv, dt_rank=dt_rank)).eval()
    backbone.load_state_dict(
        {
            ours.format(layer): theirs[name.format(layer)]
            for ours, name in NAMES.items()
            for layer in range(LAYERS)
        },
        strict=True,
    )
    for frames in (1, 2, FRAMES):
        x_BTD, reset_BT = features(frames)
        expected = reference(inputs_embeds=x_BTD).last_hidden_state
        y_BTD, _ = backbone.forward(x_BTD, reset_BT)
        torch.testing.assert_close(y_BTD, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(stepped(backbone, x_BTD), expected, rtol=0, atol=1e-5)


def test_weights_of_mamba_ssm_load_strictly() -> None:
    """Names and shapes as `mamba_ssm.Mamba(d_model=24)` has them, listed by hand."""
    weights = {
        "A_log": torch.zeros(48, 16),
        "D": torch.zeros(48),
        "in_proj.weight": torch.zeros(96, 24),
        "conv1d.weight": torch.zeros(48, 1, 4),
        "conv1d.bias": torch.zeros(48),
        "x_proj.weight": torch.zeros(2 + 16 + 16, 48),
        "dt_proj.weight": torch.zeros(48, 2),
        "dt_proj.bias": torch.zeros(48),
        "out_proj.weight": torch.zeros(24, 48),
    }
    MambaMixer(config()).load_state_dict(weights, strict=True)


def written_out(mixer: MambaMixer, x_TD: Tensor, conv_KI: Tensor, ssm_IN: Tensor) -> tuple[Tensor, ...]:
    """The mixer from the paper, channel by channel of one row, frame by frame."""
    seen = list(conv_KI)
    outs = []
    for x_D in x_TD:
        u_I, gate_I = (mixer.in_proj.weight @ x_D).tensor_split(2)
        seen.append(u_I)
        taps = mixer.conv1d.weight[:, 0].unbind(1)
        bias = mixer.conv1d.bias
        assert bias is not None
        u_I = functional.silu(
            bias + sum(tap * frame for tap, frame in zip(taps, seen[-len(taps) :], strict=True))
        )
        dt_R, B_N, C_N = (mixer.x_proj.weight @ u_I).tensor_split((mixer.rank, mixer.rank + mixer.d_state))
        dt_I = (1 + (mixer.dt_proj.weight @ dt_R + mixer.dt_proj.bias).exp()).log()
        A_IN = -mixer.A_log.exp()
        ssm_IN = (dt_I[:, None] * A_IN).exp() * ssm_IN + (dt_I * u_I)[:, None] * B_N
        y_I = ssm_IN @ C_N + mixer.D * u_I
        outs.append(mixer.out_proj.weight @ (y_I * gate_I * gate_I.sigmoid()))
    return torch.stack(outs), torch.stack(seen[-len(conv_KI) :]), ssm_IN


def test_a_mixer_is_its_recurrence_written_out() -> None:
    torch.manual_seed(1)
    mixer = stirred(MambaMixer(config()).double())
    x_BTD, _ = features(FRAMES, dtype=torch.float64)
    conv_BKI = torch.randn(3, 3, 48, dtype=torch.float64)
    ssm_BIN = torch.randn(3, 48, 16, dtype=torch.float64)
    expected = [written_out(mixer, *row) for row in zip(x_BTD, conv_BKI, ssm_BIN, strict=True)]
    found = mixer(x_BTD, conv_BKI, ssm_BIN, "torch")
    for part, rows in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(part, torch.stack(rows), rtol=0, atol=1e-12)
    # And the gradient of every parameter is that of the recurrence.
    weights = torch.randn_like(found[0])
    ours = torch.autograd.grad((found[0] * weights).sum(), list(mixer.parameters()))
    theirs = torch.autograd.grad(
        (torch.stack([out for out, _, _ in expected]) * weights).sum(), list(mixer.parameters())
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kernel", ["auto", "compiled", "fused"])
def test_every_kernel_that_is_there_agrees(kernel: Any) -> None:
    try:
        resolve_kernel(config(kernel=kernel), CPU)
    except UsageError as missing:
        pytest.skip(str(missing))
    torch.manual_seed(0)
    backbone = stirred(MambaBackbone(config()))
    other = MambaBackbone(config(kernel=kernel)).eval()
    other.load_state_dict(backbone.state_dict())
    x_BTD, reset_BT = features(FRAMES)
    reset_BT[1, 20] = True
    found = [learned_by(model, x_BTD, reset_BT, "ssm_BLMM") for model in (backbone, other)]
    for one, another in zip(*found, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-5)


def test_a_fresh_mixer_remembers_from_ten_frames_to_a_thousand() -> None:
    torch.manual_seed(0)
    mixer = MambaMixer(config(width=256))
    dt_I = functional.softplus(mixer.dt_proj.bias)
    assert 0.9e-3 < dt_I.min() < 1.5e-3
    assert 0.07 < dt_I.max() < 0.11
    torch.testing.assert_close(mixer.decays(), -torch.arange(1.0, 17.0).expand(512, 16))
    assert mixer.D.eq(1).all()


def test_the_scan_is_exact_where_the_products_are_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.dtype] = []

    def scan(*tensors: Tensor, kernel: str) -> tuple[Tensor, Tensor]:
        given.extend(tensor.dtype for tensor in tensors)
        return real(*tensors, kernel=kernel)

    real = mamba.selective_scan
    monkeypatch.setattr(mamba, "selective_scan", scan)
    backbone = MambaBackbone(config())
    x_BTD, reset_BT = features(FRAMES)
    with torch.autocast("cpu", torch.bfloat16):
        y_BTD, state = backbone(x_BTD.bfloat16(), reset_BT)
    assert set(given) == {torch.float32}
    assert {part.dtype for part in (y_BTD, *state)} == {torch.float32}
    y_BTD.square().mean().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_dropout_is_of_what_a_layer_adds() -> None:
    backbone = MambaBackbone(config(dropout=0.999)).train()
    x_BTD, reset_BT = features(FRAMES)
    torch.manual_seed(0)
    y_BTD, _ = backbone(x_BTD, reset_BT)
    same = (y_BTD - backbone.norm(x_BTD)).abs().lt(1e-6).float().mean()
    assert 0.7 < same < 1


@pytest.mark.gpu
@torch.no_grad()
def test_a_mixer_equals_the_module_of_mamba_ssm(cuda: torch.device) -> None:
    theirs = pytest.importorskip("mamba_ssm", reason="mamba-ssm is not installed: the extra 'cuda'")
    torch.manual_seed(0)
    module = stirred(theirs.Mamba(d_model=64)).to(cuda)
    for kernel in ("torch", "fused"):
        mixer = MambaMixer(config(width=64)).to(cuda)
        mixer.load_state_dict(module.state_dict(), strict=True)
        x_BTD = torch.randn(2, 200, 64, device=cuda)
        zeros = x_BTD.new_zeros(2, 3, 128), x_BTD.new_zeros(2, 128, 16)
        y_BTD, _, _ = mixer(x_BTD, *zeros, kernel)
        torch.testing.assert_close(y_BTD, module(x_BTD), rtol=0, atol=1e-4)


@pytest.mark.gpu
def test_fused_kernels_carry_state_and_gradients_as_torch_does(cuda: torch.device) -> None:
    pytest.importorskip("mamba_ssm", reason="mamba-ssm is not installed: the extra 'cuda'")
    torch.manual_seed(0)
    mixer = stirred(MambaMixer(config(width=64))).to(cuda)
    x_BTD = torch.randn(2, 200, 64, device=cuda)
    conv_BKI = torch.randn(2, 3, 128, device=cuda, requires_grad=True)
    ssm_BIN = torch.randn(2, 128, 16, device=cuda, requires_grad=True)
    given = x_BTD, conv_BKI, ssm_BIN
    found = [found_by(mixer, kernel, *given) for kernel in ("torch", "fused")]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)
