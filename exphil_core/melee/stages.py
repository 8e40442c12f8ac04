"""Melee's tournament stages: external and internal ids, ledges, platforms, blast lines, Randall.

Replays use *external* stage ids, libmelee *internal* ones.
Source of ids and geometry: the Slippi specification and the community's stage data sheets.
"""

from dataclasses import dataclass
from itertools import pairwise

from exphil_core.suggest import nearest_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A supported stage; lengths are in game units."""

    name: str
    title: str
    external_id: int
    internal_id: int
    edge: float
    """Distance of each ledge from the centre."""
    platforms: tuple[tuple[float, float, float], ...] = ()
    """(left, right, height) of each static platform."""
    blast: tuple[float, float, float, float]
    """Left, right, bottom and top blast lines."""
    aliases: tuple[str, ...] = ()


STAGES: tuple[Stage, ...] = (
    Stage(
        name="fountain",
        title="Fountain of Dreams",
        external_id=2,
        internal_id=8,
        edge=63.35,
        platforms=((-14.25, 14.25, 42.75),),
        blast=(-198.75, 198.75, -146.25, 202.5),
        aliases=("fod", "fountainofdreams"),
    ),
    Stage(
        name="stadium",
        title="Pokémon Stadium",
        external_id=3,
        internal_id=18,
        edge=87.75,
        platforms=((-55.0, -25.0, 25.0), (25.0, 55.0, 25.0)),
        blast=(-230.0, 230.0, -111.0, 180.0),
        aliases=("ps", "pokemonstadium"),
    ),
    Stage(
        name="yoshis",
        title="Yoshi's Story",
        external_id=8,
        internal_id=6,
        edge=56.0,
        platforms=((-59.5, -28.0, 23.45), (28.0, 59.5, 23.45), (-15.75, 15.75, 42.0)),
        blast=(-175.7, 173.6, -91.0, 168.0),
        aliases=("ys", "yoshisstory"),
    ),
    Stage(
        name="dreamland",
        title="Dream Land N64",
        external_id=28,
        internal_id=26,
        edge=77.27,
        platforms=((-61.39, -31.73, 30.14), (31.7, 63.07, 30.24), (-19.02, 19.02, 51.43)),
        blast=(-255.0, 255.0, -123.0, 250.0),
        aliases=("dl", "dreamlandn64"),
    ),
    Stage(
        name="battlefield",
        title="Battlefield",
        external_id=31,
        internal_id=24,
        edge=68.4,
        platforms=((-57.6, -20.0, 27.2), (20.0, 57.6, 27.2), (-18.8, 18.8, 54.4)),
        blast=(-224.0, 224.0, -108.8, 200.0),
        aliases=("bf",),
    ),
    Stage(
        name="finaldestination",
        title="Final Destination",
        external_id=32,
        internal_id=25,
        edge=85.57,
        blast=(-246.0, 246.0, -140.0, 188.0),
        aliases=("fd",),
    ),
)

RANDALL_PERIOD = 1200
"""Frames that Randall, the cloud of Yoshi's Story, takes for one round of the stage."""

RANDALL_WIDTH = 11.9

_RANDALL_PATH: tuple[tuple[float, float, float], ...] = (
    (-124.0, -101.85, -33.25),
    (415.0, 89.76, -33.25),
    (419.0, 90.73, -32.77),
    (424.0, 91.35, -31.16),
    (468.0, 91.35, -15.55),
    (473.0, 90.71, -13.97),
    (477.0, 89.34, -13.65),
    (1015.0, -101.57, -13.65),
    (1020.0, -103.15, -14.32),
    (1023.0, -103.6, -15.28),
    (1068.0, -103.6, -31.25),
    (1072.0, -103.08, -32.54),
    (1076.0, -101.85, -33.25),
)
"""(frame, left edge, height) of the corners of Randall's path; the speed between them is 0.3548 units per frame.
Source: community measurements; within 0.3 units of libmelee's `randall_position`."""


def randall_position(frame_id: int) -> tuple[float, float]:
    """Return (centre, height) of Randall at a frame. The path restarts in every game."""
    frame = (frame_id + 124) % RANDALL_PERIOD - 124
    for (start, left, low), (end, right, high) in pairwise(_RANDALL_PATH):
        if start <= frame <= end:
            share = (frame - start) / (end - start)
            return left + share * (right - left) + RANDALL_WIDTH / 2, low + share * (high - low)
    raise AssertionError(f"frame {frame} is not on Randall's path")


_BY_EXTERNAL = {stage.external_id: stage for stage in STAGES}
_BY_INTERNAL = {stage.internal_id: stage for stage in STAGES}
_BY_NAME = {name: stage for stage in STAGES for name in (stage.name, *stage.aliases)}


def by_external_id(external_id: int) -> Stage:
    """Return the stage of a replay's id.

    Raises:
        ValueError: the stage is not supported.
    """
    if external_id not in _BY_EXTERNAL:
        raise ValueError(f"external stage id {external_id}: expected one of {sorted(_BY_EXTERNAL)}")
    return _BY_EXTERNAL[external_id]


def by_internal_id(internal_id: int) -> Stage:
    """Return the stage of a libmelee id.

    Raises:
        ValueError: the stage is not supported.
    """
    if internal_id not in _BY_INTERNAL:
        raise ValueError(f"internal stage id {internal_id}: expected one of {sorted(_BY_INTERNAL)}")
    return _BY_INTERNAL[internal_id]


def is_supported(external_id: int) -> bool:
    return external_id in _BY_EXTERNAL


def by_name(name: str) -> Stage:
    """Return the stage of a name or alias.

    Raises:
        ValueError: unknown name; the message suggests the nearest one.
    """
    key = "".join(letter for letter in name.lower().replace("é", "e") if letter.isalnum())
    if key in _BY_NAME:
        return _BY_NAME[key]
    if (near := nearest_name(key, _BY_NAME)) is not None:
        raise ValueError(f"unknown stage '{name}'; did you mean '{_BY_NAME[near].name}'?")
    raise ValueError(f"unknown stage '{name}'; expected one of {', '.join(s.name for s in STAGES)}")
