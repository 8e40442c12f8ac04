"""The stagehand of a pilot: makes ready what is played next, in a process of its own, while the pilot plays.

In: games one after the other, and a run's newest weights. Out: messages, and memory that the pilot shares: the next
game with its targets; new weights, verified where they lie; and the state that a policy with these weights would have
at a frame of the game that is still to come. The game is a replay, so its frames are known ahead: they are gone
through with `forward`, from `REPLAYED_FRAMES` before the frame that is being played to a little after it.

What a reader gets wrong: this is not a thread. In one process, whoever prepares holds up whoever plays, since both
need the interpreter, and the more so the lower its priority is. A process of its own can step aside for both pilot
and trainer.

Messages go both ways over one connection. Who writes which memory when: the stagehand writes weights and state until
it says `SwapReady`, and again after `Swapped`, `SwapLate` or `WeightsRefused`; and a game's memory when the pilot has
begun the game after it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.inference.newest import NewestWeights
from exphil_core.inference.predictor import chance
from exphil_core.inference.shared import Mark, Memory, Place
from exphil_core.inference.sides import Sides, sides_of
from exphil_core.models.policy import Policy
from exphil_core.models.weights import Weights, checksum
from exphil_core.replays.columns import GROUPS
from exphil_core.replays.pack import PackedGame

REPLAYED_FRAMES = 1200
"""Before the frame that is being played when new weights come: 20 seconds, more than any band looks back on."""

CHUNK_FRAMES = 32

FIRST_LEAD_FRAMES, LONGEST_LEAD_FRAMES = 12, 960
"""How far ahead of the pilot a state is handed over; twice as far where it came too late."""

LOOK_SECONDS = 0.5
"""Between two looks for new weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GameReady:
    """A game lies in one of the two memories for games."""

    number: int
    """From 0 on. Its memory is that of its number modulo 2."""
    packed: PackedGame
    """Without its rows, which are in the memory."""
    slot: int
    character: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReady:
    """New weights lie in their memory."""

    step: int
    checksum: int
    """Of the weights as they were saved: their name."""
    in_memory: int
    """Of the state dict of a policy that has them. It is another where two names stand for one table: what was saved
    under the first one is not played."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReady:
    """The weights that came last are to be played from this frame of this game on."""

    game: int
    frame: int
    since: int
    """The frame that they began with: what they remember is in the memory for states, unless it is `frame`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A `warning` event."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The stagehand ends, and with it the pilot."""

    message: str
    exit_code: int


class GameBegun(NamedTuple):
    number: int


class Swapped(NamedTuple):
    """The new weights are being played."""


class SwapLate(NamedTuple):
    """The frame had passed before all was there."""


class WeightsRefused(NamedTuple):
    """They did not arrive as they were sent."""


Cue = GameReady | WeightsReady | SwapReady | Notice | Failed
Answer = GameBegun | Swapped | SwapLate | WeightsRefused


class Link(Protocol):
    """An end of a connection, as `multiprocessing` has it: `recv` raises EOFError when the other end is gone."""

    def poll(self, timeout: float | None = 0.0) -> bool: ...

    def recv(self) -> Any: ...

    def send(self, message: Any) -> None: ...


class NextGame(NamedTuple):
    packed: PackedGame
    slot: int
    """Of the ego."""
    character: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memories:
    """All that a pilot and its stagehand share."""

    weights: Memory
    state: Memory
    games: tuple[Memory, Memory]
    mark: Memory

    @classmethod
    def new(cls) -> "Memories":
        return cls.of(())

    @classmethod
    def of(cls, handles: Sequence[int]) -> "Memories":
        """Those that a parent left open under these numbers, in the order of `handles`; without any, new ones."""
        weights, state, one, two, mark = map(Memory, handles) if handles else (Memory() for _ in range(5))
        return cls(weights=weights, state=state, games=(one, two), mark=mark)

    @property
    def handles(self) -> tuple[int, ...]:
        return tuple(memory.handle for memory in (self.weights, self.state, *self.games, self.mark))

    def weight_tensors(self, policy: Policy) -> dict[str, Tensor]:
        return self.weights.tensors(self.weights.places(policy.state_dict()))

    def state_tensors(self, policy: Policy) -> dict[str, Tensor]:
        return self.state.tensors(self.state.places(policy.initial_state(1)._asdict()))


