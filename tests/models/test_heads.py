"""The controller head is one distribution over controllers: scored and sampled by the same function."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from exphil_core.encoding.codecs import Codec, CodecName, Component, ControllerTensors, build_codec
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


def _uniform(codec: Codec, rows: int, seed: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, len(codec.components), generator=generator, dtype=dtype)


def _one(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(1.0, dtype=dtype)


@pytest.mark.parametrize("name", ["clusters", "axes"])
@torch.no_grad()
def test_what_is_sampled_is_what_is_scored(name: CodecName) -> None:
    codec = build_codec(name)
    head = _head(codec)
    y = torch.randn(200, WIDTH, dtype=torch.float64)
    previous, uniform = _tokens(codec, 200), _uniform(codec, 200)
    tokens = head.sample(y, previous, uniform, _one())
    for k, log_probs in enumerate(head.log_probs(y, previous, tokens)):
        reached = log_probs.exp().cumsum(dim=-1).gather(-1, tokens[:, k : k + 1])[:, 0]
        chance = log_probs.exp().gather(-1, tokens[:, k : k + 1])[:, 0]
        assert (uniform[:, k] < reached + 1e-12).all(), codec.components[k].name
        assert (uniform[:, k] >= reached - chance - 1e-12).all(), codec.components[k].name


@pytest.mark.parametrize("edge", [0.0, 1 - 2**-24])
@torch.no_grad()
def test_the_least_and_the_greatest_chance_draw_tokens_that_can_come(edge: float) -> None:
    codec = build_codec("clusters")
    head = _head(codec, torch.float32)
    y, previous = torch.randn(50, WIDTH), _tokens(codec, 50)
    tokens = head.sample(y, previous, torch.full((50, len(codec.components)), edge), _one(torch.float32) / 20)
    assert (tokens < torch.tensor(head.sizes)).all()
    assert head.nll(y, previous, tokens).isfinite().all()
    # At a twentieth of the temperature most tokens cannot come at all in float32.
    for k, component in enumerate(head.log_probs(y, previous, tokens)):
        drawn = (component * 20).softmax(dim=-1).gather(-1, tokens[:, k : k + 1])
        assert (drawn > 0).all(), codec.components[k].name


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
    uniform = _uniform(codec, count, dtype=torch.float32)
    tokens = head.sample(y.expand(count, -1), previous.expand(count, -1), uniform, _one(torch.float32))
    combinations = torch.tensor(list(itertools.product(*(range(c.size) for c in codec.components))))
    expected = (
        -head.nll(y[None].expand(1, 24, -1), previous[None].expand(1, 24, -1), combinations[None]).sum(-1)
    ).exp()[0]
    seen = (tokens[:, None] == combinations).all(-1).float().mean(0)
    error = (expected * (1 - expected) / count).sqrt()
    assert ((seen - expected).abs() < 4.5 * error + 1 / count).all()


@torch.no_grad()
def test_a_low_temperature_draws_the_likeliest() -> None:
    codec = TinyCodec()
    head = _head(codec)
    y, previous = torch.randn(8, WIDTH, dtype=torch.float64), _tokens(codec, 8)
    tokens = head.sample(y, previous, _uniform(codec, 8), _one() / 10_000)
    likeliest = torch.stack([part.argmax(-1) for part in head.log_probs(y, previous, tokens)], dim=-1)
    assert torch.equal(tokens, likeliest)


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


def test_a_head_that_starts_from_tables_says_what_they_say_and_no_random_number_is_drawn_for_them() -> None:
    codec = build_codec("clusters")
    head = ControllerHead(codec, WIDTH, 16)
    tables = [torch.randn(c.size, c.size).log_softmax(-1) for c in codec.components]
    before = torch.get_rng_state()
    head.start_from_tables(tables)
    assert torch.equal(torch.get_rng_state(), before)
    y, previous, tokens = torch.randn(50, WIDTH), _tokens(codec, 50), _tokens(codec, 50)
    with torch.no_grad():
        for k, found in enumerate(head.log_probs(y, previous, tokens)):
            assert (found - tables[k][previous[:, k]]).abs().max() < 0.5
