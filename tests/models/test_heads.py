"""The controller head is one distribution over controllers: scored and sampled by the same function."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from exphil_core.encoding.codecs import Codec, CodecName, Component, ControllerTensors, build_codec
from exphil_core.errors import UsageError
from exphil_core.models.heads import ControllerHead

WIDTH = 12


@dataclass(frozen=True, slots=True)
class TinyCodec:
    """Three components, small enough to sum over every controller."""

    name: CodecName = "clusters"
    components: tuple[Component, ...] = (
        Component(name="first", size=3),
        Component(name="second", size=4),
        Component(name="third", size=2),
    )

    def encode(self, controller: ControllerTensors) -> Tensor:
        raise NotImplementedError

    def decode(self, tokens: Tensor) -> ControllerTensors:
        raise NotImplementedError


def _head(codec: Codec, dtype: torch.dtype = torch.float64) -> ControllerHead:
    """With logits as large as training makes them, so that conditions show."""
    torch.manual_seed(0)
    head = ControllerHead(codec, WIDTH, 16).to(dtype)
    with torch.no_grad():
        for component in head.components:
            component.logits.weight.normal_()
    return head


def _tokens(codec: Codec, *shape: int) -> Tensor:
    return torch.stack([torch.randint(c.size, shape) for c in codec.components], dim=-1)


@torch.no_grad()
def test_the_probabilities_of_all_controllers_sum_to_one() -> None:
    codec = TinyCodec()
    head = _head(codec)
    combinations = torch.tensor(list(itertools.product(*(range(c.size) for c in codec.components))))[None]
    y = torch.randn(5, 1, WIDTH, dtype=torch.float64).expand(-1, combinations.shape[1], -1)
    tokens = combinations.expand(5, -1, -1)
    previous = _tokens(codec, 5, 1).expand(-1, combinations.shape[1], -1)
    total = (-head.nll(y, previous, tokens).sum(-1)).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize("name", ["clusters", "axes"])
@torch.no_grad()
def test_what_is_sampled_is_what_is_scored(name: CodecName, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = build_codec(name)
    head = _head(codec)
    y = torch.randn(6, WIDTH, dtype=torch.float64)
    previous = _tokens(codec, 6)
    drawn_from: list[Tensor] = []
    multinomial = torch.multinomial

    def recording(probabilities: Tensor, *args: int, generator: torch.Generator | None) -> Tensor:
        drawn_from.append(probabilities)
        return multinomial(probabilities, *args, generator=generator)

    monkeypatch.setattr(torch, "multinomial", recording)
    tokens = head.sample(y, previous, generator=torch.Generator().manual_seed(3))
    accumulated = [
        -probabilities.gather(-1, token[:, None])[:, 0].log()
        for probabilities, token in zip(drawn_from, tokens.unbind(-1), strict=True)
    ]
    scored = head.nll(y[:, None], previous[:, None], tokens[:, None])[:, 0]
    torch.testing.assert_close(scored, torch.stack(accumulated, dim=-1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["clusters", "axes"])
@torch.no_grad()
def test_a_token_reaches_the_components_after_it_and_no_others(name: CodecName) -> None:
    codec = build_codec(name)
    head = _head(codec)
    y = torch.randn(4, WIDTH, dtype=torch.float64)
    previous, tokens = _tokens(codec, 4), _tokens(codec, 4)
    before = head.log_probs(y, previous, tokens)
    for k, component in enumerate(codec.components):
        changed = tokens.clone()
        changed[:, k] = (changed[:, k] + 1) % component.size
        after = head.log_probs(y, previous, changed)
        same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
        assert same == [True] * (k + 1) + [False] * (len(before) - k - 1), component.name


@torch.no_grad()
def test_samples_follow_the_distribution() -> None:
    codec = TinyCodec()
    head = _head(codec, torch.float32)
    y, previous = torch.randn(1, WIDTH), _tokens(codec, 1)
    count = 20_000
    tokens = head.sample(
        y.expand(count, -1), previous.expand(count, -1), generator=torch.Generator().manual_seed(0)
    )
    combinations = torch.tensor(list(itertools.product(*(range(c.size) for c in codec.components))))
    expected = (
        -head.nll(y[None].expand(1, 24, -1), previous[None].expand(1, 24, -1), combinations[None]).sum(-1)
    ).exp()[0]
    seen = (tokens[:, None] == combinations).all(-1).float().mean(0)
    error = (expected * (1 - expected) / count).sqrt()
    assert ((seen - expected).abs() < 4.5 * error + 1 / count).all()


@torch.no_grad()
def test_a_low_temperature_draws_the_likeliest_and_zero_is_refused() -> None:
    codec = TinyCodec()
    head = _head(codec)
    y, previous = torch.randn(8, WIDTH, dtype=torch.float64), _tokens(codec, 8)
    tokens = head.sample(y, previous, temperature=1e-4)
    likeliest = torch.stack([part.argmax(-1) for part in head.log_probs(y, previous, tokens)], dim=-1)
    assert torch.equal(tokens, likeliest)
    with pytest.raises(UsageError, match="temperature is 0"):
        head.sample(y, previous, temperature=0)


@pytest.mark.parametrize("name", ["clusters", "axes"])
@torch.no_grad()
def test_the_first_loss_is_that_of_knowing_nothing(name: CodecName) -> None:
    codec = build_codec(name)
    torch.manual_seed(0)
    head = ControllerHead(codec, WIDTH, 128)
    nll = head.nll(torch.randn(4, 50, WIDTH), _tokens(codec, 4, 50), _tokens(codec, 4, 50))
    expected = sum(math.log(component.size) for component in codec.components)
    assert nll.sum(-1).mean().item() == pytest.approx(expected, rel=0.01)


def test_nats_are_float32_under_bfloat16() -> None:
    codec = build_codec("clusters")
    head = ControllerHead(codec, WIDTH, 16)
    with torch.autocast("cpu", torch.bfloat16):
        nll = head.nll(torch.randn(2, 5, WIDTH), _tokens(codec, 2, 5), _tokens(codec, 2, 5))
    assert nll.dtype == torch.float32


def test_every_parameter_learns_and_only_the_rows_that_were_used() -> None:
    codec = TinyCodec()
    head = _head(codec)
    previous, tokens = _tokens(codec, 30, 4), _tokens(codec, 30, 4)
    previous[..., 0], tokens[..., 0] = 1, 2
    head.nll(torch.randn(30, 4, WIDTH, dtype=torch.float64), previous, tokens).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert [bool(row.any()) for row in head.previous[0].weight.grad] == [False, True, False]
    assert [bool(row.any()) for row in head.tokens[0].weight.grad] == [False, False, True]
