"""Jamba is the published one without its experts: against transformers, and by what each kind of layer hears."""

import math
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from exphil_core.config.backbones import JambaConfig
from exphil_core.errors import UsageError
from exphil_core.models.backbone import resolve_kernel
from exphil_core.models.jamba import JambaBackbone, JambaMixer
from exphil_core.models.mamba import MambaMixer
from tests.models.published import WIDTH, features, learned_by, stepped, stirred

CPU = torch.device("cpu")
LAYERS, HEADS, FRAMES = 5, 3, 37


def config(**values: Any) -> JambaConfig:
    defaults = {"width": WIDTH, "layers": LAYERS, "heads": HEADS, "window_size": 60, "kernel": "torch"}
    return JambaConfig(**{**defaults, **values})


NAMES = {
    "norm.weight": "input_layernorm.weight",
    "feed_forward_norm.weight": "pre_ff_layernorm.weight",
    "feed_forward.gate.weight": "feed_forward.gate_proj.weight",
    "feed_forward.wide.weight": "feed_forward.up_proj.weight",
    "feed_forward.back.weight": "feed_forward.down_proj.weight",
}
MAMBA_NAMES = {
    "mixer.in_proj.weight": "mamba.in_proj.weight",
    "mixer.conv1d.weight": "mamba.conv1d.weight",
    "mixer.conv1d.bias": "mamba.conv1d.bias",
    "mixer.x_proj.weight": "mamba.x_proj.weight",
    "mixer.dt_proj.weight": "mamba.dt_proj.weight",
    "mixer.dt_proj.bias": "mamba.dt_proj.bias",
    "mixer.A_log": "mamba.A_log",
    "mixer.D": "mamba.D",
    "mixer.out_proj.weight": "mamba.out_proj.weight",
    "mixer.dt_norm.weight": "mamba.dt_layernorm.weight",
    "mixer.B_norm.weight": "mamba.b_layernorm.weight",
    "mixer.C_norm.weight": "mamba.c_layernorm.weight",
}
"""Our names → those of transformers' JambaModel, within a layer."""


def from_transformers(theirs: dict[str, Tensor], configured: JambaConfig) -> dict[str, Tensor]:
    ours = {"norm.weight": theirs["final_layernorm.weight"]}
    for layer in range(configured.layers):
        attends = configured.is_attention(layer)
        for our, their in (NAMES if attends else NAMES | MAMBA_NAMES).items():
            ours[f"layers.{layer}.{our}"] = theirs[f"layers.{layer}.{their}"]
        if attends:
            ours[f"layers.{layer}.mixer.qkv.weight"] = torch.cat(
                [theirs[f"layers.{layer}.self_attn.{part}_proj.weight"] for part in "qkv"]
            )
            ours[f"layers.{layer}.mixer.out.weight"] = theirs[f"layers.{layer}.self_attn.o_proj.weight"]
    return ours


