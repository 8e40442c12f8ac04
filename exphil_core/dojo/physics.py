"""The dojo's simulation step: advances a `World` by one frame from two controllers. Deterministic.

Order within a frame: state transitions (`controls.py`), movement (here), hits (`hits.py`). A press acts in its own
frame: X pressed on the ground gives KNEE_BEND, as in Melee. Inputs before the first playable frame are ignored.
"""

from math import atan2, cos, hypot, radians, sin
from struct import Struct

from exphil_core.dojo import states as s
from exphil_core.dojo.controls import act, go, stand_up
from exphil_core.dojo.hits import resolve_hits
from exphil_core.dojo.states import KIND, Kind
from exphil_core.dojo.world import FULL_SHIELD, REBIRTH_Y, SPAWN_X, Body, Frame, Post, World
from exphil_core.melee.controller import NEUTRAL, Controller
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID

KNOCKBACK_DECAY = 0.051
DI_DEGREES = 18.0
SHIELD_REGEN = 0.07
_NO_GROUND = 0xFFFF
_SINGLES = Struct("9f")
_GUARDING = (s.GUARD_ON, s.GUARD, s.GUARD_SET_OFF)


def step(world: World, controllers: tuple[Controller, Controller]) -> Frame:
    """Advance `world` in place by one frame (1/60 s) and return what an observer sees of it."""
    world.frame_id += 1
    playable = world.frame_id >= FIRST_PLAYABLE_FRAME_ID
    first, second = world.bodies
    for body, controller in ((first, controllers[0]), (second, controllers[1])):
        if not playable:
            controller = NEUTRAL
        _advance(world, body, controller)
        body.controller = controller
    if playable:
        resolve_hits(world, first, second)
    return Frame(world.frame_id, (_post(first), _post(second)))


def _advance(world: World, body: Body, controller: Controller) -> None:
    before = body.controller
    if controller.buttons & 0x70 & ~before.buttons:
        body.clicked = 0
    else:
        body.clicked += 1
    if body.hitlag:
        body.hitlag -= 1
        if body.hitlag == 0 and body.hitstun and (controller.main_x or controller.main_y):
            _influence(body, controller)
        return
    body.age += 1
    if body.invincible:
        body.invincible -= 1
    if body.ledge_lock:
        body.ledge_lock -= 1
    if body.state not in _GUARDING and body.shield < FULL_SHIELD:
        body.shield = min(FULL_SHIELD, body.shield + SHIELD_REGEN)
    if KIND[body.state] is Kind.GONE:
        _return(world, body, controller)
        return
    act(world, body, controller, before)
    if KIND[body.state] is Kind.LEDGE:
        return
    if body.airborne:
        _fly(world, body, controller)
    else:
        _slide(world, body, controller)
    left, right, bottom, top = world.stage.blast
    if body.y < bottom:
        _die(body, s.DEAD_DOWN)
    elif body.x < left:
        _die(body, s.DEAD_LEFT)
    elif body.x > right:
        _die(body, s.DEAD_RIGHT)
    elif body.y > top and body.knock_y > 0:
        _die(body, s.DEAD_UP)


def _influence(body: Body, controller: Controller) -> None:
    """Directional influence: the stick perpendicular to the launch rotates it by up to 18 degrees."""
    speed = hypot(body.knock_x, body.knock_y)
    if speed == 0:
        return
    across = (body.knock_x * controller.main_y - body.knock_y * controller.main_x) / speed
    angle = atan2(body.knock_y, body.knock_x) + radians(DI_DEGREES) * max(-1.0, min(1.0, across))
    body.knock_x = speed * cos(angle)
    body.knock_y = speed * sin(angle)


