"""LSTM layers first, then banded causal attention over what they say.

In: `x_BTD`. Out: `y_BTD`, what every LSTM remembers, and the attention's ring of keys and values. Between the two
stands a dense projection; the attention layers are pre-norm and residual, without feed-forward parts.

What a reader gets wrong: only the attention is banded. A frame hears of all frames since the row's last reset
through the LSTM layers.

Legend: B batch, T time, S slots (window_size), D width, H heads, E width of a head, N layers (of LSTM in `hidden`
and `cell`, of attention in `keys` and `values`).
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import LstmConfig, LstmHybridConfig
from exphil_core.models.attention import BandedAttention, BandedChunk, BandedFrame, Ring, fresh_ring
from exphil_core.models.recurrent import LstmState, build_lstm


class LstmHybridState(NamedTuple):
    hidden_BND: Tensor
    cell_BND: Tensor
    keys_BNHSE: Tensor
    values_BNHSE: Tensor
    clock_B: Tensor

    def lstm(self) -> LstmState:
        return LstmState(self.hidden_BND, self.cell_BND)

    def ring(self) -> Ring:
        return Ring(self.keys_BNHSE, self.values_BNHSE, self.clock_B)


class HybridAttentionLayer(nn.Module):
    def __init__(self, config: LstmHybridConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.attention = BandedAttention(config.width, config.heads)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, chunk: BandedChunk) -> Tensor:
        return x_BTD + self.dropout(self.attention(self.norm(x_BTD), chunk))

    def step(self, x_BD: Tensor, frame: BandedFrame) -> Tensor:
        return x_BD + self.dropout(self.attention.step(self.norm(x_BD), frame))


class LstmHybridBackbone(nn.Module):
    def __init__(self, config: LstmHybridConfig) -> None:
        super().__init__()
        self.config = config
        self.lstm = build_lstm(LstmConfig(width=config.width, layers=config.layers, dropout=config.dropout))
        self.project = nn.Linear(config.width, config.width)
        # A cast because mypy sees a ModuleList's items as any module.
        self.layers = cast(
            "list[HybridAttentionLayer]",
            nn.ModuleList(HybridAttentionLayer(config) for _ in range(config.attention_layers)),
        )
        self.norm = nn.LayerNorm(config.width)

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> LstmHybridState:
        ring = fresh_ring(
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
        # The residual stream is in the precision of the weights also where the projection gives bfloat16.
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
