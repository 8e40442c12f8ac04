"""The players of the dojo: what each does in a situation, as an explicit distribution over controllers.

In: a `Situation` (what is visible, see `sight.py`) and a `Style`. Out: the `Choice` that the next input is drawn
from. A bot holds its last input until something it sees makes it change, and how likely that is in a frame is
written out here. Everything is told by "towards" and "away", so a mirrored game has mirrored distributions.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from exphil_core.dojo import states as s
from exphil_core.dojo.choices import Choice, choice
from exphil_core.dojo.sight import (
    ABOVE,
    BELOW,
    CLOSE,
    FAR,
    FROM_AIR,
    LEVEL,
    MIDDLE,
    NO_THREAT,
    TOUCHING,
    Foe,
    Situation,
)
from exphil_core.dojo.states import Kind
from exphil_core.melee.characters import by_name
from exphil_core.melee.controller import BUTTON_BITS, NEUTRAL, Controller

_DIAGONAL: Final = 0.7
_TILT: Final = 0.5
_JUMPS: Final = BUTTON_BITS["X"] | BUTTON_BITS["Y"]
_SHOULDERS: Final = BUTTON_BITS["L"] | BUTTON_BITS["R"]
_STEADY: Final = 0.01
"""The chance, in a frame that asks for nothing, that a bot changes its input all the same."""

Options = list[tuple[Controller, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A character's habits: weights and chances, all of them plain numbers."""

    name: str
    delay: int
    """Frames from seeing the opponent to the input that answers."""
    approach: float
    retreat: float
    jump: float
    short_hop: float
    """Chance that a jump is a short one."""
    attack: float
    smash: float
    grab: float
    special: float
    shield: float
    wavedash: float
    fast_fall: float
    memory: float
    """How much more it shields (or grabs) after an opponent who attacked (or shielded) in the last seconds."""
    adapts: bool = False
    """Plays by the opponent's last attack, up to three seconds back: keeps off after one from the air, and
    jumps in after one from the ground."""
    jump_button: str
    shield_button: str


STYLES: Final = MappingProxyType(
    {
        by_name(style.name).external_id: style
        for style in (
            Style(
                name="mewtwo",
                delay=13,
                approach=3.0,
                retreat=1.0,
                jump=2.0,
                short_hop=0.35,
                attack=1.0,
                smash=0.5,
                grab=1.0,
                special=0.3,
                shield=0.7,
                wavedash=0.3,
                fast_fall=0.25,
                memory=2.0,
                jump_button="X",
                shield_button="R",
            ),
            Style(
                name="ganondorf",
                delay=15,
                approach=3.0,
                retreat=0.8,
                jump=2.5,
                short_hop=0.85,
                attack=1.2,
                smash=0.7,
                grab=0.7,
                special=0.2,
                shield=0.4,
                wavedash=0.1,
                fast_fall=0.5,
                memory=3.0,
                adapts=True,
                jump_button="Y",
                shield_button="L",
            ),
            Style(
                name="link",
                delay=14,
                approach=1.5,
                retreat=1.8,
                jump=1.2,
                short_hop=0.6,
                attack=1.3,
                smash=0.8,
                grab=0.3,
                special=1.2,
                shield=0.8,
                wavedash=0.05,
                fast_fall=0.35,
                memory=3.0,
                adapts=True,
                jump_button="X",
                shield_button="L",
            ),
            Style(
                name="gameandwatch",
                delay=12,
                approach=4.0,
                retreat=0.6,
                jump=3.0,
                short_hop=0.5,
                attack=1.2,
                smash=1.2,
                grab=0.5,
                special=0.2,
                shield=0.15,
                wavedash=0.15,
                fast_fall=0.3,
                memory=2.0,
                jump_button="Y",
                shield_button="R",
            ),
            Style(
                name="zelda",
                delay=17,
                approach=1.2,
                retreat=1.5,
                jump=0.8,
                short_hop=0.5,
                attack=0.8,
                smash=1.6,
                grab=0.6,
                special=0.8,
                shield=1.5,
                wavedash=0.02,
                fast_fall=0.2,
                memory=3.0,
                adapts=True,
                jump_button="X",
                shield_button="L",
            ),
        )
    }
)
"""By external id."""


