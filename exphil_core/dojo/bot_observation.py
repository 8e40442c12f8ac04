"""A bot's observation: reduces the frames so far to the `Situation` that determines its input distribution.

It depends only on the replay's columns up to the frame before the input acts; there is no hidden state or timer. A
bot sees its own body at once and the opponent `delay` frames late.
"""

from collections import deque
from typing import NamedTuple

from exphil_core.dojo.states import DASH, KIND, RUN, SQUAT, SQUAT_WAIT, TURN, WALK_MIDDLE, Kind
from exphil_core.dojo.world import Post
from exphil_core.melee.controller import NEUTRAL, Controller
from exphil_core.melee.stages import Stage

TOUCHING, CLOSE, MIDDLE, FAR = range(4)
LEVEL, ABOVE, BELOW = range(3)
NO_THREAT, FROM_GROUND, FROM_AIR = range(3)

MEMORY_FRAMES = 180
"""Frames for which a bot remembers that the opponent attacked or shielded."""

NO_STEP = (0.0, 0.0)

_SIDEWAYS = frozenset({DASH, RUN, TURN, WALK_MIDDLE})
_DOWN = frozenset({SQUAT, SQUAT_WAIT})


class Foe:
    """What the opponent was doing, as the bot observed it."""

    IDLE, ATTACKING, HURT, SHIELDING, AWAY, GONE, DOWN = range(7)


_FOE = {
    Kind.ATTACK: Foe.ATTACKING,
    Kind.AERIAL: Foe.ATTACKING,
    Kind.HURT: Foe.HURT,
    Kind.SHIELD: Foe.SHIELDING,
    Kind.GONE: Foe.GONE,
    Kind.DOWN: Foe.DOWN,
}


class Situation(NamedTuple):
    """Everything that a bot's distribution may depend on. Only `side` and `home` tell left from right."""

    kind: Kind
    state: int
    age: int
    """Frames in the state, quantised by `_coarse`."""
    held: Controller
    held_for: int
    """Frames for which the controller has not changed: 1, 2, or 3 for longer."""
    side: float
    """Direction to the opponent: -1 left, 1 right."""
    facing: bool
    """The bot faces the opponent."""
    home: float
    """Direction to the middle of the stage: -1 left, 1 right."""
    band: int
    """Distance to the opponent: TOUCHING, CLOSE, MIDDLE or FAR."""
    height: int
    """The opponent's height relative to the bot: LEVEL, ABOVE or BELOW."""
    foe: int
    """A constant of `Foe`."""
    offstage: bool
    falling: bool
    low: bool
    """Close above the surface it will land on; offstage: far below the edge."""
    jumps: int
    on_platform: bool
    near_edge: bool
    stunned: int
    """0 free, 1 in hitlag, 2 in hitstun, 3 in the last frames of hitstun."""
    threat: int
    """The opponent's last attack within `MEMORY_FRAMES`: NO_THREAT, FROM_GROUND or FROM_AIR."""
    shielded_lately: bool
    echo: tuple[float, float] | None = None
    """Stick (from `step_of`) of the opponent's step `echo` frames before the input acts; None for a bot without this
    memory."""


