"""Sliding-window causal attention with rotary positions and a ring-buffer KV cache.

In each layer, frame t attends to frames t - window_size + 1 to t of its segment; a reset starts a new segment. With N
layers, information reaches back N * (window_size - 1) frames. One `BandedChunk` (forward) or `BandedFrame` (step) is
passed through all layers in order and then holds the new cache.

Legend: B batch, T time (queries), K keys (those before the chunk, and its own), S slots (window_size), D width,
H heads, N attention layers, E width of a head, P pairs (half of E).
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import AttentionConfig
from exphil_core.models.band import Band, FrameRotary, banded_product, chunk_rotary, frame_rotary
from exphil_core.models.mlp import FeedForward
from exphil_core.models.state import clear_rows, reset_columns


class KVCache(NamedTuple):
    """KV cache as a ring buffer: position p of a row is in slot p % S; unused slots are zero."""

    keys_BNHSE: Tensor
    """Rotated to their positions."""
    values_BNHSE: Tensor
    clock_B: Tensor
    """int64; frames since the row's last reset, which is the position of the next frame."""


def empty_kv_cache(
    batch_size: int,
    *,
    layers: int,
    heads: int,
    window_size: int,
    head_width: int,
    device: torch.device,
    dtype: torch.dtype,
) -> KVCache:
    """Create an empty KV cache: all zeros."""
    shape = (batch_size, layers, heads, window_size, head_width)
    return KVCache(
        keys_BNHSE=torch.zeros(shape, device=device, dtype=dtype),
        values_BNHSE=torch.zeros(shape, device=device, dtype=dtype),
        clock_B=torch.zeros(batch_size, device=device, dtype=torch.int64),
    )


class BandedChunk:
    """Attention context of a chunk of frames: positions, band and KV cache, shared by all layers."""

    def __init__(self, x_BTD: Tensor, reset_BT: Tensor, ring: KVCache | None, *, window_size: int) -> None:
        """Prepare a chunk.

        Args:
            x_BTD: Features; only shape and dtype are used.
            reset_BT: bool; a reset clears a row's cache before the frame.
            ring: Cache before the chunk; None starts fresh.
            window_size: Frames that a frame attends to, including itself.
        """
        rows, length = reset_BT.shape
        device = reset_BT.device
        self.window_size = window_size
        self.dtype = (
            torch.promote_types(x_BTD.dtype, torch.float32) if ring is None else ring.keys_BNHSE.dtype
        )
        resets = any(column > 0 for column in reset_columns(reset_BT))
        self.alike = ring is None and not resets
        """Whether all rows have the same clock throughout the chunk."""
        if self.alike:
            reset_BT = torch.zeros_like(reset_BT[:1])
        time_T = torch.arange(length, device=device)
        clock_B1 = torch.zeros(reset_BT.shape[0], 1, dtype=torch.int64, device=device)
        segment_BK = reset_BT.cumsum(dim=1)
        self._before: KVCache | None = None
        if ring is not None:
            self._before = clear_rows(ring, reset_BT[:, 0])
            clock_B1 = self._before.clock_B[:, None]
            # In time order, without the oldest frame, which is outside every window of the chunk.
            position_BC = clock_B1 + torch.arange(1 - window_size, 0, device=device)
            self._slot_BC = position_BC % window_size
            # Positions before 0 do not exist: the ring is empty there or was cleared by a reset in the first column.
            segment_BC = torch.where(position_BC < 0, -1, segment_BK[:, :1])
            segment_BK = torch.cat([segment_BC, segment_BK], dim=1)
        began_BT = torch.where(reset_BT, time_T, -clock_B1).cummax(dim=1).values
        self.position_BT = time_T - began_BT
        self.clock_B = (self.position_BT[:, -1] + 1).expand(rows)
        self.band = Band(
            segment_BK=segment_BK,
            length=length,
            window_size=window_size,
            causal=self.alike and length <= window_size,
        )
        self._rotary_2B1TP: Tensor | None = None
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def attend(self, qkv_BT3HE: Tensor, *, rotary: bool) -> Tensor:
        """Compute the next layer's attention output [B, T, D] and store its keys and values."""
        if rotary and self._rotary_2B1TP is None:
            self._rotary_2B1TP = chunk_rotary(self.position_BT, qkv_BT3HE.shape[-1], self.dtype)
        before = None
        if self._before is not None:
            number = len(self._keys)
            heads, head_width = qkv_BT3HE.shape[3:]
            slot = self._slot_BC[:, None, :, None].expand(-1, heads, -1, head_width)
            before = (
                self._before.keys_BNHSE[:, number].gather(2, slot),
                self._before.values_BNHSE[:, number].gather(2, slot),
            )
        attn_BTD, key_BHTE, value_BHTE = banded_product(
            qkv_BT3HE, self._rotary_2B1TP if rotary else None, self.band, before
        )
        if before is not None:
            key_BHTE = torch.cat([before[0], key_BHTE.to(before[0].dtype)], dim=2)
            value_BHTE = torch.cat([before[1], value_BHTE.to(before[1].dtype)], dim=2)
        self._keys.append(key_BHTE)
        self._values.append(value_BHTE)
        return attn_BTD

    def ring(self) -> KVCache:
        """Return the cache after the chunk, for the layers that have attended."""
        return KVCache(self._kept(self._keys), self._kept(self._values), self.clock_B.clone())

    def _kept(self, layers: list[Tensor]) -> Tensor:
        rows, heads, count, head_width = layers[0].shape
        kept = layers[0].new_empty(rows, len(layers), heads, self.window_size, head_width, dtype=self.dtype)
        if self.alike:
            # Two copies: the last `wrapped` frames to slot 0 on, those before them to the remaining slots.
            wrapped = count % self.window_size
            for number, layer in enumerate(layers):
                kept[:, number, :, :wrapped] = layer[:, :, count - wrapped :]
                rest = kept[:, number, :, wrapped:]
                if count < self.window_size:
                    rest.zero_()
                else:
                    rest.copy_(layer[:, :, count - self.window_size : count - wrapped])
            return kept
        last_B1 = self.clock_B[:, None] - 1
        age_BS = (last_B1 - torch.arange(self.window_size, device=last_B1.device)) % self.window_size
        used = (age_BS <= last_B1)[:, None, :, None]
        place = (count - 1 - age_BS).clamp(min=0)[:, None, :, None].expand(-1, heads, -1, head_width)
        for number, layer in enumerate(layers):
            kept[:, number] = torch.where(used, layer.gather(2, place), 0)
        return kept


