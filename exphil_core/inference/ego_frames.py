"""A whole game from its players' view: observations per frame, and the targets `horizon` frames later.

All frames are converted at once, so nothing is read or converted during play. To measure the latency of live play,
use `live`, which returns one frame as numpy columns, as a game does.

Legend: B rows (one per ego), T frames of the game, K components.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from exphil_core.dataset.batches import Batch
from exphil_core.dataset.store import MISSING_FRAME_ID
from exphil_core.encoding.batch import TensorBatch, build_targets, to_tensors
from exphil_core.encoding.codecs import Codec
from exphil_core.models.policy import slice_frames
from exphil_core.replays.columns import GROUPS, HALF, MISSING, Group
from exphil_core.replays.pack import PackedGame


@dataclass(frozen=True, slots=True, kw_only=True)
class EgoFrames:
    """A game's observations and targets for one or more egos; built by `build_ego_frames`."""

    game: PackedGame
    slots: tuple[int, ...]
    observed: TensorBatch
    """All T frames; `reset` is False everywhere."""
    tokens_BTK: Tensor
    """int64; each ego's controller `horizon` frames later, neutral where unknown."""
    previous_BTK: Tensor
    """int64; each ego's controller in the frame itself."""
    mask_BT: np.ndarray
    """bool; frames whose target counts."""

    @property
    def frames(self) -> int:
        return self.game.frames

    def stretch(self, start: int, stop: int, *, since: int) -> TensorBatch:
        """Return frames `start` to `stop` - 1 of every row, with `reset` set at frame `since`."""
        found = slice_frames(self.observed, start, stop)
        if not start <= since < stop:
            return found
        reset = torch.zeros_like(found.reset)
        reset[:, since - start] = True
        return replace(found, reset=reset)

    def live(self, frame_index: int, *, since: int) -> Batch:
        """Return one frame of every row as a live game gives it; `reset` is set if it is frame `since`."""
        return _batch(self.game, self.slots, frame_index, frame_index + 1, since=since)


def build_ego_frames(game: PackedGame, slots: Sequence[int], codec: Codec, *, horizon: int) -> EgoFrames:
    """Build the observations and targets of the players in `slots` (0 or 1 each)."""
    whole = to_tensors(_batch(game, slots, 0, game.frames + horizon, since=None), "cpu")
    targets = build_targets(whole, codec, horizon=horizon, chunk_length=game.frames)
    return EgoFrames(
        game=game,
        slots=tuple(slots),
        observed=slice_frames(whole, 0, game.frames),
        tokens_BTK=targets.tokens_BTK,
        previous_BTK=targets.previous_BTK,
        mask_BT=targets.mask_BT.numpy(),
    )


def _batch(game: PackedGame, slots: Sequence[int], start: int, stop: int, *, since: int | None) -> Batch:
    """Return frames of every row, padded past the end of the game as the dataset pads it."""
    rows, length = len(slots), stop - start
    found = max(0, min(length, game.frames - start))
    frame_id = np.full((rows, length), MISSING_FRAME_ID, np.int32)
    frame_id[:, :found] = game.frame_id[start : start + found]
    valid = np.zeros((rows, length), np.bool_)
    valid[:, :found] = True
    reset = np.zeros_like(valid)
    if since is not None and start <= since < stop:
        reset[:, since - start] = True
    return Batch(
        columns={
            group: np.stack([_columns(game, group, slot, start, found, length) for slot in slots])
            for group in GROUPS
        },
        frame_id=frame_id,
        valid=valid,
        reset=reset,
        ego_slot=np.array(slots, np.uint8),
        external_id=np.array([game.sides[slot].external_id for slot in slots], np.uint8),
        stage=np.full(rows, game.external_stage_id, np.uint8),
        mirror=np.zeros(rows, np.bool_),
        game=np.zeros(rows, np.int32),
        start=np.full(rows, start, np.int32),
    )


def _columns(game: PackedGame, group: Group, slot: int, start: int, found: int, length: int) -> np.ndarray:
    """Return columns [length, C] of one group with the ego's half first."""
    source, half = game.groups[group][start : start + found], HALF[group]
    rows = np.full((length, source.shape[1]), MISSING[group], source.dtype)
    rows[:found] = source
    if slot == 1:
        rows[:found, :half], rows[:found, half : 2 * half] = source[:, half : 2 * half], source[:, :half]
    return rows
