"""Interleaved backbone: runs an inner backbone over two tokens per frame, `a₀, s₀, a₁, s₁, …`.

Window sizes count frames everywhere except in the inner backbone, where they count tokens, twice as many.

Legend: B batch, T time, D width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from exphil_core.models.backbone import Backbone

TOKENS = 2
"""Tokens per frame."""


class InterleavedBackbone(nn.Module):
    """A backbone from the frames of `InterleavedEncoder`, x [B, T, 2D], to the outputs at the state tokens, y_BTD."""

    def __init__(self, tokens: Backbone[Any]) -> None:
        super().__init__()
        assert isinstance(tokens, nn.Module)
        self.tokens = tokens

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> Any:
        return self.tokens.initial_state(batch_size, device, dtype)

    def forward(self, x_BTD: Tensor, reset_BT: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        # Reset before the action token only: the state token belongs to the same frame.
        reset_BT2 = torch.stack((reset_BT, torch.zeros_like(reset_BT)), dim=-1)
        y_BTD, state = self.tokens.forward(
            x_BTD.unflatten(-1, (TOKENS, -1)).flatten(1, 2), reset_BT2.flatten(1, 2), state
        )
        return y_BTD[:, 1::TOKENS], state

    def step(self, x_BD: Tensor, reset_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        action_BD, state_BD = x_BD.chunk(TOKENS, dim=-1)
        _, state = self.tokens.step(action_BD, reset_B, state)
        return self.tokens.step(state_BD, torch.zeros_like(reset_B), state)
