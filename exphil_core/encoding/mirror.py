"""Mirror augmentation: reflect rows left to right, game state and controllers together.

All stages are treated as symmetric: Dream Land's platforms are off by up to two units, Yoshi's blast lines by two, a
transformed Stadium by more. Action states are unchanged; few of them have a direction (Jigglypuff's Rest has two).
"""

from dataclasses import replace

import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.replays.columns import LAYOUT, POSITION

_SIDEWAYS = frozenset(
    (
        "main_x",
        "c_x",
        "position_x",
        "direction",
        "velocity_air_x",
        "velocity_ground_x",
        "velocity_x",
        "knockback_x",
    )
)
"""Columns of players, followers and items whose sign means left or right."""

_FLIPPED = {name: name.split(".")[1] in _SIDEWAYS for name in LAYOUT["f32"]}


def apply_mirror(batch: TensorBatch) -> TensorBatch:
    """Reflect the rows that `batch.mirror` selects; missing values stay missing.

    `mirror` stays set in the result, because the encoder needs it for Randall, whose position is in no column.
    Reflecting twice therefore restores the original batch.
    """
    reflected = _reflect(batch.columns["f32"], batch.mirror)
    return replace(batch, columns={**batch.columns, "f32": reflected})


def _reflect(numbers: Tensor, mirror_B: Tensor) -> Tensor:
    signs = torch.tensor([-1.0 if _FLIPPED[name] else 1.0 for name in LAYOUT["f32"]], device=numbers.device)
    reflected = numbers * signs
    left, right = POSITION["stage.fod_left"][1], POSITION["stage.fod_right"][1]
    reflected[..., [left, right]] = reflected[..., [right, left]]
    return torch.where(mirror_B[:, None, None], reflected, numbers)
