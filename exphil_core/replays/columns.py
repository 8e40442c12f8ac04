"""Column schema of games and datasets: name, peppi field, dtype group, missing value, range, first version.

A value that a replay lacks is its group's missing value, never zero: NaN in `f32`, 255 in `u8`, 65535 in `u16`.
A dataset row is one frame of a two-player game, with the same blocks of columns in every dtype group:

    [player 0 | follower 0 | player 1 | follower 1 | items | stage]

Choosing the ego therefore only swaps two halves.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from exphil_core.melee import action_states
from exphil_core.melee.items import ITEM_TYPES

Group = Literal["f32", "u16", "u8"]

GROUPS: tuple[Group, ...] = ("f32", "u16", "u8")

DTYPES: dict[Group, np.dtype] = {
    "f32": np.dtype(np.float32),
    "u16": np.dtype(np.uint16),
    "u8": np.dtype(np.uint8),
}

MISSING: dict[Group, float | int] = {"f32": float("nan"), "u16": 65535, "u8": 255}

SCHEMA_VERSION = 2
"""Raise it whenever a column, a block or a meaning changes: a dataset of another version is refused."""


class Version(NamedTuple):
    """A Slippi replay version."""

    major: int
    minor: int
    build: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.build}"


OLDEST = Version(0, 1)
"""First version of the columns that every replay has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    name: str
    field: str
    """peppi's dotted attribute below the player's `leader` or `follower`, the item table or the frame."""
    group: Group
    since: Version = OLDEST
    low: float | None = None
    high: float | None = None
    """Range in the game: a replay with a value outside [low, high] is refused. NaN is missing, never outside."""
    garbage_before: Version = OLDEST
    """Recorders before this version wrote garbage here: in their files a value outside is missing, not refused."""
    any_bits: bool = False
    """The game also stores other data in this field: a value outside is missing in every version, not refused."""

    @property
    def missing(self) -> float | int:
        return MISSING[self.group]


def _f32(name: str, field: str, since: Version = OLDEST, *, low: float, high: float, **said: Any) -> Column:
    return Column(name=name, field=field, group="f32", since=since, low=low, high=high, **said)


def _u8(name: str, field: str, since: Version = OLDEST, *, high: int | None = None, **said: Any) -> Column:
    return Column(name=name, field=field, group="u8", since=since, low=0, high=high, **said)


def _u16(name: str, field: str, since: Version = OLDEST, *, high: int | None = None) -> Column:
    return Column(name=name, field=field, group="u16", since=since, low=0, high=high)


_ROUNDING = 1e-3
_FASTEST = 100.0
"""Units per frame. Knockback is capped at 2,500, which is 75 units per frame; moves themselves reach 19."""
_GARBAGE_IN_TRIGGERS = Version(1, 2)
"""0.1.0 and 1.0.0 files hold 3.78e22 in the right trigger, which would read as "fully pressed"."""

PRE_COLUMNS: tuple[Column, ...] = (
    *(
        _f32(name, field, low=-1.0 - _ROUNDING, high=1.0 + _ROUNDING)
        for name, field in (
            ("main_x", "pre.joystick.x"),
            ("main_y", "pre.joystick.y"),
            ("c_x", "pre.cstick.x"),
            ("c_y", "pre.cstick.y"),
        )
    ),
    *(
        _f32(
            f"trigger_{side}",
            f"pre.triggers_physical.{side}",
            low=0.0,
            high=1.0 + _ROUNDING,
            garbage_before=_GARBAGE_IN_TRIGGERS,
        )
        for side in ("l", "r")
    ),
    _u16("buttons", "pre.buttons_physical"),
)
"""Controller inputs that act within the frame."""

