"""Small policies of every backbone, and frames to play them on."""

from collections.abc import Callable

import pytest
import torch

from exphil_core.config.preset import Preset
from exphil_core.inference.frames import dojo_game
from exphil_core.models.policy import Policy, build_policy
from exphil_core.replays.pack import PackedGame

MakePolicy = Callable[..., tuple[Policy, Preset]]

OWN_SETTINGS: dict[str, dict[str, object]] = {
    "mamba2": {"head_width": 32},
    "jamba": {"attention_period": 2},
}


@pytest.fixture(scope="session")
def game() -> PackedGame:
    return dojo_game()


@pytest.fixture(scope="session")
def make_policy() -> MakePolicy:
    """A backbone's kind and settings of the policy → a policy whose logits are as far apart as if it had learned,
    and its preset."""

    def make(kind: str, **settings: object) -> tuple[Policy, Preset]:
        # Wide and long enough for rings to be large: three layers of 90 frames of 64 numbers.
        backbone = {"kind": kind, "width": 64, "layers": 3, "window_size": 90, **OWN_SETTINGS.get(kind, {})}
        preset = Preset.model_validate(
            {
                "name": "small",
                "data": {"replays": ("/home/somebody/replays",)},
                "encoder": {"width": 64, "character_width": 8, "action_state_width": 8},
                "backbone": backbone,
                "policy": {"head_width": 32, "delay": 2, "delay_range": (0, 4), **settings},
                "train": {"max_steps": 1},
            }
        )
        torch.manual_seed(0)
        policy = build_policy(preset).eval()
        with torch.no_grad():
            for component in policy.head.components:
                component.logits.weight.mul_(100)
        return policy, preset

    return make