def _slide(world: World, body: Body, controller: Controller) -> None:
    """Move on the ground, and off its edge."""
    traction = body.fighter.traction
    if body.state not in (s.DASH, s.RUN, s.WALK_MIDDLE):
        body.ground_speed = _towards_zero(body.ground_speed, traction)
    if body.knock_x:
        body.knock_x = _towards_zero(body.knock_x, traction + KNOCKBACK_DECAY)
    x = body.x + body.ground_speed + body.knock_x
    left, right, _ = world.surfaces[body.ground]
    if left <= x <= right:
        body.x = x
        return
    leaving = body.knock_x != 0.0 or body.state in (s.DASH, s.RUN, s.WALK_MIDDLE)
    if not leaving:
        body.x = left if x < left else right
        body.ground_speed = 0.0
        return
    body.x = x
    body.airborne = True
    body.jumps = 1
    body.speed_x = max(-body.fighter.air_speed, min(body.fighter.air_speed, body.ground_speed))
    body.ground_speed = 0.0
    body.speed_y = 0.0
    body.fast_falling = False
    if KIND[body.state] is Kind.HURT:
        body.state = s.DAMAGE_AIR_1
    else:
        go(world, body, s.FALL)


def _fly(world: World, body: Body, controller: Controller) -> None:
    """Move in the air, land, or grab the ledge."""
    fighter = body.fighter
    stick_x = controller.main_x
    kind = KIND[body.state]
    if kind is Kind.HURT:
        stick_x = 0.0
    if kind is Kind.DODGE:
        body.speed_x *= 0.9
        body.speed_y *= 0.9
    else:
        if abs(stick_x) > 0.28 and not (kind is Kind.RECOVERY and body.age < 10):
            wanted = stick_x * fighter.air_speed
            if body.speed_x < wanted:
                body.speed_x = min(wanted, body.speed_x + fighter.air_accel)
            else:
                body.speed_x = max(wanted, body.speed_x - fighter.air_accel)
        else:
            body.speed_x = _towards_zero(body.speed_x, 0.015)
        if body.fast_falling:
            body.speed_y = -fighter.fast_fall
        else:
            body.speed_y = max(-fighter.fall_speed, body.speed_y - fighter.gravity)
    knock = hypot(body.knock_x, body.knock_y)
    if knock:
        left_over = max(0.0, knock - KNOCKBACK_DECAY) / knock
        body.knock_x *= left_over
        body.knock_y *= left_over
    old_x, old_y = body.x, body.y
    x = old_x + body.speed_x + body.knock_x
    y = old_y + body.speed_y + body.knock_y
    edge = world.stage.edge
    if y < 0.0 and old_y < 0.0 and -edge < x < edge:
        x = -edge if old_x < 0 else edge  # the side of the stage is a wall that has no lower end
    body.x = x
    body.y = y
    if y > old_y:
        return
    through = controller.main_y < -0.6 and kind is not Kind.HURT
    for index, (left, right, height) in enumerate(world.surfaces):
        if old_y >= height >= y and left <= x <= right and not (through and index):
            body.y = height
            body.ground = index
            _land(world, body)
            return
    if body.ledge_lock == 0 and kind in (Kind.AIR, Kind.HELPLESS, Kind.RECOVERY) and controller.main_y > -0.6:
        side = 1.0 if x > 0 else -1.0
        if 0.0 <= x * side - edge < 9.0 and -22.0 < y < -4.0:
            body.x = side * (edge + 3.0)
            body.y = -12.0
            body.direction = -side
            body.speed_x = body.speed_y = 0.0
            body.jumps = 1
            body.invincible = 37
            body.fast_falling = False
            go(world, body, s.CLIFF_CATCH)