class Bot:
    """One style with the choices it has worked out so far (they depend on nothing but the situation)."""

    __slots__ = ("_choices", "_jump", "_shield", "style")

    def __init__(self, style: Style) -> None:
        self.style = style
        self._jump = BUTTON_BITS[style.jump_button]
        self._shield = BUTTON_BITS[style.shield_button]
        self._choices: dict[Situation, Choice] = {}

    def choice(self, situation: Situation) -> Choice:
        """The distribution of the next input."""
        known = self._choices.get(situation)
        if known is None:
            known = choice(self._options(situation))
            self._choices[situation] = known
        return known

    def _options(self, now: Situation) -> Options:
        if now.held.buttons & ~_SHOULDERS and now.kind is not Kind.SQUATTING:
            return self._let_go(now)
        match now.kind:
            case Kind.FREE:
                return self._ground(now)
            case Kind.SQUATTING:
                return self._squat(now)
            case Kind.AIR:
                return self._recover(now) if now.offstage else self._air(now)
            case Kind.AERIAL | Kind.DODGE:
                return self._aerial(now)
            case Kind.RECOVERY | Kind.HELPLESS:
                return self._steer(now)
            case Kind.HURT:
                return self._hurt(now)
            case Kind.SHIELD:
                return self._guard(now)
            case Kind.LEDGE:
                return self._ledge(now)
            case Kind.DOWN:
                return self._down(now)
            case Kind.ATTACK | Kind.LAG:
                return self._committed(now)
            case Kind.GONE:
                return self._gone(now)

    # What a hand does after a press.

    def _let_go(self, now: Situation) -> Options:
        """A pressed button comes up after two frames, and the stick goes where the state wants it."""
        chance = 0.08 if now.held_for == 1 else 0.92
        stick = _stick(now.held.main_x, now.held.main_y)
        if now.kind is Kind.AIR and not now.offstage:
            after = [(stick, 1.0)]
        elif now.kind is Kind.AERIAL and not now.offstage:
            after = [(_stick(now.side, 0.0), 0.7), (NEUTRAL, 0.3)]
        elif now.offstage or now.kind is Kind.RECOVERY:
            after = [(_stick(now.home, 0.0), 1.0)]
        else:
            after = [(NEUTRAL, 1.0)]
        return _mix(chance, after, [(now.held, 1.0)])

    def _squat(self, now: Situation) -> Options:
        """The jump button decides between a short and a full hop while the knees bend."""
        short = Controller(main_x=now.held.main_x, main_y=now.held.main_y)
        if not now.held.buttons & _JUMPS:
            return _hold(now, _STEADY, [(NEUTRAL, 1.0)])
        if now.age == 1:
            return _mix(self.style.short_hop, [(short, 1.0)], [(now.held, 1.0)])
        if now.age == 2 and now.height != ABOVE:
            away = now.foe == Foe.ATTACKING
            aimed = _bits(-now.side if away else now.side, 0, now.held.buttons)
            return _mix(0.5, [(aimed, 1.0)], [(now.held, 1.0)])
        return _mix(0.02, [(short, 1.0)], [(now.held, 1.0)])

    # On the ground.

    def _ground(self, now: Situation) -> Options:
        return _mix(self._ground_chance(now), self._ground_plan(now), [(_let_up(now.held), 1.0)])

    def _ground_chance(self, now: Situation) -> float:
        """How likely this frame is to bring something new."""
        near = now.band <= CLOSE
        match now.state:
            case s.WAIT:
                return 0.05 if now.age < 2 else 0.6 if near else 0.15 if now.foe == Foe.GONE else 0.4
            case s.DASH:
                if now.age < 4:
                    return _STEADY
                return 0.6 if near else 0.4 if now.age >= 8 or now.band == MIDDLE else 0.08
            case s.RUN:
                return 0.6 if near or now.near_edge else 0.06
            case s.WALK_MIDDLE:
                return 0.04 if now.age < 4 else 0.3
            case s.SQUAT | s.SQUAT_WAIT:
                return 0.35 if now.age >= 8 else _STEADY
            case s.RUN_BRAKE:
                return 0.2
            case _:
                return 0.02

    def _ground_plan(self, now: Situation) -> Options:
        style = self.style
        side = now.side
        jump = self._jump
        dash_to, dash_off = _stick(side, 0.0), _stick(-side, 0.0)
        guard = self._guarding()
        if now.foe == Foe.GONE:
            return [
                (NEUTRAL, 4.0),
                (_stick(now.home, 0.0), 2.0),
                (_press(0, 0, "D_UP"), 0.6),
                (_stick(0, -1), 0.6),
            ]
        if now.foe == Foe.AWAY:
            return self._edge_guard(now)
        if now.on_platform and now.height == BELOW:
            return [(_stick(0, -1), 4.0), (dash_to, 1.0), (_bits(side, 0, jump), 0.5)]
        if now.height == ABOVE and now.band <= CLOSE:
            return [
                (_bits(side, 0, jump), 2.0 + style.jump),
                (_cstick(0, 1), 1.5 * style.smash if now.band == TOUCHING else 0.0),
                (_press(0, _TILT, "A"), 1.5 * style.attack if now.band == TOUCHING else 0.0),
                (dash_off, 0.5 * style.retreat),
                (guard, 0.3 * style.shield),
            ]
        if now.foe == Foe.HURT and now.band >= CLOSE:
            return [
                (dash_to, 5.0),
                (_bits(side, 0, jump), (2.5 if now.height == ABOVE else 0.8) * style.jump),
            ]
        if now.foe == Foe.ATTACKING and now.band <= MIDDLE:
            memory = style.memory if now.threat != NO_THREAT else 1.0
            return [
                (guard, (5.0 if now.band <= CLOSE else 1.0) * style.shield * memory / 2),
                (dash_off, 2.0 * style.retreat),
                (_bits(-side, 0, jump), 0.6 * style.jump),
                (_cstick(side, 0), 0.6 * style.smash),
                (dash_to, 0.3 * style.approach),
            ]
        if style.adapts and now.band >= MIDDLE and now.threat != NO_THREAT:
            return self._adapt(now)
        if now.band == FAR:
            return [
                (dash_to, 3.0 * style.approach),
                (_stick(_TILT * side, 0), 0.5),
                (_press(0, 0, "B"), 1.5 * style.special),
                (_bits(side, 0, jump), 0.5 * style.jump),
                (NEUTRAL, 0.3),
            ]
        if now.band == MIDDLE:
            wary = 1.0 if now.threat != NO_THREAT else 0.4
            return [
                (dash_to, 1.2 * style.approach),
                (dash_off, 2.0 * style.retreat * wary),
                (_stick(_TILT * side, 0), 0.8),
                (_bits(side, 0, jump), 1.0 * style.jump),
                (_press(0, 0, "B"), 0.4 * style.special),
                (NEUTRAL, 0.3),
            ]
        grab = style.grab * (style.memory if now.shielded_lately else 1.0)
        if now.foe == Foe.SHIELDING:
            return [(_press(0, 0, "Z"), 4.0 * grab), (dash_off, style.retreat), (_press(0, 0, "A"), 0.5)]
        if now.state in (s.DASH, s.RUN):
            return [
                (_press(side, 0, "A"), 2.0 * style.attack),
                (_press(0, 0, "Z"), 1.0 * grab),
                (_bits(side, 0, jump), 0.8 * style.jump),
                (guard, 0.7 * style.shield),
                (dash_off, 0.4 * style.retreat),
            ]
        if now.band == TOUCHING:
            return [
                (_press(0, 0, "A"), 2.0 * style.attack),
                (_press(0, -_TILT, "A"), 1.2 * style.attack),
                (_press(0, 0, "Z"), 1.0 * grab),
                (_cstick(0, -1), 0.8 * style.smash),
                (guard, 0.5 * style.shield),
                (dash_off, 0.5 * style.retreat),
            ]
        return [
            (_press(_TILT * side, 0, "A"), 2.0 * style.attack),
            (_cstick(side, 0), 1.5 * style.smash),
            (_bits(side, 0, jump), 0.8 * style.jump),
            (dash_off, 0.6 * style.retreat),
            (dash_to, 0.4 * style.approach),
            (guard, 0.3 * style.shield),
        ]

    def _adapt(self, now: Situation) -> Options:
        """Answer the last attack seen: keep off an opponent who came from the air, jump at one on the ground."""
        style, side = self.style, now.side
        if now.threat == FROM_AIR:
            return [
                (_stick(-side, 0), 3.0 if now.band == MIDDLE else 0.5),
                (_press(0, 0, "B"), 1.5 * style.special),
                (_stick(_TILT * side, 0), 1.5),
                (self._guarding(), 0.5 * style.shield),
                (NEUTRAL, 0.5),
            ]
        return [(_bits(side, 0, self._jump), 2.0), (_stick(side, 0), 2.0 if now.band == MIDDLE else 6.0)]

    def _edge_guard(self, now: Situation) -> Options:
        """The opponent is off the stage: wait at the edge, or go out after it."""
        side = now.side
        if not now.near_edge:
            return [(_stick(side, 0), 6.0), (_stick(_TILT * side, 0), 1.0), (NEUTRAL, 0.5)]
        if now.band <= CLOSE:
            return [
                (_press(0, -_TILT, "A"), 2.0 * self.style.attack),
                (_cstick(0, -1), 1.2 * self.style.smash),
                (_bits(side, 0, self._jump), 0.8 * self.style.jump),
            ]
        return [(_stick(0, -1), 2.0), (NEUTRAL, 1.0), (_bits(side, 0, self._jump), 0.6 * self.style.jump)]

    def _committed(self, now: Situation) -> Options:
        """In an attack or in lag: let the stick go, then hold what comes next, and fidget."""
        if now.held != NEUTRAL and now.age < 8 and now.held_for < 3:
            return _hold(now, 0.5, [(NEUTRAL, 1.0)])
        early = now.kind is Kind.ATTACK and now.age < 12
        chance = 0.03 if early else 0.2
        if now.held != NEUTRAL:
            chance = 0.25 if early or now.held_for >= 3 else 0.04
        if now.foe == Foe.ATTACKING and now.band <= CLOSE:
            plan = [(_stick(-now.side, 0), self.style.retreat), (self._guarding(), self.style.shield)]
        elif now.foe == Foe.HURT or now.band >= MIDDLE:
            plan = [(_stick(now.side, 0), self.style.approach), (NEUTRAL, 0.5)]
        else:
            plan = [(_stick(-now.side, 0), self.style.retreat), (NEUTRAL, 1.0)]
        if now.held != NEUTRAL:
            plan = [(NEUTRAL, 3.0), *plan]
        return _hold(now, chance, plan)

    # In the air.

    def _air(self, now: Situation) -> Options:
        style = self.style
        side = now.side
        plan: Options = []
        chance = _STEADY
        if now.state == s.DAMAGE_FALL:
            if now.falling and now.low:
                return _mix(0.4, [(self._guarding(), 1.0)], [(_let_up(now.held), 1.0)])
            turned = _stick(-now.home if now.held.main_x * now.home > 0 else now.home, 0)
            return _hold(now, 0.35, [(turned, 4.0), (_bits(now.home, 0, self._jump), 1.0)])
        if now.held.buttons & _SHOULDERS:
            return _mix(0.8, [(_stick(now.side, 0), 1.0)], [(now.held, 1.0)])
        if now.foe == Foe.GONE:
            return _hold(now, 0.1, [(NEUTRAL, 1.0), (_stick(now.home, 0), 1.0)])
        if now.state in (s.JUMP_F, s.JUMP_B) and now.age == 1 and now.height != ABOVE:
            dodge = _bits(_DIAGONAL * side, -_DIAGONAL, self._shield, trigger=self._shield)
            plan.append((dodge, style.wavedash * (1.0 if now.band >= MIDDLE else 0.4)))
            plan.append((_stick(side, 0), 0.4))
            plan.append((_stick(-side, 0), 0.2 if now.foe == Foe.ATTACKING else 0.05))
            chance = 0.25
        elif now.band <= CLOSE and now.foe != Foe.AWAY and (now.age >= 3 or now.falling):
            chance = 0.5 if now.height == LEVEL else 0.35
            ahead = _cstick(side, 0, main_x=side)
            if now.height == ABOVE:
                plan = [
                    (_cstick(0, 1, main_x=side), 3.0),
                    (_bits(side, 0, self._jump), 1.0 if now.jumps else 0.0),
                ]
            elif now.height == BELOW:
                plan = [(_cstick(0, -1), 2.0), (_stick(-side, 0), 0.8), (_stick(side, 0), 0.8)]
            elif now.facing:
                plan = [(ahead, 2.5), (_press(0, 0, "A"), 1.5 * style.attack), (_stick(-side, 0), 0.3)]
            else:
                plan = [(ahead, 3.0), (_press(0, 0, "A"), 0.5), (_stick(side, 0), 0.3)]
        elif now.falling and now.held.main_y > -0.6:
            chance = 0.2
            plan = [
                (_stick(0, -1), 6.0 * style.fast_fall),
                (_stick(side, 0), 1.0),
                (_stick(-side, 0), 0.4 * style.retreat),
            ]
        elif now.held.main_y > -0.6:
            return self._weave(now)
        else:
            chance = 0.06
            plan = [(_stick(side, 0), 1.5), (_stick(-side, 0), 0.4 * style.retreat), (NEUTRAL, 0.5)]
        return _mix(chance, plan, [(_let_up(now.held), 1.0)])

    def _weave(self, now: Situation) -> Options:
        """Drift towards the opponent, or away from its attacks; at times let the stick go."""
        flee = now.foe == Foe.ATTACKING and now.band >= CLOSE
        if self.style.adapts and now.foe != Foe.HURT and now.band <= MIDDLE:
            flee = now.threat == FROM_AIR
        wanted = _stick(-now.side if flee else now.side, 0)
        held = _let_up(now.held)
        if held == wanted:
            return _mix(0.08, [(NEUTRAL, 2.0), (_stick(-wanted.main_x, 0), 1.0)], [(held, 1.0)])
        return _mix(0.3, [(wanted, 4.0), (NEUTRAL, 1.0)], [(held, 1.0)])

    def _recover(self, now: Situation) -> Options:
        """Off the stage: drift home, jump when falling, and the up special when the jumps are gone."""
        home = now.home
        drift = _stick(home, 0)
        if now.falling and now.jumps:
            return _hold(now, 0.35 if now.low else 0.015, [(_bits(home, 0, self._jump), 3.0), (drift, 1.0)])
        if now.falling and now.low:
            up = _bits(_DIAGONAL * home, _DIAGONAL, BUTTON_BITS["B"])
            return _hold(now, 0.45, [(up, 6.0), (drift, 0.5)])
        if now.held.main_x * home < 0.6:
            return _hold(now, 0.35, [(drift, 1.0)])
        return _hold(now, 0.05, [(NEUTRAL, 1.0)])

    def _steer(self, now: Situation) -> Options:
        """During and after the up special: home, with a touch of the stick now and then."""
        if now.held.main_x * now.home < 0.9:
            return _hold(now, 0.35, [(_stick(now.home, 0), 1.0)])
        return _hold(now, 0.06, [(NEUTRAL, 1.0)])

    def _aerial(self, now: Situation) -> Options:
        """During an aerial: drift, fast-fall, and the shoulder just before landing."""
        if now.held.buttons & _SHOULDERS:
            return _mix(0.5, [(_level(now.held), 1.0)], [(now.held, 1.0)])
        if now.offstage:
            return _hold(
                now, 0.3 if now.held.main_x * now.home < 0.6 else _STEADY, [(_stick(now.home, 0), 1.0)]
            )
        if now.kind is Kind.AERIAL and now.falling and now.low:
            cancel = _bits(now.held.main_x, now.held.main_y, self._shield, trigger=self._shield)
            return _mix(0.35, [(cancel, 1.0)], [(_let_up(now.held), 1.0)])
        if now.falling and now.held.main_y > -0.6:
            return _hold(now, 0.2 * self.style.fast_fall + 0.02, [(_stick(0, -1), 1.0)])
        return self._weave(now) if now.held.main_y > -0.6 else _hold(now, 0.1, [(_stick(now.side, 0), 1.0)])

    # Under attack, and at the edges of play.

    def _hurt(self, now: Situation) -> Options:
        """Survive the launch, then wriggle until the body answers again."""
        inward, survive = _stick(now.home, 0), _stick(_DIAGONAL * now.home, _DIAGONAL)
        if now.stunned == 1:
            return _hold(now, _STEADY if now.held == survive else 0.4, [(survive, 4.0), (inward, 1.0)])
        if now.stunned == 2:
            if now.held == inward:
                return _hold(now, 0.12, [(NEUTRAL, 2.0), (_stick(0, -1), 1.0)])
            return _hold(now, 0.25, [(inward, 4.0), (survive, 1.0)])
        return _hold(
            now,
            0.25,
            [(inward, 1.0), (self._guarding(), 0.7 if now.foe == Foe.ATTACKING else 0.1)],
        )

    def _guard(self, now: Situation) -> Options:
        guard = self._guarding()
        if now.state == s.GUARD_OFF:
            return _hold(now, 0.3 if now.held.buttons else _STEADY, [(NEUTRAL, 1.0)])
        if now.state == s.GUARD_SET_OFF or now.age < 8:
            return _mix(_STEADY, [(NEUTRAL, 1.0)], [(guard, 1.0)])
        chance = 0.05 if now.foe == Foe.ATTACKING and now.band <= CLOSE else 0.3
        back = _bits(-now.side, 0, self._shield, trigger=self._shield)
        spot = _bits(0, -1, self._shield, trigger=self._shield)
        grab = _bits(0, 0, self._shield | BUTTON_BITS["Z"], trigger=self._shield)
        plan: Options = [
            (NEUTRAL, 4.0),
            (back, 0.8 if now.band <= CLOSE else 0.1),
            (spot, 0.5 if now.band == TOUCHING else 0.05),
            (grab, 3.0 * self.style.grab if now.band == TOUCHING else 0.0),
            (_bits(0, 0, self._jump), 0.8 * self.style.jump),
        ]
        return _mix(chance, plan, [(guard, 1.0)])

    def _ledge(self, now: Situation) -> Options:
        if now.state == s.CLIFF_CATCH:
            return _hold(now, 0.4 if now.held != NEUTRAL else _STEADY, [(NEUTRAL, 1.0)])
        plan: Options = [
            (_stick(now.home, 0), 2.0),
            (_bits(now.home, 0, self._jump), self.style.jump),
            (_stick(0, -1), 0.6 if now.band >= MIDDLE else 0.2),
        ]
        return _hold(now, 0.25 if now.age >= 8 else 0.02, plan)

    def _down(self, now: Situation) -> Options:
        if now.state == s.DOWN_BOUND_U:
            return _hold(now, 0.3 if now.held != NEUTRAL else _STEADY, [(NEUTRAL, 1.0)])
        up = _stick(0, 1)
        return _hold(now, 0.2, [(up, 2.0), (_stick(-now.side, 0), 1.5), (_stick(now.side, 0), 0.5)])

    def _gone(self, now: Situation) -> Options:
        if now.state == s.REBIRTH_WAIT and now.age >= 20:
            return _hold(now, 0.1, [(_stick(now.side, 0), 2.0), (_stick(0, -1), 1.0)])
        if now.held != NEUTRAL:
            return _hold(now, 0.3, [(NEUTRAL, 1.0)])
        return _hold(now, 0.06, [(_stick(0, -1), 1.0), (_stick(now.side, 0), 1.0)])

    def _guarding(self) -> Controller:
        return _bits(0, 0, self._shield, trigger=self._shield)


