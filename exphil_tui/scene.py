"""One frame of a replay as plain values: what a viewer draws and a person reads. Numpy, no Textual.

In: a `Game`. Out: a `Scene` of any of its frames, in well under a millisecond. What one gets wrong: None means that
the replay's version does not tell, which is never the same as 0; and nothing here is the policy's.
"""

from dataclasses import dataclass
from typing import Literal

from exphil_core.melee.controller import Controller
from exphil_core.replays.game import Game
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
    """Between the blast line and the platform that brings it back, or out of the game."""
    offscreen: bool | None
    """Seen through a magnifying glass, or not at all."""
    fastfalling: bool | None
    invulnerability: Invulnerability | None
    velocity: tuple[float, float] | None
    """Of its own movement and knockback together, units a frame."""
    controller: Controller | None
    """What is held within this frame; None where damage makes it unknown, and for followers."""


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
    """Slot of the player that it belongs to."""
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


class Replay:
    """A game with all that looking at its frames needs, worked out once."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.moments: Moments = find_moments(game)

    @property
    def frames(self) -> int:
        return self.game.frames

    def scene(self, frame_index: int) -> Scene:
        """The scene of a frame. IndexError outside of 0 to `frames` - 1."""
        raise NotImplementedError
