"""Left-right reflection of whole rows: what everyone does, where, and the controllers that did it, together.

In: a `TensorBatch`. Out: one whose rows with `mirror` are reflected. What one gets wrong: `mirror` stays set
in the result, since the encoder needs it for what no column holds (Randall); to reflect twice is to change
nothing.

The stages are taken to be symmetric: Dream Land's platforms differ by up to two units from that, Yoshi's
blast lines by two, and a transformed Stadium by more. Action states stay as they
are: few belong to one direction (Jigglypuff's Rest has its own for each).
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
"""Columns whose sign is left or right, of players, followers and items."""

_FLIPPED = {name: name.split(".")[1] in _SIDEWAYS for name in LAYOUT["f32"]}


def apply_mirror(batch: TensorBatch) -> TensorBatch:
    """The batch with every row of `batch.mirror` reflected; missing values stay missing."""
    reflected = _reflect(batch.columns["f32"], batch.mirror)
    return replace(batch, columns={**batch.columns, "f32": reflected})


def _reflect(numbers: Tensor, mirror_B: Tensor) -> Tensor:
    signs = torch.tensor([-1.0 if _FLIPPED[name] else 1.0 for name in LAYOUT["f32"]], device=numbers.device)
    reflected = numbers * signs
    left, right = POSITION["stage.fod_left"][1], POSITION["stage.fod_right"][1]
    reflected[..., [left, right]] = reflected[..., [right, left]]
    return torch.where(mirror_B[:, None, None], reflected, numbers)
