"""The recurrent family is what its names say: the same numbers as the textbook form out of `torch.nn`.

Each backbone is rebuilt here from plain modules with the same weights, and written out as one function of a whole
chunk without resets. What resets do to it is in tests/laws/test_streaming.py.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from exphil_core.config.backbones import GruConfig, LstmConfig, LstmHybridConfig, TxLikeConfig
from exphil_core.models.backbone import build_backbone

WIDTH, WINDOW, ROWS, FRAMES = 24, 9, 3, 31
HEADS = 3

GRU = GruConfig(width=WIDTH, layers=3)
LSTM = LstmConfig(width=WIDTH, layers=3)
TX_LIKE = TxLikeConfig(width=WIDTH, layers=2, ffn_factor=2.5)
HYBRID = LstmHybridConfig(width=WIDTH, layers=2, attention_layers=2, heads=HEADS, window_size=WINDOW)

AnyConfig = GruConfig | LstmConfig | TxLikeConfig | LstmHybridConfig
EVERY = [pytest.param(config, id=config.kind) for config in (GRU, LSTM, TX_LIKE, HYBRID)]
RECURRENT = [pytest.param(config, id=config.kind) for config in (GRU, LSTM)]
TOLERANCE = [pytest.param(torch.float32, 1e-5, id="fp32"), pytest.param(torch.float64, 1e-9, id="fp64")]

pytestmark = pytest.mark.filterwarnings("error")


def _backbone(config: AnyConfig, dtype: torch.dtype = torch.float64) -> Any:
    torch.manual_seed(0)
    backbone: Any = build_backbone(config)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # so that no weight is 1 and no bias 0
    return backbone.to(dtype).eval()


def _features(dtype: torch.dtype = torch.float64, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x_BTD = torch.randn(rows, FRAMES, WIDTH, generator=generator, dtype=torch.float64)
    return x_BTD.to(dtype), torch.zeros(rows, FRAMES, dtype=torch.bool)


class Plain:
    """Modules of `torch.nn` with weights of a backbone, each by the name that it has there."""

    def __init__(self, backbone: nn.Module) -> None:
        self.weights = {name: weight.detach().clone() for name, weight in backbone.named_parameters()}
        self.taken: dict[str, nn.Parameter] = {}

    def take(self, name: str, module: nn.Module) -> Any:
        weights = {key: self.weights.pop(f"{name}.{key}") for key in module.state_dict()}
        module.to(next(iter(weights.values())).dtype).load_state_dict(weights)
        self.taken |= {f"{name}.{key}": parameter for key, parameter in module.named_parameters()}
        return module

    def norm(self, name: str) -> Any:
        return self.take(name, nn.LayerNorm(WIDTH))

    def linear(self, name: str, inner: int, out: int, *, bias: bool = True) -> Any:
        return self.take(name, nn.Linear(inner, out, bias=bias))


def _recurrent(plain: Plain, config: AnyConfig, prefix: str = "") -> Callable[[Tensor], Tensor]:
    """x + rnn(norm(x)), as often as there are layers, and a last norm."""
    kind = nn.GRU if isinstance(config, GruConfig) else nn.LSTM
    layers = [
        (
            plain.norm(f"{prefix}layers.{n}.norm"),
            plain.take(f"{prefix}layers.{n}.rnn", kind(WIDTH, WIDTH, batch_first=True)),
        )
        for n in range(config.layers)
    ]
    last = plain.norm(f"{prefix}norm")

    def run(x: Tensor) -> Tensor:
        for norm, rnn in layers:
            x = x + rnn(norm(x))[0]
        y: Tensor = last(x)
        return y

    return run


def _tx_like(plain: Plain, config: TxLikeConfig) -> Callable[[Tensor], Tensor]:
    """x + lstm(norm(x)), then x + back(gelu(wide(norm(x))))."""
    inner = 60
    layers = [
        (
            plain.norm(f"layers.{n}.lstm.norm"),
            plain.take(f"layers.{n}.lstm.rnn", nn.LSTM(WIDTH, WIDTH, batch_first=True)),
            plain.norm(f"layers.{n}.feed_forward.norm"),
            plain.linear(f"layers.{n}.feed_forward.wide", WIDTH, inner),
            plain.linear(f"layers.{n}.feed_forward.back", inner, WIDTH),
        )
        for n in range(config.layers)
    ]
    last = plain.norm("norm")

    def run(x: Tensor) -> Tensor:
        for norm, lstm, second_norm, wide, back in layers:
            x = x + lstm(norm(x))[0]
            x = x + back(functional.gelu(wide(second_norm(x))))
        y: Tensor = last(x)
        return y

    return run


def _rotated(x_BTHE: Tensor) -> Tensor:
    """Each two neighbours of a head's features as a complex number, turned by its frame."""
    pairs = x_BTHE.shape[-1] // 2
    speed = 10_000.0 ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    angle = torch.arange(x_BTHE.shape[1])[:, None] * speed
    turned = (
        torch.complex(x_BTHE[..., ::2].double(), x_BTHE[..., 1::2].double()) * torch.exp(1j * angle)[:, None]
    )
    return torch.view_as_real(turned).flatten(-2).to(x_BTHE.dtype)