class BotObservation:
    """The memory of one bot."""

    __slots__ = (
        "_delay",
        "_edge",
        "_foes",
        "_held",
        "_held_for",
        "_since_attack",
        "_since_shield",
        "_steps",
        "_surfaces",
        "_threat",
    )

    def __init__(self, stage: Stage, delay: int, *, echo: int = 0) -> None:
        self._edge = stage.edge
        self._surfaces = stage.platforms
        self._delay = delay
        self._foes: deque[Post] = deque(maxlen=delay)
        self._steps = deque([NO_STEP] * echo, maxlen=echo) if echo else None
        self._held: Controller = NEUTRAL
        self._held_for = 3
        self._since_attack = MEMORY_FRAMES
        self._threat = NO_THREAT
        self._since_shield = MEMORY_FRAMES

    def situation(self, own: Post, controller: Controller, foe_now: Post) -> Situation:
        """Update the memory with the newest frame and return the situation for the next input."""
        if controller is self._held or controller == self._held:
            self._held_for = min(3, self._held_for + 1)
        else:
            self._held_for = 1
            self._held = controller
        foes = self._foes
        foes.append(foe_now)
        foe = foes[0]  # the opponent `delay` frames before the input acts
        foe_kind = KIND[foe.action_state]
        if foe_kind is Kind.ATTACK or foe_kind is Kind.AERIAL:
            self._since_attack = 0
            self._threat = FROM_GROUND if foe_kind is Kind.ATTACK else FROM_AIR
        else:
            self._since_attack += 1
            if self._since_attack >= MEMORY_FRAMES:
                self._threat = NO_THREAT
        if foe_kind is Kind.SHIELD:
            self._since_shield = 0
        else:
            self._since_shield += 1

        echo = None
        if self._steps is not None:
            self._steps.append(step_of(foe_now))
            echo = self._steps[0]

        state = own.action_state
        kind = KIND[state]
        x, y = own.position_x, own.position_y
        edge = self._edge
        airborne = own.airborne == 1
        offstage = airborne and (x > edge or x < -edge)
        # The opponent's position is old, so aim at where the opponent will be, as people do.
        lead = 0.8 * self._delay
        foe_speed = foe.velocity_air_x + foe.velocity_ground_x + foe.knockback_x
        away_x = foe.position_x + lead * foe_speed - x
        away_y = foe.position_y + 0.4 * lead * (foe.velocity_y + foe.knockback_y) - y
        side = 1.0 if away_x > 0 else -1.0
        gap = away_x if away_x > 0 else -away_x
        falling = False
        low = False
        if airborne:
            falling = own.velocity_y + own.knockback_y < 0
            low = y < -24.0 if offstage else self._clearance(x, y) < 11.0
        stunned = 0
        if kind is Kind.HURT:
            stunned = 1 if own.hitlag > 0 else 2 if own.misc_as > 5 else 3
        foe_class = _FOE.get(foe_kind, Foe.IDLE)
        if foe_class not in (Foe.GONE, Foe.ATTACKING) and (
            foe.position_x > edge or foe.position_x < -edge or foe.position_y < -1.0
        ):
            foe_class = Foe.AWAY
        return Situation(
            kind,
            state,
            _coarse(kind, own.state_age),
            controller,
            self._held_for,
            side,
            own.direction * side > 0,
            -1.0 if x > 0 else 1.0,
            TOUCHING if gap < 13.0 else CLOSE if gap < 27.0 else MIDDLE if gap < 55.0 else FAR,
            ABOVE if away_y > 17.0 else BELOW if away_y < -17.0 else LEVEL,
            foe_class,
            offstage,
            falling,
            low,
            own.jumps,
            not airborne and own.ground_id > 0,
            not airborne and edge - (x if x > 0 else -x) < 14.0,
            stunned,
            self._threat,
            self._since_shield < MEMORY_FRAMES,
            echo,
        )

    def _clearance(self, x: float, y: float) -> float:
        """Return the height of the feet above the next surface below."""
        ground = 0.0
        for left, right, height in self._surfaces:
            if left <= x <= right and height < y + 0.5 and height > ground:
                ground = height
        return y - ground


def step_of(post: Post) -> tuple[float, float]:
    """Return the stick of a grounded fighter's step: to a side, down, or (0, 0) for none."""
    if post.action_state in _SIDEWAYS:
        return (post.direction, 0.0)
    return (0.0, -1.0) if post.action_state in _DOWN else NO_STEP


def _coarse(kind: Kind, age: float) -> int:
    """Quantise an age: every frame below 4, then steps of four, up to 20."""
    if age < 4:
        return int(age)
    if kind is Kind.GONE:
        return 4 if age < 20 else 20
    return min(20, int(age) // 4 * 4)
