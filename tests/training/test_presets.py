"""Every shipped preset is one that can be trained: it builds and takes a step."""

from pathlib import Path

import pytest
import torch

from exphil_core.config.loader import list_presets, load_preset
from exphil_core.dataset.batches import training_batch
from exphil_core.dataset.plan import BatchPlan
from exphil_core.encoding.batch import to_tensors
from exphil_core.encoding.mirror import apply_mirror
from exphil_core.models.policy import build_policy, prediction_mask
from exphil_core.training.data import open_training_data
from exphil_core.training.optim import Optimizer


@pytest.mark.parametrize("name", list_presets())
def test_every_shipped_preset_builds_and_takes_a_step_that_moves_every_weight(
    name: str, dojo_dataset: Path
) -> None:
    # The model and the window are the preset's own; two windows keep the large ones quick.
    # Without a warm-up, whose first rates are below the rounding of a weight.
    preset = load_preset(name, {"train.batch_size": 2, "train.warmup_steps": 0, "data.include_idle": True})
    data = open_training_data(preset, dojo_dataset)
    torch.manual_seed(0)
    policy = build_policy(preset)
    optimizer = Optimizer(policy, preset.train)
    plan = BatchPlan(
        data.train,
        data.store.index,
        seed=0,
        batch_size=2,
        chunk_length=preset.chunk_length,
        horizon=policy.horizon,
        balance=preset.train.balance_characters,
        balance_temperature=preset.train.balance_temperature,
        mirror=preset.train.mirror_prob,
    )
    before = {key: weight.clone() for key, weight in policy.named_parameters()}
    nll_BTK, targets, _ = policy.nll(apply_mirror(to_tensors(training_batch(data.store, plan, 0), "cpu")))
    prediction = preset.policy.prediction
    mask_BT = prediction_mask(targets, prediction)
    assert mask_BT.any()
    ((nll_BTK.sum(-1) * mask_BT).sum() / mask_BT.sum()).backward()
    assert torch.isfinite(optimizer.clip())
    optimizer.step(step=0, progress=0.0)
    still = {key for key, weight in policy.named_parameters() if torch.equal(weight, before[key])}
    # The dojo has neither items nor followers, so nothing flows through these two.
    assert all(key.startswith(("encoder.items.", "encoder.followers.")) for key in still)