def _land(world: World, body: Body) -> None:
    kind = KIND[body.state]
    landing_attack = body.attack
    body.airborne = False
    body.jumps = 2
    body.ground_speed = body.speed_x
    body.speed_x = body.speed_y = 0.0
    body.knock_y = 0.0
    body.fast_falling = False
    if kind is Kind.AERIAL and landing_attack is not None:
        cancelled = body.clicked <= 7
        lag = landing_attack.landing_lag
        state = s.LANDING_AIR_N + body.state - s.ATTACK_AIR_N
        go(world, body, state)
        body.lock = lag // 2 if cancelled else lag
        body.l_cancel = 1 if cancelled else 2
    elif kind is Kind.HURT or body.state == s.DAMAGE_FALL:
        tumbling = body.state == s.DAMAGE_FALL or s.DAMAGE_FLY_HI <= body.state <= s.DAMAGE_FLY_TOP
        body.hitstun = 0
        if not tumbling:
            body.knock_x = 0.0
            go(world, body, s.LANDING)
        elif body.clicked <= 20:
            body.knock_x = 0.0
            body.invincible = 20
            go(world, body, s.PASSIVE)
        else:
            body.knock_x *= 0.5
            go(world, body, s.DOWN_BOUND_U)
    elif kind in (Kind.DODGE, Kind.HELPLESS, Kind.RECOVERY):
        go(world, body, s.LANDING_FALL_SPECIAL)
        body.lock = 10 if kind is Kind.DODGE else 24
    else:
        go(world, body, s.LANDING)


def _die(body: Body, state: int) -> None:
    body.state = state
    body.age = 0
    body.stocks -= 1
    body.attack = None
    body.speed_x = body.speed_y = body.ground_speed = body.knock_x = body.knock_y = 0.0
    body.hitstun = body.hitlag = 0
    body.percent = 0.0
    body.airborne = True
    body.fast_falling = False


def _return(world: World, body: Body, controller: Controller) -> None:
    """Bring a body back into play: the entrance of a match, and the platform after a lost stock."""
    if body.state == s.ENTRY:
        if body.age >= 40:
            stand_up(world, body)
    elif body.state == s.REBIRTH:
        body.y -= 1.6
        if body.age >= 25:
            go(world, body, s.REBIRTH_WAIT)
    elif body.state == s.REBIRTH_WAIT:
        if body.age >= 150 or (controller is not NEUTRAL and controller != NEUTRAL):
            body.invincible = 120
            body.jumps = 1
            go(world, body, s.FALL)
    elif body.age >= 40 and body.stocks:
        body.x = -SPAWN_X / 2 if body is world.bodies[0] else SPAWN_X / 2
        body.y = REBIRTH_Y + 40.0
        body.direction = 1.0 if body.x < 0 else -1.0
        body.shield = FULL_SHIELD
        go(world, body, s.REBIRTH)


def _towards_zero(value: float, amount: float) -> float:
    if value > amount:
        return value - amount
    if value < -amount:
        return value + amount
    return 0.0


def _post(body: Body) -> Post:
    state = body.state
    kind = KIND[state]
    gone = kind is Kind.GONE and state != s.ENTRY
    guarding = state in _GUARDING
    # Single precision, as in the file, so that live play and the replay give equal values.
    x, y, percent, shield, speed_x, speed_y, knock_x, knock_y, ground_speed = _SINGLES.unpack(
        _SINGLES.pack(
            body.x,
            body.y,
            body.percent,
            body.shield,
            body.speed_x,
            body.speed_y,
            body.knock_x,
            body.knock_y,
            body.ground_speed,
        )
    )
    return Post(
        body.fighter.character.internal_id,
        state,
        x,
        y,
        body.direction,
        percent,
        shield,
        body.last_landed,
        body.combo,
        body.last_hit_by,
        body.stocks,
        float(body.age),
        0,
        (0x20 if body.hitlag else 0) | (0x08 if body.fast_falling else 0) | (0x04 if body.invincible else 0),
        0x80 if guarding else 0,
        0x02 if body.hitstun else 0,
        0x40 if state < s.REBIRTH else 0,
        float(body.hitstun),
        1 if body.airborne else 0,
        _NO_GROUND if body.airborne else body.ground,
        body.jumps,
        body.l_cancel,
        2 if gone else 1 if body.invincible else 0,
        speed_x,
        speed_y,
        knock_x,
        knock_y,
        ground_speed,
        float(body.hitlag),
        state,
        body.instance_hit_by,
        body.instance,
    )
