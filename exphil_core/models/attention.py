"""Banded causal attention: each layer's frame t looks at frames t - window_size + 1 to t, and at no other.

In: `x_BTD`. Out: `y_BTD` and the keys and values of the last `window_size - 1` frames. Positions are rotary
and only differences of them count, so keys are kept unrotated and turned by their place in the window when
they are used: a step is the same function at frame 60 and at frame 60 million. A reset starts a new segment,
and no frame looks into another segment.

What a reader gets wrong: the band is per layer. With N layers, a frame hears of N * (window_size - 1) back.

Legend: B batch, T time (queries), S keys, C cached frames (window_size - 1), D width, H heads, N layers,
E width of a head.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from exphil_core.config.backbones import AttentionConfig
from exphil_core.models.mlp import FeedForward
from exphil_core.models.state import clear_rows, reset_columns

ROTARY_BASE = 10_000.0

BLOCKING = 4
"""Chunks longer than this many blocks are attended block by block, at a cost of T * window instead of T * T.
Measured on CPU at width 256: dense is faster up to about four windows, and 2.5 times slower at eleven."""

SMALLEST_BLOCK = 32


class AttentionState(NamedTuple):
    keys_BNHCE: Tensor
    """Not rotated. Oldest first."""
    values_BNHCE: Tensor
    valid_BC: Tensor
    """False where the frame is before the row's last reset; keys and values are zero there."""


class Rotary(NamedTuple):
    """Cosines and sines of consecutive positions, [S, E / 2]; angles are computed in float64."""

    cos_SE: Tensor
    sin_SE: Tensor

    def turn(self, x_BHSE: Tensor) -> Tensor:
        """Rotates pairs of features by their position, in float32 or better."""
        first, second = x_BHSE.to(self.cos_SE.dtype).chunk(2, dim=-1)
        cos, sin = self.cos_SE, self.sin_SE
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    def last(self, count: int) -> "Rotary":
        return Rotary(self.cos_SE[-count:], self.sin_SE[-count:])


def rotary(length: int, head_width: int, x: Tensor) -> Rotary:
    exponents = torch.arange(0, head_width, 2, device=x.device, dtype=torch.float64) / head_width
    positions = torch.arange(length, device=x.device, dtype=torch.float64)
    angles = positions[:, None] * ROTARY_BASE**-exponents
    dtype = torch.promote_types(x.dtype, torch.float32)
    return Rotary(angles.cos().to(dtype), angles.sin().to(dtype))


class Band(NamedTuple):
    """Which key each query of a chunk may look at, shared by all layers."""

    mask: Tensor
    """bool [B or 1, 1, T, S], or [B * blocks, 1, block, block + C]."""
    block: int | None
    """Queries per block; None attends densely."""


