"""State transitions of a fighter: what its controller starts in its current action state.

A press is an edge between the last controller and this one. Tap jump is off: only X and Y jump. Movement is in
`physics.py`.
"""

from collections.abc import Callable

from exphil_core.dojo import states as s
from exphil_core.dojo.states import FIXED_LENGTH, KIND, Kind
from exphil_core.dojo.world import Body, World
from exphil_core.melee.controller import BUTTON_BITS, Controller

_A, _B, _Z, _UP = (BUTTON_BITS[name] for name in ("A", "B", "Z", "D_UP"))
_JUMP = BUTTON_BITS["X"] | BUTTON_BITS["Y"]
_SHOULDER = BUTTON_BITS["L"] | BUTTON_BITS["R"]
_SMASH = 0.8
_TILT = 0.28


def go(world: World, body: Body, state: int) -> None:
    """Enter an action state at age 0."""
    world.instances = world.instances % 0xFFFF + 1
    body.instance = world.instances
    body.state = state
    body.age = 0
    body.lock = 0
    body.l_cancel = 0
    body.attack = None
    if KIND[state] is Kind.LEDGE or KIND[state] is Kind.AIR:
        body.airborne = True


def stand_up(world: World, body: Body) -> None:
    go(world, body, s.FALL if body.airborne else s.WAIT)


def act(world: World, body: Body, controller: Controller, before: Controller) -> None:
    """Apply this frame's controller to the body's state."""
    _ACTS[KIND[body.state]](world, body, controller, before)


def _attack(world: World, body: Body, state: int) -> None:
    go(world, body, state)
    body.attack = body.fighter.attacks[state]
    body.hit_done = False


def _free(world: World, body: Body, controller: Controller, before: Controller) -> None:
    pressed = controller.buttons & ~before.buttons
    stick_x, stick_y = controller.main_x, controller.main_y
    if pressed and _press_on_ground(world, body, controller, before, pressed):
        return
    if (controller.c_x or controller.c_y) and not (before.c_x or before.c_y):
        if controller.c_x:
            body.direction = 1.0 if controller.c_x > 0 else -1.0
            _attack(world, body, s.ATTACK_S4_S)
        else:
            _attack(world, body, s.ATTACK_HI4 if controller.c_y > 0 else s.ATTACK_LW4)
        return
    if controller.buttons & _SHOULDER or controller.trigger_l > 0.3 or controller.trigger_r > 0.3:
        body.ground_speed *= 0.5
        go(world, body, s.GUARD_ON)
        return
    if stick_y < -0.6:
        if before.main_y > -0.6 and body.ground > 0:
            body.airborne = True
            body.jumps = 1
            body.y -= 0.5
            body.speed_y = -0.5
            go(world, body, s.PASS)
        elif body.state not in (s.SQUAT, s.SQUAT_WAIT):
            go(world, body, s.SQUAT)
        elif body.state == s.SQUAT and body.age >= FIXED_LENGTH[s.SQUAT]:
            go(world, body, s.SQUAT_WAIT)
        return
    _walk(world, body, stick_x, before.main_x)


def _press_on_ground(
    world: World, body: Body, controller: Controller, before: Controller, pressed: int
) -> bool:
    stick_x, stick_y = controller.main_x, controller.main_y
    fighter = body.fighter
    if pressed & _JUMP:
        go(world, body, s.KNEE_BEND)
    elif pressed & _B:
        _special(world, body, controller)
    elif pressed & _Z:
        _attack(world, body, s.CATCH)
    elif pressed & _A:
        flick = max(abs(stick_x), abs(stick_y)) >= _SMASH
        if abs(stick_x) > abs(stick_y) and abs(stick_x) > _TILT:
            if body.state in (s.DASH, s.RUN):
                _attack(world, body, s.ATTACK_DASH)
                body.ground_speed = body.direction * 1.4
                return True
            body.direction = 1.0 if stick_x > 0 else -1.0
            _attack(world, body, s.ATTACK_S4_S if flick and abs(before.main_x) < _SMASH else s.ATTACK_S3_S)
        elif stick_y > _TILT:
            _attack(world, body, s.ATTACK_HI4 if flick and before.main_y < _SMASH else s.ATTACK_HI3)
        elif stick_y < -_TILT:
            _attack(world, body, s.ATTACK_LW4 if flick and before.main_y > -_SMASH else s.ATTACK_LW3)
        elif body.state in (s.DASH, s.RUN):
            _attack(world, body, s.ATTACK_DASH)
            body.ground_speed = body.direction * 1.4
        else:
            _attack(world, body, s.ATTACK_11)
    elif pressed & _UP and body.state == s.WAIT:
        go(world, body, s.APPEAL_R)
    else:
        return False
    if body.state == s.KNEE_BEND:
        return True
    body.ground_speed = max(-fighter.walk_speed, min(fighter.walk_speed, body.ground_speed))
    return True


