"""Interleaved encoder: two tokens per frame, the ego's action and then the resulting state.

The action at t is `pre[t]`, the controller that acted *within* frame t. It therefore precedes the state that it
produced, and is known whenever that state is, in training and in play, with any delay. The state token omits it.

Legend: B batch, T time, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from exphil_core.config.encoder import EncoderConfig
from exphil_core.encoding.observation import ObservationEncoder, PreviousController
from exphil_core.replays.columns import Group


class InterleavedEncoder(nn.Module):
    """Encode each frame as an action token and a state token."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.width_out = 2 * config.width
        self.state = ObservationEncoder(config, own_controller=False)
        self.controller = PreviousController()
        self.project = nn.Linear(self.controller.width, config.width)
        self.norm = nn.LayerNorm(config.width)

    def forward(
        self,
        columns: Mapping[Group, Tensor],
        frame_id_BT: Tensor,
        stage_B: Tensor,
        ego_slot_B: Tensor,
        mirror_B: Tensor,
    ) -> Tensor:
        """Encode frames; arguments as for `ObservationEncoder.forward`.

        Returns:
            x [B, T, 2D]: per frame the action token, then the state token.
        """
        state_BTD = self.state(columns, frame_id_BT, stage_B, ego_slot_B, mirror_B)
        action_BTD = self.norm(nn.functional.silu(self.project(self.controller(columns))))
        return torch.cat((action_BTD, state_BTD), dim=-1)
