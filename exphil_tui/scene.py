"""One frame of a replay as plain values: what a viewer draws and a person reads. Numpy, no Textual.

In: a `Game`. Out: a `Scene` of any of its frames, in well under a millisecond. What one gets wrong: None means that
the replay's version does not tell, which is never the same as 0; and nothing here is the policy's.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exphil_core.melee import stages
from exphil_core.melee.action_names import action_name
from exphil_core.melee.action_states import BY_NAME
from exphil_core.melee.characters import CHARACTERS, by_external_id, by_internal_id
from exphil_core.melee.controller import Controller
from exphil_core.melee.flags import FASTFALLING, HITSTUN, OFFSCREEN, SHIELDING, Flag
from exphil_core.melee.items import item_type
from exphil_core.melee.stages import RANDALL_WIDTH, randall_position
from exphil_core.replays.columns import MISSING, STAGE_COLUMNS
from exphil_core.replays.game import Columns, Game, Items, Player
from exphil_tui.moments import Moments, find_moments

Invulnerability = Literal["none", "invulnerable", "intangible"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    left: float
    right: float
    height: float
    moving: bool
    """Elsewhere in another frame: Fountain's sides and Randall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fighter:
    """A player's character, or the partner that follows it, in one frame."""

    slot: int
    """Index in the game's `players`."""
    port: int
    """1 to 4."""
    follower: bool
    """Nana, who has no stocks of her own: `stocks` is her leader's."""
    name: str
    """The player's, sanitised; may be empty."""
    type: Literal["human", "cpu", "demo"]
    team: int | None
    """Number of the team where teams play: 0 red, 1 blue, 2 green."""
    character: str
    """Title of who it is now: Zelda or Sheik."""
    x: float
    y: float
    facing: int | None
    """-1 left, 1 right."""
    action_state: int | None
    action: str
    """`jump squat`, `special 341`; empty where the state is unknown."""
    state_age: float | None
    """Frames into the animation, as the game counts them."""
    percent: float | None
    shield: float | None
    """Health of the shield, 0 to 60."""
    stocks: int | None
    jumps: int | None
    """Jumps that are left."""
    hitlag: float | None
    """Frames left of it."""
    hitstun: float | None
    """Frames left of it, 0 outside of hitstun."""
    airborne: bool | None
    shielding: bool | None
    dead: bool | None
    """Beyond a blast line, and not yet on the platform that brings it back."""
    offscreen: bool | None
    """Seen through a magnifying glass, or not at all."""
    fastfalling: bool | None
    invulnerability: Invulnerability | None
    velocity: tuple[float, float] | None
    """Of its own movement and knockback together, units a frame."""
    controller: Controller | None
    """What is held within this frame; None for followers, and where damage makes it unknown. A trigger that the
    version does not tell (the right one of 0.1 to 1.0) is NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """An item or projectile."""

    x: float
    y: float
    name: str
    """`laser`; `item 123` where nobody has a name for it."""
    type_id: int
    state: int | None
    owner: int | None
    """Slot of the player that it belongs to; None too where nobody owns it."""
    projectile: bool
    """Flies at somebody, as against being picked up."""
    velocity: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    frame_index: int
    frame_id: int
    stage: str
    """Title."""
    edge: float | None
    """Distance of each ledge from the centre; None on a stage whose measures we don't have."""
    blast: tuple[float, float, float, float] | None
    """Left, right, bottom and top blast lines."""
    platforms: tuple[Platform, ...]
    fighters: tuple[Fighter, ...]
    """In the order of the players, a follower after its leader. Who is not there (Nana while she is dead, a player
    who is out) is not in it."""
    things: tuple[Thing, ...]
    things_known: bool
    """False where the version has no items: then `things` is empty whatever flew."""
    note: str
    """What a viewer should say besides, such as a transformation of the stage; mostly empty."""