def _walk(world: World, body: Body, stick_x: float, stick_before: float) -> None:
    fighter = body.fighter
    state = body.state
    side = 1.0 if stick_x > 0 else -1.0
    reach = abs(stick_x)
    flicked = reach >= _SMASH and stick_before * side < _SMASH
    if reach >= _SMASH and state in (s.TURN, s.WAIT):
        flicked = True  # a stick that was held through lag also dashes
    if flicked and state != s.RUN and state != s.RUN_BRAKE:
        if body.direction != side:
            body.direction = side
            body.ground_speed = 0.0
            go(world, body, s.TURN)
        else:
            body.ground_speed = side * fighter.dash_speed
            go(world, body, s.DASH)
    elif state == s.DASH:
        body.ground_speed = body.direction * fighter.dash_speed
        if body.age >= 12:
            go(world, body, s.RUN if stick_x * body.direction >= _SMASH else s.WAIT)
    elif state == s.RUN:
        if stick_x * body.direction >= _SMASH:
            body.ground_speed = body.direction * fighter.run_speed
        else:
            go(world, body, s.RUN_BRAKE)
    elif state == s.RUN_BRAKE and body.age < FIXED_LENGTH[s.RUN_BRAKE]:
        return
    elif reach > _TILT:
        if body.direction != side:
            body.direction = side
            body.ground_speed = 0.0
            go(world, body, s.TURN)
        elif state != s.WALK_MIDDLE:
            go(world, body, s.WALK_MIDDLE)
        if body.state == s.WALK_MIDDLE:
            body.ground_speed = stick_x * fighter.walk_speed
    elif state in (s.SQUAT, s.SQUAT_WAIT):
        go(world, body, s.SQUAT_RV)
    elif state != s.WAIT and (state == s.WALK_MIDDLE or body.age >= FIXED_LENGTH.get(state, 0)):
        go(world, body, s.WAIT)


def _special(world: World, body: Body, controller: Controller) -> None:
    fighter = body.fighter
    if abs(controller.main_x) > _TILT:
        body.direction = 1.0 if controller.main_x > 0 else -1.0
    if controller.main_y > _TILT:
        _attack(world, body, fighter.special_hi)
        body.airborne = True
        body.jumps = 0
        body.fast_falling = False
        body.speed_x *= 0.3
        body.speed_y = 0.0
        body.ground_speed = 0.0
    else:
        _attack(world, body, fighter.special_n)


def _squatting(world: World, body: Body, controller: Controller, before: Controller) -> None:
    fighter = body.fighter
    if body.age < fighter.jump_squat:
        return
    held = controller.buttons & _JUMP
    body.airborne = True
    body.jumps = 1
    body.fast_falling = False
    body.speed_y = fighter.full_hop if held else fighter.short_hop
    speed = body.ground_speed * 0.6 + controller.main_x * fighter.air_speed * 0.6
    body.speed_x = max(-fighter.air_speed, min(fighter.air_speed, speed))
    body.ground_speed = 0.0
    go(world, body, s.JUMP_B if controller.main_x * body.direction < -_TILT else s.JUMP_F)