class AttentionLayer(nn.Module):
    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = FeedForward(config.width, round(config.ffn_factor * config.width), config.dropout)
        # Residual branches start small, so that a deep stack starts near the identity.
        with torch.no_grad():
            for branch in (self.out, self.feed_forward.back):
                branch.weight.div_((2 * config.layers) ** 0.5)

    def project(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [B, H, T, E], not rotated."""
        qkv = self.qkv(self.norm(x_BTD)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def finish(self, x_BTD: Tensor, attended_BHTE: Tensor) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.out(attended_BHTE.transpose(1, 2).flatten(2)))
        return x_BTD + self.feed_forward(x_BTD)


class AttentionBackbone(nn.Module):
    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        self.config = config
        self.cached = config.window_size - 1
        self.head_width = config.width // config.heads
        # A cast because mypy sees a ModuleList's items as any module.
        self.layers = cast(
            "list[AttentionLayer]", nn.ModuleList(AttentionLayer(config) for _ in range(config.layers))
        )
        self.norm = nn.LayerNorm(config.width)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> AttentionState:
        shape = (batch_size, self.config.layers, self.config.heads, self.cached, self.head_width)
        return AttentionState(
            keys_BNHCE=torch.zeros(shape, device=device, dtype=dtype),
            values_BNHCE=torch.zeros(shape, device=device, dtype=dtype),
            valid_BC=torch.zeros(batch_size, self.cached, device=device, dtype=torch.bool),
        )

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor, state: AttentionState | None = None
    ) -> tuple[Tensor, AttentionState]:
        batch_size, length, _ = x_BTD.shape
        block = max(self.config.window_size, SMALLEST_BLOCK)
        blocked = length > BLOCKING * block
        resets = any(column > 0 for column in reset_columns(reset_BT))
        if state is None and blocked:
            state = self.initial_state(batch_size, x_BTD.device, x_BTD.dtype)

        segment_BS = reset_BT.cumsum(dim=1)
        if state is not None:
            segment_BS = torch.cat([state.valid_BC.long() - 1, segment_BS], dim=1)
        if blocked:
            band = _blocked_band(segment_BS, length, self.config.window_size, block)
        else:
            shared = state is None and not resets
            band = _dense_band(segment_BS[:1] if shared else segment_BS, length, self.config.window_size)

        # The new state: the last frames, as far as they belong to the row's last segment.
        missing = max(0, self.cached - segment_BS.shape[1])
        segment_BC = functional.pad(segment_BS, (missing, 0), value=-1)[:, -self.cached :]
        valid_BC = segment_BC == segment_BS[:, -1:]
        keys, values = [], []
        table = rotary(segment_BS.shape[1], self.head_width, x_BTD)
        for number, layer in enumerate(self.layers):
            query, key, value = layer.project(x_BTD)
            if state is not None:
                key = torch.cat([state.keys_BNHCE[:, number].to(key.dtype), key], dim=2)
                value = torch.cat([state.values_BNHCE[:, number].to(value.dtype), value], dim=2)
            attended = _attend(table.last(length).turn(query), table.turn(key), value, band)
            x_BTD = layer.finish(x_BTD, attended)
            keys.append(key[:, :, -self.cached :])
            values.append(value[:, :, -self.cached :])

        def keep(parts: list[Tensor]) -> Tensor:
            stacked = functional.pad(torch.stack(parts, dim=1), (0, 0, missing, 0))
            dtype = x_BTD.dtype if state is None else state.keys_BNHCE.dtype
            return stacked.masked_fill(~valid_BC[:, None, None, :, None], 0).to(dtype)

        return self.norm(x_BTD), AttentionState(keep(keys), keep(values), valid_BC)

    def step(self, x_BD: Tensor, reset_B: Tensor, state: AttentionState) -> tuple[Tensor, AttentionState]:
        state = clear_rows(state, reset_B)
        valid_BS = functional.pad(state.valid_BC, (0, 1), value=True)
        band = Band(mask=valid_BS[:, None, None, :], block=None)
        table = rotary(self.config.window_size, self.head_width, x_BD)
        x_BTD = x_BD[:, None]
        keys, values = [], []
        for number, layer in enumerate(self.layers):
            query, key, value = layer.project(x_BTD)
            key = torch.cat([state.keys_BNHCE[:, number], key.to(state.keys_BNHCE.dtype)], dim=2)
            value = torch.cat([state.values_BNHCE[:, number], value.to(state.values_BNHCE.dtype)], dim=2)
            x_BTD = layer.finish(x_BTD, _attend(table.last(1).turn(query), table.turn(key), value, band))
            keys.append(key[:, :, 1:])
            values.append(value[:, :, 1:])
        y_BD = self.norm(x_BTD)[:, 0]
        return y_BD, AttentionState(torch.stack(keys, dim=1), torch.stack(values, dim=1), valid_BS[:, 1:])


def _dense_band(segment_BS: Tensor, length: int, window_size: int) -> Band:
    keys = segment_BS.shape[1]
    key = torch.arange(keys, device=segment_BS.device)
    age = key[keys - length :, None] - key
    same = segment_BS[:, keys - length :, None] == segment_BS[:, None, :]
    return Band(mask=(same & (age >= 0) & (age < window_size))[:, None], block=None)


def _blocked_band(segment_BS: Tensor, length: int, window_size: int, block: int) -> Band:
    cached = window_size - 1
    # Padding past the end repeats the last segment: its queries see themselves (what sees nothing is NaN).
    padded = torch.cat([segment_BS, segment_BS[:, -1:].expand(-1, -length % block)], dim=1)
    keys = padded.unfold(1, block + cached, block).flatten(0, 1)
    place = torch.arange(block + cached, device=keys.device)
    age = place[cached:, None] - place
    same = keys[:, cached:, None] == keys[:, None, :]
    return Band(mask=(same & (age >= 0) & (age < window_size))[:, None], block=block)


def _attend(query_BHTE: Tensor, key_BHSE: Tensor, value_BHSE: Tensor, band: Band) -> Tensor:
    value_BHSE = value_BHSE.to(query_BHTE.dtype)
    if band.block is None:
        return _dot_product(query_BHTE, key_BHSE, value_BHSE, band.mask)
    batch_size, _, length, _ = query_BHTE.shape
    block, span = band.mask.shape[2:]
    pad = (0, 0, 0, -length % block)
    query = functional.pad(query_BHTE, pad).unflatten(2, (-1, block)).transpose(1, 2).flatten(0, 1)
    key = functional.pad(key_BHSE, pad).unfold(2, span, block).permute(0, 2, 1, 4, 3).flatten(0, 1)
    value = functional.pad(value_BHSE, pad).unfold(2, span, block).permute(0, 2, 1, 4, 3).flatten(0, 1)
    attended = _dot_product(query, key, value, band.mask).unflatten(0, (batch_size, -1))
    return attended.transpose(1, 2).flatten(2, 3)[:, :, :length]


def _dot_product(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    if query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    # On CPU attention in bfloat16 is slower (its backward pass): 27 ms against 13 ms at [32, 120], width 256.
    with torch.autocast("cpu", enabled=False):
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
