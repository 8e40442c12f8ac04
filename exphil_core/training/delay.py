"""The reaction delay that each row of a batch trains with, where `policy.delay_range` gives a range."""

import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.models.policy import Policy
from exphil_core.training.random_state import SeedPurpose, derive_seed


def draw_delays(policy: Policy, batch: TensorBatch, *, seed: int) -> Tensor | None:
    """Draw a delay in frames for each row, int64 [B]; None where the policy has a single delay."""
    if policy.delay_range is None:
        return None
    least, most = policy.delay_range
    generator = torch.Generator().manual_seed(derive_seed(seed, SeedPurpose.DELAYED))
    rows = batch.frame_id.shape[0]
    return torch.randint(least, most + 1, (rows,), generator=generator).to(batch.frame_id.device)