def _air(world: World, body: Body, controller: Controller, before: Controller) -> None:
    pressed = controller.buttons & ~before.buttons
    stick_x, stick_y = controller.main_x, controller.main_y
    flung = (controller.c_x or controller.c_y) and not (before.c_x or before.c_y)
    if flung or pressed & (_A | _Z):
        aim_x, aim_y = (controller.c_x, controller.c_y) if flung else (stick_x, stick_y)
        if abs(aim_x) > abs(aim_y) and abs(aim_x) > _TILT:
            _attack(world, body, s.ATTACK_AIR_F if aim_x * body.direction > 0 else s.ATTACK_AIR_B)
        elif abs(aim_y) > _TILT:
            _attack(world, body, s.ATTACK_AIR_HI if aim_y > 0 else s.ATTACK_AIR_LW)
        else:
            _attack(world, body, s.ATTACK_AIR_N)
        return
    if pressed & _B:
        _special(world, body, controller)
        return
    if pressed & _JUMP and body.jumps:
        body.jumps -= 1
        body.speed_y = body.fighter.air_jump
        body.speed_x = stick_x * body.fighter.air_speed
        body.fast_falling = False
        body.knock_x = body.knock_y = 0.0
        back = stick_x * body.direction < -_TILT
        go(world, body, s.JUMP_AERIAL_B if back else s.JUMP_AERIAL_F)
        return
    if pressed & _SHOULDER and body.state != s.DAMAGE_FALL:
        body.speed_x = 3.0 * stick_x
        body.speed_y = 3.0 * stick_y
        body.fast_falling = False
        go(world, body, s.ESCAPE_AIR)
        return
    _fast_fall(body, controller, before)
    if body.state in (s.JUMP_F, s.JUMP_B, s.JUMP_AERIAL_F, s.JUMP_AERIAL_B) and body.speed_y < -0.8:
        go(world, body, s.FALL)


def _fast_fall(body: Body, controller: Controller, before: Controller) -> None:
    if body.speed_y < 0 and controller.main_y < -0.6 <= before.main_y:
        body.fast_falling = True


def _attacking(world: World, body: Body, controller: Controller, before: Controller) -> None:
    attack = body.attack
    if attack is None or body.age >= attack.total:
        stand_up(world, body)
        act(world, body, controller, before)


def _aerial(world: World, body: Body, controller: Controller, before: Controller) -> None:
    _fast_fall(body, controller, before)
    _attacking(world, body, controller, before)


def _recovering(world: World, body: Body, controller: Controller, before: Controller) -> None:
    attack = body.attack
    assert attack is not None
    if body.age == attack.first:
        body.speed_y = attack.lift
        body.speed_x = body.direction * attack.rush
    elif body.age >= attack.total:
        go(world, body, s.FALL_SPECIAL)
        body.airborne = True


def _lag(world: World, body: Body, controller: Controller, before: Controller) -> None:
    length = body.lock or FIXED_LENGTH.get(body.state, 4)
    if body.state in (s.ESCAPE_F, s.ESCAPE_B, s.DOWN_FORWARD_U, s.DOWN_BACK_U) and 4 <= body.age < length - 8:
        ahead = body.state in (s.ESCAPE_F, s.DOWN_FORWARD_U)
        body.ground_speed = body.direction * (1.5 if ahead else -1.5)
    if body.age >= length:
        if body.state == s.CLIFF_CLIMB_QUICK:
            body.x -= (body.x > 0) * 8.0 - (body.x < 0) * 8.0
        stand_up(world, body)
        act(world, body, controller, before)


def _hurt(world: World, body: Body, controller: Controller, before: Controller) -> None:
    body.hitstun -= 1
    if body.hitstun <= 0:
        body.hitstun = 0
        tumbling = s.DAMAGE_FLY_HI <= body.state <= s.DAMAGE_FLY_TOP
        if tumbling and body.airborne:
            go(world, body, s.DAMAGE_FALL)
        else:
            body.knock_x *= 0.5
            stand_up(world, body)
        act(world, body, controller, before)


