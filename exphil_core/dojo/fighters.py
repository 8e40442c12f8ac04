"""Attributes and attacks of the dojo's five fighters.

Units are Melee's: game units and frames. The values keep the characters' order in Melee (who falls fast, who is
light, who reaches far) but are not Melee's data.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from exphil_core.melee.characters import LOW_TIER, Character, by_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A hitbox: the frames on which it hits, its reach, damage and knockback."""

    action_state: int
    first: int
    """First state age that hits."""
    last: int
    """Last state age that hits."""
    total: int
    """Frames until the attack ends."""
    reach_x: float
    """Centre of the hitbox ahead of the fighter; negative: behind."""
    reach_y: float
    """Centre of the hitbox above the fighter's feet."""
    radius: float
    damage: float
    angle: float
    """Degrees from straight ahead; 361 is low on the ground and 44 in the air, as in Melee."""
    base: float
    """Base knockback."""
    growth: float
    """Knockback growth, in percent."""
    landing_lag: int = 0
    """Landing lag of an aerial, in frames; an L-cancel halves it."""
    lift: float = 0.0
    """Upward speed at the first hitting frame (recoveries)."""
    rush: float = 0.0
    """Forward speed given with `lift`, or kept through a dash attack."""
    grab: bool = False
    """A grab; shields do not block it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FighterAttributes:
    character: Character
    weight: float
    gravity: float
    fall_speed: float
    fast_fall: float
    air_accel: float
    air_speed: float
    walk_speed: float
    dash_speed: float
    run_speed: float
    traction: float
    jump_squat: int
    full_hop: float
    short_hop: float
    air_jump: float
    half_width: float
    height: float
    attacks: MappingProxyType[int, Attack]
    special_n: int
    special_hi: int


# Action states of the neutral and the up special; ids from 341 are character-specific.
_SPECIALS: Final = {
    "mewtwo": (341, 356),
    "ganondorf": (347, 354),
    "link": (344, 357),
    "gameandwatch": (353, 374),
    "zelda": (341, 352),
}

#        state first last total   x     y     r   dmg  angle base growth landing
_MOVES: Final = (
    (44, 3, 5, 18, 9.0, 8.0, 4.5, 4.0, 75, 20, 60, 0),  # jab
    (50, 6, 12, 34, 7.0, 6.0, 5.5, 10.0, 65, 40, 70, 0),  # dash attack
    (53, 7, 10, 30, 12.0, 8.0, 5.0, 10.0, 361, 20, 90, 0),  # forward tilt
    (56, 6, 11, 32, 5.0, 14.0, 6.0, 9.0, 96, 30, 95, 0),  # up tilt
    (57, 7, 10, 28, 10.0, 2.5, 4.5, 9.0, 70, 35, 80, 0),  # down tilt
    (60, 14, 18, 46, 13.0, 8.0, 6.5, 17.0, 361, 35, 95, 0),  # forward smash
    (63, 11, 16, 44, 4.0, 17.0, 7.5, 15.0, 88, 35, 98, 0),  # up smash
    (64, 10, 14, 44, 8.0, 3.0, 7.0, 13.0, 40, 30, 85, 0),  # down smash
    (65, 5, 16, 36, 2.0, 8.0, 8.0, 10.0, 361, 15, 95, 18),  # neutral air
    (66, 8, 12, 38, 11.0, 8.0, 6.0, 13.0, 361, 25, 92, 22),  # forward air
    (67, 7, 11, 34, -11.0, 8.0, 6.0, 13.0, 361, 25, 95, 20),  # back air
    (68, 6, 11, 32, 1.0, 18.0, 6.5, 11.0, 85, 25, 95, 18),  # up air
    (69, 13, 17, 42, 1.0, -3.0, 6.0, 13.0, 280, 20, 90, 26),  # down air
)
_GRAB: Final = Attack(
    action_state=212,
    first=7,
    last=8,
    total=30,
    reach_x=9.0,
    reach_y=8.0,
    radius=4.5,
    damage=9.0,
    angle=50,
    base=60,
    growth=55,
    grab=True,
)


def _attacks(
    name: str,
    reach: float,
    power: float,
    slowness: float,
    recovery: tuple[float, float],
    special_power: float,
) -> dict[int, Attack]:
    """Return the moves by action state: the common ones, scaled to the fighter, the grab and its two specials."""
    special_n, special_hi = _SPECIALS[name]
    attacks = {
        state: Attack(
            action_state=state,
            first=round(first * slowness),
            last=round(last * slowness) + 2,
            total=round(total * slowness),
            reach_x=1.15 * x * reach,
            reach_y=y * reach,
            radius=1.45 * radius * reach,
            damage=float(round(1.8 * damage * power)),
            angle=angle,
            base=base,
            growth=1.9 * growth,
            landing_lag=lag,
            rush=1.4 if state == 50 else 0.0,
        )
        for state, first, last, total, x, y, radius, damage, angle, base, growth, lag in _MOVES
    }
    attacks[_GRAB.action_state] = _GRAB
    attacks[special_n] = Attack(
        action_state=special_n,
        first=round(18 * slowness),
        last=round(24 * slowness),
        total=round(52 * slowness),
        reach_x=12.0 * reach,
        reach_y=8.0 * reach,
        radius=7.0 * reach,
        damage=float(round(14 * special_power)),
        angle=361,
        base=40,
        growth=90,
    )
    attacks[special_hi] = Attack(
        action_state=special_hi,
        first=6,
        last=16,
        total=34,
        reach_x=0.0,
        reach_y=9.0,
        radius=6.5,
        damage=8.0,
        angle=75,
        base=50,
        growth=60,
        lift=recovery[0],
        rush=recovery[1],
    )
    return attacks


def _fighter(
    name: str,
    *,
    body: tuple[float, float, float],
    air: tuple[float, float, float, float, float],
    ground: tuple[float, float, float, float],
    jumps: tuple[int, float, float, float],
    reach: float,
    power: float,
    slowness: float,
    recovery: tuple[float, float],
    special_power: float,
) -> FighterAttributes:
    attacks = _attacks(name, reach, power, slowness, recovery, special_power)
    special_n, special_hi = _SPECIALS[name]
    weight, half_width, height = body
    gravity, fall_speed, fast_fall, air_accel, air_speed = air
    walk_speed, dash_speed, run_speed, traction = ground
    jump_squat, full_hop, short_hop, air_jump = jumps
    return FighterAttributes(
        character=by_name(name),
        weight=weight,
        gravity=gravity,
        fall_speed=fall_speed,
        fast_fall=fast_fall,
        air_accel=air_accel,
        air_speed=air_speed,
        walk_speed=walk_speed,
        dash_speed=dash_speed,
        run_speed=run_speed,
        traction=traction,
        jump_squat=jump_squat,
        full_hop=full_hop,
        short_hop=short_hop,
        air_jump=air_jump,
        half_width=half_width,
        height=height,
        attacks=MappingProxyType(attacks),
        special_n=special_n,
        special_hi=special_hi,
    )


_ALL: Final = (
    _fighter(
        "mewtwo",
        body=(85, 5.0, 19.0),
        air=(0.082, 1.5, 2.3, 0.055, 1.2),
        ground=(0.9, 1.7, 1.75, 0.06),
        jumps=(5, 2.45, 1.6, 2.5),
        reach=1.15,
        power=0.9,
        slowness=1.0,
        recovery=(3.2, 1.5),
        special_power=1.0,
    ),
    _fighter(
        "ganondorf",
        body=(109, 5.5, 19.0),
        air=(0.13, 2.0, 2.6, 0.06, 0.8),
        ground=(0.75, 1.5, 1.6, 0.07),
        jumps=(6, 2.9, 1.9, 2.7),
        reach=1.15,
        power=1.35,
        slowness=1.2,
        recovery=(3.9, 1.0),
        special_power=1.8,
    ),
    _fighter(
        "link",
        body=(104, 4.5, 16.0),
        air=(0.11, 2.1, 3.0, 0.05, 1.0),
        ground=(1.1, 1.6, 1.6, 0.1),
        jumps=(6, 2.6, 1.7, 2.4),
        reach=1.1,
        power=1.05,
        slowness=1.1,
        recovery=(3.3, 0.9),
        special_power=0.8,
    ),
    _fighter(
        "gameandwatch",
        body=(60, 4.5, 15.0),
        air=(0.095, 1.7, 2.3, 0.065, 1.05),
        ground=(1.0, 1.8, 1.8, 0.06),
        jumps=(4, 2.55, 1.6, 2.4),
        reach=0.95,
        power=1.0,
        slowness=0.9,
        recovery=(3.8, 1.0),
        special_power=0.7,
    ),
    _fighter(
        "zelda",
        body=(90, 4.5, 17.0),
        air=(0.073, 1.4, 1.9, 0.05, 0.95),
        ground=(0.8, 1.4, 1.4, 0.1),
        jumps=(6, 2.3, 1.5, 2.2),
        reach=1.0,
        power=1.1,
        slowness=1.0,
        recovery=(3.4, 1.6),
        special_power=0.9,
    ),
)

FIGHTERS: Final = MappingProxyType({fighter.character.external_id: fighter for fighter in _ALL})
"""By external id, in the order of `LOW_TIER`."""

assert tuple(fighter.character.name for fighter in _ALL) == LOW_TIER
