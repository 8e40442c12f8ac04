"""Action dropout: hide or replace the ego's own controller in the observed batch.

It counters the copycat problem: a policy that repeats its last input is rarely wrong in training but fails in play,
where the last input may be its own mistake. Compute targets from the unchanged batch, not from the result.

Legend: B batch, T frames, K components.
"""

from dataclasses import replace

import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.codecs import ControllerTensors
from exphil_core.replays.columns import MISSING, POSITION, PRE_COLUMNS, Group

_PLACES: dict[str, tuple[Group, int]] = {column.name: POSITION[f"p0.{column.name}"] for column in PRE_COLUMNS}


def neutralize_own_actions(batch: TensorBatch) -> TensorBatch:
    """Set the ego's controller to neutral on every frame, for the copycat diagnostic.

    A policy that mostly repeats its last input loses nearly all of its accuracy this way.
    """
    columns = {group: tensor.clone() for group, tensor in batch.columns.items()}
    for group, index in _PLACES.values():
        columns[group][..., index] = 0
    return replace(batch, columns=columns)


def drop_own_actions(batch: TensorBatch, *, seed: int, share: float) -> TensorBatch:
    """Mark the ego's controller as missing on each frame with probability `share`.

    The same seed hides the same frames on every device.
    """
    hidden_BT = _chosen(batch, seed=seed, share=share)
    columns = {group: tensor.clone() for group, tensor in batch.columns.items()}
    for group, index in _PLACES.values():
        columns[group][..., index].masked_fill_(hidden_BT, MISSING[group])
    return replace(batch, columns=columns)


def replace_own_actions(
    batch: TensorBatch, controllers: ControllerTensors, known_BT: Tensor, *, seed: int, share: float
) -> TensorBatch:
    """Replace the ego's controller by `controllers` [B, T], on each frame of `known_BT` with probability `share`.

    The same seed replaces the same frames on every device.
    """
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
