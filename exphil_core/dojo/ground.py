"""Weighted options for a bot that can act on the ground: approach, retreat, attack, shield, edge-guard."""

from exphil_core.dojo import states as s
from exphil_core.dojo.bot_observation import (
    ABOVE,
    BELOW,
    CLOSE,
    FAR,
    FROM_AIR,
    MIDDLE,
    NO_THREAT,
    TOUCHING,
    Foe,
    Situation,
)
from exphil_core.dojo.inputs import STEADY, TILT, Options, bits_held, cstick, let_up, mix, press, stick
from exphil_core.dojo.styles import Style
from exphil_core.melee.controller import NEUTRAL


def on_ground(style: Style, now: Situation) -> Options:
    if now.echo is not None and now.foe not in (Foe.GONE, Foe.AWAY):
        return _dance(style, now, now.echo)
    return mix(_chance(style, now), _plan(style, now), [(let_up(now.held), 1.0)])


def _chance(style: Style, now: Situation) -> float:
    """Return the probability of a new input in this frame."""
    near = now.band <= CLOSE
    match now.state:
        case s.WAIT:
            return 0.05 if now.age < 2 else 0.6 if near else 0.15 if now.foe == Foe.GONE else 0.4
        case s.DASH:
            if now.age < 4:
                return STEADY
            return 0.6 if near else 0.4 if now.age >= 8 or now.band == MIDDLE else 0.08
        case s.RUN:
            return 0.6 if near or now.near_edge else 0.06
        case s.WALK_MIDDLE:
            return 0.04 if now.age < 4 else 0.3
        case s.SQUAT | s.SQUAT_WAIT:
            return 0.35 if now.age >= 8 else STEADY
        case s.RUN_BRAKE:
            return 0.2
        case _:
            return 0.02


def _plan(style: Style, now: Situation) -> Options:
    side = now.side
    jump = style.jump_bit
    dash_to, dash_off = stick(side, 0.0), stick(-side, 0.0)
    guard = style.guard
    if now.foe == Foe.GONE:
        return [
            (NEUTRAL, 4.0),
            (stick(now.home, 0.0), 2.0),
            (press(0, 0, "D_UP"), 0.6),
            (stick(0, -1), 0.6),
        ]
    if now.foe == Foe.AWAY:
        return _edge_guard(style, now)
    if now.on_platform and now.height == BELOW:
        return [(stick(0, -1), 4.0), (dash_to, 1.0), (bits_held(side, 0, jump), 0.5)]
    if now.height == ABOVE and now.band <= CLOSE:
        return [
            (bits_held(side, 0, jump), 2.0 + style.jump),
            (cstick(0, 1), 1.5 * style.smash if now.band == TOUCHING else 0.0),
            (press(0, TILT, "A"), 1.5 * style.attack if now.band == TOUCHING else 0.0),
            (dash_off, 0.5 * style.retreat),
            (guard, 0.3 * style.shield),
        ]
    if now.foe == Foe.HURT and now.band >= CLOSE:
        return [
            (dash_to, 5.0),
            (bits_held(side, 0, jump), (2.5 if now.height == ABOVE else 0.8) * style.jump),
        ]
    if now.foe == Foe.ATTACKING and now.band <= MIDDLE:
        memory = style.memory if now.threat != NO_THREAT else 1.0
        return [
            (guard, (5.0 if now.band <= CLOSE else 1.0) * style.shield * memory / 2),
            (dash_off, 2.0 * style.retreat),
            (bits_held(-side, 0, jump), 0.6 * style.jump),
            (cstick(side, 0), 0.6 * style.smash),
            (dash_to, 0.3 * style.approach),
        ]
    if style.adapts and now.band >= MIDDLE and now.threat != NO_THREAT:
        return _adapt(style, now)
    if now.band == FAR:
        return [
            (dash_to, 3.0 * style.approach),
            (stick(TILT * side, 0), 0.5),
            (press(0, 0, "B"), 1.5 * style.special),
            (bits_held(side, 0, jump), 0.5 * style.jump),
            (NEUTRAL, 0.3),
        ]
    if now.band == MIDDLE:
        wary = 1.0 if now.threat != NO_THREAT else 0.4
        return [
            (dash_to, 1.2 * style.approach),
            (dash_off, 2.0 * style.retreat * wary),
            (stick(TILT * side, 0), 0.8),
            (bits_held(side, 0, jump), 1.0 * style.jump),
            (press(0, 0, "B"), 0.4 * style.special),
            (NEUTRAL, 0.3),
        ]
    return _close_range(style, now)


