"""Readable names of action states: "jump squat", "forward air", "Shadow Ball".

Above `action_states.LAST_COMMON` an id means nothing without its character; an unnamed one is "special 341".

Source of the common states: the names in `action_states` and the terms that players use. Source of the
character-specific ones: the motion state enums of the Melee decompilation (doldecomp/melee,
`src/melee/ft/chara/*/forward.h`) and the community's data sheet of action states (as in Walnut356/SlpProcess,
`ssbm-utils/src/enums/state.rs`).
"""

from exphil_core.melee.action_states import COMMON, LAST, LAST_COMMON
from exphil_core.melee.characters import by_name

_COMMON_WORDS: dict[str, str] = {
    "DEAD_DOWN": "falls to death",
    "DEAD_LEFT": "dies to the left",
    "DEAD_RIGHT": "dies to the right",
    "DEAD_UP": "dies upwards",
    "DEAD_UP_STAR": "star KO",
    "DEAD_UP_STAR_ICE": "star KO",
    "DEAD_UP_FALL": "screen KO",
    "DEAD_UP_FALL_HIT_CAMERA": "screen KO",
    "DEAD_UP_FALL_HIT_CAMERA_FLAT": "screen KO",
    "DEAD_UP_FALL_ICE": "screen KO",
    "DEAD_UP_FALL_HIT_CAMERA_ICE": "screen KO",
    "SLEEP": "out",
    "REBIRTH": "respawn",
    "REBIRTH_WAIT": "respawn platform",
    "WAIT": "stand",
    "WALK_SLOW": "walk",
    "WALK_MIDDLE": "walk",
    "WALK_FAST": "walk",
    "TURN": "turn",
    "TURN_RUN": "run turn",
    "DASH": "dash",
    "RUN": "run",
    "RUN_DIRECT": "run",
    "RUN_BRAKE": "run brake",
    "KNEE_BEND": "jump squat",
    "JUMP_F": "jump",
    "JUMP_B": "jump back",
    "JUMP_AERIAL_F": "double jump",
    "JUMP_AERIAL_B": "double jump back",
    "FALL": "fall",
    "FALL_F": "fall",
    "FALL_B": "fall",
    "FALL_AERIAL": "fall",
    "FALL_AERIAL_F": "fall",
    "FALL_AERIAL_B": "fall",
    "FALL_SPECIAL": "helpless fall",
    "FALL_SPECIAL_F": "helpless fall",
    "FALL_SPECIAL_B": "helpless fall",
    "DAMAGE_FALL": "tumble",
    "SQUAT": "crouch start",
    "SQUAT_WAIT": "crouch",
    "SQUAT_RV": "crouch end",
    "LANDING": "landing",
    "LANDING_FALL_SPECIAL": "special landing",
    "ATTACK_11": "jab 1",
    "ATTACK_12": "jab 2",
    "ATTACK_13": "jab 3",
    "ATTACK_100_START": "rapid jab",
    "ATTACK_100_LOOP": "rapid jab",
    "ATTACK_100_END": "rapid jab end",
    "ATTACK_DASH": "dash attack",
    "ATTACK_S3_HI": "forward tilt",
    "ATTACK_S3_HI_S": "forward tilt",
    "ATTACK_S3_S": "forward tilt",
    "ATTACK_S3_LW_S": "forward tilt",
    "ATTACK_S3_LW": "forward tilt",
    "ATTACK_HI3": "up tilt",
    "ATTACK_LW3": "down tilt",
    "ATTACK_S4_HI": "forward smash",
    "ATTACK_S4_HI_S": "forward smash",
    "ATTACK_S4_S": "forward smash",
    "ATTACK_S4_LW_S": "forward smash",
    "ATTACK_S4_LW": "forward smash",
    "ATTACK_HI4": "up smash",
    "ATTACK_LW4": "down smash",
    "ATTACK_AIR_N": "neutral air",
    "ATTACK_AIR_F": "forward air",
    "ATTACK_AIR_B": "back air",
    "ATTACK_AIR_HI": "up air",
    "ATTACK_AIR_LW": "down air",
    "LANDING_AIR_N": "neutral air landing",
    "LANDING_AIR_F": "forward air landing",
    "LANDING_AIR_B": "back air landing",
    "LANDING_AIR_HI": "up air landing",
    "LANDING_AIR_LW": "down air landing",
    **{
        f"DAMAGE_{height}_{strength}": "hurt" for height in ("HI", "N", "LW", "AIR") for strength in (1, 2, 3)
    },
    "DAMAGE_FLY_HI": "launched",
    "DAMAGE_FLY_N": "launched",
    "DAMAGE_FLY_LW": "launched",
    "DAMAGE_FLY_TOP": "launched upwards",
    "DAMAGE_FLY_ROLL": "launched spinning",
    "LIGHT_GET": "item pickup",
    "HEAVY_GET": "item pickup",
    **{name: "item throw" for name in COMMON if name.startswith(("LIGHT_THROW", "HEAVY_THROW"))},
    "LIGHT_THROW_DROP": "item drop",
    **{
        name: words
        for start, words in {
            "SWORD_SWING": "beam sword",
            "BAT_SWING": "bat swing",
            "PARASOL_SWING": "parasol swing",
            "HARISEN_SWING": "fan swing",
            "STAR_ROD_SWING": "Star Rod swing",
            "LIPSTICK_SWING": "Lip's Stick swing",
            "ITEM_PARASOL": "parasol",
            "LGUN": "ray gun",
            "FIRE_FLOWER": "Fire Flower",
            "ITEM_SCREW": "Screw Attack",
            "DAMAGE_SCREW": "Screw Attack",
            "ITEM_SCOPE": "Super Scope",
            "HAMMER": "hammer",
            "KINOKO_GIANT": "Super Mushroom",
            "KINOKO_SMALL": "Poison Mushroom",
            "WARP_STAR": "Warp Star",
        }.items()
        for name in COMMON
        if name.startswith(start)
    },
    "LIFT_WAIT": "carry",
    "LIFT_WALK_1": "carry",
    "LIFT_WALK_2": "carry",
    "LIFT_TURN": "carry",
    "GUARD_ON": "shield start",
    "GUARD": "shield",
    "GUARD_OFF": "shield drop",
    "GUARD_SET_OFF": "shield stun",
    "GUARD_REFLECT": "powershield",
    **{
        f"DOWN_{what}_{side}": words
        for side in "UD"
        for what, words in {
            "BOUND": "missed tech",
            "WAIT": "lying",
            "DAMAGE": "hurt lying",
            "STAND": "getup",
            "ATTACK": "getup attack",
            "FORWARD": "getup roll",
            "BACK": "getup roll back",
            "SPOT": "getup",
        }.items()
    },
    "PASSIVE": "tech",
    "PASSIVE_STAND_F": "tech roll",
    "PASSIVE_STAND_B": "tech roll back",
    "PASSIVE_WALL": "wall tech",
    # The game has one state for a wall jump, with or without a tech.
    "PASSIVE_WALL_JUMP": "wall jump",
    "PASSIVE_CEIL": "ceiling tech",
    "SHIELD_BREAK_FLY": "shield break",
    "SHIELD_BREAK_FALL": "shield break",
    "SHIELD_BREAK_DOWN_U": "shield break",
    "SHIELD_BREAK_DOWN_D": "shield break",
    "SHIELD_BREAK_STAND_U": "shield break",
    "SHIELD_BREAK_STAND_D": "shield break",
    "FURA_FURA": "dizzy",
    "CATCH": "grab",
    "CATCH_PULL": "grab pull",
    "CATCH_DASH": "dash grab",
    "CATCH_DASH_PULL": "grab pull",
    "CATCH_WAIT": "grab hold",
    "CATCH_ATTACK": "pummel",
    "CATCH_CUT": "grab release",
    "THROW_F": "forward throw",
    "THROW_B": "back throw",
    "THROW_HI": "up throw",
    "THROW_LW": "down throw",
    "CAPTURE_PULLED_HI": "grabbed",
    "CAPTURE_WAIT_HI": "grabbed",
    "CAPTURE_DAMAGE_HI": "pummelled",
    "CAPTURE_PULLED_LW": "grabbed",
    "CAPTURE_WAIT_LW": "grabbed",
    "CAPTURE_DAMAGE_LW": "pummelled",
    "CAPTURE_CUT": "grab escape",
    "CAPTURE_JUMP": "grab escape jump",
    "CAPTURE_NECK": "grabbed",
    "CAPTURE_FOOT": "grabbed",
    "ESCAPE_F": "roll",
    "ESCAPE_B": "roll back",
    "ESCAPE": "spot dodge",
    "ESCAPE_AIR": "air dodge",
    "REBOUND_STOP": "clank",
    "REBOUND": "clank",
    "THROWN_F": "thrown forward",
    "THROWN_B": "thrown back",
    "THROWN_HI": "thrown up",
    "THROWN_LW": "thrown down",
    "THROWN_LW_WOMEN": "thrown down",
    "PASS": "platform drop",
    "OTTOTTO": "teeter",
    "OTTOTTO_WAIT": "teeter",
    "FLY_REFLECT_WALL": "wall bounce",
    "FLY_REFLECT_CEIL": "ceiling bounce",
    "STOP_WALL": "wall bump",
    "STOP_CEIL": "ceiling bump",
    "MISS_FOOT": "slides off",
    "CLIFF_CATCH": "ledge grab",
    "CLIFF_WAIT": "ledge hang",
    "CLIFF_CLIMB_SLOW": "ledge getup",
    "CLIFF_CLIMB_QUICK": "ledge getup",
    "CLIFF_ATTACK_SLOW": "ledge attack",
    "CLIFF_ATTACK_QUICK": "ledge attack",
    "CLIFF_ESCAPE_SLOW": "ledge roll",
    "CLIFF_ESCAPE_QUICK": "ledge roll",
    "CLIFF_JUMP_SLOW_1": "ledge jump",
    "CLIFF_JUMP_SLOW_2": "ledge jump",
    "CLIFF_JUMP_QUICK_1": "ledge jump",
    "CLIFF_JUMP_QUICK_2": "ledge jump",
    "APPEAL_R": "taunt",
    "APPEAL_L": "taunt",
    **{
        name: "carried by Donkey Kong" if name.startswith("SHOULDERED") else "thrown by Donkey Kong"
        for name in COMMON
        if name.startswith("SHOULDERED") or name in ("THROWN_FF", "THROWN_FB", "THROWN_F_HI", "THROWN_F_LW")
    },
    "CAPTURE_CAPTAIN": "caught in a dive",
    "CAPTURE_YOSHI": "swallowed",
    "YOSHI_EGG": "in an egg",
    **{name: "in the Koopa Klaw" for name in COMMON if name.startswith("CAPTURE") and "KOOPA" in name},
    **{name: "thrown" for name in COMMON if name.startswith("THROWN_KOOPA")},
    "CAPTURE_KIRBY": "inhaled",
    "CAPTURE_WAIT_KIRBY": "inhaled",
    "THROWN_KIRBY_STAR": "spat out",
    "THROWN_COPY_STAR": "spat out",
    "THROWN_KIRBY": "spat out",
    "BURY": "buried",
    "BURY_WAIT": "buried",
    "BURY_JUMP": "unburied",
    "DAMAGE_SONG": "asleep",
    "DAMAGE_SONG_WAIT": "asleep",
    "DAMAGE_SONG_RV": "waking up",
    "DAMAGE_BIND": "disabled",
    **{name: "in Confusion" for name in COMMON if name.startswith(("CAPTURE_MEWTWO", "THROWN_MEWTWO"))},
    "ENTRY": "entry",
    "ENTRY_START": "entry",
    "ENTRY_END": "entry",
    "DAMAGE_ICE": "frozen",
    "DAMAGE_ICE_JUMP": "thawed",
    "CAPTURE_KIRBY_YOSHI": "swallowed",
    "KIRBY_YOSHI_EGG": "in an egg",
    "DOWN_REFLECT": "wall bounce",
}
"""Name by the game's own name. A state that is missing here uses the game's name in words ("barrel wait")."""

