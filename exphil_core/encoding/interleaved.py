"""Two tokens a frame: what the ego did in it, then what came of it.

In: a batch's columns, as for the observation encoder. Out: x [B, T, 2D], the action's token before the state's. What
one gets wrong: the action at t is `pre[t]`, the controller that acted *within* frame t, so it stands before the state
that it led to, and is known whenever that state is, in play as in training and with any delay. The state's token does
not hold it a second time.

Legend: B batch, T time, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from exphil_core.config.encoder import EncoderConfig
from exphil_core.encoding.observation import ObservationEncoder, PreviousController
from exphil_core.replays.columns import Group


class InterleavedEncoder(nn.Module):
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
        """Both tokens of every frame, side by side."""
        state_BTD = self.state(columns, frame_id_BT, stage_B, ego_slot_B, mirror_B)
        action_BTD = self.norm(nn.functional.silu(self.project(self.controller(columns))))
        return torch.cat((action_BTD, state_BTD), dim=-1)
