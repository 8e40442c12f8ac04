"""Corruption of the ego's own inputs in training: scheduled sampling and action dropout.

Draws depend on the seed alone. Targets never change; only what the policy observes of its own inputs does.

Legend: B batch, L frames of the batch, T observed frames, K components.
"""

from typing import Any

import torch
from torch import Tensor

from exphil_core.config.preset import TrainConfig
from exphil_core.encoding.action_dropout import drop_own_actions, replace_own_actions
from exphil_core.encoding.batch import TensorBatch
from exphil_core.models.policy import Policy
from exphil_core.training.random_state import SeedPurpose, derive_seed


def corrupt_inputs(
    policy: Policy,
    batch: TensorBatch,
    state: Any,
    config: TrainConfig,
    *,
    seed: int,
    delay_B: Tensor | None = None,
) -> TensorBatch:
    """Return the batch as the policy observes it, after scheduled sampling and action dropout."""
    seen = batch
    if config.scheduled_sampling:
        seen = _with_guesses(policy, seen, state, share=config.scheduled_sampling, seed=seed, delay_B=delay_B)
    if config.action_dropout:
        seen = drop_own_actions(seen, seed=derive_seed(seed, SeedPurpose.HIDDEN), share=config.action_dropout)
    return seen


@torch.no_grad()
def _with_guesses(
    policy: Policy, batch: TensorBatch, state: Any, *, share: float, seed: int, delay_B: Tensor | None
) -> TensorBatch:
    """Replace own inputs on some frames by the policy's own samples, all drawn from the uncorrupted batch."""
    rows, frames = batch.frame_id.shape
    device = batch.frame_id.device
    y_BTD, _ = policy.forward_features(batch, state, delay_B=delay_B)
    previous_BTK = policy.previous(batch)
    generator = torch.Generator().manual_seed(derive_seed(seed, SeedPurpose.GUESSED))
    uniform_BTK = torch.rand(tuple(previous_BTK.shape), generator=generator).to(device)
    drawn_BTK = policy.head.sample(
        y_BTD.flatten(0, 1),
        previous_BTK.flatten(0, 1),
        uniform_BTK.flatten(0, 1),
        torch.ones((), device=device),
    ).unflatten(0, (rows, frames))
    horizon_B = 1 + (delay_B if delay_B is not None else torch.full((rows,), policy.delay, device=device))
    # A sample drawn at frame t is for frame t + horizon.
    at_BT = torch.arange(frames, device=device) - horizon_B[:, None]
    for_BTK = drawn_BTK.gather(1, at_BT.clamp(min=0)[..., None].expand_as(drawn_BTK))
    return replace_own_actions(
        batch,
        policy.codec.decode(for_BTK),
        at_BT >= 0,
        seed=derive_seed(seed, SeedPurpose.REPLACED),
        share=share,
    )