_FIRST_DEATH, _LAST_DEATH = BY_NAME["DEAD_DOWN"], BY_NAME["SLEEP"]
_SHIELDS = frozenset(BY_NAME[name] for name in ("GUARD_ON", "GUARD", "GUARD_SET_OFF", "GUARD_REFLECT"))
_YOSHI = 14
_YOSHIS_SHIELDS = frozenset((341, 342, 344, 345))
_INVULNERABILITIES: tuple[Invulnerability, ...] = ("none", "invulnerable", "intangible")

_FOUNTAIN = stages.by_name("fountain").external_id
_STADIUM = stages.by_name("stadium").external_id
_YOSHIS = stages.by_name("yoshis").external_id

_FOUNTAIN_SIDES = {"fod_left": (-49.5, -21.0), "fod_right": (21.0, 49.5)}
"""From where to where each side platform reaches."""
_FOUNTAIN_SCALE, _FOUNTAIN_FLOOR = 0.75, 1.125
"""A replay has the platforms' heights in the stage model's own units; these make them the game's."""

_EVENTS_SINCE = min(column.since for column in STAGE_COLUMNS)
"""Older replays don't tell of what moves on a stage."""

_STADIUM_NORMAL = 5
_STADIUM_NAMES = {3: "fire", 4: "grass", 5: "normal", 6: "rock", 9: "water"}
_STADIUM_DONE = (0, 6)
_STADIUM_RECEDES = 4
"""Events before it (1 to 3) announce a transformation: the ground is still the old one."""

_OTHER_STAGES = {
    4: "Princess Peach's Castle",
    5: "Kongo Jungle",
    6: "Brinstar",
    7: "Corneria",
    9: "Onett",
    10: "Mute City",
    11: "Rainbow Cruise",
    12: "Jungle Japes",
    13: "Great Bay",
    14: "Hyrule Temple",
    15: "Brinstar Depths",
    16: "Yoshi's Island",
    17: "Green Greens",
    18: "Fourside",
    19: "Mushroom Kingdom",
    20: "Mushroom Kingdom II",
    22: "Venom",
    23: "Poké Floats",
    24: "Big Blue",
    25: "Icicle Mountain",
    27: "Flat Zone",
    29: "Yoshi's Island N64",
    30: "Kongo Jungle N64",
}
"""Titles of the stages whose measures we don't have, by external id."""