def _hybrid(plain: Plain, config: LstmHybridConfig) -> Callable[[Tensor], Tensor]:
    """The LSTM backbone, a dense projection, x + attention(norm(x)) over a band of frames, and a last norm."""
    lstm = _recurrent(plain, config, prefix="lstm.")
    project = plain.linear("project", WIDTH, WIDTH)
    layers = [
        (
            plain.norm(f"layers.{n}.norm"),
            plain.linear(f"layers.{n}.attention.qkv", WIDTH, 3 * WIDTH, bias=False),
            plain.linear(f"layers.{n}.attention.out", WIDTH, WIDTH, bias=False),
        )
        for n in range(config.attention_layers)
    ]
    last = plain.norm("norm")

    def run(x: Tensor) -> Tensor:
        x = project(lstm(x))
        time = torch.arange(x.shape[1])
        age = time[:, None] - time
        seen = (age >= 0) & (age < WINDOW)
        for norm, qkv, out in layers:
            query, key, value = qkv(norm(x)).unflatten(-1, (3, HEADS, WIDTH // HEADS)).unbind(2)
            scores = torch.einsum("bthe,bshe->bhts", _rotated(query), _rotated(key))
            share = (scores / math.sqrt(WIDTH // HEADS)).masked_fill(~seen, -torch.inf).softmax(-1)
            x = x + out(torch.einsum("bhts,bshe->bthe", share, value).flatten(2))
        y: Tensor = last(x)
        return y

    return run


def _written_out(plain: Plain, config: AnyConfig) -> Callable[[Tensor], Tensor]:
    match config:
        case TxLikeConfig():
            return _tx_like(plain, config)
        case LstmHybridConfig():
            return _hybrid(plain, config)
        case _:
            return _recurrent(plain, config)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE)
@pytest.mark.parametrize("config", EVERY)
def test_a_backbone_and_its_gradients_are_those_of_its_form_written_out(
    config: AnyConfig, dtype: torch.dtype, tolerance: float
) -> None:
    backbone = _backbone(config, dtype)
    plain = Plain(backbone)
    run = _written_out(plain, config)
    assert not plain.weights, "parameters that the form written out does not have"
    x_BTD, reset_BT = _features(dtype)
    other_BTD = x_BTD.clone()
    y_BTD, _ = backbone(x_BTD.requires_grad_(), reset_BT)
    expected_BTD = run(other_BTD.requires_grad_())
    torch.testing.assert_close(y_BTD, expected_BTD, rtol=0, atol=tolerance)

    aim_BTD = torch.randn_like(y_BTD) / math.sqrt(y_BTD.numel())
    (y_BTD * aim_BTD).sum().backward()
    (expected_BTD * aim_BTD).sum().backward()
    torch.testing.assert_close(x_BTD.grad, other_BTD.grad, rtol=0, atol=tolerance)
    for name, parameter in backbone.named_parameters():
        torch.testing.assert_close(parameter.grad, plain.taken[name].grad, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE)
@pytest.mark.parametrize("config", RECURRENT)
@torch.no_grad()
def test_a_step_is_that_of_torchs_cells(config: AnyConfig, dtype: torch.dtype, tolerance: float) -> None:
    backbone = _backbone(config, dtype)
    kind = nn.GRUCell if isinstance(config, GruConfig) else nn.LSTMCell
    cells: list[Any] = [kind(WIDTH, WIDTH, dtype=dtype) for _ in backbone.layers]
    for cell, layer in zip(cells, backbone.layers, strict=True):
        weights = layer.rnn.state_dict()
        cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in weights.items()})
    x_BTD, reset_BT = _features(dtype)
    state = backbone.initial_state(ROWS, x_BTD.device, dtype)
    before: list[Any] = [None] * len(cells)
    for x_BD, reset_B in zip(x_BTD.unbind(1), reset_BT.unbind(1), strict=True):
        y_BD, state = backbone.step(x_BD, reset_B, state)
        for n, (cell, layer) in enumerate(zip(cells, backbone.layers, strict=True)):
            before[n] = cell(layer.norm(x_BD), before[n])
            hidden_BD = before[n] if kind is nn.GRUCell else before[n][0]
            x_BD = x_BD + hidden_BD
        torch.testing.assert_close(y_BD, backbone.norm(x_BD), rtol=0, atol=tolerance)
    by_layer = [[memory] if kind is nn.GRUCell else [*memory] for memory in before]
    for part_BND, memory in zip(state, zip(*by_layer, strict=True), strict=True):
        torch.testing.assert_close(part_BND, torch.stack(memory, dim=1), rtol=0, atol=tolerance)


@pytest.mark.parametrize("config", [pytest.param(c, id=c.kind) for c in (LSTM, TX_LIKE, HYBRID)])
def test_a_fresh_lstm_remembers(config: AnyConfig) -> None:
    torch.manual_seed(0)
    backbone: Any = build_backbone(config)
    biases = [bias for name, bias in backbone.named_parameters() if name.endswith("bias_ih_l0")]
    assert len(biases) == config.layers
    for bias in biases:
        forget_D = bias[WIDTH : 2 * WIDTH]
        assert torch.equal(forget_D, torch.ones_like(forget_D))


@pytest.mark.parametrize("config", EVERY)
def test_no_gradient_crosses_a_reset_and_a_carried_state_lets_it_through(config: AnyConfig) -> None:
    backbone = _backbone(config)
    x_BTD, reset_BT = _features()
    reset_BT[0, 25] = True
    x_BTD.requires_grad_()
    _, state = backbone(x_BTD[:, :20], reset_BT[:, :20])
    y_BTD, _ = backbone(x_BTD[:, 20:], reset_BT[:, 20:], state)
    (gradient,) = torch.autograd.grad(y_BTD[:, -1].square().sum(), x_BTD)
    heard_BT = gradient.ne(0).any(-1)
    assert heard_BT[0].tolist() == [False] * 25 + [True] * (FRAMES - 25)
    assert heard_BT[1:].all()


@pytest.mark.parametrize("config", EVERY)
def test_what_is_not_a_number_does_not_reach_gradients_over_a_reset(config: AnyConfig) -> None:
    backbone = _backbone(config)
    x_BTD, reset_BT = _features()
    reset_BT[:, 0] = True
    fresh = backbone.initial_state(ROWS, x_BTD.device, x_BTD.dtype)
    poisoned = [torch.full_like(part, torch.nan) if part.is_floating_point() else part for part in fresh]
    y_BTD, _ = backbone(x_BTD, reset_BT, type(fresh)(*poisoned))
    assert y_BTD.isfinite().all()
    y_BTD.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())


