"""LSTM-attention hybrid backbone: LSTM layers, a linear projection, then banded causal attention layers.

The attention layers are pre-norm and residual, without feed-forward parts. Only attention is limited to `window_size`
frames; the LSTM layers carry information from all frames since the last reset.

Legend: B batch, T time, S slots (window_size), D width, H heads, E width of a head, N layers (of LSTM in `hidden`
and `cell`, of attention in `keys` and `values`).
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import LstmConfig, LstmHybridConfig
from exphil_core.models.attention import BandedAttention, BandedChunk, BandedFrame, KVCache, empty_kv_cache
from exphil_core.models.recurrent import LstmState, build_lstm


class LstmHybridState(NamedTuple):
    """State of the LSTM layers and of the attention layers."""

    hidden_BND: Tensor
    cell_BND: Tensor
    keys_BNHSE: Tensor
    values_BNHSE: Tensor
    clock_B: Tensor

    def lstm(self) -> LstmState:
        return LstmState(self.hidden_BND, self.cell_BND)

    def ring(self) -> KVCache:
        return KVCache(self.keys_BNHSE, self.values_BNHSE, self.clock_B)


class HybridAttentionLayer(nn.Module):
    """Pre-norm residual attention without a feed-forward part."""

    def __init__(self, config: LstmHybridConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.attention = BandedAttention(config.width, config.heads)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, chunk: BandedChunk) -> Tensor:
        y_BTD: Tensor = x_BTD + self.dropout(self.attention(self.norm(x_BTD), chunk))
        return y_BTD

    def step(self, x_BD: Tensor, frame: BandedFrame) -> Tensor:
        y_BD: Tensor = x_BD + self.dropout(self.attention.step(self.norm(x_BD), frame))
        return y_BD


class LstmHybridBackbone(nn.Module):
    """LSTM backbone followed by banded attention layers."""

    def __init__(self, config: LstmHybridConfig) -> None:
        super().__init__()
        self.config = config
        self.lstm = build_lstm(LstmConfig(width=config.width, layers=config.layers, dropout=config.dropout))
        self.project = nn.Linear(config.width, config.width)
        # Cast, because mypy types a ModuleList's items as Module.
        self.layers = cast(
            "list[HybridAttentionLayer]",
            nn.ModuleList(HybridAttentionLayer(config) for _ in range(config.attention_layers)),
        )
        self.norm = nn.LayerNorm(config.width)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> LstmHybridState:
        ring = empty_kv_cache(
            batch_size,
            layers=self.config.attention_layers,
            heads=self.config.heads,
            window_size=self.config.window_size,
            head_width=self.config.width // self.config.heads,
            device=device,
            dtype=dtype,
        )
        return LstmHybridState(*self.lstm.initial_state(batch_size, device, dtype), *ring)

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor, state: LstmHybridState | None = None
    ) -> tuple[Tensor, LstmHybridState]:
        x_BTD, lstm = self.lstm.forward(x_BTD, reset_BT, state and state.lstm())
        # Keep the residual stream in the precision of the weights even if the projection outputs bfloat16.
        x_BTD = self.project(x_BTD).to(self.norm.weight.dtype)
        chunk = BandedChunk(x_BTD, reset_BT, state and state.ring(), window_size=self.config.window_size)
        for layer in self.layers:
            x_BTD = layer(x_BTD, chunk)
        return self.norm(x_BTD), LstmHybridState(*lstm, *chunk.ring())

    def step(self, x_BD: Tensor, reset_B: Tensor, state: LstmHybridState) -> tuple[Tensor, LstmHybridState]:
        x_BD, lstm = self.lstm.step(x_BD, reset_B, state.lstm())
        x_BD = self.project(x_BD)
        frame = BandedFrame(state.ring(), reset_B)
        for layer in self.layers:
            x_BD = layer.step(x_BD, frame)
        return self.norm(x_BD), LstmHybridState(*lstm, *frame.ring())
