"""The pilot: plays held-out games in real time, with weights that are replaced while it plays.

In: games and new weights from its stagehand, a clock and a way to sleep. Out: for every frame what the player felt
(`Recent`) and what the policy said (a prediction's record). A frame is timed from its columns to its controller:
encode, step, sample, decode. All else is done after that, in what is left until the next tick: the record, and piece
by piece the copy of new weights into a second policy.

What a reader gets wrong: weights change between two frames, by exchanging two policies; no tensor that is being
played is ever written. The second policy counts only when every byte of it has been hashed where it lies, and it
begins to play at the very frame that its state was made ready for.
"""

import gc
import hashlib
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exphil_core.encoding.batch import to_tensors
from exphil_core.errors import ExphilError
from exphil_core.inference.agent import to_controllers
from exphil_core.inference.latency import Tick
from exphil_core.inference.predictor import Predictor
from exphil_core.inference.recent import Felt, Recent
from exphil_core.inference.shared import Mark
from exphil_core.inference.sides import Sides
from exphil_core.inference.stagehand import (
    Failed,
    GameBegun,
    GameReady,
    Link,
    Memories,
    Notice,
    SwapLate,
    Swapped,
    SwapReady,
    WeightsReady,
    WeightsRefused,
    sides_from,
)
from exphil_core.inference.ticks import Ticks
from exphil_core.models.policy import Policy
from exphil_core.models.weights import hashed_pieces

WARM_UPS = 30
"""Frames that are played by each policy before the first tick, and not counted."""

SAY_FRAMES = 6
"""Between two words about what was felt: ten times a second."""

PIECE_BYTES = 1 << 18
"""Of weights that are copied or hashed at once: a third of a millisecond's work at most."""

PIECE_SECONDS = 1e-3
"""What must be left until the next tick for another piece."""


class StagehandError(ExphilError):
    """What the stagehand ended with; its exit code is the pilot's."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.exit_code = failed.exit_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What is being played."""

    step: int
    weights: int
    game: str
    """Content id."""
    character: str
    frame_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Playable:
    """A game that lies ready."""

    number: int
    character: str
    sides: Sides
    chance_BTK: Tensor


