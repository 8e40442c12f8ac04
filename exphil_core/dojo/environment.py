"""The dojo as an environment: a match advanced frame by frame, observed as the columns of its replay.

A policy observes in play what it observed in training: the columns of a frame equal those that the parsed recording
of the match has (`tests/laws/test_environment.py`).

Legend: B rows, one per observed match and seat; C columns of a dtype group.
"""

import copy
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

import numpy as np

from exphil_core.dojo.match import Match
from exphil_core.dojo.physics import step
from exphil_core.dojo.slp_writer import SlpWriter, Value
from exphil_core.dojo.world import Frame, Post, World
from exphil_core.melee.controller import NEUTRAL, Controller
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID
from exphil_core.replays.columns import DTYPES, GROUPS, HALF, LAYOUT, MISSING, PLAYER_COLUMNS, Group

LAST_FRAME_ID: Final = 4800
"""A match that is undecided at this frame ends by time."""

Controllers = tuple[Controller, Controller]


class DojoMatch:
    """One match in progress. `step` advances it by a frame; `save` keeps it as it is."""

    __slots__ = ("_writer", "before", "controllers", "frame", "match", "world")

    def __init__(self, match: Match, *, record: bool = False) -> None:
        """Start a match.

        Args:
            match: Its players, ports, stage and seed.
            record: Keep every frame, so that `replay` can return the match as a file.
        """
        self.match = match
        self.world = World(match.stage, match.external_ids, match.port_indices)
        self.frame: Frame | None = None
        """The newest frame; None before the first step."""
        self.before: Frame | None = None
        """The frame before it."""
        self.controllers: Controllers = (NEUTRAL, NEUTRAL)
        """The controllers of the newest frame."""
        self._writer: SlpWriter | None = None
        if record:
            self._writer = SlpWriter(self.world, random_seed=match.random_seed, match_id=match.match_id)

    @property
    def over(self) -> bool:
        """Whether a player has lost the last stock, or the time is up."""
        return self.world.over or self.world.frame_id >= LAST_FRAME_ID

    @property
    def playable(self) -> bool:
        """Whether the next frame takes inputs."""
        return self.world.frame_id + 1 >= FIRST_PLAYABLE_FRAME_ID

    def step(self, controllers: Controllers) -> Frame:
        """Advance by one frame. Inputs before the first playable frame are neutral, whatever is given."""
        assert not self.over, "the match is over"
        if not self.playable:
            controllers = (NEUTRAL, NEUTRAL)
        frame = step(self.world, controllers)
        if self._writer is not None:
            self._writer.add(controllers, frame, self.frame)
        self.before, self.frame, self.controllers = self.frame, frame, controllers
        return frame

    def save(self) -> "DojoMatch":
        """Return a copy that continues like this match; neither changes the other."""
        found = copy.copy(self)
        found.world = self.world.copied()
        found._writer = None if self._writer is None else self._writer.copied(found.world)
        return found

    def replay(self, dojo: Mapping[str, Value]) -> bytes:
        """Return the match so far as the bytes of an `.slp` file, with `dojo` in its metadata."""
        assert self._writer is not None, "the match was not recorded"
        return self._writer.finish(dojo=dojo)


def observe(matches: Sequence[DojoMatch], seats: Sequence[int]) -> dict[Group, np.ndarray]:
    """Return the newest frame of each match as dataset rows, [B, C] per group, with the seat's half first.

    Args:
        matches: Matches with at least one frame.
        seats: For each match, whose view: 0 or 1.
    """
    rows = {
        group: np.full((len(matches), len(LAYOUT[group])), MISSING[group], DTYPES[group]) for group in GROUPS
    }
    for half in (0, 1):
        players = []
        for match, seat in zip(matches, seats, strict=True):
            side = seat if half == 0 else 1 - seat
            assert match.frame is not None, "a match is observed after its first frame"
            players.append((*_values(match.controllers[side]), *match.frame.posts[side]))
        for group in GROUPS:
            first, sources = half * HALF[group], _SOURCES[group]
            values = [[player[source] for source in sources] for player in players]
            rows[group][:, first : first + len(sources)] = np.array(values, DTYPES[group]).reshape(
                len(matches), len(sources)
            )
    return rows


_values = attrgetter(*Controller.__slots__)
_FIELDS: Final = (*Controller.__slots__, *Post._fields)
_SOURCES: Final = {
    group: [_FIELDS.index(column.name) for column in PLAYER_COLUMNS if column.group == group]
    for group in GROUPS
}
"""By group: where each of a player's columns stands among the fields of its controller and its `Post`."""
