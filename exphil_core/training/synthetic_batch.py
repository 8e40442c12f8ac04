"""A batch of random columns, for measurements of speed and memory and for counting FLOPs."""

import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.replays.columns import LAYOUT, POSITION, Group

CHARACTER, STAGE = 2, 31
"""External ids in the synthetic frames."""


def synthetic_batch(rows: int, frames: int, device: torch.device) -> TensorBatch:
    """Return a batch of random columns in which every frame is valid."""
    chance = torch.Generator().manual_seed(0)

    def integers(group: Group, below: int) -> Tensor:
        return torch.randint(0, below, (rows, frames, len(LAYOUT[group])), generator=chance)

    u8 = integers("u8", 5)
    u8[:, :, POSITION["p0.stocks"][1]] = 4
    reset = torch.zeros(rows, frames, dtype=torch.bool)
    reset[:, 0] = True
    return TensorBatch(
        columns={
            "f32": (torch.rand(rows, frames, len(LAYOUT["f32"]), generator=chance) * 2 - 1).to(device),
            "u16": integers("u16", 300).to(device, torch.int32),
            "u8": u8.to(device, torch.uint8),
        },
        frame_id=torch.arange(frames, dtype=torch.int32, device=device).repeat(rows, 1),
        valid=torch.ones(rows, frames, dtype=torch.bool, device=device),
        reset=reset.to(device),
        ego_slot=torch.zeros(rows, dtype=torch.uint8, device=device),
        external_id=torch.full((rows,), CHARACTER, dtype=torch.uint8, device=device),
        stage=torch.full((rows,), STAGE, dtype=torch.uint8, device=device),
        mirror=torch.zeros(rows, dtype=torch.bool, device=device),
    )
