"""Measure how many frames per second this machine trains a preset at, on synthetic windows.

Legend: B batch, T time, K components.
"""

import statistics
import time
from collections.abc import Callable

import torch

from exphil_core.config.preset import Preset
from exphil_core.models.policy import build_policy, prediction_mask
from exphil_core.training.random_state import preserved_rng
from exphil_core.training.synthetic_batch import synthetic_batch

WARMUP_PASSES = 1
FEWEST_PASSES = 2

MOST_ROWS_ON_CPU = 16
"""Most windows of a pass on a CPU, where more windows only take proportionally longer."""

OVERHEAD = 1.1
"""A step's time over that of its forward and backward passes: optimiser, EMA, events."""


def training_speed(
    preset: Preset,
    device: torch.device,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """Return the training frames per second of a preset.

    Forward and backward passes are timed for about `seconds`; `OVERHEAD` accounts for the rest of a step. The
    process's random state is preserved.
    """
    config = preset.train
    rows = config.batch_size if device.type == "cuda" else min(config.batch_size, MOST_ROWS_ON_CPU)
    with preserved_rng():
        policy = build_policy(preset).to(device).train()
        batch = synthetic_batch(rows, preset.chunk_length + policy.horizon, device)
        # The precision that a run chooses on a GPU; on a CPU both are nearly as fast.
        bf16 = device.type == "cuda" and config.precision != "fp32" and torch.cuda.is_bf16_supported()
        dtype = torch.bfloat16 if bf16 else None
        taken: list[float] = []
        began = clock()
        while len(taken) < WARMUP_PASSES + FEWEST_PASSES or clock() - began < seconds:
            started = clock()
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                nll_BTK, targets, _ = policy.nll(batch)
            mask_BT = prediction_mask(targets, preset.policy.prediction)
            ((nll_BTK.float().sum(-1) * mask_BT).sum() / mask_BT.sum()).backward()
            policy.zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(clock() - started)
    return rows * preset.chunk_length / (statistics.median(taken[WARMUP_PASSES:]) * OVERHEAD)
