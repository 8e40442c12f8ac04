"""MLP backbone: residual or plain layers on each frame independently. It has no state and ignores resets.

Legend: B batch, T time, D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import MlpConfig

FACTOR = 4
"""Inner width of a layer as a multiple of the backbone's width."""


class MlpState(NamedTuple):
    """Empty state."""


class FeedForward(nn.Module):
    """Residual branch: norm, widening linear layer, GELU, linear layer back."""

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
    """Stack of feed-forward layers; with `residual`, pre-norm and a final norm."""

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