def _mix(
    chance: float, new: Iterable[tuple[Controller, float]], old: Iterable[tuple[Controller, float]]
) -> Options:
    """`new` with the given chance, `old` otherwise."""
    first = [(controller, weight) for controller, weight in new if weight > 0]
    total = sum(weight for _, weight in first)
    mixed = [(controller, chance * weight / total) for controller, weight in first]
    return mixed + [(controller, (1 - chance) * weight) for controller, weight in old]


def _hold(now: Situation, chance: float, new: Iterable[tuple[Controller, float]]) -> Options:
    """Go on as before, but for a chance of something new."""
    return _mix(chance, new, [(now.held, 1.0)])


def _let_up(held: Controller) -> Controller:
    """The held stick without C-stick, triggers and buttons."""
    if held.buttons or held.c_x or held.c_y or held.trigger_l or held.trigger_r:
        return _stick(held.main_x, held.main_y)
    return held


def _level(held: Controller) -> Controller:
    """The stick all the way to the side that it is held to, and nothing else."""
    return _stick((held.main_x > 0) * 1.0 - (held.main_x < 0) * 1.0, 0.0)


_KNOWN: dict[tuple[float, float, float, float, int, int], Controller] = {}


def _controller(
    main_x: float, main_y: float, c_x: float = 0, c_y: float = 0, bits: int = 0, trigger: int = 0
) -> Controller:
    """One object for each input that a bot ever makes. A clicked shoulder is pressed all the way."""
    key = (main_x, main_y, c_x, c_y, bits, trigger)
    known = _KNOWN.get(key)
    if known is None:
        known = Controller(
            main_x=float(main_x),
            main_y=float(main_y),
            c_x=float(c_x),
            c_y=float(c_y),
            trigger_l=1.0 if trigger & BUTTON_BITS["L"] else 0.0,
            trigger_r=1.0 if trigger & BUTTON_BITS["R"] else 0.0,
            buttons=bits,
        )
        if known == NEUTRAL:
            known = NEUTRAL
        _KNOWN[key] = known
    return known


def _stick(main_x: float, main_y: float) -> Controller:
    return _controller(main_x + 0.0, main_y + 0.0)


def _bits(main_x: float, main_y: float, bits: int, trigger: int = 0) -> Controller:
    return _controller(main_x + 0.0, main_y + 0.0, 0.0, 0.0, bits, trigger)


def _press(main_x: float, main_y: float, button: str) -> Controller:
    return _bits(main_x, main_y, BUTTON_BITS[button])


def _cstick(c_x: float, c_y: float, main_x: float = 0.0) -> Controller:
    return _controller(main_x + 0.0, 0.0, c_x + 0.0, c_y + 0.0)
