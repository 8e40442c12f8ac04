"""Weighted options for a bot in the air: drift, attack, fast-fall, wavedash, L-cancel, recover to the stage."""

from exphil_core.dojo import states as s
from exphil_core.dojo.bot_observation import ABOVE, BELOW, CLOSE, FROM_AIR, LEVEL, MIDDLE, Foe, Situation
from exphil_core.dojo.inputs import (
    DIAGONAL,
    SHOULDERS,
    STEADY,
    Options,
    bits_held,
    cstick,
    hold,
    let_up,
    level,
    mix,
    press,
    stick,
)
from exphil_core.dojo.states import Kind
from exphil_core.dojo.styles import Style
from exphil_core.melee.controller import BUTTON_BITS, NEUTRAL


def in_air(style: Style, now: Situation) -> Options:
    side = now.side
    plan: Options = []
    chance = STEADY
    if now.state == s.DAMAGE_FALL:
        if now.falling and now.low:
            return mix(0.4, [(style.guard, 1.0)], [(let_up(now.held), 1.0)])
        turned = stick(-now.home if now.held.main_x * now.home > 0 else now.home, 0)
        return hold(now, 0.35, [(turned, 4.0), (bits_held(now.home, 0, style.jump_bit), 1.0)])
    if now.held.buttons & SHOULDERS:
        return mix(0.8, [(stick(now.side, 0), 1.0)], [(now.held, 1.0)])
    if now.foe == Foe.GONE:
        return hold(now, 0.1, [(NEUTRAL, 1.0), (stick(now.home, 0), 1.0)])
    if now.state in (s.JUMP_F, s.JUMP_B) and now.age == 1 and now.height != ABOVE:
        dodge = style.clicked(DIAGONAL * side, -DIAGONAL)
        plan.append((dodge, style.wavedash * (1.0 if now.band >= MIDDLE else 0.4)))
        plan.append((stick(side, 0), 0.4))
        plan.append((stick(-side, 0), 0.2 if now.foe == Foe.ATTACKING else 0.05))
        chance = 0.25
    elif now.band <= CLOSE and now.foe != Foe.AWAY and (now.age >= 3 or now.falling):
        chance = 0.5 if now.height == LEVEL else 0.35
        ahead = cstick(side, 0, main_x=side)
        if now.height == ABOVE:
            plan = [
                (cstick(0, 1, main_x=side), 3.0),
                (bits_held(side, 0, style.jump_bit), 1.0 if now.jumps else 0.0),
            ]
        elif now.height == BELOW:
            plan = [(cstick(0, -1), 2.0), (stick(-side, 0), 0.8), (stick(side, 0), 0.8)]
        elif now.facing:
            plan = [(ahead, 2.5), (press(0, 0, "A"), 1.5 * style.attack), (stick(-side, 0), 0.3)]
        else:
            plan = [(ahead, 3.0), (press(0, 0, "A"), 0.5), (stick(side, 0), 0.3)]
    elif now.falling and now.held.main_y > -0.6:
        chance = 0.2
        plan = [
            (stick(0, -1), 6.0 * style.fast_fall),
            (stick(side, 0), 1.0),
            (stick(-side, 0), 0.4 * style.retreat),
        ]
    elif now.held.main_y > -0.6:
        return _weave(style, now)
    else:
        chance = 0.06
        plan = [(stick(side, 0), 1.5), (stick(-side, 0), 0.4 * style.retreat), (NEUTRAL, 0.5)]
    return mix(chance, plan, [(let_up(now.held), 1.0)])


def _weave(style: Style, now: Situation) -> Options:
    """Drift towards the opponent, or away from its attacks; sometimes release the stick."""
    flee = now.foe == Foe.ATTACKING and now.band >= CLOSE
    if style.adapts and now.foe != Foe.HURT and now.band <= MIDDLE:
        flee = now.threat == FROM_AIR
    wanted = stick(-now.side if flee else now.side, 0)
    held = let_up(now.held)
    if held == wanted:
        return mix(0.08, [(NEUTRAL, 2.0), (stick(-wanted.main_x, 0), 1.0)], [(held, 1.0)])
    return mix(0.3, [(wanted, 4.0), (NEUTRAL, 1.0)], [(held, 1.0)])


def recover(style: Style, now: Situation) -> Options:
    """Off the stage: drift home, jump when falling, and use the up special when no jump is left."""
    home = now.home
    drift = stick(home, 0)
    if now.falling and now.jumps:
        return hold(
            now, 0.35 if now.low else 0.015, [(bits_held(home, 0, style.jump_bit), 3.0), (drift, 1.0)]
        )
    if now.falling and now.low:
        up = bits_held(DIAGONAL * home, DIAGONAL, BUTTON_BITS["B"])
        return hold(now, 0.45, [(up, 6.0), (drift, 0.5)])
    if now.held.main_x * home < 0.6:
        return hold(now, 0.35, [(drift, 1.0)])
    return hold(now, 0.05, [(NEUTRAL, 1.0)])


def steer(style: Style, now: Situation) -> Options:
    """During and after the up special: steer home, sometimes release the stick."""
    if now.held.main_x * now.home < 0.9:
        return hold(now, 0.35, [(stick(now.home, 0), 1.0)])
    return hold(now, 0.06, [(NEUTRAL, 1.0)])


def in_aerial(style: Style, now: Situation) -> Options:
    """During an aerial: drift, fast-fall, and press the shoulder just before landing (L-cancel)."""
    if now.held.buttons & SHOULDERS:
        return mix(0.5, [(level(now.held), 1.0)], [(now.held, 1.0)])
    if now.held.c_x or now.held.c_y:
        return mix(0.6, [(let_up(now.held), 1.0)], [(now.held, 1.0)])
    if now.offstage:
        return hold(now, 0.3 if now.held.main_x * now.home < 0.6 else STEADY, [(stick(now.home, 0), 1.0)])
    if now.kind is Kind.AERIAL and now.falling and now.low:
        cancel = style.clicked(now.held.main_x, now.held.main_y)
        return mix(0.35, [(cancel, 1.0)], [(let_up(now.held), 1.0)])
    if now.falling and now.held.main_y > -0.6:
        return hold(now, 0.2 * style.fast_fall + 0.02, [(stick(0, -1), 1.0)])
    return _weave(style, now) if now.held.main_y > -0.6 else hold(now, 0.1, [(stick(now.side, 0), 1.0)])
