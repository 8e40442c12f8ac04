"""One replay frame as plain values for drawing: players, items, platforms. Numpy, no Textual.

None means that the replay's version does not record the value; it is never the same as 0.
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
from exphil_tui.model.replay_events import ReplayEvents, find_events

Invulnerability = Literal["none", "invulnerable", "intangible"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    left: float
    right: float
    height: float
    moving: bool
    """Whether its position changes between frames: Fountain's side platforms and Randall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFighter:
    """A player's character, or its follower (Nana), in one frame."""

    slot: int
    """Index in the game's `players`."""
    port: int
    """1 to 4."""
    follower: bool
    """Whether it is Nana; she has no stocks of her own, so `stocks` is her leader's."""
    name: str
    """Player name, sanitised; may be empty."""
    type: Literal["human", "cpu", "demo"]
    team: int | None
    """Team number in team games: 0 red, 1 blue, 2 green."""
    character: str
    """Title of the current character; Zelda and Sheik change."""
    x: float
    y: float
    facing: int | None
    """-1 left, 1 right."""
    action_state: int | None
    action: str
    """`jump squat`, `special 341`; empty if the state is unknown."""
    state_age: float | None
    """Frames into the animation, as counted by the game."""
    percent: float | None
    shield: float | None
    """Health of the shield, 0 to 60."""
    stocks: int | None
    jumps: int | None
    """Jumps left."""
    hitlag: float | None
    """Frames of hitlag left."""
    hitstun: float | None
    """Frames of hitstun left; 0 outside of hitstun."""
    airborne: bool | None
    shielding: bool | None
    dead: bool | None
    """Beyond a blast line and not yet on the revival platform."""
    offscreen: bool | None
    """Shown in the magnifying glass, or not at all."""
    fastfalling: bool | None
    invulnerability: Invulnerability | None
    velocity: tuple[float, float] | None
    """Own movement plus knockback, in game units per frame."""
    controller: Controller | None
    """Inputs held in this frame; None for followers, and if the file is damaged here. A trigger that the version does
    not record (the right one in 0.1 to 1.0) is NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneItem:
    """An item or projectile."""

    x: float
    y: float
    name: str
    """`laser`; `item 123` if it has no known name."""
    type_id: int
    state: int | None
    owner: int | None
    """Slot of the owning player; None if unknown or unowned."""
    projectile: bool
    """Whether it is a projectile, not an item to pick up."""
    velocity: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    frame_index: int
    frame_id: int
    stage: str
    """Stage title."""
    edge: float | None
    """Distance of each ledge from the centre; None on stages without known measures."""
    blast: tuple[float, float, float, float] | None
    """Left, right, bottom and top blast lines."""
    platforms: tuple[Platform, ...]
    fighters: tuple[SceneFighter, ...]
    """In player order, a follower after its leader; without dead followers and players who are out."""
    items: tuple[SceneItem, ...]
    items_known: bool
    """False if the version records no items; `items` is then empty."""
    note: str
    """Text to show with the frame, such as a stage transformation; mostly empty."""


_FIRST_DEATH, _LAST_DEATH = BY_NAME["DEAD_DOWN"], BY_NAME["SLEEP"]
_SHIELDS = frozenset(BY_NAME[name] for name in ("GUARD_ON", "GUARD", "GUARD_SET_OFF", "GUARD_REFLECT"))
_YOSHI = 14
_YOSHI_SHIELDS = frozenset((341, 342, 344, 345))
_INVULNERABILITIES: tuple[Invulnerability, ...] = ("none", "invulnerable", "intangible")

_FOUNTAIN = stages.by_name("fountain").external_id
_STADIUM = stages.by_name("stadium").external_id
_YOSHIS = stages.by_name("yoshis").external_id

_FOUNTAIN_SIDES = {"fod_left": (-49.5, -21.0), "fod_right": (21.0, 49.5)}
"""Left and right end of each side platform."""
_FOUNTAIN_SCALE, _FOUNTAIN_FLOOR = 0.75, 1.125
"""Convert platform heights from the stage model's units, as in the replay, to game units."""

_EVENTS_SINCE = min(column.since for column in STAGE_COLUMNS)
"""First Slippi version that records moving stage parts."""

_STADIUM_NORMAL = 5
_STADIUM_NAMES = {3: "fire", 4: "grass", 5: "normal", 6: "rock", 9: "water"}
_STADIUM_DONE = (0, 6)
_STADIUM_RECEDES = 4
"""Events before it (1 to 3) announce a transformation: the ground has not changed yet."""

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
"""Titles of the stages without known measures, by external id."""


class Replay:
    """A game prepared for drawing: builds the `Scene` of any frame in well under a millisecond."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.events: ReplayEvents = find_events(game)
        self.titles = tuple(_title(player) for player in game.players)
        """Title of each player's most played character."""
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
        """Build the scene of a frame.

        Raises:
            IndexError: `frame_index` is outside 0 to `frames` - 1.
        """
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
            items=_scene_items(game.items, frame_index) if game.items is not None else (),
            items_known=game.items is not None,
            note=note,
        )