class BandedFrame:
    """Attention context of one frame: position, mask and KV cache, shared by all layers.

    The ring is megabytes that a step copies once: layers read the old ring, and `ring()` writes all new entries into
    one copy.
    """

    def __init__(self, ring: KVCache, reset_B: Tensor) -> None:
        self.before = ring
        self.reset_B = reset_B
        self.clock_B = ring.clock_B.masked_fill(reset_B, 0)
        window_size = ring.keys_BNHSE.shape[3]
        slot_S = torch.arange(window_size, device=reset_B.device)
        self.slot_B1 = self.clock_B[:, None] % window_size
        # In a full ring, the frame's own slot still holds the frame that leaves the window.
        seen_BS = (slot_S < self.clock_B[:, None]) & (slot_S != self.slot_B1)
        dtype = ring.keys_BNHSE.dtype
        self.bias_B1S = torch.zeros_like(seen_BS, dtype=dtype).masked_fill(~seen_BS, -torch.inf)[:, None]
        self._rotary: FrameRotary | None = None
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    def attend(self, qkv_B3HE: Tensor, *, rotary: bool) -> Tensor:
        """Compute the next layer's attention output [B, D] and store its key and value."""
        past_keys_BHSE = self.before.keys_BNHSE[:, len(self._keys)]
        past_values_BHSE = self.before.values_BNHSE[:, len(self._keys)]
        qkv_B3HE = qkv_B3HE.to(past_keys_BHSE.dtype)
        query_key, value_BHE = qkv_B3HE[:, :2], qkv_B3HE[:, 2]
        if rotary:
            if self._rotary is None:
                self._rotary = frame_rotary(self.clock_B[:, None, None], qkv_B3HE.shape[-1], qkv_B3HE.dtype)
            query_key = self._rotary(query_key)
        query_BHE, key_BHE = query_key.unbind(1)
        self._keys.append(key_BHE)
        self._values.append(value_BHE)
        query_BHE = query_BHE * query_BHE.shape[-1] ** -0.5
        past_BHS = (query_BHE[:, :, None] @ past_keys_BHSE.transpose(2, 3))[:, :, 0] + self.bias_B1S
        own_BH1 = (query_BHE * key_BHE).sum(-1, keepdim=True)
        share_BHK = torch.cat([past_BHS, own_BH1], dim=-1).softmax(dim=-1)
        attn_BHE = (share_BHK[:, :, None, :-1] @ past_values_BHSE)[:, :, 0] + share_BHK[:, :, -1:] * value_BHE
        # Attention weights of 0 are not enough: a cleared row may have held NaN.
        return torch.where(self.reset_B[:, None, None], value_BHE, attn_BHE).flatten(1)

    def ring(self) -> KVCache:
        """Return the cache after the frame."""
        cleared = clear_rows(self.before, self.reset_B)

        def write(ring_BNHSE: Tensor, new: list[Tensor]) -> Tensor:
            new_BNH1E = torch.stack(new, dim=1)[:, :, :, None]
            return ring_BNHSE.scatter_(
                3, self.slot_B1[:, :, None, None, None].expand_as(new_BNH1E), new_BNH1E
            )

        return KVCache(
            write(cleared.keys_BNHSE, self._keys), write(cleared.values_BNHSE, self._values), self.clock_B + 1
        )


