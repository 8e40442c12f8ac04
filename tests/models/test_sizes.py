"""The presets of one size are of one size, so that what is compared is the backbone."""

import pytest
import torch

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import load_preset
from exphil_core.models.policy import build_policy


@pytest.mark.parametrize("kind", BACKBONE_KINDS)
def test_a_policy_of_twenty_million_parameters_has_as_many_within_five_percent(kind: str) -> None:
    with torch.device("meta"):
        policy = build_policy(load_preset(f"{kind}_20m"))
    assert sum(policy.describe().values()) == pytest.approx(20e6, rel=0.05)
