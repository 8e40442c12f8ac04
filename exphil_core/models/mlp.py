"""The backbone without memory: each frame on its own, through residual or plain layers.

It reads and keeps no state; resets mean nothing to it.

Legend: B batch, T time, D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import MlpConfig

FACTOR = 4
"""Width of a layer's inner part as a multiple of the backbone's."""


class MlpState(NamedTuple):
    """Nothing."""


class FeedForward(nn.Module):
    """norm → wide → GELU → back: what is added to the residual stream."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, inner)
        self.back = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        inner = nn.functional.gelu(self.wide(self.norm(x_BTD)))
        out: Tensor = self.dropout(self.back(inner))
        return out


class MlpBackbone(nn.Module):
    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.residual = config.residual
        width, inner = config.width, FACTOR * config.width
        self.layers = nn.ModuleList(
            FeedForward(width, inner, config.dropout)
            if config.residual
            else nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(config.dropout))
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width) if config.residual else nn.Identity()

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> MlpState:
        return MlpState()

    def forward(
        self, x_BTD: Tensor, reset_BT: Tensor, state: MlpState | None = None
    ) -> tuple[Tensor, MlpState]:
        return self._run(x_BTD), MlpState()

    def step(self, x_BD: Tensor, reset_B: Tensor, state: MlpState) -> tuple[Tensor, MlpState]:
        return self._run(x_BD), MlpState()

    def _run(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x) if self.residual else layer(x)
        y: Tensor = self.norm(x)
        return y