class Stagehand:
    def __init__(
        self,
        policy: Policy,
        games: Iterator[NextGame],
        newest: NewestWeights,
        link: Link,
        memories: Memories,
        *,
        seed: int = 0,
        aside: Callable[[Callable[[], Any]], Any] = lambda work: work(),
    ) -> None:
        """`policy` is on the CPU; its weights are moved into the shared memory. `aside` does each piece of work that
        takes time, and gives what it gave."""
        self._policy = policy
        self._games = games
        self._newest = newest
        self._link = link
        self._memories = memories
        self._seed = seed
        self._aside = aside
        self._mark = Mark(memories.mark)
        self._state = memories.state_tensors(policy)
        self._sides: dict[int, Sides] = {}
        """Of the game that is being played and the one after it."""
        self._begun = -1
        self._answer: Answer | None = None
        self._weights = memories.weight_tensors(policy)
        for name, tensor in self._weights.items():
            policy.get_parameter(name).data = tensor

    @property
    def in_play(self) -> bool:
        """Whether the pilot plays, and may be disturbed."""
        return self._begun >= 0

    def serve(self) -> None:
        """Until the pilot is gone."""
        try:
            while True:
                self._prepare_games()
                if (weights := self._aside(self._newest.look)) is not None:
                    self._bring(weights)
                self._listen(LOOK_SECONDS)
        except (EOFError, ConnectionError):
            return

    def _listen(self, seconds: float) -> None:
        """Takes in what the pilot said, waiting so long for the first of it."""
        while self._link.poll(seconds):
            said = self._link.recv()
            if isinstance(said, GameBegun):
                self._begun = said.number
            else:
                self._answer = said
            seconds = 0.0

    def _prepare_games(self) -> None:
        """The game after the one that was begun; at first, the first one."""
        number = self._begun + 1
        if number not in self._sides:
            self._aside(lambda: self._prepare_game(number))

    def _prepare_game(self, number: int) -> None:
        found = next(self._games)
        sides = sides_of(found.packed, (found.slot,), self._policy.codec, horizon=self._policy.horizon)
        components = len(self._policy.codec.components)
        drawn = chance(self._seed, found.packed.content_id, found.slot, 0, sides.frames, components)
        tensors = {**_tensors_of(sides), "chance": torch.from_numpy(drawn)[None]}
        memory = self._memories.games[number % 2]
        self._sides.pop(number - 2, None)
        places = memory.put(tensors)
        empty = replace(found.packed, frame_id=found.packed.frame_id[:0], groups={})
        self._sides[number] = sides_from(memory.tensors(places), empty, found.slot)
        self._link.send(
            GameReady(number=number, packed=empty, slot=found.slot, character=found.character, places=places)
        )

    def _bring(self, weights: Weights) -> None:
        """New weights to the pilot, and what they remember as often as it takes."""
        ready = self._aside(lambda: self._lay_out(weights))
        if ready is None:
            self._refuse(weights)
            return
        self._link.send(ready)
        lead, replay = FIRST_LEAD_FRAMES, _Replay(self._policy)
        while True:
            swap = self._swap(replay, lead)
            self._answer = None
            self._link.send(swap)
            while self._answer is None:
                self._listen(LOOK_SECONDS)
                self._prepare_games()
            if isinstance(self._answer, SwapLate):
                lead = min(2 * lead, LONGEST_LEAD_FRAMES)
                continue
            if isinstance(self._answer, WeightsRefused):
                self._refuse(weights)
            return

    @torch.no_grad()
    def _lay_out(self, weights: Weights) -> WeightsReady | None:
        """In the shared memory; None where that does not hold what was put there."""
        for name, tensor in self._weights.items():
            tensor.copy_(weights.tensors[name])
        if checksum(self._weights) != weights.checksum:
            return None
        in_memory = checksum(self._policy.state_dict())
        return WeightsReady(step=weights.step, checksum=weights.checksum, in_memory=in_memory)

    def _refuse(self, weights: Weights) -> None:
        self._newest.forget()
        message = f"the weights of step {weights.step} changed on their way to the pilot; it takes them again"
        self._link.send(Notice(code="weights_damaged", message=message))

    def _swap(self, replay: "_Replay", lead: int) -> SwapReady:
        """Goes through the game until a little ahead of the pilot; near its end, the next game is where to begin."""
        while True:
            number, frame = self._mark.get()
            if self._begun < 0:
                return SwapReady(game=0, frame=0, since=0)
            sides = self._sides.get(number)
            if sides is None or frame + lead >= sides.frames:
                return SwapReady(game=number + 1, frame=0, since=0)
            if not self._state:
                return SwapReady(game=number, frame=frame + lead, since=frame + lead)
            replay.follow(number, frame)
            if replay.at > frame + lead:
                for name, tensor in replay.state._asdict().items():
                    self._state[name].copy_(tensor)
                return SwapReady(game=number, frame=replay.at, since=replay.since)
            self._aside(partial(replay.advance, sides))
            self._listen(0.0)
            self._prepare_games()