class BandedAttention(nn.Module):
    """One layer's attention, without norm, residual connection and dropout.

    The rows of `qkv.weight` are queries, then keys, then values, each ordered by head.
    """

    def __init__(self, width: int, heads: int, *, rotary: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.rotary = rotary
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTD: Tensor, chunk: BandedChunk) -> Tensor:
        """Attend over a chunk: [B, T, D]."""
        qkv_BT3HE = self.qkv(x_BTD).unflatten(-1, (3, self.heads, -1))
        out: Tensor = self.out(chunk.attend(qkv_BT3HE, rotary=self.rotary))
        return out

    def step(self, x_BD: Tensor, frame: BandedFrame) -> Tensor:
        """Attend for one frame: [B, D]."""
        qkv_B3HE = self.qkv(x_BD).unflatten(-1, (3, self.heads, -1))
        out: Tensor = self.out(frame.attend(qkv_B3HE, rotary=self.rotary))
        return out


class AttentionLayer(nn.Module):
    """Pre-norm residual layer: attention, then a feed-forward part."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.attention = BandedAttention(config.width, config.heads)
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = FeedForward(config.width, round(config.ffn_factor * config.width), config.dropout)
        # Small residual branches start a deep stack near the identity.
        with torch.no_grad():
            for branch in (self.attention.out, self.feed_forward.back):
                branch.weight.div_((2 * config.layers) ** 0.5)

    def forward(self, x_BTD: Tensor, chunk: BandedChunk) -> Tensor:
        return self._finish(x_BTD, self.attention(self.norm(x_BTD), chunk))

    def step(self, x_BD: Tensor, frame: BandedFrame) -> Tensor:
        return self._finish(x_BD, self.attention.step(self.norm(x_BD), frame))

    def _finish(self, x: Tensor, attn: Tensor) -> Tensor:
        x = x + self.dropout(attn)
        y: Tensor = x + self.feed_forward(x)
        return y


class AttentionBackbone(nn.Module):
    """Stack of `AttentionLayer` with a final norm."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        self.config = config
        # Cast, because mypy types a ModuleList's items as Module.
        self.layers = cast(
            "list[AttentionLayer]", nn.ModuleList(AttentionLayer(config) for _ in range(config.layers))
        )
        self.norm = nn.LayerNorm(config.width)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> KVCache:
        return empty_kv_cache(
            batch_size,
            layers=self.config.layers,
            heads=self.config.heads,
            window_size=self.config.window_size,
            head_width=self.config.width // self.config.heads,
            device=device,
            dtype=dtype,
        )

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor, state: KVCache | None = None
    ) -> tuple[Tensor, KVCache]:
        chunk = BandedChunk(x_BTD, reset_BT, state, window_size=self.config.window_size)
        for layer in self.layers:
            x_BTD = layer(x_BTD, chunk)
        return self.norm(x_BTD), chunk.ring()

    def step(self, x_BD: Tensor, reset_B: Tensor, state: KVCache) -> tuple[Tensor, KVCache]:
        frame = BandedFrame(state, reset_B)
        for layer in self.layers:
            x_BD = layer.step(x_BD, frame)
        return self.norm(x_BD), frame.ring()
