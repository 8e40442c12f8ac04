"""The presets of one size are of one size, so that what is compared is the backbone."""

import pytest
import torch

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import load_preset
from exphil_core.models.policy import build_policy


def test_the_first_exphils_perceptron_has_two_hidden_layers_of_512() -> None:
    with torch.device("meta"):
        policy = build_policy(load_preset("first_mlp"))
    layers = [module for module in policy.backbone.modules() if isinstance(module, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(512, 512), (512, 512)]
    assert policy.describe()["backbone"] == 2 * (512 * 512 + 512)


@pytest.mark.parametrize("kind", BACKBONE_KINDS)
def test_a_policy_of_twenty_million_parameters_has_as_many_within_five_percent(kind: str) -> None:
    with torch.device("meta"):
        policy = build_policy(load_preset(f"{kind}_20m"))
    assert sum(policy.describe().values()) == pytest.approx(20e6, rel=0.05)
