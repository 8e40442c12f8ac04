"""The table of action states, against libmelee's enumeration."""

import pytest

from exphil_core.melee import action_states
from exphil_core.melee.characters import by_name

melee = pytest.importorskip("melee")

SAME = {
    "DEAD_DOWN": "DEAD_DOWN",
    "REBIRTH_WAIT": "ON_HALO_WAIT",
    "WAIT": "STANDING",
    "TURN": "TURNING",
    "DASH": "DASHING",
    "RUN": "RUNNING",
    "KNEE_BEND": "KNEE_BEND",
    "JUMP_AERIAL_B": "JUMPING_ARIAL_BACKWARD",
    "FALL_SPECIAL": "DEAD_FALL",
    "DAMAGE_FALL": "TUMBLING",
    "LANDING_FALL_SPECIAL": "LANDING_SPECIAL",
    "ATTACK_11": "NEUTRAL_ATTACK_1",
    "ATTACK_DASH": "DASH_ATTACK",
    "ATTACK_LW4": "DOWNSMASH",
    "ATTACK_AIR_N": "NAIR",
    "ATTACK_AIR_LW": "DAIR",
    "LANDING_AIR_B": "BAIR_LANDING",
    "DAMAGE_FLY_TOP": "DAMAGE_FLY_TOP",
    "LIFT_TURN": "LIFT_TURN",
    "GUARD_ON": "SHIELD_START",
    "GUARD": "SHIELD",
    "GUARD_OFF": "SHIELD_RELEASE",
    "GUARD_SET_OFF": "SHIELD_STUN",
    "GUARD_REFLECT": "SHIELD_REFLECT",
    "DOWN_BOUND_D": "TECH_MISS_DOWN",
    "PASSIVE": "NEUTRAL_TECH",
    "PASSIVE_CEIL": "CEILING_TECH",
    "FURA_FURA": "SHIELD_BREAK_TEETER",
    "CATCH": "GRAB",
    "CATCH_DASH": "GRAB_RUNNING",
    "THROW_LW": "THROW_DOWN",
    "CAPTURE_WAIT_LW": "GRABBED",
    "ESCAPE_F": "ROLL_FORWARD",
    "ESCAPE": "SPOTDODGE",
    "ESCAPE_AIR": "AIRDODGE",
    "PASS": "PLATFORM_DROP",
    "OTTOTTO": "EDGE_TEETERING_START",
    "MISS_FOOT": "SLIDING_OFF_EDGE",
    "CLIFF_CATCH": "EDGE_CATCHING",
    "CLIFF_WAIT": "EDGE_HANGING",
    "CLIFF_JUMP_QUICK_2": "EDGE_JUMP_2_QUICK",
    "APPEAL_L": "TAUNT_LEFT",
    "YOSHI_EGG": "YOSHI_EGG",
    "BURY_JUMP": "BURY_JUMP",
    "THROWN_MEWTWO": "THROWN_MEWTWO",
    "ENTRY_END": "ENTRY_END",
    "BARREL_CANNON_WAIT": "BARREL_CANNON_WAIT",
}


def test_states_are_where_libmelee_has_them() -> None:
    for ours, theirs in SAME.items():
        assert action_states.BY_NAME[ours] == melee.Action[theirs].value, ours


def test_names_that_both_use_mean_the_same() -> None:
    shared = [action for action in melee.Action if action.name in action_states.BY_NAME]
    assert len(shared) > 120
    # libmelee numbers the swings of items 1 to 4, the game 1, 3, 4 and dash.
    swings = ("_SWING_3", "_SWING_4")
    for action in shared:
        if not action.name.endswith(swings):
            assert action_states.BY_NAME[action.name] == action.value, action.name


def test_every_common_state_has_one_name() -> None:
    assert action_states.LAST_COMMON == 340
    assert len(set(action_states.COMMON)) == 341
    assert action_states.KNEE_BEND == 24


def test_states_of_a_character_are_named_by_it() -> None:
    assert action_states.name(24, by_name("mewtwo").internal_id) == "KNEE_BEND"
    assert action_states.name(341, by_name("mewtwo").internal_id) == "MEWTWO_341"
    assert action_states.name(543) == "SPECIAL_543"
    with pytest.raises(ValueError, match="0 to 543"):
        action_states.name(544)
