"""A policy as a player, batched over all its matches.

Rows are computed in blocks of a fixed size, so a match is the same to the bit however many are played at once: a
matrix product of another height may round a row differently.

Legend: B rows of a block, K components.
"""

from collections.abc import Sequence

import numpy as np
import torch

from exphil_core.arena.players import Seat
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

    def __init__(self, policy: Policy, *, name: str, temperature: float = 1.0) -> None:
        """Wrap a policy in evaluation mode.

        Raises:
            UsageError: The temperature is out of range.
        """
        self.name = name
        self.policy = policy
        self._temperature = temperature
        self._components = len(policy.codec.components)
        self._blocks: dict[int, Agent] = {}
        self._dice: dict[int, np.random.Generator] = {}
        self._agent()

    def _agent(self) -> Agent:
        return Agent(EagerRuntime(self.policy), BLOCK_ROWS, temperature=self._temperature)

    def begin(self, seat: Seat) -> None:
        self._dice[seat.row] = np.random.default_rng(seat.dice().getrandbits(128))

    def act(self, seats: Sequence[Seat]) -> list[Controller]:
        found: dict[int, Controller] = {}
        blocks: dict[int, list[Seat]] = {}
        for seat in seats:
            blocks.setdefault(seat.row // BLOCK_ROWS, []).append(seat)
        for block, seated in sorted(blocks.items()):
            if block not in self._blocks:
                self._blocks[block] = self._agent()
            found |= self._act(self._blocks[block], seated)
        return [found[seat.row] for seat in seats]

    def end(self, seat: Seat) -> None:
        del self._dice[seat.row]

    def _act(self, agent: Agent, seats: Sequence[Seat]) -> dict[int, Controller]:
        rows = [seat.row % BLOCK_ROWS for seat in seats]
        uniform_BK = np.zeros((BLOCK_ROWS, self._components), np.float32)
        for row, seat in zip(rows, seats, strict=True):
            # Below 1 in float32, too.
            uniform_BK[row] = self._dice[seat.row].random(self._components, np.float32)
        frame = to_tensors(_batch(seats, rows), "cpu")
        played = to_controllers(agent.act(frame, uniform_BK=torch.from_numpy(uniform_BK)))
        return {
            seat.row: played[row] if seat.played.playable else NEUTRAL
            for row, seat in zip(rows, seats, strict=True)
        }


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
