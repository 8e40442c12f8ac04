"""Excess: how far a policy's distribution is from its character's bot, in nats per frame, in states that are played.

In every state of the dojo the bot's distribution over the next input is known. A policy's excess is its cross-entropy
with that distribution less the distribution's entropy, the Kullback-Leibler divergence: 0 for a perfect imitator. It
is higher on the states that a policy reaches by itself than on the bot's, since errors lead to states that the
training data do not have.

Inputs with equal tokens count as one. A policy with a delay of d frames predicts d frames early: what it could not
know then adds to its excess.

Legend: N possible inputs, K components.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from exphil_core.arena.players import Seat
from exphil_core.dojo.bot_observation import BotObservation
from exphil_core.dojo.bots import Bot
from exphil_core.dojo.choices import InputDistribution
from exphil_core.dojo.inputs import nearest_input
from exphil_core.dojo.styles import STYLES
from exphil_core.encoding.codecs import Codec, ControllerTensors
from exphil_core.melee.controller import Controller

EVERY_FRAMES = 4
"""Excess is computed on one of so many frames: neighbouring states are alike."""


class TokenDistribution(NamedTuple):
    """A bot's distribution over the tokens of the next input."""

    tokens_NK: Tensor
    """int64, all rows different."""
    probabilities_N: Tensor
    entropy: float
    """In nats."""


class ReferenceBots:
    """Computes the distribution of each seat's bot over the seat's next input, whoever plays the seat."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._bots: dict[int, Bot] = {}
        self._seated: dict[int, tuple[Bot, BotObservation]] = {}
        # Bots return one object for one situation and keep it.
        self._known: dict[int, TokenDistribution] = {}

    def begin(self, seat: Seat) -> None:
        bot = self._bots.setdefault(seat.external_id, Bot(STYLES[seat.external_id]))
        self._seated[seat.row] = (bot, BotObservation(seat.played.match.stage, bot.style.delay))

    def end(self, seat: Seat) -> None:
        del self._seated[seat.row]

    def distribution(self, seat: Seat) -> TokenDistribution | None:
        """Observe the newest frame; return the distribution on the frames on which excess is computed.

        It must be called once a frame: a bot remembers earlier frames.
        """
        bot, observation = self._seated[seat.row]
        played, side = seat.played, seat.side
        assert played.frame is not None, "a match has a distribution after its first frame"
        posts = played.frame.posts
        held = nearest_input(played.controllers[side])
        situation = observation.situation(posts[side], held, posts[1 - side])
        if not played.playable or played.frame.frame_id % EVERY_FRAMES:
            return None
        choice = bot.choice(situation)
        if id(choice) not in self._known:
            self._known[id(choice)] = token_distribution(choice, self._codec)
        return self._known[id(choice)]


def tokens_of(controllers: Sequence[Controller], codec: Codec) -> Tensor:
    """Encode controllers: tokens [N, K]."""
    fields = {
        name: torch.tensor([getattr(controller, name) for controller in controllers])
        for name in ControllerTensors._fields
    }
    return codec.encode(ControllerTensors(**fields))


def token_distribution(choice: InputDistribution, codec: Codec) -> TokenDistribution:
    """Convert a distribution over controllers to one over tokens."""
    merged: dict[tuple[int, ...], float] = {}
    rows = tokens_of(choice.controllers, codec).tolist()
    for row, probability in zip(rows, choice.probabilities, strict=True):
        merged[tuple(row)] = merged.get(tuple(row), 0.0) + probability
    probabilities = np.array(list(merged.values()))
    return TokenDistribution(
        tokens_NK=torch.tensor(list(merged)),
        probabilities_N=torch.from_numpy(probabilities),
        entropy=float(-(probabilities * np.log(probabilities)).sum()),
    )
