"""What the ego itself did, hidden from what a policy sees or replaced in it.

In: a batch, as it is observed. Out: one whose `p0` controller columns are changed on some frames. What one gets
wrong: targets are taken from the batch as it was. A policy that mostly repeats its last input is hardly ever wrong in
training and lost in play, where the last input was its own mistake: that is what these are against.

Legend: B batch, T frames, K components.
"""

from dataclasses import replace

import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.codecs import ControllerTensors
from exphil_core.replays.columns import MISSING, POSITION, PRE_COLUMNS, Group

_PLACES: dict[str, tuple[Group, int]] = {column.name: POSITION[f"p0.{column.name}"] for column in PRE_COLUMNS}


def without_own_inputs(batch: TensorBatch) -> TensorBatch:
    """The batch with the ego's controller at rest on every frame: the copycat probe's blindfold.

    A policy that mostly repeats its last input loses nearly everything with it.
    """
    columns = {group: tensor.clone() for group, tensor in batch.columns.items()}
    for group, index in _PLACES.values():
        columns[group][..., index] = 0
    return replace(batch, columns=columns)


def hide_own_inputs(batch: TensorBatch, *, seed: int, share: float) -> TensorBatch:
    """Each frame with probability `share`: the ego's controller is missing there.

    The same seed hides the same frames on every device.
    """
    hidden_BT = _chosen(batch, seed=seed, share=share)
    columns = {group: tensor.clone() for group, tensor in batch.columns.items()}
    for group, index in _PLACES.values():
        columns[group][..., index].masked_fill_(hidden_BT, MISSING[group])
    return replace(batch, columns=columns)


def replace_own_inputs(
    batch: TensorBatch, controllers: ControllerTensors, known_BT: Tensor, *, seed: int, share: float
) -> TensorBatch:
    """Each frame of `known_BT` with probability `share`: the ego's controller is that of `controllers` [B, T]."""
    chosen_BT = _chosen(batch, seed=seed, share=share) & known_BT
    columns = {group: tensor.clone() for group, tensor in batch.columns.items()}
    for name, (group, index) in _PLACES.items():
        column = columns[group][..., index]
        column.copy_(torch.where(chosen_BT, getattr(controllers, name).to(column.dtype), column))
    return replace(batch, columns=columns)


def _chosen(batch: TensorBatch, *, seed: int, share: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(batch.frame_id.shape)
    return (torch.rand(shape, generator=generator) < share).to(batch.frame_id.device)
