"""Player and follower (Nana) encoders: each fighter of a frame becomes a vector.

The columns also hold the opponent's controller (`pre`); it must not be read here. Only `post` is visible in play.

Legend: B batch, T time, N numbers, D width; the axis of length 2 is (ego, opponent).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from exphil_core.config.encoder import EncoderConfig
from exphil_core.encoding.numerics import FOLLOWER_NUMERICS, PLAYER_NUMERICS, Normalise
from exphil_core.melee.action_states import COUNT
from exphil_core.melee.characters import INTERNAL_ID_COUNT
from exphil_core.replays.columns import MISSING, POSITION, Group

ACTION_STATES = COUNT
"""Rows of the action-state embedding, without the extra row for a missing state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bit:
    """One boolean input: `column & mask == value`; False where the column is missing."""

    name: str
    column: str
    mask: int
    value: int


def _flag(name: str, column: str, bit: int) -> Bit:
    return Bit(name=name, column=column, mask=bit, value=bit)


def _equals(name: str, column: str, value: int) -> Bit:
    return Bit(name=name, column=column, mask=0xFF, value=value)


PLAYER_BITS: tuple[Bit, ...] = (
    # Names and bits of the flags: Slippi specification, "State Bit Flags".
    _flag("absorber active", "flags_1", 0x02),
    _flag("reflect active", "flags_1", 0x10),
    _flag("intangible or invincible from subaction", "flags_2", 0x04),
    _flag("fastfalling", "flags_2", 0x08),
    _flag("defender in hitlag", "flags_2", 0x10),
    _flag("in hitlag", "flags_2", 0x20),
    _flag("holding another character", "flags_3", 0x04),
    _flag("shield active", "flags_3", 0x80),
    _flag("in hitstun", "flags_4", 0x02),
    _flag("hitbox touching a shield", "flags_4", 0x04),
    _flag("powershield active", "flags_4", 0x20),
    _flag("dead", "flags_5", 0x40),
    _flag("offscreen", "flags_5", 0x80),
    _equals("airborne", "airborne", 1),
    _equals("L-cancel succeeded", "l_cancel", 1),
    _equals("L-cancel failed", "l_cancel", 2),
    _equals("invulnerable", "hurtbox_state", 1),
    _equals("intangible", "hurtbox_state", 2),
)

HITSTUN = _flag("in hitstun", "flags_4", 0x02)

_F32 = (
    "position_x",
    "position_y",
    "direction",
    "percent",
    "shield",
    "hitlag",
    "velocity_air_x",
    "velocity_ground_x",
    "velocity_y",
    "knockback_x",
    "knockback_y",
    "state_age",
    "misc_as",
)
_U8 = ("stocks", "jumps", "combo_count")
_MASKED = (*_F32[:-1], *_U8, "hitstun")
"""Numerics with a missing-value mask; derived numerics share the mask of their source."""
_RAW = (*_F32, *_U8, "hitstun", "ledge_distance", "facing_outward")
_SOURCES = {"state_age_long": "state_age"}
"""Numerics computed from the raw value of another: name to source."""
_MASKED_BITS = ("flags_1", "airborne", "l_cancel", "hurtbox_state")
"""One bit column per replay-version group; its mask covers the group."""


class SelectColumns(nn.Module):
    """Select named columns of one dtype group: [B, T, C] to [B, T, blocks, names].

    Args:
        group: The dtype group of all selected columns.
        blocks: Column prefixes such as `p0`; a plain string adds no axis to the output.
        names: Column names within a block; a plain string adds no axis to the output.
    """

    index: Tensor

    def __init__(self, group: Group, blocks: str | tuple[str, ...], names: str | tuple[str, ...]) -> None:
        super().__init__()
        self.group: Group = group
        self.shape = tuple(len(asked) for asked in (blocks, names) if not isinstance(asked, str))
        wanted = [f"{block}.{name}" for block in _several(blocks) for name in _several(names)]
        positions = [POSITION[name] for name in wanted]
        assert all(found == group for found, _ in positions), (group, names)
        self.register_buffer("index", torch.tensor([index for _, index in positions]), persistent=False)

    def forward(self, columns: Mapping[Group, Tensor]) -> Tensor:
        picked = columns[self.group].index_select(-1, self.index)
        return picked.unflatten(-1, self.shape) if len(self.shape) > 1 else picked


