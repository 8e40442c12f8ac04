"""Hit detection between the two bodies: hitboxes, damage, knockback, hitlag, shields and grabs.

Both may hit in the same frame (a trade). Knockback follows the formula documented by Melee's community: it grows
with percent and falls with weight.
"""

from math import cos, radians, sin

from exphil_core.dojo import states as s
from exphil_core.dojo.controls import go
from exphil_core.dojo.fighters import Attack
from exphil_core.dojo.states import KIND, Kind
from exphil_core.dojo.world import Body, World

_LOW_ANGLE = 361
_TUMBLE = 80.0
_STANDING = 45.0
_LAUNCH = 0.03
_HITSTUN = 0.4
_GUARDING = (s.GUARD_ON, s.GUARD, s.GUARD_SET_OFF)


def resolve_hits(world: World, first: Body, second: Body) -> None:
    if first.attack is None and second.attack is None:
        return
    strike = _reaching(first, second)
    counter = _reaching(second, first)
    if strike is not None:
        _hit(world, first, second, strike)
    if counter is not None:
        _hit(world, second, first, counter)


def _reaching(attacker: Body, target: Body) -> Attack | None:
    """Return the attack of `attacker` that touches `target` in this frame, or None."""
    attack = attacker.attack
    if attack is None or attacker.hit_done or attacker.hitlag:
        return None
    if not attack.first <= attacker.age <= attack.last:
        return None
    if target.invincible or KIND[target.state] is Kind.GONE:
        return None
    away_x = attacker.x + attacker.direction * attack.reach_x - target.x
    away_y = attacker.y + attack.reach_y - target.y - target.fighter.height / 2
    radius = attack.radius
    gap_x = abs(away_x) - target.fighter.half_width
    gap_y = abs(away_y) - target.fighter.height / 2
    if gap_x > radius or gap_y > radius:
        return None
    if gap_x > 0 and gap_y > 0 and gap_x * gap_x + gap_y * gap_y > radius * radius:
        return None
    return attack


def _hit(world: World, attacker: Body, target: Body, attack: Attack) -> None:
    attacker.hit_done = True
    side = 1.0 if attacker.direction > 0 else -1.0
    if attack.reach_x < 0:
        side = -side
    if attack.grab:
        if target.airborne:
            attacker.hit_done = False
            return
        go(world, attacker, s.THROW_F)
    else:
        lag = int(attack.damage / 3 + 3)
        attacker.hitlag = lag
        target.hitlag = lag
        if target.state in _GUARDING:
            _strike_shield(world, target, attack, side)
            return
    attacker.last_landed = attack.action_state & 0xFF if attack.action_state < 256 else 19
    _launch(world, attacker, target, attack, side)


def _strike_shield(world: World, target: Body, attack: Attack, side: float) -> None:
    target.shield -= attack.damage * 0.7
    target.ground_speed = side * (0.4 + attack.damage * 0.06)
    if target.shield <= 0:
        target.shield = 30.0
        go(world, target, s.FURA_FURA)
        return
    go(world, target, s.GUARD_SET_OFF)
    target.lock = int(attack.damage * 0.45 + 2)


def _launch(world: World, attacker: Body, target: Body, attack: Attack, side: float) -> None:
    comboing = target.hitstun > 0
    target.percent = min(999.0, target.percent + attack.damage)
    percent, damage = target.percent, attack.damage
    knockback = (percent / 10 + percent * damage / 20) * 200 / (target.fighter.weight + 100) * 1.4 + 18
    knockback = knockback * attack.growth / 100 + attack.base
    angle = attack.angle
    if angle == _LOW_ANGLE:
        angle = 0.0 if not target.airborne and knockback < 32 else 44.0
    speed = knockback * _LAUNCH
    target.knock_x = side * speed * cos(radians(angle))
    target.knock_y = speed * sin(radians(angle))
    target.speed_x = target.speed_y = target.ground_speed = 0.0
    target.fast_falling = False
    if not target.airborne and target.knock_y >= 0 and knockback < _STANDING:
        target.knock_y = 0.0
    elif target.airborne or target.knock_y >= 0:
        if not target.airborne:
            target.jumps = 1
        target.airborne = True
    else:
        target.knock_y = -target.knock_y * 0.8  # a spike on the ground bounces
        target.airborne = True
        target.jumps = 1
    if KIND[target.state] is Kind.LEDGE:
        target.ledge_lock = 30
    if knockback >= _TUMBLE and target.airborne:
        state = s.DAMAGE_FLY_TOP if 70 < angle < 110 else s.DAMAGE_FLY_LW if angle > 180 else s.DAMAGE_FLY_N
    else:
        state = s.DAMAGE_AIR_1 if target.airborne else s.DAMAGE_N_1
    go(world, target, state)
    target.hitstun = max(1, int(knockback * _HITSTUN))
    target.direction = -side
    target.last_hit_by = attacker.port_index
    target.instance_hit_by = attacker.instance
    attacker.combo = min(255, attacker.combo + 1) if comboing else 1