_FALCON = "347 {}, 349 {}, 353 {}, 357 {}, 364"
_SPACE_ANIMAL = "341 Blaster, 347 {}, 353 {}, 360 Reflector, 370 taunt, 376"
_SWORD = (
    "341 {0}, 349 {1} 1, 350 {1} 2, 352 {1} 3, 355 {1} 4, 358 {1} 1, 359 {1} 2, 361 {1} 3, 364 {1} 4,"
    "367 {2}, 369 Counter, 373"
)
_LINK = "344 {}, 350 Boomerang, 356 Spin Attack, 358 Bomb, 360 air grapple, 362"
_PIKACHU = "341 Thunder Jolt, 343 Skull Bash, 353 {}, 359 Thunder, 367"
_MARIO = "343 {}, 345 {}, 347 Super Jump Punch, 349 {}, 351"
_JUMPS = "341 jump 2, 342 jump 3, 343 jump 4, 344 jump 5, 345 jump 6"

_OWN: dict[str, str] = {
    "falcon": _FALCON.format("Falcon Punch", "Raptor Boost", "Falcon Dive", "Falcon Kick"),
    "ganondorf": _FALCON.format("Warlock Punch", "Gerudo Dragon", "Dark Dive", "Wizard's Foot"),
    "dk": "351 cargo carry, 361 cargo throw, 369 Giant Punch, 379 Headbutt, 381 Spinning Kong, 383 Hand Slap, 386",
    "fox": _SPACE_ANIMAL.format("Illusion", "Fire Fox"),
    "falco": _SPACE_ANIMAL.format("Phantasm", "Fire Bird"),
    "gameandwatch": (
        "341 jab, 342 rapid jab, 344 rapid jab end, 345 down tilt, 346 forward smash, 347 neutral air,"
        "348 back air, 349 up air, 350 neutral air landing, 351 back air landing, 352 up air landing, 353 Chef,"
        "355 Judge 1, 356 Judge 2, 357 Judge 3, 358 Judge 4, 359 Judge 5, 360 Judge 6, 361 Judge 7, 362 Judge 8,"
        "363 Judge 9, 364 Judge 1, 365 Judge 2, 366 Judge 3, 367 Judge 4, 368 Judge 5, 369 Judge 6, 370 Judge 7,"
        "371 Judge 8, 372 Judge 9, 373 Fire, 375 Oil Panic, 381"
    ),
    "kirby": (
        f"{_JUMPS}, 346 jump 2, 347 jump 3, 348 jump 4, 349 jump 5, 350 jump 6, 351 dash attack, 353 Inhale,"
        "383 Hammer, 385 Final Cutter, 393 Stone, 399 copied Fireball, 401 copied Bow, 407 copied Charge Shot,"
        "413 copied Egg Lay, 423 copied Blaster, 429 copied Thunder Jolt, 431 copied Fireball,"
        "433 copied Falcon Punch, 435 copied PK Flash, 443 copied Fire Breath, 449 copied Toad,"
        "453 copied Ice Shot, 455 copied Giant Punch, 465 copied Nayru's Love, 467 copied Needle Storm,"
        "475 copied Rollout, 492 copied Shield Breaker, 500 copied Shadow Ball, 510 copied Chef,"
        "512 copied Megavitamin, 514 copied Fire Bow, 520 copied Blaster,"
        "526 copied Thunder Jolt, 528 copied Warlock Punch, 530 copied Flare Blade, 538 copied Fire Breath"
    ),
    "bowser": "341 Fire Breath, 347 Koopa Klaw, 359 Whirling Fortress, 361 Bowser Bomb, 364",
    "link": f"341 forward smash 2, 342, {_LINK.format('Bow')}",
    "younglink": f"341 forward smash 2, 342 taunt, {_LINK.format('Fire Bow')}",
    "luigi": "341 Fireball, 343 Green Missile, 355 Super Jump Punch, 357 Luigi Cyclone, 359",
    "mario": _MARIO.format("Fireball", "Cape", "Mario Tornado"),
    "drmario": f"341 taunt, {_MARIO.format('Megavitamin', 'Super Sheet', 'Dr. Tornado')}",
    "marth": _SWORD.format("Shield Breaker", "Dancing Blade", "Dolphin Slash"),
    "roy": _SWORD.format("Flare Blade", "Double-Edge Dance", "Blazer"),
    "mewtwo": (
        "341 Shadow Ball charge, 344 Shadow Ball cancel, 345 Shadow Ball, 346 Shadow Ball charge,"
        "349 Shadow Ball cancel, 350 Shadow Ball, 351 Confusion, 353 Teleport, 359 Disable, 361"
    ),
    "ness": (
        "341 forward smash, 342 up smash, 345 down smash, 348 PK Flash, 356 PK Fire, 358 PK Thunder,"
        "367 PSI Magnet, 376"
    ),
    "peach": (
        "341 float, 342 float end, 344 float neutral air, 345 float forward air, 346 float back air,"
        "347 float up air, 348 float down air, 349 forward smash, 352 Vegetable, 354 Peach Bomber, 361 Parasol,"
        "365 Toad, 369 Parasol, 371"
    ),
    "pikachu": _PIKACHU.format("Quick Attack"),
    "pichu": _PIKACHU.format("Agility"),
    "iceclimbers": "341 Ice Shot, 343 Squall Hammer, 347 Belay, 357 Blizzard, 359",
    "nana": "341 Ice Shot, 343, 357 Blizzard, 359 Squall Hammer, 361 Belay, 366",
    "jigglypuff": f"{_JUMPS}, 346 Rollout, 363 Pound, 365 Sing, 369 Rest, 373",
    "samus": "341 bomb jump, 343 Charge Shot, 349 Missile, 353 Screw Attack, 355 Bomb, 357 air grapple, 359",
    "yoshi": (
        "341 shield start, 342 shield, 343 shield drop, 344 shield stun, 345 shield start, 346 Egg Lay,"
        "356 Egg Roll, 364 Egg Throw, 366 Yoshi Bomb, 369"
    ),
    "zelda": "341 Nayru's Love, 343 Din's Fire, 349 Farore's Wind, 355 Transform, 359",
    "sheik": "341 Needle Storm, 349 Chain, 355 Vanish, 361 Transform, 365",
}
"""Character → its own moves. Each starts at the given state and ends before the next; a number without a name starts
unnamed states."""


