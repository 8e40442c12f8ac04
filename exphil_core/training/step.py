"""One training step: the loss of one forward pass, and the update of the weights."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.dataset.batches import Batch
from exphil_core.dataset.index import DatasetIndex
from exphil_core.encoding.batch import characters_by_frame, to_tensors
from exphil_core.encoding.mirror import apply_mirror
from exphil_core.encoding.noise import apply_noise
from exphil_core.errors import DivergedError
from exphil_core.models.policy import Policy, prediction_mask
from exphil_core.training.delay import draw_delays
from exphil_core.training.diagnostics import ButtonTable
from exphil_core.training.input_corruption import corrupt_inputs
from exphil_core.training.loss import Objective
from exphil_core.training.metrics import TrainingMetrics
from exphil_core.training.optim import Optimizer
from exphil_core.training.random_state import StepRandomness
from exphil_core.training.recurrent_state import RecurrentState


@dataclass(frozen=True, slots=True, kw_only=True)
class LossResult:
    """The loss of one forward pass. B batch, T observed frames, K components."""

    mean: Tensor
    """Scalar to minimise, in nats a frame."""
    nll_BTK: Tensor
    """Plain negative log-likelihoods: what is reported, whatever the objective adds."""
    mask_BT: Tensor
    """The frames that count."""
    external_id_BT: Tensor
    """The ego's character in each observed frame."""
    state: Any
    """The backbone's state after the last frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One update of the weights."""

    loss: float
    """The mean of the step's forward passes, in nats a frame."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float


def compute_loss(
    policy: Policy,
    batch: Batch,
    preset: Preset,
    *,
    seed: int = 0,
    objective: Objective | None = None,
    state: Any = None,
    dtype: torch.dtype | None = None,
) -> LossResult:
    """Compute the training loss of a batch, with the preset's augmentation and objective.

    Args:
        policy: Gives the device; its parameters receive the gradients of `mean`.
        batch: B windows of chunk_length + horizon frames.
        preset: Its `train` section decides augmentation and objective, its `policy` section which frames count.
        seed: Decides noise, dropped actions, sampled actions and delays. Dropout follows torch's random state.
        objective: Made from the preset where None; pass one to make it once.
        state: The backbone's state before the first frame; None is a cleared state.
        dtype: The autocast type; None computes in the parameters' own.
    """
    config = preset.train
    device = next(policy.parameters()).device
    objective = objective or Objective(config, ButtonTable.of(policy.codec, device))
    whole = apply_mirror(to_tensors(batch, device))
    if config.noise_prob:
        whole = apply_noise(whole, seed=seed, share=config.noise_prob, scale=config.noise_std)
    delay_B = draw_delays(policy, whole, seed=seed)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        observed = corrupt_inputs(policy, whole, state, config, seed=seed, delay_B=delay_B)
        scores = policy(whole, state, observed=observed, delay_B=delay_B)
    nll_BTK, mask_BT = scores.nll_BTK, prediction_mask(scores.targets, preset.policy.prediction)
    return LossResult(
        mean=objective.mean(scores.log_probs, nll_BTK, scores.targets.tokens_BTK, mask_BT),
        nll_BTK=nll_BTK,
        mask_BT=mask_BT,
        external_id_BT=characters_by_frame(whole.columns, whole.external_id)[:, : mask_BT.shape[1]],
        state=scores.state,
    )


def train_step(
    policy: Policy,
    optimizer: Optimizer,
    batches: Iterator[tuple[int, Batch]],
    preset: Preset,
    *,
    step: int,
    progress: float,
    objective: Objective | None = None,
    recurrent_state: RecurrentState | None = None,
    randomness: StepRandomness | None = None,
    dtype: torch.dtype | None = None,
    meter: TrainingMetrics | None = None,
    index: DatasetIndex | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> StepResult:
    """Update the weights once, from `train.grad_accum_steps` batches.

    Args:
        batches: Gives (number, batch); the number is the seed of the batch's augmentation.
        step: Updates before this one.
        progress: Share of the run that is done, 0 to 1; the learning rate follows it.
        recurrent_state: Carries the backbone's state from batch to batch where the preset asks for that.
        randomness: The random state that dropout draws from; None uses torch's global one.
        meter: Takes the losses per character and the time spent waiting for data.
        index: Names the windows of a batch whose loss is not finite.

    Raises:
        DivergedError: The loss or the gradient is not finite. The weights are as before.
    """
    config = preset.train
    mean = torch.zeros((), device=next(policy.parameters()).device)
    with nullcontext() if randomness is None else randomness.in_place():
        for _ in range(config.grad_accum_steps):
            waiting = clock()
            seed, batch = next(batches)
            waited = clock() - waiting
            before = None if recurrent_state is None else recurrent_state.before(seed)
            loss = compute_loss(
                policy, batch, preset, seed=seed, objective=objective, state=before, dtype=dtype
            )
            if recurrent_state is not None:
                recurrent_state.after(seed, loss.state)
            (loss.mean / config.grad_accum_steps).backward()
            if meter is not None:
                meter.waited += waited
                meter.add(loss.nll_BTK, loss.mask_BT, loss.external_id_BT)
            mean += loss.mean.detach() / config.grad_accum_steps
    norm = optimizer.clip()
    if not bool(torch.isfinite(mean) & torch.isfinite(norm)):
        raise _diverged(step, float(mean), float(norm), batch, index)
    rate = optimizer.step(step=step, progress=progress)
    return StepResult(loss=float(mean), grad_norm=float(norm), learning_rate=rate)


def _diverged(step: int, loss: float, norm: float, batch: Batch, index: DatasetIndex | None) -> DivergedError:
    windows = ""
    if index is not None:
        drawn = zip(batch.game, batch.ego_slot, batch.start, strict=True)
        named = (
            f"{index.games[game].content_id[:12]} slot {slot} from frame {start}"
            for game, slot, start in drawn
        )
        windows = f" Windows of the batch: {', '.join(named)}."
    return DivergedError(
        f"step {step}: the loss is {loss} and the gradient norm {norm}; expected finite numbers. The step was "
        f"not taken.{windows} Try a lower train.lr, or train.precision=fp32"
    )
