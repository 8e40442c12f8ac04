"""Item encoder: items and projectiles of a frame as vectors, nearest to the ego first.

The columns hold up to `ITEM_SLOTS` items in order of appearance. An item's owner is a player of the game (0 or 1),
not "ego or opponent": choosing the ego does not swap it, so reading it needs `ego_slot`.

Legend: B batch, T time, S slots, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from exphil_core.encoding.numerics import ITEM_NUMERICS, Normalise
from exphil_core.encoding.players import SelectColumns, known_ids, numbers_or_nan
from exphil_core.replays.columns import ITEM_SLOTS, MISSING, Group

ITEM_TYPES = 1001
"""Number of item types (0 to 1000), without the extra embedding row for a missing type."""

TYPE_WIDTH = 16


_NUMERICS = ("dx", "dy", "dx_facing", "dx_near", "dy_near", "velocity_x", "velocity_y", "state")
assert tuple(numeric.name for numeric in ITEM_NUMERICS) == _NUMERICS


class ItemEncoder(nn.Module):
    """Encode the `slots` nearest items with shared weights."""

    def __init__(self, slots: int, width: int) -> None:
        super().__init__()
        blocks = tuple(f"item{slot}" for slot in range(ITEM_SLOTS))
        self.slots = slots
        self.f32 = SelectColumns("f32", blocks, ("position_x", "position_y", "velocity_x", "velocity_y"))
        self.u8 = SelectColumns("u8", blocks, ("state", "owner"))
        self.item_type = SelectColumns("u16", blocks, "type")
        self.ego = SelectColumns("f32", "p0", ("position_x", "position_y", "direction"))
        self.normalise = Normalise(ITEM_NUMERICS)
        self.type_table = nn.Embedding(ITEM_TYPES + 1, TYPE_WIDTH)
        nn.init.normal_(self.type_table.weight, std=TYPE_WIDTH**-0.5)
        self.project = nn.Linear(2 * len(ITEM_NUMERICS) + 3 + TYPE_WIDTH, width)

    def forward(self, columns: Mapping[Group, Tensor], ego_slot_B: Tensor) -> Tensor:
        """Encode items: [B, T, S, D], exactly 0 in empty slots."""
        types = self.item_type(columns)
        place = self.f32(columns)
        ego = self.ego(columns).nan_to_num(nan=0.0)[..., None, :]
        distance = (place[..., :2] - ego[..., :2]).square().sum(dim=-1)
        # Items with an unknown position sort after those with a position and before empty slots.
        empty = types == MISSING["u16"]
        distance = distance.nan_to_num(nan=1e30).masked_fill(empty, float("inf"))
        nearest = distance.argsort(dim=-1, stable=True)[..., : self.slots]

        types = types.gather(-1, nearest)
        place = place.gather(-2, nearest[..., None].expand(*nearest.shape, place.shape[-1]))
        state, owner = (
            self.u8(columns).gather(-2, nearest[..., None].expand(*nearest.shape, 2)).split(1, dim=-1)
        )

        offset = place[..., :2] - ego[..., :2]
        ahead = offset[..., :1] * ego[..., 2:]
        numbers = torch.cat((offset, ahead, offset, place[..., 2:], numbers_or_nan(state)), dim=-1)
        ego_slot = ego_slot_B[:, None, None, None]
        owners = (owner == ego_slot, owner == 1 - ego_slot, owner == MISSING["u8"])
        features = torch.cat(
            (
                self.normalise(numbers),
                torch.cat((numbers.isnan(), *owners), dim=-1).float(),
                self.type_table(known_ids(types, ITEM_TYPES)),
            ),
            dim=-1,
        )
        encoded: Tensor = nn.functional.silu(self.project(features)) * (types != MISSING["u16"])[..., None]
        return encoded
