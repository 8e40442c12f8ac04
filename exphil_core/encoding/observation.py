"""Observation encoder: what the ego can see of one frame, as one vector.

x at t depends on frame t alone: `post[t]` of everyone and the ego's own `pre[t]`. The opponent's controller is not
visible in play, so the encoder does not read it. Targets are controllers of later frames (`batch.targets`).

Legend: B batch, T time, C columns of a dtype group, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from exphil_core.config.encoder import EncoderConfig
from exphil_core.encoding.items import ItemEncoder
from exphil_core.encoding.numerics import CONTROLLER_NUMERICS, RELATIVE_NUMERICS, Normalise
from exphil_core.encoding.players import ActionStateEmbedding, FollowerEncoder, PlayerEncoder, SelectColumns
from exphil_core.encoding.stage import StageEncoder
from exphil_core.melee.controller import BUTTON_BITS, BUTTONS
from exphil_core.replays.columns import MISSING, Group


class ObservationEncoder(nn.Module):
    """Encode players, followers, items, stage, relative position and the ego's controller into x_BTD."""

    def __init__(self, config: EncoderConfig, *, own_controller: bool = True) -> None:
        """Build the encoder.

        Args:
            config: Widths and item slots.
            own_controller: Whether the vector includes the ego's own controller.
        """
        super().__init__()
        self.config = config
        self.width_out = config.width
        player_width = max(8, config.width // 2)
        part_width = max(8, config.width // 8)
        action_states = ActionStateEmbedding(config.action_state_width)
        self.players = PlayerEncoder(config, action_states, player_width)
        self.followers = FollowerEncoder(config, action_states, part_width)
        self.items = ItemEncoder(config.item_slots, part_width) if config.item_slots else None
        self.scenery = StageEncoder(config)
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
        """Encode frames.

        Args:
            columns: Columns by dtype group, [B, T, C], with the ego in `p0`/`n0`.
            frame_id_BT: Frame ids, from -123.
            stage_B: External stage ids.
            ego_slot_B: Which of the game's two players (0 or 1) is the ego.
            mirror_B: Rows that were reflected.

        Returns:
            x_BTD.
        """
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
        y: Tensor = self.dropout(self.norm(x))
        return y


_RELATION = ("dx", "dy", "dx_facing", "dx_faced", "distance", "dx_near", "dy_near", "dx_facing_near")
assert tuple(numeric.name for numeric in RELATIVE_NUMERICS) == _RELATION


class Relation(nn.Module):
    """Opponent position relative to the ego [B, T, N]; its missing-value masks are those of the player vectors."""

    signs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.place = SelectColumns("f32", ("p0", "p1"), ("position_x", "position_y"))
        self.direction = SelectColumns("f32", ("p0", "p1"), "direction")
        self.normalise = Normalise(RELATIVE_NUMERICS)
        self.register_buffer("signs", torch.tensor([1.0, -1.0]), persistent=False)
        self.width = len(RELATIVE_NUMERICS)

    def forward(self, columns: Mapping[Group, Tensor]) -> Tensor:
        ego, opponent = self.place(columns).unbind(-2)
        offset = opponent - ego
        dx, dy = offset.split(1, dim=-1)
        # Positive where the ego faces the opponent, and where the opponent faces the ego.
        facing = dx * self.direction(columns) * self.signs
        parts = (offset, facing, torch.hypot(dx, dy), offset, facing[..., :1])
        normalised: Tensor = self.normalise(torch.cat(parts, dim=-1))
        return normalised


class PreviousController(nn.Module):
    """The ego's controller within the frame, unprojected [B, T, N]: numbers, button bits, masks."""

    bits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.f32 = SelectColumns("f32", "p0", tuple(numeric.name for numeric in CONTROLLER_NUMERICS))
        self.u16 = SelectColumns("u16", "p0", ("buttons",))
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
