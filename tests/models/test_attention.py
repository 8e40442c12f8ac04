"""Banded attention: the ring holds what a band may see, and every way to the products gives the same.

What all backbones obey (streaming, resets, no future) is in tests/laws.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from exphil_core.config.backbones import AttentionConfig
from exphil_core.models import band as ways
from exphil_core.models.attention import (
    AttentionBackbone,
    BandedAttention,
    BandedChunk,
    BandedFrame,
    KVCache,
    empty_kv_cache,
)
from exphil_core.models.band import BFLOAT16_BLOCK, BLOCK, Band, banded_product, chunk_rotary
from exphil_core.models.state import clear_rows

WINDOW, WIDTH, HEADS, ROWS = 9, 24, 3, 3
LATE = 60_000_000
"""A clock after more than eleven days of play without a reset."""


def _backbone(
    *, layers: int = 2, dtype: torch.dtype = torch.float64, width: int = WIDTH
) -> AttentionBackbone:
    torch.manual_seed(0)
    config = AttentionConfig(window_size=WINDOW, width=width, layers=layers, heads=HEADS)
    return AttentionBackbone(config).to(dtype).eval()


def _features(
    frames: int, *, dtype: torch.dtype = torch.float64, resets: float = 0.0
) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(frames)
    x_BTD = torch.randn(ROWS, frames, WIDTH, generator=chance, dtype=torch.float64).to(dtype)
    return x_BTD, torch.rand(ROWS, frames, generator=chance) < resets


def _steps(
    backbone: AttentionBackbone, x_BTD: Tensor, reset_BT: Tensor, ring: KVCache
) -> tuple[Tensor, KVCache]:
    outs = []
    for x_BD, reset_B in zip(x_BTD.unbind(1), reset_BT.unbind(1), strict=True):
        y_BD, ring = backbone.step(x_BD, reset_B, ring)
        outs.append(y_BD)
    return torch.stack(outs, dim=1), ring


def _fresh(backbone: AttentionBackbone, dtype: torch.dtype = torch.float64) -> KVCache:
    return backbone.initial_state(ROWS, torch.device("cpu"), dtype)


def _assert_same(one: KVCache, other: KVCache, tolerance: float) -> None:
    for part, same in zip(one, other, strict=True):
        torch.testing.assert_close(part, same, rtol=0, atol=tolerance)


@torch.no_grad()
def test_a_frame_lies_in_the_slot_of_its_clock() -> None:
    backbone = _backbone()
    x_BTD, reset_BT = _features(2 * WINDOW + 4)
    ring = _fresh(backbone)
    for t in range(x_BTD.shape[1]):
        _, after = backbone.step(x_BTD[:, t], reset_BT[:, t], ring)
        changed = (after.keys_BNHSE != ring.keys_BNHSE).flatten(0, 2).any(-1).any(0)
        assert changed.nonzero().flatten().tolist() == [t % WINDOW]
        assert after.clock_B.tolist() == [t + 1] * ROWS
        ring = after


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW + 2, BLOCK + 5])
@pytest.mark.parametrize("resets", [0.0, 0.15])
@pytest.mark.parametrize("seen", [0, 4, 2 * WINDOW + 5])
def test_a_chunk_leaves_the_ring_that_its_frames_leave(frames: int, resets: float, seen: int) -> None:
    backbone = _backbone()
    ring = None
    stepped = _fresh(backbone)
    if seen:
        _, ring = backbone(*_features(seen, resets=resets))
        _, stepped = _steps(backbone, *_features(seen, resets=resets), stepped)
        _assert_same(ring, stepped, 1e-12)
    y_BTD, ring = backbone(*_features(frames, resets=resets), ring)
    stepped_BTD, stepped = _steps(backbone, *_features(frames, resets=resets), stepped)
    torch.testing.assert_close(y_BTD, stepped_BTD, rtol=0, atol=1e-12)
    _assert_same(ring, stepped, 1e-12)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-7)])
def test_after_60_million_frames_only_differences_of_positions_count(
    dtype: torch.dtype, tolerance: float
) -> None:
    backbone = _backbone(dtype=dtype)
    warm, more = _features(3 * WINDOW, dtype=dtype), _features(4 * WINDOW + 5, dtype=dtype)
    fresh = _fresh(backbone, dtype)
    late = fresh._replace(clock_B=torch.tensor([LATE, LATE + 1, LATE + WINDOW // 2]))
    # Every layer's band is full of frames that were seen, not of the zeros that a late clock takes for frames.
    _, early = _steps(backbone, *warm, fresh)
    _, late = _steps(backbone, *warm, late)
    expected, _ = _steps(backbone, *more, early)
    for found, after in (_steps(backbone, *more, late), backbone(*more, late)):
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
        assert after.clock_B.tolist() == (late.clock_B + more[0].shape[1]).tolist()


@torch.no_grad()
def test_a_state_is_a_value() -> None:
    backbone = _backbone()
    x_BTD, reset_BT = _features(WINDOW + 3)
    _, ring = backbone(x_BTD, reset_BT)
    before = [part.clone() for part in ring]
    reset_B = torch.tensor([True, False, False])
    backbone.step(x_BTD[:, 0], reset_B, ring)
    backbone(x_BTD, reset_B[:, None].expand(-1, x_BTD.shape[1]), ring)
    assert all(torch.equal(part, same) for part, same in zip(ring, before, strict=True))


@torch.no_grad()
def test_a_cleared_row_is_a_fresh_one() -> None:
    backbone = _backbone()
    _, ring = backbone(*_features(WINDOW + 3))
    cleared = clear_rows(ring, torch.tensor([False, True, False]))
    for part, fresh, kept in zip(cleared, _fresh(backbone), ring, strict=True):
        assert torch.equal(part[1], fresh[1])
        assert torch.equal(part[[0, 2]], kept[[0, 2]])


@torch.no_grad()
def test_a_ring_that_is_not_a_number_ends_with_its_row() -> None:
    backbone = _backbone()
    x_BTD, reset_BT = _features(WINDOW + 3)
    reset_BT[:, 0] = True
    nan = torch.full_like(_fresh(backbone).keys_BNHSE, torch.nan)
    poisoned = KVCache(nan, nan, torch.full((ROWS,), 40))
    expected, ring = backbone(x_BTD, reset_BT)
    for found, after in (backbone(x_BTD, reset_BT, poisoned), _steps(backbone, x_BTD, reset_BT, poisoned)):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        _assert_same(after, ring, 1e-12)


def test_gradients_reach_through_the_state_into_the_chunk_before() -> None:
    backbone = _backbone()
    x_BTD, reset_BT = _features(3 * WINDOW, resets=0.05)
    cut = WINDOW + 2
    found = []
    for lengths in ([x_BTD.shape[1]], [cut, x_BTD.shape[1] - cut]):
        given = x_BTD.clone().requires_grad_()
        ring, outs = None, []
        for x, reset in zip(given.split(lengths, 1), reset_BT.split(lengths, 1), strict=True):
            y, ring = backbone(x, reset, ring)
            outs.append(y)
        torch.cat(outs, dim=1)[:, cut:].square().sum().backward()
        found.append(given.grad)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-10)
    assert found[0][:, 3:cut].abs().sum() > 0


def test_training_and_the_ring_are_in_full_precision_where_it_counts() -> None:
    backbone = _backbone(dtype=torch.float32)
    x_BTD, reset_BT = _features(3 * WINDOW, dtype=torch.float32)
    found = []
    for enabled in (False, True):
        backbone.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y_BTD, ring = backbone(x_BTD.bfloat16() if enabled else x_BTD, reset_BT)
        assert {ring.keys_BNHSE.dtype, ring.values_BNHSE.dtype} == {torch.float32}
        y_BTD.float().square().mul(torch.arange(WIDTH)).sum().backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in backbone.parameters()]))
    assert functional.cosine_similarity(*found, dim=0) > 0.995


class _Case:
    """One layer's queries, keys and values, with everything that a band can have."""

    def __init__(self, *, frames: int, window_size: int, before: int, resets: float, rotary: bool) -> None:
        chance = torch.Generator().manual_seed(frames)
        rows, heads, head_width = 2, 2, 8

        def normal(*shape: int) -> Tensor:
            drawn = torch.randn(shape, generator=chance, dtype=torch.float64)
            return drawn.requires_grad_()

        reset_BK = torch.rand(rows, before + frames, generator=chance) < resets
        segment_BK = reset_BK.cumsum(dim=1)
        causal = not before and not reset_BK[:, 1:].any() and frames <= window_size
        if not reset_BK.any():
            segment_BK = segment_BK[:1]
        self.band = Band(segment_BK=segment_BK, length=frames, window_size=window_size, causal=bool(causal))
        self.qkv_BT3HE = normal(rows, frames, 3, heads, head_width)
        past = (rows, heads, before, head_width)
        self.before = (normal(*past), normal(*past)) if before else None
        position_BT = torch.arange(frames) + torch.tensor([[5], [40]])
        self.rotary = chunk_rotary(position_BT, head_width, torch.float64) if rotary else None
        self.given = (self.qkv_BT3HE, *(self.before or ()))
        self.weights = [torch.randn(2, frames, heads * head_width, generator=chance, dtype=torch.float64)]
        self.weights += [torch.randn((*past[:2], frames, head_width), generator=chance) for _ in range(2)]

    def outs_and_gradients(self, way: Any, outs: int = 3) -> list[Tensor]:
        found = way(self.qkv_BT3HE, self.rotary, self.band, self.before)
        total = sum(
            (out * weight).sum() for out, weight in list(zip(found, self.weights, strict=True))[:outs]
        )
        return [*found, *torch.autograd.grad(total, self.given)]


