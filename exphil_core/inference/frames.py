"""Frames of a simulated dojo match, for benchmarks and comparisons without a replay.

The ego's controller in the columns is the bot's, not the agent's output; timings and comparisons do not depend on it.

Legend: B rows, T frames.
"""

import tempfile
from pathlib import Path

import numpy as np

from exphil_core.dataset.batches import Batch
from exphil_core.dojo.demo import play_match
from exphil_core.dojo.match import plan_match
from exphil_core.replays.columns import GROUPS
from exphil_core.replays.pack import PackedGame, pack_game
from exphil_core.replays.parse import parse_replay


def dojo_game(number: int = 0) -> PackedGame:
    """Play match `number` and return it whole; the same number gives the same match."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "match.slp"
        path.write_bytes(play_match(plan_match(0, number)))
        return pack_game(parse_replay(path))


def live_frame(game: PackedGame, t: int) -> Batch:
    """Return frame t as a batch of one row and one frame, with player 0 as the ego; t wraps around at the end."""
    t %= game.frames
    return _batch(game, np.array([[t]]), np.array([[t == 0]]))


def rows_of(game: PackedGame, *, rows: int, frames: int, reset_BT: np.ndarray) -> Batch:
    """Return `frames` frames in each of `rows` rows, which start at different frames of the game."""
    start = np.arange(rows)[:, None] * (game.frames // rows)
    return _batch(game, (start + np.arange(frames)) % game.frames, reset_BT)


def _batch(game: PackedGame, index_BT: np.ndarray, reset_BT: np.ndarray) -> Batch:
    rows = len(index_BT)
    return Batch(
        columns={group: game.groups[group][index_BT] for group in GROUPS},
        frame_id=game.frame_id[index_BT],
        valid=np.ones_like(reset_BT),
        reset=reset_BT,
        ego_slot=np.zeros(rows, np.uint8),
        external_id=np.full(rows, game.sides[0].external_id, np.uint8),
        stage=np.full(rows, game.external_stage_id, np.uint8),
        mirror=np.zeros(rows, np.bool_),
        game=np.zeros(rows, np.int32),
        start=index_BT[:, 0].astype(np.int32),
    )
