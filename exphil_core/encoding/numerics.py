"""Normalisation of numeric inputs to about -1 to 1: transform, constant and reason per feature.

Missing values (NaN) become 0, the same as a real 0; always feed the missing-value mask along with the values.
"""

from dataclasses import dataclass
from math import log1p
from typing import Literal, assert_never

import torch
from torch import Tensor, nn

Transform = Literal["scale", "tanh", "log"]

LIMIT = 5.0
"""Scaled values are clamped to ± this, such as a fighter far beyond a blast line or damage that passed the range
check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numeric:
    """Normalisation of one feature."""

    name: str
    transform: Transform
    """`scale`: x / constant, clamped to ±LIMIT. `tanh`: tanh(x / constant). `log`: log1p(x) / log1p(constant) for
    x ≥ 0."""
    constant: float
    reason: str
    """Reason for or source of the constant."""


def _n(name: str, transform: Transform, constant: float, reason: str) -> Numeric:
    return Numeric(name=name, transform=transform, constant=constant, reason=reason)


PLAYER_NUMERICS: tuple[Numeric, ...] = (
    _n("position_x", "scale", 100.0, "blast lines lie at 174 to 255; play happens within about 100"),
    _n("position_y", "scale", 100.0, "as position_x, so that angles keep their shape"),
    _n("direction", "scale", 1.0, "-1 faces left, 1 right (Slippi specification)"),
    _n("percent", "scale", 100.0, "most stocks are lost at 60 to 160"),
    _n("shield", "scale", 60.0, "a full shield (Slippi specification)"),
    _n("hitlag", "scale", 20.0, "the game's longest ordinary hitlag is 20 frames"),
    _n("stocks", "scale", 4.0, "stocks of a tournament game"),
    _n("jumps", "scale", 6.0, "jumps of Jigglypuff and Kirby, the most there are"),
    _n(
        "ledge_distance",
        "scale",
        100.0,
        "|position_x| - the stage's edge; as position_x",
    ),
    _n("facing_outward", "scale", 100.0, "position_x × direction; as position_x"),
    _n("velocity_air_x", "tanh", 5.0, "running and drifting stay below 3; only specials go beyond 5"),
    _n("velocity_ground_x", "tanh", 5.0, "as velocity_air_x"),
    _n("velocity_y", "tanh", 5.0, "as velocity_air_x; a fast fall is about 3"),
    _n("knockback_x", "tanh", 10.0, "a killing hit launches at 5 to 10 units a frame"),
    _n("knockback_y", "tanh", 10.0, "as knockback_x"),
    _n("state_age", "tanh", 10.0, "jump squats, landings and jabs take 3 to 15 frames"),
    _n("state_age_long", "tanh", 60.0, "specials, knockdowns and ledge waits take up to some seconds"),
    _n("combo_count", "tanh", 5.0, "few combos are longer"),
    _n("hitstun", "log", 120.0, "120 frames is about the longest; the first ones matter most"),
)

FOLLOWER_NUMERICS: tuple[Numeric, ...] = (
    *(n for n in PLAYER_NUMERICS if n.name in ("position_x", "position_y", "direction", "percent", "shield")),
    *(n for n in PLAYER_NUMERICS if n.name in ("hitlag", "jumps")),
    _n(
        "leader_dx",
        "tanh",
        20.0,
        "Nana is desynced when further than about a dash away",
    ),
    _n("leader_dy", "tanh", 20.0, "as leader_dx"),
)

ITEM_NUMERICS: tuple[Numeric, ...] = (
    _n("dx", "scale", 100.0, "as a player's position; from the ego"),
    _n("dy", "scale", 100.0, "as dx"),
    _n("dx_facing", "scale", 100.0, "dx × the ego's direction: positive lies before it"),
    _n("dx_near", "tanh", 20.0, "within reach of an attack"),
    _n("dy_near", "tanh", 20.0, "as dx_near"),
    _n("velocity_x", "tanh", 5.0, "lasers fly at 5 (Falco) and 7 (Fox) units a frame"),
    _n("velocity_y", "tanh", 5.0, "as velocity_x"),
    _n("state", "scale", 8.0, "item states are mostly below 8"),
)

RELATIVE_NUMERICS: tuple[Numeric, ...] = (
    _n("dx", "scale", 100.0, "as a player's position; opponent - ego"),
    _n("dy", "scale", 100.0, "as dx"),
    _n("dx_facing", "scale", 100.0, "dx × the ego's direction: positive lies before it"),
    _n("dx_faced", "scale", 100.0, "-dx × the opponent's direction: positive when it looks at the ego"),
    _n("distance", "scale", 100.0, "as dx"),
    _n("dx_near", "tanh", 20.0, "within reach of an attack"),
    _n("dy_near", "tanh", 20.0, "as dx_near"),
    _n("dx_facing_near", "tanh", 20.0, "as dx_near"),
)

STAGE_NUMERICS: tuple[Numeric, ...] = (
    _n("fod_left", "scale", 50.0, "Fountain's platforms rise to about 30; 50 as for Randall"),
    _n("fod_right", "scale", 50.0, "as fod_left"),
    _n("randall_x", "scale", 100.0, "as a player's position"),
    _n("randall_y", "scale", 50.0, "flown at -13.65 to -33.25"),
)

CONTROLLER_NUMERICS: tuple[Numeric, ...] = (
    *(_n(name, "scale", 1.0, "logical, -1 to 1") for name in ("main_x", "main_y", "c_x", "c_y")),
    *(_n(name, "scale", 1.0, "physical, 0 to 1") for name in ("trigger_l", "trigger_r")),
)


class Normalise(nn.Module):
    """Normalise the last axis, whose entries are in the order of `table`."""

    inverse: Tensor

    def __init__(self, table: tuple[Numeric, ...]) -> None:
        super().__init__()
        self.table = table
        inverse = [1.0 if numeric.transform == "log" else 1.0 / numeric.constant for numeric in table]
        self.register_buffer("inverse", torch.tensor(inverse), persistent=False)
        self._runs = _runs(table)

    def forward(self, raw: Tensor) -> Tensor:
        """Map raw values [..., N], NaN where missing, to finite values [..., N]."""
        scaled = raw.nan_to_num(nan=0.0) * self.inverse
        parts: list[Tensor] = []
        for transform, start, end, constants in self._runs:
            part = scaled[..., start:end]
            match transform:
                case "scale":
                    parts.append(part.clamp(-LIMIT, LIMIT))
                case "tanh":
                    parts.append(part.tanh())
                case "log":
                    parts.append(part.clamp(min=0.0).log1p() / log1p(constants))
                case _:
                    assert_never(transform)
        return torch.cat(parts, dim=-1)


def _runs(table: tuple[Numeric, ...]) -> tuple[tuple[Transform, int, int, float], ...]:
    """Group neighbours by transform (and by constant for `log`): (transform, start, end, constant)."""
    runs: list[tuple[Transform, int, int, float]] = []
    for index, numeric in enumerate(table):
        constant = numeric.constant if numeric.transform == "log" else 1.0
        if runs and runs[-1][0] == numeric.transform and runs[-1][3] == constant:
            runs[-1] = (numeric.transform, runs[-1][1], index + 1, constant)
        else:
            runs.append((numeric.transform, index, index + 1, constant))
    return tuple(runs)
