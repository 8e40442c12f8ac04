"""Input noise as an augmentation: some rows see positions, velocities and percent a little off.

In: a `TensorBatch` and a seed. Out: the batch with noise in some of its rows. What one gets wrong: it must
never touch a controller, which is what the policy is to predict, nor make a missing value look known.
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
    """Each row with probability `share`: Gaussian noise of `scale`, in normalised units, on both players'
    numbers.

    The same seed gives the same noise on every device.
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