CASES = [
    pytest.param({"frames": 20, "window_size": 20, "before": 0, "resets": 0.0}, id="causal"),
    pytest.param({"frames": 30, "window_size": 7, "before": 0, "resets": 0.0}, id="band"),
    pytest.param({"frames": 30, "window_size": 12, "before": 0, "resets": 0.1}, id="resets"),
    pytest.param({"frames": 25, "window_size": 12, "before": 11, "resets": 0.1}, id="after a ring"),
    pytest.param({"frames": 2 * BLOCK + 9, "window_size": 20, "before": 19, "resets": 0.02}, id="blocks"),
    pytest.param({"frames": BLOCK + 1, "window_size": 200, "before": 199, "resets": 0.0}, id="long band"),
]


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_products_by_hand_are_those_of_torch(case: dict[str, Any], rotary: bool) -> None:
    one = _Case(**case, rotary=rotary)
    for outs in (1, 3):
        ours = one.outs_and_gradients(banded_product, outs)
        theirs = one.outs_and_gradients(ways._by_torch, outs)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rotary", [True, False])
def test_the_way_back_is_the_gradient(rotary: bool) -> None:
    case = _Case(frames=6, window_size=4, before=3, resets=0.2, rotary=rotary)

    def product(qkv: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        return banded_product(qkv, case.rotary, case.band, (keys, values))

    assert case.before is not None
    assert torch.autograd.gradcheck(product, (case.qkv_BT3HE, *case.before))


def test_blocks_leave_no_key_of_a_band_out() -> None:
    band = _Case(frames=300, window_size=90, before=89, resets=0.01, rotary=False).band
    for dtype, size in ((torch.float32, BLOCK), (torch.bfloat16, BFLOAT16_BLOCK)):
        seen = torch.zeros_like(band.mask_B1TK())
        for queries, keys, bias_B1QK in band.blocks(dtype):
            assert queries.stop - queries.start <= size
            seen[:, :, queries, keys] = bias_B1QK == 0
        assert torch.equal(seen, band.mask_B1TK())


@pytest.mark.parametrize("resets", [0.0, 0.01])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@torch.no_grad()
def test_flex_attention_is_told_of_the_same_band(resets: float) -> None:
    from torch.nn.attention.flex_attention import create_mask, flex_attention

    case = _Case(frames=300, window_size=90, before=89, resets=resets, rotary=False)
    told = case.band.flex_mask()
    rows, frames, keys = case.band.segment_BK.shape[0], 300, 389
    mask = create_mask(told.mask_mod, rows, None, frames, keys, device="cpu")
    assert torch.equal(mask, case.band.mask_B1TK())
    query, key, value = torch.randn(3, 2, 2, keys, 16).unbind(0)
    query = query[:, :, :frames]
    found = flex_attention(query, key, value, block_mask=told, scale=1.0)
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rotary", [True, False])
@torch.no_grad()
def test_a_layer_is_plain_attention_over_its_rows_of_weights(rotary: bool) -> None:
    torch.manual_seed(0)
    attention = BandedAttention(WIDTH, HEADS, rotary=rotary).double()
    x_BTD, reset_BT = _features(WINDOW)
    weights = attention.qkv.weight.split(WIDTH)
    query, key, value = ((x_BTD @ w.T).unflatten(-1, (HEADS, -1)).transpose(1, 2) for w in weights)
    if rotary:
        angle = torch.arange(WINDOW)[:, None] * 10_000.0 ** -(torch.arange(0, 8, 2).double() / 8)
        rotary = torch.polar(torch.ones_like(angle), angle)
        query, key = (
            torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * rotary).flatten(
                -2
            )
            for x in (query, key)
        )
    heard = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    expected = heard.transpose(1, 2).flatten(2) @ attention.out.weight.T
    chunk = BandedChunk(x_BTD, reset_BT, None, window_size=WINDOW)
    torch.testing.assert_close(attention(x_BTD, chunk), expected, rtol=0, atol=1e-10)
    ring = empty_kv_cache(
        ROWS,
        layers=1,
        heads=HEADS,
        window_size=WINDOW,
        head_width=WIDTH // HEADS,
        device=x_BTD.device,
        dtype=x_BTD.dtype,
    )
    for t in range(WINDOW):
        frame = BandedFrame(ring, reset_BT[:, t])
        found = attention.step(x_BTD[:, t], frame)
        torch.testing.assert_close(found, expected[:, t], rtol=0, atol=1e-10)
        ring = frame.ring()
    _assert_same(ring, chunk.ring(), 1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("resets", [0.0, 0.01])
@pytest.mark.parametrize(("frames", "window_size"), [(256, 256), (256, 180), (512, 180), (100, 40)])
def test_cuda_gives_what_the_cpu_gives(
    cuda: torch.device, frames: int, window_size: int, resets: float
) -> None:
    """Flash attention, FlexAttention and the mask, as chunk and band call for them; then frame by frame."""
    torch.manual_seed(0)
    config = AttentionConfig(window_size=window_size, width=64, layers=2, heads=2)
    backbone = AttentionBackbone(config)
    x_BTD, reset_BT = torch.randn(2, frames, 64), torch.rand(2, frames) < resets
    found = []
    for device in (torch.device("cpu"), cuda):
        backbone.to(device).zero_grad()
        x, reset = x_BTD.to(device), reset_BT.to(device)
        first, ring = backbone(x, reset)
        second, ring = backbone(x, reset, ring)
        (first.square().sum() + second.square().sum()).backward()
        gradients = [parameter.grad.cpu() for parameter in backbone.parameters()]
        found.append([first.cpu(), second.cpu(), *(part.cpu() for part in ring), *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_cuda_trains_in_bfloat16_on_what_float32_gives(cuda: torch.device) -> None:
    torch.manual_seed(0)
    backbone = AttentionBackbone(AttentionConfig(window_size=180, width=128, layers=2, heads=2)).to(cuda)
    x_BTD = torch.randn(2, 256, 128, device=cuda)
    reset_BT = torch.zeros(2, 256, dtype=torch.bool, device=cuda)
    found = []
    for enabled in (False, True):
        backbone.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            y_BTD, _ = backbone(x_BTD, reset_BT)
        y_BTD.float().square().sum().backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in backbone.parameters()]))
    assert functional.cosine_similarity(*found, dim=0) > 0.99