class Pilot:
    def __init__(
        self,
        policies: tuple[Policy, Policy],
        link: Link,
        memories: Memories,
        *,
        keep: Callable[[np.ndarray], object],
        say: Callable[[Felt, Now], object],
        warn: Callable[[str, str], object],
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        """Two policies of one preset, whatever their weights are.

        `keep` takes each frame's record [1], `say` ten times a second what was felt, `warn` a code and a sentence.
        """
        self._predictor, self._spare = (Predictor(policy, weights=0, step=0) for policy in policies)
        self.layout = self._predictor.layout
        self._link = link
        self._keep, self._say, self._warn = keep, say, warn
        self._clock, self._sleep = clock, sleep
        self._mark = Mark(memories.mark)
        self._memories = memories
        self._sent_weights = memories.weight_tensors(policies[0])
        self._sent_state = memories.state_tensors(policies[0])
        self._state_type = type(policies[0].initial_state(1))
        self._recent = Recent()
        self._work: deque[Generator[None]] = deque()
        """What is to be done in the time that is left, one piece at a time."""
        self._whole = False
        """The spare policy has the weights that came last."""
        self._swap: SwapReady | None = None
        self._swap_state: Any = None
        self._game: _Playable | None = None
        self._next: _Playable | None = None
        self._frame = 0
        self._since = 0
        self._state: Any = None

    def prepare(self, over: Callable[[], bool]) -> bool:
        """Waits for the first game and the first weights; False where it was over before they came."""
        while not over():
            if self._link.poll(0.1):
                self._receive()
            while self._work:
                self._piece()
            if self._next is not None and self._swap is not None and self._swap_is_whole():
                self._begin_game()
                self._warm_up()
                return True
        return False

    def play(self, over: Callable[[], bool], *, frames: int | None = None) -> None:
        """Until it is over, or for so many frames. Call `prepare` first."""
        ticks = Ticks(clock=self._clock, sleep=self._sleep)
        played = 0
        while not over() and (frames is None or played < frames):
            skipped = ticks.skipped
            due, began = ticks.wait()
            seen = self._act()
            tick = Tick(due=due, began=began, done=self._clock())
            played += 1
            self._recent.add(tick, skipped=ticks.skipped - skipped)
            self._record(seen, tick)
            if played % SAY_FRAMES == 0:
                self._say(self._recent.taken(), self._now())
            self._advance()
            self._receive()
            self._use_the_time(ticks, missed=tick.missed)

    def rehearse(self) -> None:
        """One frame that changes nothing: what its work is shared with can be seen while it is repeated."""
        assert self._game is not None
        frame = to_tensors(self._game.sides.live(0, since=0), "cpu")
        self._predictor.act(frame, self._predictor.initial_state(1), self._game.chance_BTK[:, 0])

    def _act(self) -> Any:
        """What a player waits for."""
        assert self._game is not None
        frame = to_tensors(self._game.sides.live(self._frame, since=self._since), "cpu")
        seen, self._state = self._predictor.act(frame, self._state, self._game.chance_BTK[:, self._frame])
        to_controllers(seen.controllers(self._predictor.codec))
        return seen

    def _record(self, seen: Any, tick: Tick) -> None:
        assert self._game is not None
        record = self._predictor.records(seen, self._game.sides, self._frame, since=self._since)[0]
        record["took_ms"], record["late_ms"], record["missed"] = tick.took_ms, tick.late_ms, tick.missed
        self._keep(record)

    def _now(self) -> Now:
        assert self._game is not None
        return Now(
            step=self._predictor.step,
            weights=self._predictor.weights,
            game=self._game.sides.game.content_id,
            character=self._game.character,
            frame_index=self._frame,
        )

    def _advance(self) -> None:
        """To the next frame, with the weights that it is to be played with."""
        assert self._game is not None
        self._frame += 1
        if self._frame == self._game.sides.frames:
            self._begin_game()
            return
        self._mark.set(self._game.number, self._frame)
        self._swap_if_due()

    def _begin_game(self) -> None:
        """The next one where it is there, else the same again: a pilot doesn't stop."""
        self._game, self._next = self._next or self._game, None
        assert self._game is not None
        self._frame = self._since = 0
        self._state = self._predictor.initial_state(1)
        self._mark.set(self._game.number, 0)
        self._link.send(GameBegun(self._game.number))
        self._swap_if_due()
        # Nothing else collects what goes round in circles; between two games nobody waits.
        gc.collect()

    def _receive(self) -> None:
        while self._link.poll():
            match self._link.recv():
                case GameReady() as ready:
                    tensors = self._memories.games[ready.number % 2].tensors(ready.places)
                    self._next = _Playable(
                        number=ready.number,
                        character=ready.character,
                        sides=sides_from(tensors, ready.packed, ready.slot),
                        chance_BTK=tensors["chance"],
                    )
                case WeightsReady() as ready:
                    self._whole = False
                    self._work.append(self._take_weights(ready))
                case SwapReady() as ready:
                    self._swap, self._swap_state = ready, None
                    self._work.append(self._take_state(ready))
                    self._swap_if_due()
                case Notice() as notice:
                    self._warn(notice.code, notice.message)
                case Failed() as failed:
                    raise StagehandError(failed)

    def _take_weights(self, ready: WeightsReady) -> Generator[None]:
        """Copies and hashes, with a pause after each piece."""
        own = self._spare.policy.state_dict()
        for name, sent in self._sent_weights.items():
            source, target = sent.flatten(), own[name].view(-1)
            count = PIECE_BYTES // sent.element_size()
            for start in range(0, len(source), count):
                target[start : start + count].copy_(source[start : start + count])
                yield
        digest = hashlib.blake2b(digest_size=8)
        for piece in hashed_pieces(own, piece_bytes=PIECE_BYTES):
            digest.update(piece)
            yield
        if int.from_bytes(digest.digest(), "big") != ready.in_memory:
            self._swap = None
            self._link.send(WeightsRefused())
            return
        self._spare.step, self._spare.weights = ready.step, ready.checksum
        self._whole = True

    def _take_state(self, ready: SwapReady) -> Generator[None]:
        device = self._spare.policy.device
        if ready.since == ready.frame:
            self._swap_state = self._spare.initial_state(1)
            return
        parts = {}
        for name, sent in self._sent_state.items():
            parts[name] = sent.to(device, copy=True)
            yield
        self._swap_state = self._state_type(**parts)

    def _swap_is_whole(self) -> bool:
        return self._whole and self._swap_state is not None

    def _swap_if_due(self) -> None:
        """Exchanges the two policies where the next frame is the one to do it at."""
        swap = self._swap
        if swap is None or self._game is None:
            return
        at, here = (swap.game, swap.frame), (self._game.number, self._frame)
        if at == here and self._swap_is_whole():
            self._predictor, self._spare = self._spare, self._predictor
            self._state, self._since = self._swap_state, swap.since
            self._swap, self._swap_state, self._whole = None, None, False
            self._link.send(Swapped())
        elif at < here:
            self._swap, self._swap_state = None, None
            self._link.send(SwapLate())

    def _use_the_time(self, ticks: Ticks, *, missed: bool) -> None:
        """Piece after piece of what is to be done, as long as the next tick is far enough."""
        if missed and self._work:
            # A policy that is too slow for its frames has no time left, and should learn all the same.
            self._piece()
        while self._work and self._clock() + PIECE_SECONDS < ticks.due:
            self._piece()
        self._swap_if_due()

    @torch.no_grad()
    def _piece(self) -> None:
        try:
            next(self._work[0])
        except StopIteration:
            self._work.popleft()

    def _warm_up(self) -> None:
        """Both policies and all that comes after them, on frames that do not count."""
        assert self._game is not None
        sides, chance_BTK = self._game.sides, self._game.chance_BTK
        for predictor in (self._spare, self._predictor):
            state = predictor.initial_state(1)
            for t in range(min(WARM_UPS, sides.frames)):
                frame = to_tensors(sides.live(t, since=0), "cpu")
                seen, state = predictor.act(frame, state, chance_BTK[:, t])
                to_controllers(seen.controllers(predictor.codec))
                predictor.records(seen, sides, t, since=0)