class Replay:
    """A game with all that looking at its frames needs, worked out once."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.moments: Moments = find_moments(game)
        self.titles = tuple(_title(player) for player in game.players)
        """Of the character that each player plays most."""
        self._bodies = [
            _Body(slot, player, columns, self.titles[slot], follower=follower)
            for slot, player in enumerate(game.players)
            for columns, follower in ((player.leader, False), (player.follower, True))
            if columns is not None
        ]
        self._ground = _Ground(game)

    @property
    def frames(self) -> int:
        return self.game.frames

    def scene(self, frame_index: int) -> Scene:
        """The scene of a frame. IndexError outside of 0 to `frames` - 1."""
        if not 0 <= frame_index < self.frames:
            raise IndexError(f"frame index {frame_index}: expected 0 to {self.frames - 1}")
        game, ground = self.game, self._ground
        frame_id = int(game.frame_id[frame_index])
        fighters = (body.fighter(frame_index) for body in self._bodies)
        platforms, note = ground.at(frame_index, frame_id)
        return Scene(
            frame_index=frame_index,
            frame_id=frame_id,
            stage=ground.title,
            edge=ground.stage.edge if ground.stage else None,
            blast=ground.stage.blast if ground.stage else None,
            platforms=platforms,
            fighters=tuple(fighter for fighter in fighters if fighter is not None),
            things=_things(game.items, frame_index) if game.items is not None else (),
            things_known=game.items is not None,
            note=note,
        )


def _title(player: Player) -> str:
    external_id = next(iter(player.played))
    known = external_id < len(CHARACTERS)  # a damaged header may say anything
    return by_external_id(external_id).title if known else f"character {external_id}"


class _Body:
    """One character's columns: a player's own or its follower's. A dataset keeps fewer of the latter."""

    def __init__(self, slot: int, player: Player, columns: Columns, title: str, *, follower: bool) -> None:
        self._slot, self._player, self._follower = slot, player, follower
        self._columns = columns
        self._stocks = player.leader["stocks"]
        self._title = title

    def fighter(self, t: int) -> Fighter | None:
        """None where it is not there."""
        x, y = self._number("position_x", t), self._number("position_y", t)
        if x is None or y is None:
            return None
        player = self._player
        internal_id = self._count("internal_id", t)
        action_state = self._count("action_state", t)
        airborne = self._count("airborne", t)
        hurtbox_state = self._count("hurtbox_state", t)
        direction = self._number("direction", t)
        stocks = int(self._stocks[t])
        return Fighter(
            slot=self._slot,
            port=player.port_index + 1,
            follower=self._follower,
            name=player.name,
            type=player.type,
            team=player.team,
            character=self._title if internal_id is None else by_internal_id(internal_id).title,
            x=x,
            y=y,
            facing=None if not direction else (1 if direction > 0 else -1),
            action_state=action_state,
            action="" if action_state is None else action_name(action_state, internal_id),
            state_age=self._number("state_age", t),
            percent=self._number("percent", t),
            shield=self._number("shield", t),
            stocks=None if stocks == MISSING["u8"] else stocks,
            jumps=self._count("jumps", t),
            hitlag=self._number("hitlag", t),
            hitstun=self._hitstun(t),
            airborne=None if airborne is None else airborne == 1,
            shielding=self._shielding(t, action_state, internal_id),
            dead=None if action_state is None else _FIRST_DEATH <= action_state <= _LAST_DEATH,
            offscreen=self._flag(OFFSCREEN, t),
            fastfalling=self._flag(FASTFALLING, t),
            invulnerability=None if hurtbox_state is None else _INVULNERABILITIES[hurtbox_state],
            velocity=self._velocity(t, airborne),
            controller=None if self._follower else self._controller(t),
        )

    def _number(self, name: str, t: int) -> float | None:
        column = self._columns.get(name)
        if column is None:
            return None
        value = float(column[t])
        return None if math.isnan(value) else value

    def _count(self, name: str, t: int) -> int | None:
        column = self._columns.get(name)
        if column is None:
            return None
        value = int(column[t])
        return None if value == (MISSING["u16"] if column.dtype == np.uint16 else MISSING["u8"]) else value

    def _flag(self, flag: Flag, t: int) -> bool | None:
        flags = self._count(flag.column, t)
        return None if flags is None else flags & flag.bit != 0

    def _hitstun(self, t: int) -> float | None:
        """Outside of hitstun `misc_as` means something else in every action state."""
        in_hitstun = self._flag(HITSTUN, t)
        return self._number("misc_as", t) if in_hitstun else (None if in_hitstun is None else 0.0)

    def _shielding(self, t: int, action_state: int | None, internal_id: int | None) -> bool | None:
        """Versions without flags tell it by the action state."""
        told = self._flag(SHIELDING, t)
        if told is not None or action_state is None:
            return told
        return action_state in _SHIELDS or (internal_id == _YOSHI and action_state in _YOSHIS_SHIELDS)

    def _velocity(self, t: int, airborne: int | None) -> tuple[float, float] | None:
        x = self._number("velocity_ground_x" if airborne == 0 else "velocity_air_x", t)
        y = self._number("velocity_y", t)
        knockback_x, knockback_y = self._number("knockback_x", t), self._number("knockback_y", t)
        if x is None or y is None or knockback_x is None or knockback_y is None:
            return None
        return (x + knockback_x, y + knockback_y)

    def _controller(self, t: int) -> Controller | None:
        columns = self._columns
        buttons = int(columns["buttons"][t])
        controller = Controller(
            main_x=float(columns["main_x"][t]),
            main_y=float(columns["main_y"][t]),
            c_x=float(columns["c_x"][t]),
            c_y=float(columns["c_y"][t]),
            trigger_l=float(columns["trigger_l"][t]),
            trigger_r=float(columns["trigger_r"][t]),
            buttons=buttons,
        )
        sticks = controller.main_x + controller.main_y + controller.c_x + controller.c_y
        return None if buttons == MISSING["u16"] or math.isnan(sticks) else controller