def _own_names() -> dict[int, dict[int, str]]:
    names: dict[int, dict[int, str]] = {}
    for character, moves in _OWN.items():
        own = names.setdefault(by_name(character).internal_id, {})
        parts = [part.strip().partition(" ") for part in moves.split(",")]
        starts = [int(number) for number, _, _ in parts]
        for (_, _, words), first, end in zip(parts, starts, [*starts[1:], LAST + 1], strict=True):
            assert LAST_COMMON < first < end, f"{character}: {words} begins at {first} and ends at {end}"
            own.update(dict.fromkeys(range(first, end), words) if words else {})
    return names


_COMMON: tuple[str, ...] = tuple(_COMMON_WORDS.get(name, name.lower().replace("_", " ")) for name in COMMON)
_OWN_NAMES = _own_names()


def action_name(action_state: int, internal_id: int | None) -> str:
    """Return the readable name of an action state.

    Args:
        internal_id: the character, needed above `LAST_COMMON`; None gives "special N" there.

    Raises:
        ValueError: no character has this id.
    """
    if 0 <= action_state <= LAST_COMMON:
        return _COMMON[action_state]
    if not 0 <= action_state <= LAST:
        raise ValueError(f"action state {action_state}: expected 0 to {LAST}")
    own = {} if internal_id is None else _OWN_NAMES.get(internal_id, {})
    return own.get(action_state, f"special {action_state}")
