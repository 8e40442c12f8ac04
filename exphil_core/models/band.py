"""Sliding-window attention kernels for a chunk.

On a CPU: blockwise matrix products with a hand-written backward. On CUDA: flash attention for plainly causal chunks,
FlexAttention in training for chunks with a window or resets, else a mask. The rotation also scales queries by
1 / sqrt(E), so the products do not.

Legend: B batch (1 where all rows are alike), T time (queries), K keys (those before the chunk, and its own), C keys
before the chunk, D width, H heads, E width of a head, P pairs of features (half of E), R rows times heads, Q queries
of a block, 2 and 3: of queries, keys and values.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

ROTARY_BASE = 10_000.0

BLOCK = 64
BFLOAT16_BLOCK = 128
"""Queries per block on a CPU: smaller blocks waste less on keys outside the band, larger ones multiply faster.
Measured with 8 rows of 256 frames, 8 heads of 64 and a band of 180."""

FLEX_WIDTHS = (16, 32, 64, 128, 256)
"""Head widths that FlexAttention has kernels for."""
FLEX_LENGTH = 256
"""Shortest chunk, in frames, in which FlexAttention can skip blocks of keys."""


class Block(NamedTuple):
    """Consecutive queries of a chunk, and the keys that at least one of them may attend to."""

    queries: slice
    keys: slice
    bias_B1QK: Tensor
    """0 where the query attends to the key, else -inf."""


@dataclass(slots=True, eq=False)
class Band:
    """Attention mask of a chunk: a frame attends to frames of its segment that are less than `window_size` old."""

    segment_BK: Tensor
    """Segment number of each key; a single row where all rows are alike."""
    length: int
    """Frames of the chunk; they are the last keys."""
    window_size: int
    causal: bool
    """Whether every frame attends to all frames before it, so that a plain causal mask suffices."""
    _blocks: dict[torch.dtype, list[Block]] = field(default_factory=dict, init=False)
    _mask: Tensor | None = field(default=None, init=False)
    _flex: "BlockMask | None" = field(default=None, init=False)

    @property
    def before(self) -> int:
        """Number of keys before the chunk."""
        return self.segment_BK.shape[1] - self.length

    def mask_B1TK(self) -> Tensor:
        if self._mask is None:
            self._mask = self._part(slice(0, self.length), slice(0, self.segment_BK.shape[1]))
        return self._mask

    def blocks(self, dtype: torch.dtype) -> list[Block]:
        """Split the chunk into blocks for products in `dtype`."""
        if dtype not in self._blocks:
            size = BFLOAT16_BLOCK if dtype == torch.bfloat16 else BLOCK
            self._blocks[dtype] = [self._block(start, size, dtype) for start in range(0, self.length, size)]
        return self._blocks[dtype]

    def flex_mask(self) -> "BlockMask":
        """Build the mask for FlexAttention."""
        if self._flex is None:
            from torch.nn.attention.flex_attention import create_block_mask

            rows, keys = self.segment_BK.shape
            # Local variables, since torch.compile inspects what a mask function reads.
            segment_BK, before, window_size = self.segment_BK, self.before, self.window_size

            def mask_mod(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
                row = row if rows > 1 else torch.zeros_like(row)
                return _sees(segment_BK, before, window_size, row, query, key)

            self._flex = create_block_mask(
                mask_mod,
                B=rows if rows > 1 else None,
                H=None,
                Q_LEN=self.length,
                KV_LEN=keys,
                device=segment_BK.device,
            )
        return self._flex

    def _block(self, start: int, size: int, dtype: torch.dtype) -> Block:
        queries = slice(start, min(start + size, self.length))
        keys = slice(max(0, self.before + start - self.window_size + 1), self.before + queries.stop)
        bias = torch.zeros((), dtype=dtype, device=self.segment_BK.device)
        return Block(queries, keys, bias.masked_fill(~self._part(queries, keys), -torch.inf))

    def _part(self, queries: slice, keys: slice) -> Tensor:
        device = self.segment_BK.device
        row = torch.arange(self.segment_BK.shape[0], device=device)[:, None, None, None]
        query = torch.arange(queries.start, queries.stop, device=device)[:, None]
        key = torch.arange(keys.start, keys.stop, device=device)
        return _sees(self.segment_BK, self.before, self.window_size, row, query, key)


def _sees(
    segment_BK: Tensor, before: int, window_size: int, row: Tensor, query: Tensor, key: Tensor
) -> Tensor:
    """Whether a query, numbered within the chunk, attends to a key, numbered among all keys."""
    place = query + before
    age = place - key
    return (segment_BK[row, place] == segment_BK[row, key]) & (age >= 0) & (age < window_size)


def rotation(position: Tensor, head_width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Compute the cosines and sines [..., P] of rotary position embedding for positions [...].

    Angles are float64, so that late positions are as exact as early ones.
    """
    exponents = torch.arange(0, head_width, 2, device=position.device, dtype=torch.float64) / head_width
    angles = position[..., None].double() * ROTARY_BASE**-exponents
    return angles.cos().to(_wide(dtype)), angles.sin().to(_wide(dtype))