POST_COLUMNS: tuple[Column, ...] = (
    # Wide enough for any stage; on tournament stages `plausible.py` checks against the blast lines.
    _f32("position_x", "post.position.x", low=-2e4, high=2e4),
    _f32("position_y", "post.position.y", low=-2e4, high=2e4),
    _f32("direction", "post.direction", low=-1.0, high=1.0),
    _f32("percent", "post.percent", low=0.0, high=999.0),
    # The hit that breaks a shield may leave it below zero while the game is frozen.
    _f32("shield", "post.shield", low=-60.0, high=60.0 + _ROUNDING),
    # Animations end or restart long before this limit.
    _f32("state_age", "post.state_age", Version(0, 2), low=-3e4, high=3e4),
    # Hitstun in states that have it; in other states other data, which need not be a float.
    _f32("misc_as", "post.misc_as", Version(2, 0), low=-1e5, high=1e5, any_bits=True),
    *(
        _f32(name, f"post.velocities.{field}", Version(3, 5), low=-_FASTEST, high=_FASTEST)
        for name, field in (
            ("velocity_air_x", "self_x_air"),
            ("velocity_ground_x", "self_x_ground"),
            ("velocity_y", "self_y"),
            ("knockback_x", "knockback_x"),
            ("knockback_y", "knockback_y"),
        )
    ),
    # Capped at 20 frames, 1.5 times that for electric hits.
    _f32("hitlag", "post.hitlag", Version(3, 8), low=0.0, high=60.0),
    _u16("action_state", "post.state", high=action_states.LAST),
    _u8("internal_id", "post.character", high=32),
    _u8("stocks", "post.stocks", high=99),
    _u8("last_attack_landed", "post.last_attack_landed"),
    _u8("combo_count", "post.combo_count"),
    _u8("last_hit_by", "post.last_hit_by"),
    _u8("flags_1", "post.state_flags.0", Version(2, 0)),
    _u8("flags_2", "post.state_flags.1", Version(2, 0)),
    _u8("flags_3", "post.state_flags.2", Version(2, 0)),
    _u8("flags_4", "post.state_flags.3", Version(2, 0)),
    _u8("flags_5", "post.state_flags.4", Version(2, 0)),
    _u8("airborne", "post.airborne", Version(2, 0), high=1),
    _u8("jumps", "post.jumps", Version(2, 0), high=10),
    _u8("l_cancel", "post.l_cancel", Version(2, 0), high=2),
    _u8("hurtbox_state", "post.hurtbox_state", Version(2, 1), high=2),
)
"""State after the frame."""

PLAYER_COLUMNS: tuple[Column, ...] = PRE_COLUMNS + POST_COLUMNS

_FOLLOWER_NAMES = (
    "position_x",
    "position_y",
    "direction",
    "percent",
    "shield",
    "hitlag",
    "action_state",
    "internal_id",
    "airborne",
    "jumps",
)
FOLLOWER_COLUMNS: tuple[Column, ...] = tuple(c for c in POST_COLUMNS if c.name in _FOLLOWER_NAMES)
"""Columns of Nana in a dataset. A missing `action_state` means that she is absent."""

ITEM_COLUMNS: tuple[Column, ...] = (
    _f32("position_x", "position.x", Version(3, 0), low=-2e4, high=2e4),
    _f32("position_y", "position.y", Version(3, 0), low=-2e4, high=2e4),
    _f32("velocity_x", "velocity.x", Version(3, 0), low=-200.0, high=200.0),
    _f32("velocity_y", "velocity.y", Version(3, 0), low=-200.0, high=200.0),
    _u16("type", "type", Version(3, 0), high=max(ITEM_TYPES)),
    _u8("state", "state", Version(3, 0)),
    # peppi's owner is a port index, or -1 for none; a game stores the index into `players`.
    _u8("owner", "owner", Version(3, 6), high=3, any_bits=True),
)

STAGE_COLUMNS: tuple[Column, ...] = (
    _f32("fod_left", "fod_platforms.left", Version(3, 18), low=-100, high=200),
    _f32("fod_right", "fod_platforms.right", Version(3, 18), low=-100, high=200),
    _u8("stadium_event", "stadium_transformation.event", Version(3, 18)),
    _u8("stadium_type", "stadium_transformation.type", Version(3, 18)),
)

ITEM_SLOTS = 8
"""Items per frame in a dataset: those nearest to either player, ordered by spawn id."""


def _block(prefix: str, columns: tuple[Column, ...], group: Group) -> list[str]:
    return [f"{prefix}.{column.name}" for column in columns if column.group == group]


def _half(player: int, group: Group) -> list[str]:
    return _block(f"p{player}", PLAYER_COLUMNS, group) + _block(f"n{player}", FOLLOWER_COLUMNS, group)


LAYOUT: dict[Group, tuple[str, ...]] = {
    group: tuple(
        _half(0, group)
        + _half(1, group)
        + [name for slot in range(ITEM_SLOTS) for name in _block(f"item{slot}", ITEM_COLUMNS, group)]
        + _block("stage", STAGE_COLUMNS, group)
    )
    for group in GROUPS
}
"""Full column names of a dataset row, in order, by group: `p0.main_x`, `n1.percent`, `item3.type`, `stage.fod_left`.
After the ego is chosen, `p0`/`n0` are the ego's columns and `p1`/`n1` the opponent's."""

HALF: dict[Group, int] = {group: len(_half(0, group)) for group in GROUPS}
"""Columns of one player with its follower: rows start `[0:HALF] = player 0`, `[HALF:2*HALF] = player 1`."""

POSITION: dict[str, tuple[Group, int]] = {
    name: (group, index) for group in GROUPS for index, name in enumerate(LAYOUT[group])
}
"""Full name → (group, column index within it)."""
