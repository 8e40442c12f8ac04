"""Every backbone has two faces with one meaning, and time runs one way through both.

`forward` over a chunk, `step` over its frames, and chunks with the state carried between them are the same
function; resets cut; the future and other rows never reach a frame.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from exphil_core.config.backbones import (
    AttentionConfig,
    BackboneConfig,
    GruConfig,
    JambaConfig,
    LstmConfig,
    LstmHybridConfig,
    Mamba2Config,
    MambaConfig,
    MlpConfig,
    TxLikeConfig,
)
from exphil_core.models.backbone import Backbone, build_backbone

WINDOW = 9
FRAMES = 4 * WINDOW + 5
LONG = 2 * 4 * 32 + 7
"""More than the frames from which attention goes block by block."""

CONFIGS = [
    pytest.param(MlpConfig(window_size=WINDOW, width=24, layers=2), id="mlp"),
    pytest.param(MlpConfig(window_size=WINDOW, width=24, layers=2, residual=False), id="mlp-plain"),
    pytest.param(GruConfig(window_size=WINDOW, width=24, layers=2), id="gru"),
    pytest.param(LstmConfig(window_size=WINDOW, width=24, layers=2), id="lstm"),
    pytest.param(
        LstmHybridConfig(window_size=WINDOW, width=24, layers=2, heads=3, attention_layers=2),
        id="lstm_hybrid",
    ),
    pytest.param(TxLikeConfig(window_size=WINDOW, width=24, layers=2), id="tx_like"),
    pytest.param(AttentionConfig(window_size=WINDOW, width=24, layers=2, heads=3), id="attention"),
    pytest.param(MambaConfig(window_size=WINDOW, width=24, layers=2), id="mamba"),
    pytest.param(MambaConfig(window_size=WINDOW, width=24, layers=2, kernel="torch"), id="mamba-torch"),
    pytest.param(
        Mamba2Config(window_size=WINDOW, width=24, layers=2, head_width=8, kernel="torch"), id="mamba2"
    ),
    pytest.param(JambaConfig(window_size=WINDOW, width=24, layers=3, heads=3), id="jamba"),
]
TOLERANCE = [pytest.param(torch.float32, 1e-5, id="fp32"), pytest.param(torch.float64, 1e-9, id="fp64")]

pytestmark = pytest.mark.filterwarnings("error")


def _backbone(config: BackboneConfig, dtype: torch.dtype = torch.float64) -> Backbone[Any]:
    torch.manual_seed(0)
    backbone: Any = build_backbone(config)
    return backbone.to(dtype).eval()


def _features(
    frames: int, *, rows: int = 3, dtype: torch.dtype = torch.float64, resets: bool = True
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(frames)
    x_BTD = torch.randn(rows, frames, 24, generator=generator, dtype=torch.float64).to(dtype)
    reset_BT = torch.rand(rows, frames, generator=generator) < 0.08
    reset_BT[:, 0] = torch.arange(rows) % 2 == 0
    return x_BTD, reset_BT & resets


def _stepped(backbone: Backbone[Any], x_BTD: Tensor, reset_BT: Tensor, state: Any) -> tuple[Tensor, Any]:
    outs = []
    for x_BD, reset_B in zip(x_BTD.unbind(1), reset_BT.unbind(1), strict=True):
        y_BD, state = backbone.step(x_BD, reset_B, state)
        outs.append(y_BD)
    return torch.stack(outs, dim=1), state


def _fresh(backbone: Backbone[Any], x_BTD: Tensor) -> Any:
    return backbone.initial_state(x_BTD.shape[0], x_BTD.device, x_BTD.dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE)
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("frames", [FRAMES, LONG])
@torch.no_grad()
def test_step_by_step_equals_whole_window(
    config: BackboneConfig, dtype: torch.dtype, tolerance: float, frames: int
) -> None:
    backbone = _backbone(config, dtype)
    x_BTD, reset_BT = _features(frames, dtype=dtype)
    whole, state = backbone.forward(x_BTD, reset_BT)
    stepped, stepped_state = _stepped(backbone, x_BTD, reset_BT, _fresh(backbone, x_BTD))
    torch.testing.assert_close(stepped, whole, rtol=0, atol=tolerance)
    for one, other in zip(stepped_state, state, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE)
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("lengths", [(1, 3, 20, 2, 15), (5, 140, 3, 300), (300, 5, 1)])
@torch.no_grad()
def test_chunks_with_carried_state_equal_one_forward(
    config: BackboneConfig, dtype: torch.dtype, tolerance: float, lengths: tuple[int, ...]
) -> None:
    backbone = _backbone(config, dtype)
    x_BTD, reset_BT = _features(sum(lengths), dtype=dtype)
    whole, _ = backbone.forward(x_BTD, reset_BT)
    state, outs = None, []
    for x, reset in zip(x_BTD.split(lengths, 1), reset_BT.split(lengths, 1), strict=True):
        y, state = backbone.forward(x, reset, state)
        outs.append(y)
    torch.testing.assert_close(torch.cat(outs, dim=1), whole, rtol=0, atol=tolerance)


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_steps_go_on_from_a_chunk_and_chunks_from_steps(config: BackboneConfig) -> None:
    backbone = _backbone(config)
    x_BTD, reset_BT = _features(FRAMES)
    whole, _ = backbone.forward(x_BTD, reset_BT)
    first, state = backbone.forward(x_BTD[:, :12], reset_BT[:, :12])
    second, state = _stepped(backbone, x_BTD[:, 12:20], reset_BT[:, 12:20], state)
    third, _ = backbone.forward(x_BTD[:, 20:], reset_BT[:, 20:], state)
    torch.testing.assert_close(torch.cat([first, second, third], dim=1), whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("frames", [FRAMES, LONG])
@torch.no_grad()
def test_the_future_never_reaches_the_past(config: BackboneConfig, frames: int) -> None:
    backbone = _backbone(config)
    x_BTD, reset_BT = _features(frames)
    before, _ = backbone.forward(x_BTD, reset_BT)
    at = frames // 2
    x_BTD = x_BTD.clone()
    x_BTD[:, at:] = 100 * torch.randn_like(x_BTD[:, at:])
    after, _ = backbone.forward(x_BTD, reset_BT)
    assert torch.equal(before[:, :at], after[:, :at])
    assert not torch.equal(before[:, at], after[:, at])


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("frames", [FRAMES, LONG])
@torch.no_grad()
def test_a_reset_equals_a_fresh_start(config: BackboneConfig, frames: int) -> None:
    backbone = _backbone(config)
    x_BTD, reset_BT = _features(frames, resets=False)
    reset_BT[:, 17] = True
    whole, state = backbone.forward(x_BTD, reset_BT)
    fresh, fresh_state = backbone.forward(x_BTD[:, 17:], torch.zeros_like(reset_BT[:, 17:]))
    torch.testing.assert_close(whole[:, 17:], fresh, rtol=0, atol=1e-9)
    for one, other in zip(state, fresh_state, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_a_reset_forgets_even_what_is_not_a_number(config: BackboneConfig) -> None:
    backbone = _backbone(config)
    x_BTD, _ = _features(1)
    poisoned = [
        torch.full_like(part, torch.nan) if part.is_floating_point() else part + 40
        for part in _fresh(backbone, x_BTD)
    ]
    state = type(_fresh(backbone, x_BTD))(*poisoned)
    everywhere = torch.ones(x_BTD.shape[0], dtype=torch.bool)
    y_BD, _ = backbone.step(x_BTD[:, 0], everywhere, state)
    expected, _ = backbone.forward(x_BTD, everywhere[:, None])
    torch.testing.assert_close(y_BD, expected[:, 0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("frames", [FRAMES, LONG])
@torch.no_grad()
def test_rows_do_not_see_each_other(config: BackboneConfig, frames: int) -> None:
    backbone = _backbone(config)
    x_BTD, reset_BT = _features(frames)
    before, _ = backbone.forward(x_BTD, reset_BT)
    x_BTD = x_BTD.clone()
    x_BTD[1] = 0
    reset_BT[1] = ~reset_BT[1]
    after, _ = backbone.forward(x_BTD, reset_BT)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=0, atol=1e-9)


@pytest.mark.parametrize("frames", [FRAMES, LONG])
def test_attention_hears_of_no_frame_older_than_its_layers_bands(frames: int) -> None:
    config = AttentionConfig(window_size=WINDOW, width=24, layers=2, heads=3)
    backbone = _backbone(config)
    x_BTD, reset_BT = _features(frames, resets=False)
    x_BTD.requires_grad_()
    y_BTD, _ = backbone.forward(x_BTD, reset_BT)
    (gradient,) = torch.autograd.grad(y_BTD[:, -1].square().sum(), x_BTD)
    heard = gradient.abs().sum(-1).ne(0).all(0)
    reach = 2 * (WINDOW - 1)
    assert heard.tolist() == [frames - 1 - t <= reach for t in range(frames)]


@torch.no_grad()
def test_attention_is_the_same_function_however_long_it_runs() -> None:
    backbone = _backbone(AttentionConfig(window_size=WINDOW, width=24, layers=1, heads=3), torch.float32)
    x_BTD, reset_BT = _features(WINDOW, dtype=torch.float32, resets=False)
    state = _fresh(backbone, x_BTD)
    _, state = _stepped(backbone, x_BTD, reset_BT, state)
    early, state = _stepped(backbone, x_BTD, reset_BT, state)
    for _ in range(50):
        late, state = _stepped(backbone, x_BTD, reset_BT, state)
    torch.testing.assert_close(late, early, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("frames", [FRAMES, LONG])
def test_every_parameter_learns(config: BackboneConfig, frames: int) -> None:
    backbone: Any = _backbone(config)
    y_BTD, _ = backbone(*_features(frames))
    (y_BTD * torch.randn_like(y_BTD)).sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
