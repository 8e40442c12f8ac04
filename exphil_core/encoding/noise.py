"""Input noise augmentation: Gaussian noise on positions, velocities and percent.

It never changes a controller, which is the prediction target, and missing values stay missing.
"""

from dataclasses import replace

import torch

from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.numerics import PLAYER_NUMERICS
from exphil_core.replays.columns import LAYOUT

_NOISY = ("position_x", "position_y", "velocity_air_x", "velocity_ground_x", "velocity_y", "percent")
_UNIT = {numeric.name: numeric.constant for numeric in PLAYER_NUMERICS if numeric.name in _NOISY}
_COLUMNS = [
    (index, _UNIT[name.split(".")[1]])
    for index, name in enumerate(LAYOUT["f32"])
    if name.startswith(("p0.", "p1.")) and name.split(".")[1] in _UNIT
]


def apply_noise(batch: TensorBatch, *, seed: int, share: float, scale: float) -> TensorBatch:
    """Add Gaussian noise to both players' numbers in some rows.

    The same seed gives the same noise on every device.

    Args:
        batch: The batch, unchanged by this function.
        seed: Seed of rows and noise.
        share: Probability that a row gets noise; 0 turns it off.
        scale: Standard deviation in normalised units (`Numeric.constant`); 0 turns it off.
    """
    if share <= 0.0 or scale <= 0.0:
        return batch
    numbers = batch.columns["f32"]
    rows, frames = numbers.shape[:2]
    generator = torch.Generator().manual_seed(seed)
    chosen = (torch.rand(rows, generator=generator) < share).to(numbers.device)
    noise = torch.randn((rows, frames, len(_COLUMNS)), generator=generator).to(numbers.device)
    units = torch.tensor([unit for _, unit in _COLUMNS], device=numbers.device)
    indices = torch.tensor([index for index, _ in _COLUMNS], device=numbers.device)
    noisy = numbers.index_add(2, indices, noise * (units * scale) * chosen[:, None, None])
    return replace(batch, columns={**batch.columns, "f32": noisy})
