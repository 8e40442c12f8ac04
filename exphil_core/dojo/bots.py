"""Scripted bots: map a visible `Situation` and a `Style` to an explicit distribution over the next controller.

A bot holds its last input until something it sees makes it change; the probability of a change in a frame is given
here. Directions are relative ("towards", "away"), so a mirrored game has mirrored distributions.
"""

from exphil_core.dojo import states as s
from exphil_core.dojo.air import in_aerial, in_air, recover, steer
from exphil_core.dojo.bot_observation import ABOVE, CLOSE, MIDDLE, TOUCHING, Foe, Situation
from exphil_core.dojo.choices import InputDistribution, choice
from exphil_core.dojo.ground import on_ground
from exphil_core.dojo.inputs import DIAGONAL, JUMPS, SHOULDERS, STEADY, Options, bits_held, hold, mix, stick
from exphil_core.dojo.states import Kind
from exphil_core.dojo.styles import Style
from exphil_core.melee.controller import BUTTON_BITS, NEUTRAL, Controller


class Bot:
    """A style with a cache of distributions, which depend on the situation alone."""

    __slots__ = ("_choices", "style")

    def __init__(self, style: Style) -> None:
        self.style = style
        self._choices: dict[Situation, InputDistribution] = {}

    def choice(self, situation: Situation) -> InputDistribution:
        """Return the distribution of the next input."""
        known = self._choices.get(situation)
        if known is None:
            known = choice(_options(self.style, situation))
            self._choices[situation] = known
        return known


def _options(style: Style, now: Situation) -> Options:
    if now.held.buttons & ~SHOULDERS and now.kind is not Kind.SQUATTING:
        return _let_go(style, now)
    match now.kind:
        case Kind.FREE:
            return on_ground(style, now)
        case Kind.SQUATTING:
            return _squat(style, now)
        case Kind.AIR:
            return recover(style, now) if now.offstage else in_air(style, now)
        case Kind.AERIAL | Kind.DODGE:
            return in_aerial(style, now)
        case Kind.RECOVERY | Kind.HELPLESS:
            return steer(style, now)
        case Kind.HURT:
            return _hurt(style, now)
        case Kind.SHIELD:
            return _guard(style, now)
        case Kind.LEDGE:
            return _ledge(style, now)
        case Kind.DOWN:
            return _down(style, now)
        case Kind.ATTACK | Kind.LAG:
            return _committed(style, now)
        case Kind.GONE:
            return _gone(style, now)


def _let_go(style: Style, now: Situation) -> Options:
    """Release a button, usually after two frames, and move the stick where the state needs it."""
    chance = 0.08 if now.held_for == 1 else 0.92
    if now.kind is Kind.AIR and not now.offstage:
        after = [(stick(now.held.main_x, now.held.main_y), 1.0)]
    elif now.kind is Kind.AERIAL and not now.offstage:
        after = [(stick(now.side, 0.0), 0.7), (NEUTRAL, 0.3)]
    elif now.offstage or now.kind is Kind.RECOVERY:
        after = [(stick(now.home, 0.0), 1.0)]
    else:
        after = [(NEUTRAL, 1.0)]
    return mix(chance, after, [(now.held, 1.0)])


def _squat(style: Style, now: Situation) -> Options:
    """In the jump squat: decide between a short hop and a full hop."""
    short = Controller(main_x=now.held.main_x, main_y=now.held.main_y)
    if not now.held.buttons & JUMPS:
        return hold(now, STEADY, [(NEUTRAL, 1.0)])
    if now.age == 1:
        return mix(style.short_hop, [(short, 1.0)], [(now.held, 1.0)])
    if now.age == 2 and now.height != ABOVE:
        away = now.foe == Foe.ATTACKING
        swing = bits_held(-now.side if away else now.side, 0, now.held.buttons)
        return mix(0.5, [(swing, 1.0)], [(now.held, 1.0)])
    return mix(0.02, [(short, 1.0)], [(now.held, 1.0)])


