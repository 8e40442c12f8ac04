"""The observation encoder: what an ego sees of one frame, as one vector.

In: a batch's columns [B, T, C] with the ego in `p0`/`n0`, and each row's stage. Out: x_BTD. What one gets
wrong: x at t is a function of frame t alone, of what is visible in it: `post[t]` of everyone, and of the
controllers only the ego's own `pre[t]`, which it has just used. A live player cannot see the opponent's
controller, so neither does the encoder. The target is a later frame's controller (`batch.targets`), which
never comes in here.

Legend: B batch, T time, C columns of a dtype group, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from exphil_core.config.encoder import EncoderConfig
from exphil_core.encoding.fighters import ActionStateEmbedding, FollowerEncoder, Gather, PlayerEncoder
from exphil_core.encoding.items import ItemEncoder
from exphil_core.encoding.numerics import CONTROLLER_NUMERICS, RELATIVE_NUMERICS, Normalise
from exphil_core.encoding.scenery import SceneryEncoder
from exphil_core.melee.controller import BUTTON_BITS, BUTTONS
from exphil_core.replays.columns import MISSING, Group


class ObservationEncoder(nn.Module):
    def __init__(self, config: EncoderConfig, *, own_controller: bool = True) -> None:
        """Without `own_controller`, what the ego itself did is not part of the vector."""
        super().__init__()
        self.config = config
        self.width_out = config.width
        player_width = max(8, config.width // 2)
        part_width = max(8, config.width // 8)
        action_states = ActionStateEmbedding(config.action_state_width)
        self.players = PlayerEncoder(config, action_states, player_width)
        self.followers = FollowerEncoder(config, action_states, part_width)
        self.items = ItemEncoder(config.item_slots, part_width) if config.item_slots else None
        self.scenery = SceneryEncoder(config)
        self.relation = Relation()
        self.controller = PreviousController() if own_controller else None
        parts = 2 * player_width + 2 * part_width + config.item_slots * part_width
        parts += self.scenery.width + self.relation.width
        parts += self.controller.width if self.controller is not None else 0
        self.project = nn.Linear(parts, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        columns: Mapping[Group, Tensor],
        frame_id_BT: Tensor,
        stage_B: Tensor,
        ego_slot_B: Tensor,
        mirror_B: Tensor,
    ) -> Tensor:
        """x_BTD. `ego_slot_B`: which player of the game the ego is; `mirror_B`: which rows were reflected."""
        parts = [
            self.players(columns, self.scenery.edge_of(stage_B)).flatten(-2),
            self.followers(columns).flatten(-2),
            self.scenery(columns, frame_id_BT, stage_B, mirror_B),
            self.relation(columns),
        ]
        if self.controller is not None:
            parts.append(self.controller(columns))
        if self.items is not None:
            parts.append(self.items(columns, ego_slot_B).flatten(-2))
        x = nn.functional.silu(self.project(torch.cat(parts, dim=-1)))
        return self.dropout(self.norm(x))


_RELATION = ("dx", "dy", "dx_facing", "dx_faced", "distance", "dx_near", "dy_near", "dx_facing_near")
assert tuple(numeric.name for numeric in RELATIVE_NUMERICS) == _RELATION


class Relation(nn.Module):
    """Where the opponent is, seen from the ego [B, T, N]; its masks are the players' own."""

    signs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.place = Gather("f32", ("p0", "p1"), ("position_x", "position_y"))
        self.direction = Gather("f32", ("p0", "p1"), "direction")
        self.normalise = Normalise(RELATIVE_NUMERICS)
        self.register_buffer("signs", torch.tensor([1.0, -1.0]), persistent=False)
        self.width = len(RELATIVE_NUMERICS)

    def forward(self, columns: Mapping[Group, Tensor]) -> Tensor:
        ego, opponent = self.place(columns).unbind(-2)
        offset = opponent - ego
        dx, dy = offset.split(1, dim=-1)
        # The ego turns towards the opponent, the opponent towards the ego.
        facing = dx * self.direction(columns) * self.signs
        parts = (offset, facing, torch.hypot(dx, dy), offset, facing[..., :1])
        return self.normalise(torch.cat(parts, dim=-1))


class PreviousController(nn.Module):
    """The controller that the ego used within the frame, as it is [B, T, N]: numbers, button bits, masks."""

    bits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.f32 = Gather("f32", "p0", tuple(numeric.name for numeric in CONTROLLER_NUMERICS))
        self.u16 = Gather("u16", "p0", ("buttons",))
        self.normalise = Normalise(CONTROLLER_NUMERICS)
        bits = torch.tensor([BUTTON_BITS[name] for name in BUTTONS], dtype=torch.int32)
        self.register_buffer("bits", bits, persistent=False)
        self.width = 2 * len(CONTROLLER_NUMERICS) + len(BUTTONS) + 1

    def forward(self, columns: Mapping[Group, Tensor]) -> Tensor:
        numbers = self.f32(columns)
        buttons = self.u16(columns)
        missing = buttons == MISSING["u16"]
        pressed = (buttons & self.bits).ne(0) & ~missing
        yes_or_no = torch.cat((numbers.isnan(), pressed, missing), dim=-1).float()
        return torch.cat((self.normalise(numbers), yes_or_no), dim=-1)