@pytest.mark.parametrize(("period", "offset"), [(3, 1), (2, 0)])
@torch.no_grad()
def test_equals_the_model_of_transformers(transformers: ModuleType, period: int, offset: int) -> None:
    torch.manual_seed(0)
    configured = config(attention_period=period, attention_offset=offset)
    reference = stirred(
        transformers.JambaModel(
            transformers.JambaConfig(
                vocab_size=2,
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                num_key_value_heads=HEADS,
                num_experts=1,
                attn_layer_period=period,
                attn_layer_offset=offset,
                mamba_d_state=16,
                mamba_dt_rank=math.ceil(WIDTH / 16),
            )
        )
    )
    backbone = JambaBackbone(configured).eval()
    backbone.load_state_dict(from_transformers(reference.state_dict(), configured), strict=True)
    for frames in (1, 2, FRAMES):
        x_BTD, reset_BT = features(frames)
        expected = reference(inputs_embeds=x_BTD, use_cache=False).last_hidden_state
        y_BTD, _ = backbone.forward(x_BTD, reset_BT)
        torch.testing.assert_close(y_BTD, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(stepped(backbone, x_BTD), expected, rtol=0, atol=1e-5)


def test_which_layers_attend_is_as_configured() -> None:
    backbone = JambaBackbone(config(attention_period=3, attention_offset=1))
    assert [isinstance(layer.mixer, MambaMixer) for layer in backbone.layers] == [1, 0, 1, 1, 0]
    state = backbone.initial_state(2, CPU, torch.float32)
    assert [part.shape[1] for part in state[:4]] == [3, 3, 2, 2]


def test_all_layers_may_attend() -> None:
    backbone = JambaBackbone(config(attention_period=1, attention_offset=0, window_size=9)).double()
    x_BTD, reset_BT = features(FRAMES, dtype=torch.float64)
    y_BTD, state = backbone(x_BTD, reset_BT)
    torch.testing.assert_close(stepped(backbone, x_BTD), y_BTD, rtol=0, atol=1e-9)
    assert state.ssm_BLIN.shape[1] == 0


def heard(backbone: JambaBackbone) -> list[bool]:
    """Which frames the last one of `FRAMES` hears of."""
    x_BTD, reset_BT = features(FRAMES, dtype=torch.float64)
    y_BTD, _ = backbone(x_BTD.requires_grad_(), reset_BT)
    (gradient,) = torch.autograd.grad(y_BTD[:, -1].square().sum(), x_BTD)
    return gradient.abs().sum((0, 2)).ne(0).tolist()


def test_attention_hears_its_band_and_mamba_all() -> None:
    banded = JambaBackbone(config(layers=1, attention_period=1, attention_offset=0, window_size=9)).double()
    assert heard(banded) == [FRAMES - 1 - t < 9 for t in range(FRAMES)]
    mixed = JambaBackbone(config(window_size=9)).double()
    assert all(heard(mixed))


def test_attention_has_no_positions() -> None:
    """Where all that differs is the order of the frames before it, an attention layer hears the same."""
    backbone = JambaBackbone(config(layers=1, attention_period=1, attention_offset=0)).double()
    x_BTD, reset_BT = features(FRAMES, dtype=torch.float64)
    y_BTD, _ = backbone(x_BTD, reset_BT)
    turned, _ = backbone(torch.cat([x_BTD[:, :-1].flip(1), x_BTD[:, -1:]], dim=1), reset_BT)
    torch.testing.assert_close(turned[:, -1], y_BTD[:, -1])


def test_large_activations_do_not_reach_what_a_mixer_selects_by() -> None:
    mixer = JambaMixer(config())
    selected = torch.randn(7, mixer.rank + 2 * mixer.d_state)
    for small, large in zip(mixer.select(selected), mixer.select(1000 * selected), strict=True):
        torch.testing.assert_close(large, small, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kernel", ["auto", "compiled", "fused"])
def test_every_kernel_that_is_there_agrees(kernel: Any) -> None:
    try:
        resolve_kernel(config(kernel=kernel), CPU)
    except UsageError as missing:
        pytest.skip(str(missing))
    torch.manual_seed(0)
    backbone = stirred(JambaBackbone(config(window_size=9)))
    other = JambaBackbone(config(window_size=9, kernel=kernel)).eval()
    other.load_state_dict(backbone.state_dict())
    x_BTD, reset_BT = features(FRAMES)
    reset_BT[1, 20] = True
    found = [learned_by(model, x_BTD, reset_BT, "ssm_BLIN") for model in (backbone, other)]
    for one, another in zip(*found, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-4, atol=1e-5)


def test_state_is_exact_where_the_products_are_bfloat16() -> None:
    backbone = JambaBackbone(config(window_size=9))
    x_BTD, reset_BT = features(FRAMES)
    with torch.autocast("cpu", torch.bfloat16):
        y_BTD, state = backbone(x_BTD.bfloat16(), reset_BT)
        y_BTD, state = backbone(x_BTD.bfloat16(), reset_BT, state)
    assert {part.dtype for part in (y_BTD, *state)} == {torch.float32, torch.int64}
    y_BTD.square().mean().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.gpu
def test_fused_kernels_do_as_torch_does() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    pytest.importorskip("mamba_ssm", reason="mamba-ssm is not installed: the extra 'cuda'")
    torch.manual_seed(0)
    backbone = stirred(JambaBackbone(config(window_size=9))).cuda()
    fused = JambaBackbone(config(window_size=9, kernel="fused")).cuda().eval()
    fused.load_state_dict(backbone.state_dict())
    x_BTD, reset_BT = (part.cuda() for part in features(FRAMES))
    reset_BT[1, 20] = True
    found = []
    for model in (backbone, fused):
        y_BTD, state = model(x_BTD, reset_BT)
        y_BTD.square().mean().backward()
        found.append([y_BTD, *state, *(parameter.grad for parameter in model.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)
