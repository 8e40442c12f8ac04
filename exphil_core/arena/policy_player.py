"""A policy as a player, batched over all its matches, and its excess in them (`excess.py`).

Rows are computed in blocks of a fixed size, so a match is the same to the bit however many are played at once: a
matrix product of another height may round a row differently.

Legend: B rows of a block, D width, K components, N possible inputs of all rows together.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from exphil_core.arena.excess import ReferenceBots, TokenDistribution
from exphil_core.arena.players import BotPlayer, Excess, Seat
from exphil_core.dataset.batches import Batch
from exphil_core.dojo.environment import observe
from exphil_core.encoding.batch import to_tensors
from exphil_core.inference.agent import Agent, to_controllers
from exphil_core.inference.runtime import EagerRuntime
from exphil_core.melee.controller import NEUTRAL, Controller
from exphil_core.models.policy import Policy
from exphil_core.replays.columns import DTYPES, GROUPS, LAYOUT, MISSING

BLOCK_ROWS = 16
"""Rows computed together: one match costs as much as this many."""


class PolicyPlayer:
    """Samples a policy's controllers, one agent for each block of rows."""

    def __init__(
        self, policy: Policy, *, name: str, temperature: float = 1.0, teacher: BotPlayer | None = None
    ) -> None:
        """Wrap a policy in evaluation mode.

        Args:
            policy: The policy.
            name: Name in tables and recordings.
            temperature: Sampling temperature; the excess is that of the learned distribution, temperature 1.
            teacher: Plays instead of the policy, which only observes: its excess is then that on the bot's states.

        Raises:
            UsageError: The temperature is out of range.
        """
        self.name = name
        self.policy = policy
        self._temperature = temperature
        self._teacher = teacher
        self._reference = ReferenceBots(policy.codec)
        self._components = len(policy.codec.components)
        self._blocks: dict[int, Agent] = {}
        self._seated: dict[int, _PolicySeat] = {}
        self._agent()

    def _agent(self) -> Agent:
        return Agent(EagerRuntime(self.policy), BLOCK_ROWS, temperature=self._temperature)

    def begin(self, seat: Seat) -> None:
        dice = np.random.default_rng(seat.dice().getrandbits(128))
        self._seated[seat.row] = _PolicySeat(dice, horizon=self.policy.horizon)
        self._reference.begin(seat)
        if self._teacher is not None:
            self._teacher.begin(seat)

    def act(self, seats: Sequence[Seat]) -> list[Controller]:
        found: dict[int, Controller] = {}
        blocks: dict[int, list[Seat]] = {}
        for seat in seats:
            blocks.setdefault(seat.row // BLOCK_ROWS, []).append(seat)
        for block, seated in sorted(blocks.items()):
            if block not in self._blocks:
                self._blocks[block] = self._agent()
            found |= self._act(self._blocks[block], seated)
        if self._teacher is not None:
            return self._teacher.act(seats)
        return [found[seat.row] for seat in seats]

    def end(self, seat: Seat) -> Excess:
        if self._teacher is not None:
            self._teacher.end(seat)
        self._reference.end(seat)
        return self._seated.pop(seat.row).excess

    def _act(self, agent: Agent, seats: Sequence[Seat]) -> dict[int, Controller]:
        rows = [seat.row % BLOCK_ROWS for seat in seats]
        uniform_BK = np.zeros((BLOCK_ROWS, self._components), np.float32)
        for row, seat in zip(rows, seats, strict=True):
            # Below 1 in float32, too.
            uniform_BK[row] = self._seated[seat.row].dice.random(self._components, np.float32)
        frame = to_tensors(_batch(seats, rows), "cpu")
        controllers, y_BD = agent.act_and_features(frame, uniform_BK=torch.from_numpy(uniform_BK))
        previous_BK = self.policy.previous(frame)[:, 0]
        for row, seat in zip(rows, seats, strict=True):
            self._seated[seat.row].seen.append((y_BD[row], previous_BK[row]))
        self._add_excess(seats)
        played = to_controllers(controllers)
        return {
            seat.row: played[row] if seat.played.playable else NEUTRAL
            for row, seat in zip(rows, seats, strict=True)
        }

    @torch.inference_mode()
    def _add_excess(self, seats: Sequence[Seat]) -> None:
        """Add the excess of what was predicted for the next frame, `horizon` - 1 frames before the newest one."""
        compared: list[tuple[_PolicySeat, TokenDistribution]] = []
        for seat in seats:
            expected, seated = self._reference.distribution(seat), self._seated[seat.row]
            if expected is not None and len(seated.seen) == self.policy.horizon:
                compared.append((seated, expected))
        if not compared:
            return
        counts = torch.tensor([len(expected.probabilities_N) for _, expected in compared])
        device = self.policy.device
        y_ND = torch.stack([seated.seen[0][0] for seated, _ in compared]).repeat_interleave(
            counts.to(device), dim=0
        )
        previous_NK = torch.stack([seated.seen[0][1] for seated, _ in compared]).repeat_interleave(
            counts, dim=0
        )
        tokens_NK = torch.cat([expected.tokens_NK for _, expected in compared])
        nats_N1K = self.policy.head.nll(
            y_ND[:, None], previous_NK[:, None].to(device), tokens_NK[:, None].to(device)
        )
        nats_N = nats_N1K.sum(dim=(1, 2)).double().cpu()
        for (seated, expected), part_N in zip(compared, nats_N.split(counts.tolist()), strict=True):
            cross = float((expected.probabilities_N * part_N).sum())
            seated.excess = seated.excess.plus(cross, expected.entropy)


class _PolicySeat:
    """What a policy's seat needs besides its agent."""

    def __init__(self, dice: np.random.Generator, *, horizon: int) -> None:
        self.dice = dice
        self.seen: deque[tuple[Tensor, Tensor]] = deque(maxlen=horizon)
        """The head's inputs [D] and [K] of the newest frames, oldest first."""
        self.excess = Excess()


def _batch(seats: Sequence[Seat], rows: Sequence[int]) -> Batch:
    """Return one frame of each seat in its row; the other rows hold missing values."""
    observed = observe([seat.played for seat in seats], [seat.side for seat in seats])
    columns = {}
    for group in GROUPS:
        columns[group] = np.full((BLOCK_ROWS, 1, len(LAYOUT[group])), MISSING[group], DTYPES[group])
        columns[group][rows, 0] = observed[group]

    def filled(values: Sequence[int], dtype: type) -> np.ndarray:
        found: np.ndarray = np.zeros(BLOCK_ROWS, dtype)
        found[rows] = values
        return found

    frames = [seat.played.world.frame_id for seat in seats]
    return Batch(
        columns=columns,
        frame_id=filled(frames, np.int32)[:, None],
        valid=filled([True] * len(seats), np.bool_)[:, None],
        reset=filled([seat.played.before is None for seat in seats], np.bool_)[:, None],
        ego_slot=filled([seat.side for seat in seats], np.uint8),
        external_id=filled([seat.external_id for seat in seats], np.uint8),
        stage=filled([seat.played.match.stage.external_id for seat in seats], np.uint8),
        mirror=np.zeros(BLOCK_ROWS, np.bool_),
        game=np.zeros(BLOCK_ROWS, np.int32),
        start=np.zeros(BLOCK_ROWS, np.int32),
    )
