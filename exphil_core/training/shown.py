"""What a training pass is shown of the ego's own inputs, and with which delay: drawn, and the same for the same seed.

In: a batch. Out: what of it the policy sees. What a reader gets wrong: targets never change here. Hidden or replaced
is only what the policy is told that the ego did, which in play would be what it did itself.

Legend: B batch, L frames of the batch, T observed frames, K components.
"""

from typing import Any

import torch
from torch import Tensor

from exphil_core.config.preset import TrainConfig
from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.own_inputs import hide_own_inputs, replace_own_inputs
from exphil_core.models.policy import Policy

_HIDDEN, _GUESSED, _REPLACED, _DELAYED = range(4)
"""What a seed is for: one seed, four streams."""


def shown(
    policy: Policy,
    batch: TensorBatch,
    state: Any,
    config: TrainConfig,
    *,
    seed: int,
    delay_B: Tensor | None = None,
) -> TensorBatch:
    """The batch as the policy sees it."""
    seen = batch
    if config.scheduled_sampling:
        seen = _with_guesses(policy, seen, state, share=config.scheduled_sampling, seed=seed, delay_B=delay_B)
    if config.action_dropout:
        seen = hide_own_inputs(seen, seed=_stream(seed, _HIDDEN), share=config.action_dropout)
    return seen


def draw_delays(policy: Policy, batch: TensorBatch, *, seed: int) -> Tensor | None:
    """A delay for each row, int64 [B]; None where the policy has one for all."""
    if policy.delays is None:
        return None
    least, most = policy.delays
    generator = torch.Generator().manual_seed(_stream(seed, _DELAYED))
    rows = batch.frame_id.shape[0]
    return torch.randint(least, most + 1, (rows,), generator=generator).to(batch.frame_id.device)


@torch.no_grad()
def _with_guesses(
    policy: Policy, batch: TensorBatch, state: Any, *, share: float, seed: int, delay_B: Tensor | None
) -> TensorBatch:
    """Some frames hold the controller that the policy itself draws for them, from all frames as they were."""
    rows, frames = batch.frame_id.shape
    device = batch.frame_id.device
    y_BTD, _ = policy.forward_features(batch, state, delay_B=delay_B)
    previous_BTK = policy.previous(batch)
    generator = torch.Generator().manual_seed(_stream(seed, _GUESSED))
    uniform_BTK = torch.rand(tuple(previous_BTK.shape), generator=generator).to(device)
    drawn_BTK = policy.head.sample(
        y_BTD.flatten(0, 1),
        previous_BTK.flatten(0, 1),
        uniform_BTK.flatten(0, 1),
        torch.ones((), device=device),
    ).unflatten(0, (rows, frames))
    horizon_B = 1 + (delay_B if delay_B is not None else torch.full((rows,), policy.delay, device=device))
    # What was drawn at frame t is for frame t + horizon.
    at_BT = torch.arange(frames, device=device) - horizon_B[:, None]
    for_BTK = drawn_BTK.gather(1, at_BT.clamp(min=0)[..., None].expand_as(drawn_BTK))
    return replace_own_inputs(
        batch, policy.codec.decode(for_BTK), at_BT >= 0, seed=_stream(seed, _REPLACED), share=share
    )


def _stream(seed: int, purpose: int) -> int:
    return seed * 4 + purpose
