"""Batches as tensors on a device, and the prediction targets of their frames.

The observation at t already holds the controller of t, so its target is the controller of t + horizon, with
horizon = 1 + delay ≥ 1. Batches have `chunk_length + horizon` frames; the last `horizon` frames are only targets.

Legend: B batch, L = T + horizon frames, T chunk length, C columns of a dtype group, K components of a codec.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from exphil_core.dataset.batches import Batch
from exphil_core.encoding.codecs import Codec, ControllerTensors
from exphil_core.melee import characters
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID
from exphil_core.replays.columns import GROUPS, MISSING, POSITION, Group

Who = Literal["p0", "p1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorBatch:
    """The dataset's `Batch` as tensors on one device."""

    columns: dict[Group, Tensor]
    """[B, L, C] per dtype group, with the ego in `p0`/`n0`: `f32` as float32 with NaN for missing, `u16` as int32,
    `u8` as uint8."""
    frame_id: Tensor
    """int32 [B, L]."""
    valid: Tensor
    """bool [B, L]; False past the end of a game."""
    reset: Tensor
    """bool [B, L]; True where recurrent state is cleared before the frame."""
    ego_slot: Tensor
    """uint8 [B]; which of the game's two players (0 or 1) is the ego."""
    external_id: Tensor
    """uint8 [B]; the ego's most-played character in this game; `characters_by_frame` gives it per frame."""
    stage: Tensor
    """uint8 [B]; external stage ids."""
    mirror: Tensor
    """bool [B]; rows to be reflected, or already reflected by `apply_mirror`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Tokens to predict, and the mask of those that count."""

    tokens_BTK: Tensor
    """int64; tokens of the controller at t + horizon."""
    previous_BTK: Tensor
    """int64; tokens of the controller at t."""
    mask_BT: Tensor
    """bool; frames whose target counts."""


def to_tensors(batch: Batch, device: torch.device | str) -> TensorBatch:
    """Copy a numpy batch to a device."""

    def moved(array: np.ndarray) -> Tensor:
        # torch supports few operations on uint16.
        widened = array.astype(np.int32) if array.dtype == np.uint16 else array
        return torch.from_numpy(np.require(widened, requirements=("C", "W"))).to(device, non_blocking=True)

    return TensorBatch(
        columns={group: moved(batch.columns[group]) for group in GROUPS},
        frame_id=moved(batch.frame_id),
        valid=moved(batch.valid),
        reset=moved(batch.reset),
        ego_slot=moved(batch.ego_slot),
        external_id=moved(batch.external_id),
        stage=moved(batch.stage),
        mirror=moved(batch.mirror),
    )


def controller_at(columns: Mapping[Group, Tensor], who: Who = "p0") -> ControllerTensors:
    """Select a player's controller at every frame, [B, L] per field; missing values are kept."""

    def column(name: str) -> Tensor:
        group, index = POSITION[f"{who}.{name}"]
        return columns[group][..., index]

    return ControllerTensors(
        main_x=column("main_x"),
        main_y=column("main_y"),
        c_x=column("c_x"),
        c_y=column("c_y"),
        trigger_l=column("trigger_l"),
        trigger_r=column("trigger_r"),
        buttons=column("buttons"),
    )


def characters_by_frame(columns: Mapping[Group, Tensor], main_B: Tensor, who: Who = "p0") -> Tensor:
    """Find a player's character in every frame, for per-character metrics.

    This is the most-played character, or the one it transforms into where the frame's internal id says so; the same
    rule as in `replays.game.frames_by_character`.

    Args:
        columns: Columns by dtype group, [B, L, C].
        main_B: External id of the player's most-played character.
        who: The player.

    Returns:
        External ids, int64 [B, L].
    """
    group, index = POSITION[f"{who}.internal_id"]
    internal_id = columns[group][..., index]
    main = main_B.long()[:, None].expand(internal_id.shape)
    found = main
    for external_id, becomes in characters.TRANSFORMS.items():
        transformed = internal_id == characters.by_external_id(becomes).internal_id
        found = torch.where((main == external_id) & transformed, becomes, found)
    return found


def build_targets(batch: TensorBatch, codec: Codec, *, horizon: int | Tensor, chunk_length: int) -> Targets:
    """Compute the targets of the first `chunk_length` frames: the ego's controller `horizon` frames later.

    A target counts where both frames are part of the game, the target's controller is known, its frame id is at least
    -39 (the first frame with control) and the ego has stocks left at the observation; missing stocks count as left.

    Args:
        batch: A batch of at least `chunk_length + horizon` frames.
        codec: The codec that encodes the controllers.
        horizon: Frames ahead: one number for all rows, or int64 [B], whose bounds are not checked.
        chunk_length: Number of observed frames.

    Raises:
        ValueError: A horizon below 1, or too few frames (for an integer `horizon`).
    """
    length = batch.frame_id.shape[1]
    observed = slice(0, chunk_length)
    if isinstance(horizon, Tensor):
        assert length > chunk_length
        at_BT = torch.arange(chunk_length, device=batch.frame_id.device) + horizon[:, None]

        def at_horizon(values: Tensor) -> Tensor:
            at = at_BT if values.dim() == 2 else at_BT[..., None].expand(-1, -1, values.shape[-1])
            return values.gather(1, at)

    else:
        if horizon < 1 or length < chunk_length + horizon:
            raise ValueError(
                f"targets: {length} frames with horizon {horizon}; expected a horizon of at least 1 and "
                f"at least chunk_length + horizon = {chunk_length + horizon} frames"
            )
        later = slice(horizon, chunk_length + horizon)

        def at_horizon(values: Tensor) -> Tensor:
            return values[:, later]

    controller = controller_at(batch.columns)
    tokens = codec.encode(controller)

    sticks = torch.stack((controller.main_x, controller.main_y, controller.c_x, controller.c_y), dim=-1)
    known = ~sticks.isnan().any(dim=-1) & (controller.buttons != MISSING["u16"])
    group, index = POSITION["p0.stocks"]
    alive = batch.columns[group][..., index] > 0
    mask = (
        batch.valid[:, observed]
        & alive[:, observed]
        & at_horizon(batch.valid)
        & at_horizon(known)
        & (at_horizon(batch.frame_id) >= FIRST_PLAYABLE_FRAME_ID)
    )
    return Targets(tokens_BTK=at_horizon(tokens), previous_BTK=tokens[:, observed], mask_BT=mask)