class Reorder(nn.Module):
    """Reorder the entries of the last axis; entries may be repeated or dropped.

    One `index_select` for the whole axis: selecting and stacking single entries would dominate a frame's time.
    """

    index: Tensor

    def __init__(self, names: tuple[str, ...], wanted: tuple[str, ...]) -> None:
        super().__init__()
        index = torch.tensor([names.index(name) for name in wanted])
        self.register_buffer("index", index, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        return values.index_select(-1, self.index)


def _several(asked: str | tuple[str, ...]) -> tuple[str, ...]:
    return (asked,) if isinstance(asked, str) else asked


def numbers_or_nan(u8: Tensor) -> Tensor:
    """Convert `u8` columns to float32, with NaN for missing values as in the `f32` columns."""
    return u8.float().masked_fill(u8 == MISSING["u8"], float("nan"))


def known_ids(ids: Tensor, count: int) -> Tensor:
    """Convert ids to rows of a table of `count` + 1; the last row is for missing and invalid ids."""
    return ids.to(torch.int64).clamp(max=count)


class ActionStateEmbedding(nn.Embedding):
    """Action-state embedding, shared by players and followers. Rows are initialised to about unit length."""

    def __init__(self, width: int) -> None:
        super().__init__(ACTION_STATES + 1, width)
        nn.init.normal_(self.weight, std=width**-0.5)


class CharacterEncoding(nn.Module):
    """Character as a learned or one-hot vector, by internal id (Zelda and Sheik change theirs within a game)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.table: nn.Embedding | None = None
        self.width = INTERNAL_ID_COUNT
        if config.character_mode == "learned":
            self.width = config.character_width
            self.table = nn.Embedding(INTERNAL_ID_COUNT + 1, self.width)
            nn.init.normal_(self.table.weight, std=self.width**-0.5)

    def forward(self, internal_id: Tensor) -> Tensor:
        rows = known_ids(internal_id, INTERNAL_ID_COUNT)
        if self.table is not None:
            embedded: Tensor = self.table(rows)
            return embedded
        return nn.functional.one_hot(rows, INTERNAL_ID_COUNT + 1)[..., :INTERNAL_ID_COUNT].float()


class PlayerEncoder(nn.Module):
    """Encode ego and opponent independently with shared weights."""

    bit_mask: Tensor
    bit_value: Tensor

    def __init__(self, config: EncoderConfig, action_states: ActionStateEmbedding, width: int) -> None:
        super().__init__()
        players = ("p0", "p1")
        self.f32 = SelectColumns("f32", players, _F32)
        self.u8 = SelectColumns("u8", players, _U8)
        self.bits = SelectColumns("u8", players, (*(bit.column for bit in PLAYER_BITS), *_MASKED_BITS))
        self.action_state = SelectColumns("u16", players, "action_state")
        self.internal_id = SelectColumns("u8", players, "internal_id")
        numerics = tuple(_SOURCES.get(numeric.name, numeric.name) for numeric in PLAYER_NUMERICS)
        self.numerics, self.masked = Reorder(_RAW, numerics), Reorder(_RAW, _MASKED)
        masks = torch.tensor([bit.mask for bit in PLAYER_BITS], dtype=torch.uint8)
        values = torch.tensor([bit.value for bit in PLAYER_BITS], dtype=torch.uint8)
        self.register_buffer("bit_mask", masks, persistent=False)
        self.register_buffer("bit_value", values, persistent=False)
        self.normalise = Normalise(PLAYER_NUMERICS)
        self.action_states = action_states
        self.characters = CharacterEncoding(config)
        numbers = len(PLAYER_NUMERICS) + len(_MASKED) + len(PLAYER_BITS) + len(_MASKED_BITS) + 1
        self.project = nn.Linear(numbers + self.characters.width + config.action_state_width, width)

    def forward(self, columns: Mapping[Group, Tensor], edge_B: Tensor) -> Tensor:
        """Encode both players.

        Args:
            columns: Columns by dtype group, [B, T, C].
            edge_B: Distance of the stage's ledges from its centre, in game units.

        Returns:
            Player vectors [B, T, 2, D].
        """
        f32 = self.f32(columns)
        position_x, direction, misc_as = (
            f32[..., at : at + 1] for at in map(_F32.index, ("position_x", "direction", "misc_as"))
        )
        of_bits, of_masks = self.bits(columns).split((len(PLAYER_BITS), len(_MASKED_BITS)), dim=-1)
        bits = ((of_bits & self.bit_mask) == self.bit_value) & (of_bits != MISSING["u8"])
        bits_missing = of_masks == MISSING["u8"]

        at = PLAYER_BITS.index(HITSTUN)
        no_hitstun = torch.where(bits_missing[..., :1], float("nan"), 0.0)
        hitstun = misc_as.where(bits[..., at : at + 1], no_hitstun)
        ledge_distance = position_x.abs() - edge_B[:, None, None, None]
        raw = torch.cat(
            (
                f32,
                numbers_or_nan(self.u8(columns)),
                hitstun,
                ledge_distance,
                position_x * direction,
            ),
            dim=-1,
        )
        yes_or_no = (self.masked(raw).isnan(), bits, bits_missing, ledge_distance > 0)
        features = torch.cat(
            (
                self.normalise(self.numerics(raw)),
                torch.cat(yes_or_no, dim=-1).float(),
                self.characters(self.internal_id(columns)),
                self.action_states(known_ids(self.action_state(columns), ACTION_STATES)),
            ),
            dim=-1,
        )
        return nn.functional.silu(self.project(features))


_FOLLOWER_F32 = ("position_x", "position_y", "direction", "percent", "shield", "hitlag")
assert (*_FOLLOWER_F32, "jumps", "leader_dx", "leader_dy") == tuple(n.name for n in FOLLOWER_NUMERICS)


class FollowerEncoder(nn.Module):
    """Encode both players' Nanas; exactly 0 for a player without one."""

    def __init__(self, config: EncoderConfig, action_states: ActionStateEmbedding, width: int) -> None:
        super().__init__()
        followers = ("n0", "n1")
        self.f32 = SelectColumns("f32", followers, _FOLLOWER_F32)
        self.u8 = SelectColumns("u8", followers, ("jumps", "airborne"))
        self.action_state = SelectColumns("u16", followers, "action_state")
        self.leader = SelectColumns("f32", ("p0", "p1"), ("position_x", "position_y"))
        self.normalise = Normalise(FOLLOWER_NUMERICS)
        self.action_states = action_states
        numbers = 2 * len(FOLLOWER_NUMERICS) + 1
        self.project = nn.Linear(numbers + config.action_state_width, width)

    def forward(self, columns: Mapping[Group, Tensor]) -> Tensor:
        """Encode both followers: [B, T, 2, D]."""
        f32 = self.f32(columns)
        jumps, airborne = numbers_or_nan(self.u8(columns)).split(1, dim=-1)
        numbers = torch.cat((f32, jumps, self.leader(columns) - f32[..., :2]), dim=-1)
        action_state = self.action_state(columns)
        features = torch.cat(
            (
                self.normalise(numbers),
                torch.cat((numbers.isnan(), airborne == 1), dim=-1).float(),
                self.action_states(known_ids(action_state, ACTION_STATES)),
            ),
            dim=-1,
        )
        there = (action_state != MISSING["u16"])[..., None]
        encoded: Tensor = nn.functional.silu(self.project(features)) * there
        return encoded
