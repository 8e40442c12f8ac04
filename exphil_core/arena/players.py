"""Players that need no policy: the scripted bots of the dojo, and one that holds nothing."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, Protocol

from exphil_core.arena.plan import ArenaMatch
from exphil_core.dojo.bot_observation import BotObservation
from exphil_core.dojo.bots import Bot
from exphil_core.dojo.environment import DojoMatch
from exphil_core.dojo.match import seeded
from exphil_core.dojo.styles import STYLES
from exphil_core.melee.controller import NEUTRAL, Controller


class Excess(NamedTuple):
    """How far a policy's distribution is from its character's bot: sums over frames of one match."""

    nats: float = 0.0
    """Cross-entropy of the policy with the bot, less the bot's entropy."""
    entropy: float = 0.0
    """The bot's entropy, in nats."""
    frames: int = 0

    def plus(self, cross_entropy: float, entropy: float) -> "Excess":
        """Return the sums with one more frame."""
        return Excess(self.nats + cross_entropy - entropy, self.entropy + entropy, self.frames + 1)


class Seat:
    """A player's place in a match that is played."""

    __slots__ = ("planned", "played", "row", "side")

    def __init__(self, planned: ArenaMatch, played: DojoMatch, *, player: int, row: int) -> None:
        self.planned = planned
        self.played = played
        self.side = planned.seat if player == 0 else 1 - planned.seat
        """Index into the match's players."""
        self.row = row
        """Row of the arena's table of matches: the same for the whole match, used again by a later one."""

    @property
    def external_id(self) -> int:
        return self.played.match.external_ids[self.side]

    def dice(self) -> Random:
        """Return a generator of this seat's own numbers. It depends on the match, never on the table."""
        match = self.played.match
        # Of the pair and the player, so that both matches of a pair have the same luck.
        player = 0 if self.side == self.planned.seat else 1
        return seeded(match.seed, "arena inputs", self.planned.pair, player)


class ArenaPlayer(Protocol):
    """Chooses controllers. `act` is called once a frame with all seats in play."""

    @property
    def name(self) -> str: ...

    def begin(self, seat: Seat) -> None:
        """Take a seat in a match that has no frame yet."""
        ...

    def act(self, seats: Sequence[Seat]) -> list[Controller]:
        """Return each seat's controller for the next frame of its match."""
        ...

    def end(self, seat: Seat) -> Excess | None:
        """Leave a match that is over; return the excess in it, where the player has one."""
        ...


class NeutralPlayer:
    """Holds nothing."""

    name = "neutral"

    def begin(self, seat: Seat) -> None:
        pass

    def act(self, seats: Sequence[Seat]) -> list[Controller]:
        return [NEUTRAL] * len(seats)

    def end(self, seat: Seat) -> None:
        return None


class BotPlayer:
    """The scripted bot of the character that it plays."""

    name = "bot"

    def __init__(self) -> None:
        self._bots: dict[int, Bot] = {}
        self._seated: dict[int, tuple[Bot, BotObservation, Random]] = {}

    def begin(self, seat: Seat) -> None:
        bot = self._bots.setdefault(seat.external_id, Bot(STYLES[seat.external_id]))
        self._seated[seat.row] = (bot, BotObservation(seat.played.match.stage, bot.style.delay), seat.dice())

    def act(self, seats: Sequence[Seat]) -> list[Controller]:
        found = []
        for seat in seats:
            bot, observation, dice = self._seated[seat.row]
            played, side = seat.played, seat.side
            assert played.frame is not None, "a bot acts on what it sees"
            posts = played.frame.posts
            situation = observation.situation(posts[side], played.controllers[side], posts[1 - side])
            if not played.playable:
                found.append(NEUTRAL)
                continue
            choice = bot.choice(situation)
            found.append(choice.controllers[choice.index(dice.random())])
        return found

    def end(self, seat: Seat) -> None:
        del self._seated[seat.row]