def _committed(style: Style, now: Situation) -> Options:
    """In an attack or in lag: release the stick, then hold the next input, with random changes."""
    if now.held != NEUTRAL and now.age < 8 and now.held_for < 3:
        return hold(now, 0.5, [(NEUTRAL, 1.0)])
    early = now.kind is Kind.ATTACK and now.age < 12
    chance = 0.03 if early else 0.2
    if now.held != NEUTRAL:
        chance = 0.25 if early or now.held_for >= 3 else 0.04
    if now.foe == Foe.ATTACKING and now.band <= CLOSE:
        plan = [(stick(-now.side, 0), style.retreat), (style.guard, style.shield)]
    elif now.foe == Foe.HURT or now.band >= MIDDLE:
        plan = [(stick(now.side, 0), style.approach), (NEUTRAL, 0.5)]
    else:
        plan = [(stick(-now.side, 0), style.retreat), (NEUTRAL, 1.0)]
    if now.held != NEUTRAL:
        plan = [(NEUTRAL, 3.0), *plan]
    return hold(now, chance, plan)


def _hurt(style: Style, now: Situation) -> Options:
    """In hitlag hold survival DI, then alternate stick inputs until hitstun ends."""
    inward, survive = stick(now.home, 0), stick(DIAGONAL * now.home, DIAGONAL)
    if now.stunned == 1:
        return hold(now, STEADY if now.held == survive else 0.4, [(survive, 4.0), (inward, 1.0)])
    if now.stunned == 2:
        if now.held == inward:
            return hold(now, 0.12, [(NEUTRAL, 2.0), (stick(0, -1), 1.0)])
        return hold(now, 0.25, [(inward, 4.0), (survive, 1.0)])
    return hold(
        now,
        0.25,
        [(inward, 1.0), (style.guard, 0.7 if now.foe == Foe.ATTACKING else 0.1)],
    )


def _guard(style: Style, now: Situation) -> Options:
    guard = style.guard
    if now.state == s.GUARD_OFF:
        return hold(now, 0.3 if now.held.buttons else STEADY, [(NEUTRAL, 1.0)])
    if now.state == s.GUARD_SET_OFF or now.age < 8:
        return mix(STEADY, [(NEUTRAL, 1.0)], [(guard, 1.0)])
    chance = 0.05 if now.foe == Foe.ATTACKING and now.band <= CLOSE else 0.3
    back = style.clicked(-now.side, 0)
    spot = style.clicked(0, -1)
    grab = style.clicked(0, 0, BUTTON_BITS["Z"])
    plan: Options = [
        (NEUTRAL, 4.0),
        (back, 0.8 if now.band <= CLOSE else 0.1),
        (spot, 0.5 if now.band == TOUCHING else 0.05),
        (grab, 3.0 * style.grab if now.band == TOUCHING else 0.0),
        (bits_held(0, 0, style.jump_bit), 0.8 * style.jump),
    ]
    return mix(chance, plan, [(guard, 1.0)])


def _ledge(style: Style, now: Situation) -> Options:
    if now.state == s.CLIFF_CATCH:
        return hold(now, 0.4 if now.held != NEUTRAL else STEADY, [(NEUTRAL, 1.0)])
    plan: Options = [
        (stick(now.home, 0), 2.0),
        (bits_held(now.home, 0, style.jump_bit), style.jump),
        (stick(0, -1), 0.6 if now.band >= MIDDLE else 0.2),
    ]
    return hold(now, 0.25 if now.age >= 8 else 0.02, plan)


def _down(style: Style, now: Situation) -> Options:
    if now.state == s.DOWN_BOUND_U:
        return hold(now, 0.3 if now.held != NEUTRAL else STEADY, [(NEUTRAL, 1.0)])
    up = stick(0, 1)
    return hold(now, 0.2, [(up, 2.0), (stick(-now.side, 0), 1.5), (stick(now.side, 0), 0.5)])


def _gone(style: Style, now: Situation) -> Options:
    if now.state == s.REBIRTH_WAIT and now.age >= 20:
        return hold(now, 0.1, [(stick(now.side, 0), 2.0), (stick(0, -1), 1.0)])
    if now.held != NEUTRAL:
        return hold(now, 0.3, [(NEUTRAL, 1.0)])
    return hold(now, 0.06, [(stick(0, -1), 1.0), (stick(now.side, 0), 1.0)])
