"""The registry, and what a configuration refuses."""

from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from exphil_core.config.backbones import (
    BACKBONE_KINDS,
    AttentionConfig,
    BackboneConfig,
    GruConfig,
    JambaConfig,
    LstmHybridConfig,
    MambaConfig,
)
from exphil_core.models.backbone import build_backbone
from exphil_core.models.state import reset_columns

ADAPTER: TypeAdapter[BackboneConfig] = TypeAdapter(BackboneConfig)


@pytest.mark.parametrize("kind", BACKBONE_KINDS)
def test_every_kind_builds_with_its_defaults(kind: str) -> None:
    config = ADAPTER.validate_python({"kind": kind})
    backbone = build_backbone(config)
    state = backbone.initial_state(2, torch.device("cpu"), torch.float32)
    y_BD, after = backbone.step(torch.zeros(2, config.width), torch.zeros(2, dtype=torch.bool), state)
    assert y_BD.shape == (2, config.width)
    assert [part.shape for part in after] == [part.shape for part in state]


def test_the_kinds_are_those_of_the_union() -> None:
    kinds = {model.model_fields["kind"].default for model in get_args(get_args(BackboneConfig)[0])}
    assert kinds == set(BACKBONE_KINDS)


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "mlp", "heads": 4},
        {"kind": "gru", "windowsize": 3},
        {"kind": "attention", "window_size": 1},
        {"kind": "transformer"},
    ],
)
def test_what_a_backbone_does_not_know_is_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(table)


def test_heads_that_do_not_divide_the_width_name_the_nearest_number_that_does() -> None:
    with pytest.raises(ValidationError, match=r"does not split into 5 heads.* is 4"):
        AttentionConfig(width=256, heads=5)
    with pytest.raises(ValidationError, match="make it even"):
        AttentionConfig(width=255, heads=5)


def test_where_there_is_attention_chunks_are_twice_its_band() -> None:
    for banded in (AttentionConfig, LstmHybridConfig, JambaConfig):
        assert banded(window_size=60).chunk_length == 120
    for other in (GruConfig, MambaConfig):
        assert other(window_size=60).chunk_length == 60


def test_reset_columns_are_where_any_row_resets() -> None:
    reset_BT = torch.zeros(2, 5, dtype=torch.bool)
    reset_BT[0, 3] = reset_BT[1, 0] = True
    assert reset_columns(reset_BT) == [0, 3]


@pytest.mark.parametrize("kind", BACKBONE_KINDS)
@torch.no_grad()
def test_state_is_carried_in_full_precision_under_bfloat16(kind: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(ADAPTER.validate_python({"kind": kind, "width": 32, "window_size": 8}))
    x_BTD, reset_BT = torch.randn(2, 40, 32), torch.zeros(2, 40, dtype=torch.bool)
    expected, _ = backbone.forward(x_BTD, reset_BT)
    with torch.autocast("cpu", torch.bfloat16):
        first, state = backbone.forward(x_BTD[:, :20], reset_BT[:, :20])
        second, state = backbone.forward(x_BTD[:, 20:], reset_BT[:, 20:], state)
    assert {part.dtype for part in state if part.is_floating_point()} <= {torch.float32}
    torch.testing.assert_close(torch.cat([first, second], dim=1), expected, rtol=0, atol=0.1)
