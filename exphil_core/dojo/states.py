"""The action states that the dojo simulates, with Melee's ids, and the `Kind` of each.

Attacks are in `fighters.py`.
"""

from enum import IntEnum
from typing import Final

from exphil_core.melee import action_states

DEAD_DOWN, DEAD_LEFT, DEAD_RIGHT, DEAD_UP = 0, 1, 2, 3
REBIRTH, REBIRTH_WAIT = 12, 13
WAIT, WALK_MIDDLE, TURN, DASH, RUN, RUN_BRAKE = 14, 16, 18, 20, 21, 23
KNEE_BEND, JUMP_F, JUMP_B, JUMP_AERIAL_F, JUMP_AERIAL_B = 24, 25, 26, 27, 28
FALL, FALL_SPECIAL, DAMAGE_FALL = 29, 35, 38
SQUAT, SQUAT_WAIT, SQUAT_RV = 39, 40, 41
LANDING, LANDING_FALL_SPECIAL = 42, 43
ATTACK_11, ATTACK_DASH = 44, 50
ATTACK_S3_S, ATTACK_HI3, ATTACK_LW3 = 53, 56, 57
ATTACK_S4_S, ATTACK_HI4, ATTACK_LW4 = 60, 63, 64
ATTACK_AIR_N, ATTACK_AIR_F, ATTACK_AIR_B, ATTACK_AIR_HI, ATTACK_AIR_LW = 65, 66, 67, 68, 69
LANDING_AIR_N = 70
DAMAGE_N_1, DAMAGE_AIR_1 = 78, 84
DAMAGE_FLY_HI, DAMAGE_FLY_N, DAMAGE_FLY_LW, DAMAGE_FLY_TOP = 87, 88, 89, 90
GUARD_ON, GUARD, GUARD_OFF, GUARD_SET_OFF = 178, 179, 180, 181
DOWN_BOUND_U, DOWN_WAIT_U, DOWN_STAND_U, DOWN_FORWARD_U, DOWN_BACK_U = 183, 184, 186, 188, 189
PASSIVE = 199
FURA_FURA = 211
CATCH, THROW_F = 212, 219
ESCAPE_F, ESCAPE_B, ESCAPE, ESCAPE_AIR = 233, 234, 235, 236
PASS = 244
CLIFF_CATCH, CLIFF_WAIT, CLIFF_CLIMB_QUICK, CLIFF_JUMP_QUICK_2 = 252, 253, 255, 263
APPEAL_R = 264
ENTRY = 322
FIRST_SPECIAL = 341


class Kind(IntEnum):
    """What a fighter can do in an action state."""

    FREE = 0
    """On the ground, able to act."""
    AIR = 1
    """In the air, able to act."""
    SQUATTING = 2
    """The frames before a jump leaves the ground."""
    ATTACK = 3
    """An attack on the ground."""
    AERIAL = 4
    """An attack in the air."""
    RECOVERY = 5
    """An up special."""
    HELPLESS = 6
    """The fall after a recovery."""
    LAG = 7
    """On the ground for a fixed time, unable to act."""
    HURT = 8
    """In hitstun."""
    SHIELD = 9
    LEDGE = 10
    DOWN = 11
    DODGE = 12
    """An air dodge."""
    GONE = 13
    """Dead, respawning, or entering the match."""


def _kinds() -> tuple[Kind, ...]:
    kinds = [Kind.LAG] * action_states.COUNT
    members: dict[Kind, tuple[int, ...]] = {
        Kind.FREE: (WAIT, WALK_MIDDLE, TURN, DASH, RUN, RUN_BRAKE, SQUAT, SQUAT_WAIT, SQUAT_RV),
        Kind.AIR: (JUMP_F, JUMP_B, JUMP_AERIAL_F, JUMP_AERIAL_B, FALL, DAMAGE_FALL, PASS),
        Kind.SQUATTING: (KNEE_BEND,),
        Kind.ATTACK: (
            ATTACK_11,
            ATTACK_DASH,
            ATTACK_S3_S,
            ATTACK_HI3,
            ATTACK_LW3,
            ATTACK_S4_S,
            ATTACK_HI4,
            ATTACK_LW4,
            CATCH,
        ),
        Kind.AERIAL: (ATTACK_AIR_N, ATTACK_AIR_F, ATTACK_AIR_B, ATTACK_AIR_HI, ATTACK_AIR_LW),
        Kind.HELPLESS: (FALL_SPECIAL,),
        Kind.HURT: (
            DAMAGE_N_1,
            DAMAGE_AIR_1,
            DAMAGE_FLY_HI,
            DAMAGE_FLY_N,
            DAMAGE_FLY_LW,
            DAMAGE_FLY_TOP,
        ),
        Kind.SHIELD: (GUARD_ON, GUARD, GUARD_OFF, GUARD_SET_OFF),
        Kind.LEDGE: (CLIFF_CATCH, CLIFF_WAIT),
        Kind.DOWN: (DOWN_BOUND_U, DOWN_WAIT_U),
        Kind.DODGE: (ESCAPE_AIR,),
        Kind.GONE: (DEAD_DOWN, DEAD_LEFT, DEAD_RIGHT, DEAD_UP, REBIRTH, REBIRTH_WAIT, ENTRY),
    }
    for kind, states in members.items():
        for state in states:
            kinds[state] = kind
    for state in range(FIRST_SPECIAL, len(kinds)):
        kinds[state] = Kind.ATTACK
    for state in (356, 354, 357, 374, 352):  # the up specials of `fighters.py`
        kinds[state] = Kind.RECOVERY
    return tuple(kinds)


KIND: Final = _kinds()
"""`Kind` by action state."""

FIXED_LENGTH: Final = {
    TURN: 1,
    SQUAT: 6,
    SQUAT_RV: 8,
    RUN_BRAKE: 14,
    LANDING: 4,
    LANDING_FALL_SPECIAL: 10,
    THROW_F: 26,
    GUARD_OFF: 15,
    DOWN_STAND_U: 28,
    DOWN_FORWARD_U: 34,
    DOWN_BACK_U: 34,
    PASSIVE: 26,
    FURA_FURA: 120,
    ESCAPE_F: 31,
    ESCAPE_B: 31,
    ESCAPE: 27,
    CLIFF_CLIMB_QUICK: 33,
    APPEAL_R: 60,
}
"""Length in frames of the ground states that end in WAIT by themselves."""