def _title(player: Player) -> str:
    external_id = next(iter(player.played))
    known = external_id < len(CHARACTERS)  # a damaged header may contain any id
    return by_external_id(external_id).title if known else f"character {external_id}"


class _Body:
    """Columns of one character: a player's leader or follower. Datasets store fewer columns for followers."""

    def __init__(self, slot: int, player: Player, columns: Columns, title: str, *, follower: bool) -> None:
        self._slot, self._player, self._follower = slot, player, follower
        self._columns = columns
        self._stocks = player.leader["stocks"]
        self._title = title

    def fighter(self, t: int) -> SceneFighter | None:
        """Build the character's state at frame `t`; None if it is absent."""
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
        return SceneFighter(
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
        """Read hitstun from `misc_as`, which outside of hitstun means something else in every action state."""
        in_hitstun = self._flag(HITSTUN, t)
        return self._number("misc_as", t) if in_hitstun else (None if in_hitstun is None else 0.0)

    def _shielding(self, t: int, action_state: int | None, internal_id: int | None) -> bool | None:
        """Read the shield flag, or derive it from the action state in versions without flags."""
        flag = self._flag(SHIELDING, t)
        if flag is not None or action_state is None:
            return flag
        return action_state in _SHIELDS or (internal_id == _YOSHI and action_state in _YOSHI_SHIELDS)

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
    """Platforms of a stage, moving ones included."""

    def __init__(self, game: Game) -> None:
        external_id = game.external_stage_id
        self.stage = stages.by_external_id(external_id) if stages.is_supported(external_id) else None
        self.title = (
            self.stage.title if self.stage else _OTHER_STAGES.get(external_id, f"stage {external_id}")
        )
        self._columns = game.stage
        self._events_recorded = game.version >= _EVENTS_SINCE
        self._still = tuple(
            Platform(left=left, right=right, height=height, moving=False)
            for left, right, height in (self.stage.platforms if self.stage else ())
        )
        self._at = {_FOUNTAIN: self._fountain, _STADIUM: self._stadium, _YOSHIS: self._yoshis}.get(
            external_id
        )

    def at(self, t: int, frame_id: int) -> tuple[tuple[Platform, ...], str]:
        """Return the platforms of a frame and a note about the stage."""
        return self._at(t, frame_id) if self._at else (self._still, "")

    def _fountain(self, t: int, frame_id: int) -> tuple[tuple[Platform, ...], str]:
        moving = []
        for name, (left, right) in _FOUNTAIN_SIDES.items():
            height = _FOUNTAIN_SCALE * float(self._columns[name][t]) + _FOUNTAIN_FLOOR
            if math.isnan(height):
                return self._still, "this replay does not record the side platforms"
            if height > _FOUNTAIN_FLOOR:  # otherwise it is sunk into the ground
                moving.append(Platform(left=left, right=right, height=height, moving=True))
        return (*self._still, *moving), ""

    def _yoshis(self, t: int, frame_id: int) -> tuple[tuple[Platform, ...], str]:
        x, height = randall_position(frame_id)
        half = RANDALL_WIDTH / 2
        return (*self._still, Platform(left=x - half, right=x + half, height=height, moving=True)), ""

    def _stadium(self, t: int, frame_id: int) -> tuple[tuple[Platform, ...], str]:
        """Return the platforms of Pokémon Stadium: none while transformed, as only edges and blast lines are known.

        The stage always returns to normal between two transformations.
        """
        event, kind = int(self._columns["stadium_event"][t]), int(self._columns["stadium_type"][t])
        name = _STADIUM_NAMES.get(kind, f"type {kind}")
        if not self._events_recorded:
            return self._still, "this replay does not record stage transformations"
        if event == MISSING["u8"]:
            return self._still, ""
        if event in _STADIUM_DONE:
            if kind == _STADIUM_NORMAL:
                return self._still, ""
            return (), f"transformed: {name} (platforms not drawn)"
        if event < _STADIUM_RECEDES:
            if kind == _STADIUM_NORMAL:
                return (), "transformed, about to revert (platforms not drawn)"
            return self._still, f"about to transform: {name}"
        phase = "reverting" if kind == _STADIUM_NORMAL else f"transforming: {name}"
        return (), f"{phase} (platforms not drawn)"


def _scene_items(items: Items, t: int) -> tuple[SceneItem, ...]:
    columns = items.columns
    found = []
    for row in range(int(items.offsets[t]), int(items.offsets[t + 1])):
        x, y = float(columns["position_x"][row]), float(columns["position_y"][row])
        if math.isnan(x) or math.isnan(y):
            continue
        velocity = (float(columns["velocity_x"][row]), float(columns["velocity_y"][row]))
        known = item_type(int(columns["type"][row]))
        state, owner = int(columns["state"][row]), int(columns["owner"][row])
        found.append(
            SceneItem(
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
    return tuple(found)