class _Ground:
    """What one stands on."""

    def __init__(self, game: Game) -> None:
        external_id = game.external_stage_id
        self.stage = stages.by_external_id(external_id) if stages.is_supported(external_id) else None
        self.title = (
            self.stage.title if self.stage else _OTHER_STAGES.get(external_id, f"stage {external_id}")
        )
        self._columns = game.stage
        self._events_told = game.version >= _EVENTS_SINCE
        self._still = tuple(
            Platform(left=left, right=right, height=height, moving=False)
            for left, right, height in (self.stage.platforms if self.stage else ())
        )
        self._at = {_FOUNTAIN: self._fountain, _STADIUM: self._stadium, _YOSHIS: self._yoshis}.get(
            external_id
        )

    def at(self, t: int, frame_id: int) -> tuple[tuple[Platform, ...], str]:
        """The platforms of a frame, and what else to say of the stage."""
        return self._at(t, frame_id) if self._at else (self._still, "")

    def _fountain(self, t: int, frame_id: int) -> tuple[tuple[Platform, ...], str]:
        moving = []
        for name, (left, right) in _FOUNTAIN_SIDES.items():
            height = _FOUNTAIN_SCALE * float(self._columns[name][t]) + _FOUNTAIN_FLOOR
            if math.isnan(height):
                return self._still, "this replay does not tell where the side platforms are"
            if height > _FOUNTAIN_FLOOR:  # else it has sunk into the ground
                moving.append(Platform(left=left, right=right, height=height, moving=True))
        return (*self._still, *moving), ""

    def _yoshis(self, t: int, frame_id: int) -> tuple[tuple[Platform, ...], str]:
        x, height = randall_position(frame_id)
        half = RANDALL_WIDTH / 2
        return (*self._still, Platform(left=x - half, right=x + half, height=height, moving=True)), ""

    def _stadium(self, t: int, frame_id: int) -> tuple[tuple[Platform, ...], str]:
        """Of the transformed stage only its edges and blast lines hold. It always turns back between two."""
        event, kind = int(self._columns["stadium_event"][t]), int(self._columns["stadium_type"][t])
        name = _STADIUM_NAMES.get(kind, f"type {kind}")
        if not self._events_told:
            return self._still, "this replay does not tell whether the stage is transformed"
        if event == MISSING["u8"]:
            return self._still, ""
        if event in _STADIUM_DONE:
            if kind == _STADIUM_NORMAL:
                return self._still, ""
            return (), f"transformed: {name} (its ground is not drawn)"
        if event < _STADIUM_RECEDES:
            if kind == _STADIUM_NORMAL:
                return (), "transformed, about to turn back (its ground is not drawn)"
            return self._still, f"about to transform: {name}"
        words = "turning back" if kind == _STADIUM_NORMAL else f"transforming: {name}"
        return (), f"{words} (its ground is not drawn)"


def _things(items: Items, t: int) -> tuple[Thing, ...]:
    columns = items.columns
    things = []
    for row in range(int(items.offsets[t]), int(items.offsets[t + 1])):
        x, y = float(columns["position_x"][row]), float(columns["position_y"][row])
        if math.isnan(x) or math.isnan(y):
            continue
        velocity = (float(columns["velocity_x"][row]), float(columns["velocity_y"][row]))
        known = item_type(int(columns["type"][row]))
        state, owner = int(columns["state"][row]), int(columns["owner"][row])
        things.append(
            Thing(
                x=x,
                y=y,
                name=known.name,
                type_id=known.type_id,
                state=None if state == MISSING["u8"] else state,
                owner=None if owner == MISSING["u8"] else owner,
                projectile=known.projectile,
                velocity=None if math.isnan(velocity[0] + velocity[1]) else velocity,
            )
        )
    return tuple(things)
