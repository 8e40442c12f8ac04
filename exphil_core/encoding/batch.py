"""A batch on its device, and what is to be predicted in it.

In: the dataset's `Batch` (numpy, on the host). Out: a `TensorBatch`, and the `Targets` of its frames. What
one gets wrong: the observation at t holds the controller of t, so the target is the controller of t + horizon
with horizon = 1 + delay ≥ 1. Batches are `chunk_length + horizon` frames long; the last `horizon` frames are
there to be targets only.

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
    columns: dict[Group, Tensor]
    """Per dtype group [B, L, C], the ego's in `p0`/`n0`: float32 with NaN for missing; `u16` as int32; `u8`
    as uint8."""
    frame_id: Tensor
    """int32 [B, L]."""
    valid: Tensor
    """bool [B, L]; False past the end of a game."""
    reset: Tensor
    """bool [B, L]; True at the first frame of what a row plays."""
    ego_slot: Tensor
    """uint8 [B]; which of the game's two players the ego is."""
    external_id: Tensor
    """uint8 [B]; the character that the ego plays most in this game. `characters_on_stage` has it by frame."""
    stage: Tensor
    """uint8 [B]; external stage ids."""
    mirror: Tensor
    """bool [B]; rows that are to be reflected, or have been."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    tokens_BTK: Tensor
    """int64; the controller of t + horizon."""
    previous_BTK: Tensor
    """int64; the controller of t."""
    mask_BT: Tensor
    """bool; the frames whose target counts."""


def to_tensors(batch: Batch, device: torch.device | str) -> TensorBatch:
    def moved(array: np.ndarray) -> Tensor:
        # torch has hardly any operations on uint16.
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
    """A player's controller at every frame of the columns, missing values as they are."""

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


def characters_on_stage(columns: Mapping[Group, Tensor], main_B: Tensor, who: Who = "p0") -> Tensor:
    """External ids of a player's character in every frame, int64 [B, L]: what per-character numbers count by.

    The character that the player plays most (`main_B`), or the one that it transforms into where the frame says so:
    the rule by which `replays.game.frames_by_character` counts whole games.
    """
    group, index = POSITION[f"{who}.internal_id"]
    internal_id = columns[group][..., index]
    main = main_B.long()[:, None].expand(internal_id.shape)
    found = main
    for external_id, becomes in characters.TRANSFORMS.items():
        transformed = internal_id == characters.by_external_id(becomes).internal_id
        found = torch.where((main == external_id) & transformed, becomes, found)
    return found


def targets(batch: TensorBatch, codec: Codec, *, horizon: int | Tensor, chunk_length: int) -> Targets:
    """What the ego holds `horizon` frames after each of the first `chunk_length` frames.

    `horizon` is one number for all rows, or int64 [B], no longer than the batch has frames for.
    A target counts where both frames are part of the game, its controller is not missing, it is one that
    moves a character (from frame -39 on) and the ego still has stocks at the observation; stocks that are
    missing count as such.
    """
    length = batch.frame_id.shape[1]
    observed = slice(0, chunk_length)
    if isinstance(horizon, Tensor):
        assert length > chunk_length
        at_BT = torch.arange(chunk_length, device=batch.frame_id.device) + horizon[:, None]

        def aimed(values: Tensor) -> Tensor:
            at = at_BT if values.dim() == 2 else at_BT[..., None].expand(-1, -1, values.shape[-1])
            return values.gather(1, at)

    else:
        if horizon < 1 or length < chunk_length + horizon:
            raise ValueError(
                f"targets: {length} frames with horizon {horizon}; expected a horizon of at least 1 and "
                f"at least chunk_length + horizon = {chunk_length + horizon} frames"
            )
        later = slice(horizon, chunk_length + horizon)

        def aimed(values: Tensor) -> Tensor:
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
        & aimed(batch.valid)
        & aimed(known)
        & (aimed(batch.frame_id) >= FIRST_PLAYABLE_FRAME_ID)
    )
    return Targets(tokens_BTK=aimed(tokens), previous_BTK=tokens[:, observed], mask_BT=mask)
