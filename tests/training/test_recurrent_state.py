"""What is carried from step to step, and what is refused of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.errors import CheckpointError
from exphil_core.models.policy import build_policy
from exphil_core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from exphil_core.training.recurrent_state import RecurrentState

MakePreset = Callable[..., Preset]


def carried(preset: Preset) -> RecurrentState:
    return RecurrentState(build_policy(preset), preset.train)


def filled(preset: Preset) -> RecurrentState:
    """With another state in every pass, as a forward pass leaves it: with gradients."""
    held = carried(preset)
    torch.manual_seed(0)
    for number in range(preset.train.grad_accum_steps):
        state = held.before(number)
        parts = [torch.randn(part.shape, requires_grad=True).to(part.dtype) for part in state]
        held.after(number, type(state)(*parts))
    return held


@pytest.mark.parametrize("kind", [kind for kind in BACKBONE_KINDS if kind != "mlp"])
def test_the_state_of_any_backbone_survives_a_checkpoint(kind: str, tiny: MakePreset, tmp_path: Any) -> None:
    preset = tiny(backbone={"kind": kind, "layers": 2}, train={"carry_state": True, "grad_accum_steps": 2})
    held = filled(preset)
    checkpoint = Checkpoint(
        step=3, model={}, config={}, optimizer={}, rng={}, trainer={}, carried=held.tensors()
    )
    again = carried(preset)
    again.load(load_checkpoint(save_checkpoint(tmp_path / "step", checkpoint)).carried, where="here")
    for number in (0, 1, 2, 3):
        one, two = held.before(number), again.before(number)
        assert type(one) is type(two)
        assert all(torch.equal(left, right) for left, right in zip(one, two, strict=True))
    assert not any(part.requires_grad for part in held.tensors().values())


def test_each_pass_of_a_step_carries_its_own(tiny: MakePreset) -> None:
    held = filled(tiny(backbone={"kind": "gru"}, train={"carry_state": True, "grad_accum_steps": 2}))
    first, second, third = (held.before(number)[0] for number in range(3))
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


def test_nothing_is_carried_unless_asked_for(tiny: MakePreset) -> None:
    preset = tiny(backbone={"kind": "gru"})
    held = carried(preset)
    held.after(0, build_policy(preset).initial_state(4))
    assert held.before(1) is None
    assert held.tensors() == {}
    held.load({}, where="here")


@pytest.mark.parametrize(
    ("saved", "now", "words"),
    [
        (
            {"carry_state": False},
            {"carry_state": True},
            "holds no carried state, but train.carry_state is on",
        ),
        (
            {"carry_state": True},
            {"carry_state": False},
            "holds a carried state, but train.carry_state is off",
        ),
        (
            {"carry_state": True, "batch_size": 8},
            {"carry_state": True},
            r"float32 \[8, 1, 32\] and should be",
        ),
        ({"carry_state": True, "grad_accum_steps": 2}, {"carry_state": True}, "train.grad_accum_steps"),
    ],
)
def test_a_state_of_another_shape_is_a_sentence(
    saved: dict[str, Any], now: dict[str, Any], words: str, tiny: MakePreset
) -> None:
    before = carried(tiny(backbone={"kind": "gru"}, train=saved)).tensors()
    after = carried(tiny(backbone={"kind": "gru"}, train=now))
    with pytest.raises(CheckpointError, match=words):
        after.load(before, where="the checkpoint of step 3")
