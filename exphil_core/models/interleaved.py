"""A backbone over two tokens a frame: `a₀, s₀, a₁, s₁, …`, read where the states stand.

In: frames as `InterleavedEncoder` makes them, x [B, T, 2D]. Out: what the backbone within says at the states, y_BTD.
It is a backbone itself, so whatever plays or trains one needs not know. What a reader gets wrong: windows are frames
everywhere but in the backbone within, whose band holds twice as many tokens.

Legend: B batch, T time, D width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from exphil_core.models.backbone import Backbone

TOKENS = 2
"""A frame."""


class Interleaved(nn.Module):
    def __init__(self, tokens: Backbone[Any]) -> None:
        super().__init__()
        assert isinstance(tokens, nn.Module)
        self.tokens = tokens

    def initial_state(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> Any:
        return self.tokens.initial_state(batch_size, device, dtype)

    def forward(self, x_BTD: Tensor, reset_BT: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        # A game begins with its first action: the state that follows it belongs to the same frame.
        reset_BT2 = torch.stack((reset_BT, torch.zeros_like(reset_BT)), dim=-1)
        y_BTD, state = self.tokens.forward(
            x_BTD.unflatten(-1, (TOKENS, -1)).flatten(1, 2), reset_BT2.flatten(1, 2), state
        )
        return y_BTD[:, 1::TOKENS], state

    def step(self, x_BD: Tensor, reset_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        action_BD, state_BD = x_BD.chunk(TOKENS, dim=-1)
        _, state = self.tokens.step(action_BD, reset_B, state)
        return self.tokens.step(state_BD, torch.zeros_like(reset_B), state)