class FrameRotary(NamedTuple):
    """Rotary embedding of one frame's queries and keys in real arithmetic, which every runtime supports."""

    cos: Tensor
    sin: Tensor
    """[..., E]; negative for the first feature of a pair."""

    def __call__(self, x: Tensor) -> Tensor:
        swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        rotated: Tensor = x * self.cos + swapped * self.sin
        return rotated


def frame_rotary(position: Tensor, head_width: int, dtype: torch.dtype) -> FrameRotary:
    """Build the rotation to positions [...] for x [..., E]."""
    cos, sin = rotation(position, head_width, dtype)
    return FrameRotary(
        torch.stack([cos, cos], dim=-1).flatten(-2), torch.stack([-sin, sin], dim=-1).flatten(-2)
    )


def chunk_rotary(position_BT: Tensor, head_width: int, dtype: torch.dtype) -> Tensor:
    """Build the rotations of a chunk's queries (scaled by 1 / sqrt(E)) and keys: complex [2, B, 1, T, P]."""
    rotary_B1TP = torch.complex(*rotation(position_BT[:, None], head_width, dtype))
    return torch.stack([rotary_B1TP * head_width**-0.5, rotary_B1TP])


def banded_product(
    qkv_BT3HE: Tensor, rotary_2B1TP: Tensor | None, band: Band, before: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute sliding-window attention over a chunk.

    Args:
        qkv_BT3HE: Queries, keys and values from one layer's projection.
        turn_2B1TP: Rotations from `chunk_rotary`; None for attention without positions.
        band: The attention mask.
        before: Rotated keys, and values, of the frames before the chunk, [B, H, C, E].

    Returns:
        The attention output [B, T, D], and the chunk's keys (rotated, in float32 or better) and values [B, H, T, E].
    """
    if qkv_BT3HE.device.type != "cpu":
        return _by_torch(qkv_BT3HE, rotary_2B1TP, band, before)
    blocks = band.blocks(qkv_BT3HE.dtype)
    with torch.autocast("cpu", enabled=False):
        found: tuple[Tensor, Tensor, Tensor] = _Blockwise.apply(  # type: ignore[no-untyped-call]
            qkv_BT3HE, rotary_2B1TP, blocks, *(before or (None, None))
        )
    return found


def _by_torch(
    qkv_BT3HE: Tensor, rotary_2B1TP: Tensor | None, band: Band, before: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    dtype = qkv_BT3HE.dtype
    ordered_3BHTE = qkv_BT3HE.permute(2, 0, 3, 1, 4)
    if rotary_2B1TP is None:
        query, new_key, new_value = ordered_3BHTE.unbind(0)
        query = query * query.shape[-1] ** -0.5
    else:
        wide = ordered_3BHTE[:2].to(_wide(dtype))
        query, new_key = torch.view_as_real(_pairs(wide) * rotary_2B1TP).flatten(-2).unbind(0)
        new_value = ordered_3BHTE[2]
    query, key, value = query.to(dtype), new_key.to(dtype), new_value
    if before is not None:
        key = torch.cat([before[0].to(dtype), key], dim=2)
        value = torch.cat([before[1].to(dtype), value], dim=2)
    if band.causal:
        attn = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=1.0)
    elif _flex_applies(query):
        attn = _flex()(query, key, value, block_mask=band.flex_mask(), scale=1.0)
    else:
        attn = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=band.mask_B1TK(), scale=1.0
        )
    return attn.transpose(1, 2).flatten(2), new_key, new_value


def _flex_applies(query_BHTE: Tensor) -> bool:
    """Whether to use FlexAttention; only in training, since evaluation has many lengths, each compiled separately."""
    return (
        query_BHTE.device.type == "cuda"
        and torch.is_grad_enabled()
        and query_BHTE.dtype in (torch.bfloat16, torch.float16, torch.float32)
        and query_BHTE.shape[2] >= FLEX_LENGTH
        and query_BHTE.shape[3] in FLEX_WIDTHS
        and importlib.util.find_spec("triton") is not None
    )


@cache
def _flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=False)
    return compiled


class _Blockwise(torch.autograd.Function):
    """Blockwise attention that keeps its attention weights for the backward.

    torch's attention has a slow CPU backward: forward and backward take 35 ms in bfloat16 and 38 ms in float32,
    against 18 ms and 31 ms here (one thread; sizes as at `BLOCK`).
    """

    @staticmethod
    def forward(
        ctx: Any,
        qkv_BT3HE: Tensor,
        rotary_2B1TP: Tensor | None,
        blocks: list[Block],
        keys_BHCE: Tensor | None,
        values_BHCE: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows_and_heads = (qkv_BT3HE.shape[0], qkv_BT3HE.shape[3])
        dtype = qkv_BT3HE.dtype
        ordered_3BHTE = qkv_BT3HE.permute(2, 0, 3, 1, 4)
        rotated_2BHTE = torch.empty(ordered_3BHTE[:2].shape, dtype=_wide(dtype)).copy_(ordered_3BHTE[:2])
        if rotary_2B1TP is None:
            rotated_2BHTE[0] *= rotated_2BHTE.shape[-1] ** -0.5
        else:
            _pairs(rotated_2BHTE).mul_(rotary_2B1TP)
        new_value_BHTE = ordered_3BHTE[2].contiguous()
        query, key = rotated_2BHTE.to(dtype).unbind(0)
        value = new_value_BHTE
        if keys_BHCE is not None and values_BHCE is not None:
            key = torch.cat([keys_BHCE.to(dtype), key], dim=2)
            value = torch.cat([values_BHCE.to(dtype), value], dim=2)
        query_RTE, key_RKE, value_RKE = query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)

        attn_BTHE = torch.empty_like(qkv_BT3HE[:, :, 0], memory_format=torch.contiguous_format)
        shares = []
        for queries, keys, bias_B1QK in blocks:
            score_RQK = torch.bmm(query_RTE[:, queries], key_RKE[:, keys].transpose(1, 2))
            score_RQK.unflatten(0, rows_and_heads).add_(bias_B1QK)
            share_RQK = score_RQK.softmax(dim=-1)
            if any(ctx.needs_input_grad):
                shares.append(share_RQK)
            attn_RQE = torch.bmm(share_RQK, value_RKE[:, keys])
            attn_BTHE[:, queries] = attn_RQE.unflatten(0, rows_and_heads).transpose(1, 2)

        ctx.blocks, ctx.rotary, ctx.rows_and_heads = blocks, rotary_2B1TP, rows_and_heads
        ctx.save_for_backward(query_RTE, key_RKE, value_RKE, *shares)
        ctx.set_materialize_grads(False)
        return attn_BTHE.flatten(2), rotated_2BHTE[1], new_value_BHTE

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, attn_grad: Tensor | None, new_key_grad: Tensor | None, new_value_grad: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        query_RTE, key_RKE, value_RKE, *shares = ctx.saved_tensors
        before = key_RKE.shape[1] - query_RTE.shape[1]
        query_grad, key_grad, value_grad = map(torch.zeros_like, (query_RTE, key_RKE, value_RKE))
        if attn_grad is not None:
            attn_grad = attn_grad.unflatten(2, (ctx.rows_and_heads[1], -1)).transpose(1, 2).flatten(0, 1)
            for (queries, keys, _), share_RQK in zip(ctx.blocks, shares, strict=True):
                block_grad = attn_grad[:, queries]
                share_grad = torch.bmm(block_grad, value_RKE[:, keys].transpose(1, 2))
                score_grad = torch._softmax_backward_data(share_grad, share_RQK, -1, share_RQK.dtype)
                query_grad[:, queries] = torch.bmm(score_grad, key_RKE[:, keys])
                key_grad[:, keys].baddbmm_(score_grad.transpose(1, 2), query_RTE[:, queries])
                value_grad[:, keys].baddbmm_(share_RQK.transpose(1, 2), block_grad)

        query_grad, key_grad, value_grad = (
            grad.unflatten(0, ctx.rows_and_heads) for grad in (query_grad, key_grad, value_grad)
        )
        rotated_grad = torch.empty(2, *query_grad.shape, dtype=_wide(query_grad.dtype))
        rotated_grad[0], rotated_grad[1] = query_grad, key_grad[:, :, before:]
        if new_key_grad is not None:
            rotated_grad[1] += new_key_grad
        if ctx.rotary is None:
            rotated_grad[0] *= rotated_grad.shape[-1] ** -0.5
        else:
            _pairs(rotated_grad).mul_(ctx.rotary.conj())
        rows, heads, length, head_width = query_grad.shape
        qkv_grad = query_grad.new_empty(rows, length, 3, heads, head_width)
        ordered = qkv_grad.permute(2, 0, 3, 1, 4)
        ordered[:2], ordered[2] = rotated_grad, value_grad[:, :, before:]
        if new_value_grad is not None:
            ordered[2] += new_value_grad
        if not before:
            return qkv_grad, None, None, None, None
        return qkv_grad, None, None, key_grad[:, :, :before], value_grad[:, :, :before]


def _pairs(x: Tensor) -> Tensor:
    """View [..., E] as complex [..., P], without a copy."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