class _Replay:
    """The policy on its way through a game."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._game = -1
        self.since = self.at = 0
        self.state: Any = None

    def follow(self, game: int, frame: int) -> None:
        """Begins anew where it is not on the way to this frame."""
        if game != self._game or frame < self.since:
            self._game = game
            self.since = self.at = max(0, frame - REPLAYED_FRAMES)
            self.state = None

    @torch.inference_mode()
    def advance(self, sides: Sides) -> None:
        """Some frames further."""
        stop = min(self.at + CHUNK_FRAMES, sides.frames)
        frames = sides.stretch(self.at, stop, since=self.since)
        _, self.state = self._policy.forward_features(frames, self.state)
        self.at = stop


def _tensors_of(sides: Sides) -> dict[str, Tensor]:
    """All of a game that is in arrays, by name."""
    seen = sides.observed
    return {
        "frame_id": _tensor(sides.game.frame_id),
        **{f"game.{group}": _tensor(rows) for group, rows in sides.game.groups.items()},
        **{f"seen.{group}": columns for group, columns in seen.columns.items()},
        **{f"seen.{name}": getattr(seen, name) for name in _OTHERS},
        "tokens": sides.tokens_BTK,
        "previous": sides.previous_BTK,
        "mask": _tensor(sides.mask_BT),
    }


def _tensor(rows: np.ndarray) -> Tensor:
    # A dataset's rows are mapped to be read alone, which a tensor cannot be told.
    return torch.from_numpy(np.require(rows, requirements=("C", "W")))


_OTHERS = ("frame_id", "valid", "reset", "ego_slot", "external_id", "stage", "mirror")


def sides_from(tensors: Mapping[str, Tensor], packed: PackedGame, slot: int) -> Sides:
    """The same sides from a game's memory, not copied."""
    game = replace(
        packed,
        frame_id=tensors["frame_id"].numpy(),
        groups={group: tensors[f"game.{group}"].numpy() for group in GROUPS},
    )
    observed = TensorBatch(
        columns={group: tensors[f"seen.{group}"] for group in GROUPS},
        **{name: tensors[f"seen.{name}"] for name in _OTHERS},
    )
    return Sides(
        game=game,
        slots=(slot,),
        observed=observed,
        tokens_BTK=tensors["tokens"],
        previous_BTK=tensors["previous"],
        mask_BT=tensors["mask"].numpy(),
    )