@pytest.mark.parametrize("features", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", EVERY)
@torch.no_grad()
def test_state_is_float32_in_bfloat16_whatever_the_features_were(
    config: AnyConfig, features: torch.dtype
) -> None:
    backbone = _backbone(config, torch.float32)
    x_BTD, reset_BT = _features(torch.float32)
    reset_BT[1, 12] = True
    expected_BTD, _ = backbone(x_BTD, reset_BT)
    with torch.autocast("cpu", torch.bfloat16):
        chunk_BTD, state = backbone(x_BTD[:, :-1].to(features), reset_BT[:, :-1])
        step_BD, after = backbone.step(x_BTD[:, -1].to(features), reset_BT[:, -1], state)
    assert {part.dtype for part in (*state, *after) if part.is_floating_point()} == {torch.float32}
    y_BTD = torch.cat([chunk_BTD.float(), step_BD.float()[:, None]], dim=1)
    torch.testing.assert_close(y_BTD, expected_BTD, rtol=0, atol=0.1)


@pytest.mark.parametrize("config", EVERY)
@torch.no_grad()
def test_dropout_is_at_work_in_training_alone(config: AnyConfig) -> None:
    backbone = _backbone(config.model_copy(update={"dropout": 0.5}))
    still = _backbone(config)
    x_BTD, reset_BT = _features()
    assert torch.equal(backbone(x_BTD, reset_BT)[0], still(x_BTD, reset_BT)[0])
    backbone.train()
    assert not torch.equal(backbone(x_BTD, reset_BT)[0], backbone(x_BTD, reset_BT)[0])
    assert torch.equal(still.train()(x_BTD, reset_BT)[0], still(x_BTD, reset_BT)[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config", EVERY)
@torch.no_grad()
def test_cuda_gives_the_numbers_of_the_cpu_in_both_faces(config: AnyConfig) -> None:
    backbone = _backbone(config)
    x_BTD, reset_BT = _features()
    reset_BT[0, 7] = reset_BT[2, 20] = True
    expected_BTD, _ = backbone(x_BTD, reset_BT)
    backbone.cuda()
    x_BTD, reset_BT = x_BTD.cuda(), reset_BT.cuda()
    y_BTD, _ = backbone(x_BTD, reset_BT)
    torch.testing.assert_close(y_BTD.cpu(), expected_BTD, rtol=0, atol=1e-9)
    state = backbone.initial_state(ROWS, x_BTD.device, x_BTD.dtype)
    for t in range(FRAMES):
        y_BD, state = backbone.step(x_BTD[:, t], reset_BT[:, t], state)
        torch.testing.assert_close(y_BD.cpu(), expected_BTD[:, t], rtol=0, atol=1e-9)
