"""Frames to play on where no game is at hand: those of one of the dojo's matches.

In: a number. Out: a `PackedGame`, and its frames one by one as a live game gives them (numpy, one row) or many rows
at once as tensors. What a reader gets wrong: the columns are real, but the ego's controller in them is the bot's and
not what an agent answered; for clocks and comparisons that makes no difference.

Legend: B rows, T frames.
"""

import tempfile
from pathlib import Path

import numpy as np

from exphil_core.dataset.batches import Batch
from exphil_core.dojo.demo import plan_match, play_match
from exphil_core.replays.columns import GROUPS
from exphil_core.replays.pack import PackedGame, pack_game
from exphil_core.replays.parse import parse_replay


def dojo_game(number: int = 0) -> PackedGame:
    """A whole match; the same for the same number."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "match.slp"
        path.write_bytes(play_match(plan_match(0, number)))
        return pack_game(parse_replay(path))


def live_frame(game: PackedGame, t: int) -> Batch:
    """Frame t as the only frame of the only row, player 0 the ego; after its last frame the game begins again."""
    t %= game.frames
    return _batch(game, np.array([[t]]), np.array([[t == 0]]))


def rows_of(game: PackedGame, *, rows: int, frames: int, reset_BT: np.ndarray) -> Batch:
    """`frames` frames in each of `rows` rows, which start at different places of the game."""
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