def _shield(world: World, body: Body, controller: Controller, before: Controller) -> None:
    state = body.state
    if state == s.GUARD_OFF:
        _lag(world, body, controller, before)
        return
    if state == s.GUARD_SET_OFF:
        if body.age >= body.lock:
            go(world, body, s.GUARD)
        return
    body.shield -= 0.28
    if body.shield <= 0:
        body.shield = 30.0
        go(world, body, s.FURA_FURA)
        return
    pressed = controller.buttons & ~before.buttons
    if pressed & _JUMP:
        go(world, body, s.KNEE_BEND)
    elif pressed & (_A | _Z):
        _attack(world, body, s.CATCH)
    elif abs(controller.main_x) >= _SMASH > abs(before.main_x):
        ahead = controller.main_x * body.direction > 0
        body.invincible = 16
        go(world, body, s.ESCAPE_F if ahead else s.ESCAPE_B)
    elif controller.main_y < -0.9 <= before.main_y:
        body.invincible = 16
        go(world, body, s.ESCAPE)
    elif not (controller.buttons & _SHOULDER or controller.trigger_l > 0.3 or controller.trigger_r > 0.3):
        go(world, body, s.GUARD_OFF)
    elif state == s.GUARD_ON and body.age >= 8:
        go(world, body, s.GUARD)


def _ledge(world: World, body: Body, controller: Controller, before: Controller) -> None:
    if body.state == s.CLIFF_CATCH:
        if body.age >= 8:
            go(world, body, s.CLIFF_WAIT)
        return
    inward = -1.0 if body.x > 0 else 1.0
    pressed = controller.buttons & ~before.buttons
    if pressed & _JUMP:
        body.speed_y = body.fighter.full_hop * 0.95
        body.speed_x = inward * body.fighter.air_speed * 0.8
        body.jumps = 1
        body.ledge_lock = 30
        go(world, body, s.JUMP_F)
    elif controller.main_x * inward > 0.6 or controller.main_y > 0.6:
        body.x = inward * -(world.stage.edge - 2.0)
        body.y = 0.0
        body.ground = 0
        body.jumps = 2
        body.airborne = False
        body.invincible = 30
        go(world, body, s.CLIFF_CLIMB_QUICK)
    elif controller.main_x * inward < -0.6 or controller.main_y < -0.6 or body.age >= 240:
        body.ledge_lock = 30
        body.jumps = 1
        body.speed_y = 0.0
        go(world, body, s.FALL)


def _down(world: World, body: Body, controller: Controller, before: Controller) -> None:
    if body.state == s.DOWN_BOUND_U:
        if body.age >= 26:
            go(world, body, s.DOWN_WAIT_U)
        return
    if abs(controller.main_x) > 0.6:
        body.invincible = 18
        ahead = controller.main_x * body.direction > 0
        go(world, body, s.DOWN_FORWARD_U if ahead else s.DOWN_BACK_U)
    elif controller.main_y > 0.6 or body.age >= 150:
        body.invincible = 18
        go(world, body, s.DOWN_STAND_U)


def _dodging(world: World, body: Body, controller: Controller, before: Controller) -> None:
    if body.age == 3:
        body.invincible = 26
    if body.age >= 49:
        go(world, body, s.FALL_SPECIAL)
        body.airborne = True


def _helpless(world: World, body: Body, controller: Controller, before: Controller) -> None:
    _fast_fall(body, controller, before)


def _gone(world: World, body: Body, controller: Controller, before: Controller) -> None:
    return


_ACTS: dict[Kind, Callable[[World, Body, Controller, Controller], None]] = {
    Kind.FREE: _free,
    Kind.AIR: _air,
    Kind.SQUATTING: _squatting,
    Kind.ATTACK: _attacking,
    Kind.AERIAL: _aerial,
    Kind.RECOVERY: _recovering,
    Kind.HELPLESS: _helpless,
    Kind.LAG: _lag,
    Kind.HURT: _hurt,
    Kind.SHIELD: _shield,
    Kind.LEDGE: _ledge,
    Kind.DOWN: _down,
    Kind.DODGE: _dodging,
    Kind.GONE: _gone,
}
