"""A perfect imitator, as a control: it draws from the bots' distributions and plays through a codec.

Its score against the bots is 0 net stocks a minute, and its excess is 0, unless the arena, the codec or the reference
changes what is played. How a policy's own predictions are lined up with the frames, it does not check.
"""

from collections.abc import Sequence
from math import log
from random import Random

from exphil_core.arena.excess import ReferenceBots, token_distribution, tokens_of
from exphil_core.arena.players import Excess, Seat
from exphil_core.dojo.bot_observation import BotObservation
from exphil_core.dojo.bots import Bot
from exphil_core.dojo.choices import InputDistribution
from exphil_core.dojo.styles import STYLES
from exphil_core.encoding.codecs import Codec, CodecName, build_codec
from exphil_core.inference.agent import to_controllers
from exphil_core.melee.controller import NEUTRAL, Controller


class OraclePlayer:
    """The scripted bot of the character that it plays, behind a codec."""

    name = "oracle"

    def __init__(self, codec: CodecName = "clusters") -> None:
        self._codec: Codec = build_codec(codec)
        self._reference = ReferenceBots(self._codec)
        self._bots: dict[int, Bot] = {}
        self._seated: dict[int, _OracleSeat] = {}
        # As bots return one object for one situation and keep it.
        self._surprisals: dict[int, dict[tuple[int, ...], float]] = {}
        self._decoded: dict[Controller, Controller] = {}

    def begin(self, seat: Seat) -> None:
        bot = self._bots.setdefault(seat.external_id, Bot(STYLES[seat.external_id]))
        self._seated[seat.row] = _OracleSeat(
            bot, BotObservation(seat.played.match.stage, bot.style.delay), seat.dice()
        )
        self._reference.begin(seat)

    def act(self, seats: Sequence[Seat]) -> list[Controller]:
        return [self._act(self._seated[seat.row], seat) for seat in seats]

    def end(self, seat: Seat) -> Excess:
        self._reference.end(seat)
        return self._seated.pop(seat.row).excess

    def _act(self, seated: "_OracleSeat", seat: Seat) -> Controller:
        played, side = seat.played, seat.side
        assert played.frame is not None, "a bot acts on what it sees"
        posts = played.frame.posts
        # Its own input as it drew it; the reference observes the one that was played.
        situation = seated.observation.situation(posts[side], seated.held, posts[1 - side])
        expected = self._reference.distribution(seat)
        if not played.playable:
            return NEUTRAL
        choice = seated.bot.choice(situation)
        if expected is not None:
            surprisal = self._surprisal(choice)
            cross = sum(
                probability * surprisal.get(tuple(tokens), float("inf"))
                for tokens, probability in zip(
                    expected.tokens_NK.tolist(), expected.probabilities_N.tolist(), strict=True
                )
            )
            seated.excess = seated.excess.plus(cross, expected.entropy)
        seated.held = choice.controllers[choice.index(seated.dice.random())]
        if seated.held not in self._decoded:
            tokens_1K = tokens_of([seated.held], self._codec)
            (self._decoded[seated.held],) = to_controllers(self._codec.decode(tokens_1K))
        return self._decoded[seated.held]

    def _surprisal(self, choice: InputDistribution) -> dict[tuple[int, ...], float]:
        """Return -log p by tokens."""
        if id(choice) not in self._surprisals:
            found = token_distribution(choice, self._codec)
            self._surprisals[id(choice)] = {
                tuple(tokens): -log(probability)
                for tokens, probability in zip(
                    found.tokens_NK.tolist(), found.probabilities_N.tolist(), strict=True
                )
            }
        return self._surprisals[id(choice)]


class _OracleSeat:
    def __init__(self, bot: Bot, observation: BotObservation, dice: Random) -> None:
        self.bot = bot
        self.observation = observation
        self.dice = dice
        self.held: Controller = NEUTRAL
        self.excess = Excess()