def _close_range(style: Style, now: Situation) -> Options:
    side, jump, guard = now.side, style.jump_bit, style.guard
    dash_to, dash_off = stick(side, 0.0), stick(-side, 0.0)
    grab = style.grab * (style.memory if now.shielded_lately else 1.0)
    if now.foe == Foe.SHIELDING:
        return [(press(0, 0, "Z"), 4.0 * grab), (dash_off, style.retreat), (press(0, 0, "A"), 0.5)]
    if now.state in (s.DASH, s.RUN):
        return [
            (press(side, 0, "A"), 2.0 * style.attack),
            (press(0, 0, "Z"), 1.0 * grab),
            (bits_held(side, 0, jump), 0.8 * style.jump),
            (guard, 0.7 * style.shield),
            (dash_off, 0.4 * style.retreat),
        ]
    if now.band == TOUCHING:
        return [
            (press(0, 0, "A"), 2.0 * style.attack),
            (press(0, -TILT, "A"), 1.2 * style.attack),
            (press(0, 0, "Z"), 1.0 * grab),
            (cstick(0, -1), 0.8 * style.smash),
            (guard, 0.5 * style.shield),
            (dash_off, 0.5 * style.retreat),
        ]
    return [
        (press(TILT * side, 0, "A"), 2.0 * style.attack),
        (cstick(side, 0), 1.5 * style.smash),
        (bits_held(side, 0, jump), 0.8 * style.jump),
        (dash_off, 0.6 * style.retreat),
        (dash_to, 0.4 * style.approach),
        (guard, 0.3 * style.shield),
    ]


def _adapt(style: Style, now: Situation) -> Options:
    """React to the last attack seen: avoid an opponent who attacked from the air, jump at one on the ground."""
    side = now.side
    if now.threat == FROM_AIR:
        return [
            (stick(-side, 0), 3.0 if now.band == MIDDLE else 0.5),
            (press(0, 0, "B"), 1.5 * style.special),
            (stick(TILT * side, 0), 1.5),
            (style.guard, 0.5 * style.shield),
            (NEUTRAL, 0.5),
        ]
    return [(bits_held(side, 0, style.jump_bit), 2.0), (stick(side, 0), 2.0 if now.band == MIDDLE else 6.0)]


def _dance(style: Style, now: Situation, echo: tuple[float, float]) -> Options:
    """Repeat the opponent's step of `echo`, or take a new one where there was none; never step off the stage.

    Steps are short and frequent, so a model that remembers them gains in every second of play.
    """
    steps: Options = [(stick(1, 0), 2.0), (stick(-1, 0), 2.0), (stick(0, -1), 2.0)]
    other: Options = [
        (press(0, 0, "A"), 0.5 * style.attack if now.band <= CLOSE else 0.0),
        (bits_held(now.side, 0, style.jump_bit), 0.05 * style.jump),
    ]
    held, wanted = let_up(now.held), stick(*echo)
    if now.near_edge and (wanted if wanted != NEUTRAL else held).main_x * now.home < 0:
        wanted = stick(now.home, 0)
    if wanted == NEUTRAL:
        chance = 0.15 if any(held == known for known, _ in steps) else 0.9
        return mix(chance, [*steps, *other], [(held, 1.0)])
    if held == wanted:
        return mix(0.03, [*steps, *other], [(held, 1.0)])
    return mix(0.9, [(wanted, 30.0), *other], [(held, 1.0)])


def _edge_guard(style: Style, now: Situation) -> Options:
    """The opponent is off the stage: wait at the edge, attack there, or jump after it."""
    side = now.side
    if not now.near_edge:
        return [(stick(side, 0), 6.0), (stick(TILT * side, 0), 1.0), (NEUTRAL, 0.5)]
    if now.band <= CLOSE:
        return [
            (press(0, -TILT, "A"), 2.0 * style.attack),
            (cstick(0, -1), 1.2 * style.smash),
            (bits_held(side, 0, style.jump_bit), 0.8 * style.jump),
        ]
    return [(stick(0, -1), 2.0), (NEUTRAL, 1.0), (bits_held(side, 0, style.jump_bit), 0.6 * style.jump)]
