"""State of the dojo's simulation: `World` with two mutable bodies, and the immutable `Frame` that an observer sees.

`Post` is one player's part of a frame, in the field order of Slippi's post-frame event.
"""

import copy
from typing import Final, NamedTuple

from exphil_core.dojo.fighters import FIGHTERS, Attack
from exphil_core.dojo.states import ENTRY
from exphil_core.melee.controller import NEUTRAL, Controller
from exphil_core.melee.frames import FIRST_FRAME_ID
from exphil_core.melee.stages import Stage, by_name

STOCKS: Final = 4
FULL_SHIELD: Final = 60.0
DOJO_STAGES: Final = tuple(by_name(name) for name in ("battlefield", "finaldestination", "dreamland"))
SPAWN_X: Final = 40.0
REBIRTH_Y: Final = 60.0


class Post(NamedTuple):
    """One player after one frame. Names are those of `replays.columns`; the order is the .slp file's."""

    internal_id: int
    action_state: int
    position_x: float
    position_y: float
    direction: float
    percent: float
    shield: float
    last_attack_landed: int
    combo_count: int
    last_hit_by: int
    stocks: int
    state_age: float
    flags_1: int
    flags_2: int
    flags_3: int
    flags_4: int
    flags_5: int
    misc_as: float
    airborne: int
    ground_id: int
    jumps: int
    l_cancel: int
    hurtbox_state: int
    velocity_air_x: float
    velocity_y: float
    knockback_x: float
    knockback_y: float
    velocity_ground_x: float
    hitlag: float
    animation_index: int
    instance_hit_by: int
    instance_id: int


class Frame(NamedTuple):
    frame_id: int
    posts: tuple[Post, Post]


class Body:
    """One fighter: positions in game units, velocities in units per frame, times in frames."""

    __slots__ = (
        "age",
        "airborne",
        "attack",
        "clicked",
        "combo",
        "controller",
        "direction",
        "fast_falling",
        "fighter",
        "ground",
        "ground_speed",
        "hit_done",
        "hitlag",
        "hitstun",
        "instance",
        "instance_hit_by",
        "invincible",
        "jumps",
        "knock_x",
        "knock_y",
        "l_cancel",
        "last_hit_by",
        "last_landed",
        "ledge_lock",
        "lock",
        "percent",
        "port_index",
        "shield",
        "speed_x",
        "speed_y",
        "state",
        "stocks",
        "x",
        "y",
    )

    def __init__(self, external_id: int, port_index: int, x: float) -> None:
        self.fighter = FIGHTERS[external_id]
        self.port_index = port_index
        self.x = x
        self.y = 0.0
        self.direction = 1.0 if x < 0 else -1.0
        self.speed_x = 0.0
        """Air speed; on the ground it is `ground_speed`."""
        self.speed_y = 0.0
        self.ground_speed = 0.0
        self.knock_x = 0.0
        self.knock_y = 0.0
        self.percent = 0.0
        self.shield = FULL_SHIELD
        self.stocks = STOCKS
        self.state = ENTRY
        self.age = 0
        self.airborne = False
        self.ground = 0
        """Index of the surface under the feet: 0 for the main stage, then the platforms."""
        self.jumps = 2
        self.hitlag = 0
        self.hitstun = 0
        self.lock = 0
        """Length in frames of a state of variable length (landing lag, shield stun); 0 for other states."""
        self.attack: Attack | None = None
        self.hit_done = False
        self.fast_falling = False
        self.clicked = 99
        """Frames since a shoulder button was pressed; decides L-cancels and techs."""
        self.l_cancel = 0
        self.invincible = 0
        self.ledge_lock = 0
        self.last_landed = 0
        self.last_hit_by = 6
        self.combo = 0
        self.instance = 0
        self.instance_hit_by = 0
        self.controller: Controller = NEUTRAL
        """Controller of the frame before."""


class World:
    """A match: two bodies on a stage. Only `physics.step` changes it."""

    __slots__ = ("bodies", "frame_id", "instances", "stage", "surfaces")

    def __init__(
        self, stage: Stage, external_ids: tuple[int, int], port_indices: tuple[int, int] = (0, 1)
    ) -> None:
        self.stage = stage
        self.surfaces = ((-stage.edge, stage.edge, 0.0), *stage.platforms)
        self.frame_id = FIRST_FRAME_ID - 1
        self.instances = 0
        self.bodies = (
            Body(external_ids[0], port_indices[0], -SPAWN_X),
            Body(external_ids[1], port_indices[1], SPAWN_X),
        )

    def copied(self) -> "World":
        """Return a copy with bodies of its own."""
        found = copy.copy(self)
        found.bodies = copy.copy(self.bodies[0]), copy.copy(self.bodies[1])
        return found

    @property
    def over(self) -> bool:
        """Whether a player has lost the last stock."""
        return self.bodies[0].stocks == 0 or self.bodies[1].stocks == 0
