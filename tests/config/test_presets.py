"""Every preset in `presets/` loads, says what it is for, and survives being written down."""

import tomllib

import pytest

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import list_presets, load_preset, preset_from_tables, preset_to_toml
from exphil_core.melee.characters import LOW_TIER

FIRST = tuple(
    f"first_{kind}" for kind in ("mlp", "lstm", "gru", "lstm_hybrid", "attention", "mamba", "jamba")
)
TWENTY_MILLION = tuple(f"{kind}_20m" for kind in BACKBONE_KINDS)
SHIPPED = {
    "base",
    "quick",
    "production",
    "low_tier_unified",
    "low_tier_small",
    "gpt20m",
    *LOW_TIER,
    *FIRST,
    *TWENTY_MILLION,
}

WINDOWS = {"mewtwo": 90, "ganondorf": 60, "link": 75, "gameandwatch": 45, "zelda": 60}
"""The first ExPhil's windows, in frames."""


def test_every_promised_preset_is_there() -> None:
    assert set(list_presets()) == SHIPPED


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_preset_loads_and_says_what_it_is_for(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset.description


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_resolved_preset_read_back_is_the_same_preset(name: str) -> None:
    preset = load_preset(name)
    assert preset_from_tables(tomllib.loads(preset_to_toml(preset)), where="run.toml") == preset


@pytest.mark.parametrize("name", LOW_TIER)
def test_a_low_tier_preset_is_production_for_one_character(name: str) -> None:
    preset, production = load_preset(name), load_preset("production")
    assert preset.data.characters == (name,)
    assert preset.backbone.window_size == WINDOWS[name]
    assert preset.train == production.train


def test_the_unified_preset_balances_the_five_with_a_learned_embedding() -> None:
    preset = load_preset("low_tier_unified")
    assert preset.data.characters == LOW_TIER
    assert preset.train.balance_characters
    assert preset.encoder.character_mode == "learned"


def test_production_is_the_first_exphils_settings() -> None:
    preset = load_preset("production")
    train = preset.train
    assert (train.batch_size, train.accumulation, train.epochs) == (256, 4, 100)
    assert (train.lr, train.warmup_steps, train.ema_decay) == (1e-4, 2000, 0.9995)
    assert (train.mirror, train.noise_share, train.noise_scale) == (0.5, 0.3, 0.01)
    assert (preset.backbone.kind, preset.backbone.window_size) == ("attention", 180)
    assert (preset.evaluation.patience, preset.evaluation.min_delta) == (10, 0.001)
    assert preset.data.validation_share == 0.15


def test_gpt20m_is_hals_recipe() -> None:
    preset = load_preset("gpt20m")
    backbone = preset.backbone
    assert backbone.kind == "attention"
    assert (backbone.layers, backbone.width, backbone.heads, backbone.window_size) == (6, 512, 8, 256)
    assert (preset.policy.prediction, preset.data.characters, preset.train.lr) == ("dense", (), 3e-4)


@pytest.mark.parametrize("name", FIRST)
def test_a_first_preset_sees_and_predicts_what_the_first_exphil_did(name: str) -> None:
    preset = load_preset(name)
    assert preset.backbone.kind == name.removeprefix("first_")
    assert (preset.backbone.window_size, preset.chunk_length) == (60, 60)
    assert (preset.policy.prediction, preset.policy.codec) == ("last", "axes")
    assert preset.encoder.character_mode == "one_hot"
    assert preset.train.batch_size * preset.train.accumulation == 1024


@pytest.mark.parametrize("name", TWENTY_MILLION)
def test_the_presets_of_one_size_differ_in_the_backbone_alone(name: str) -> None:
    preset, attention = load_preset(name), load_preset("attention_20m")
    assert preset.backbone.kind == name.removesuffix("_20m")
    assert preset.backbone.window_size == 180
    assert (preset.policy, preset.train, preset.data) == (attention.policy, attention.train, attention.data)
    assert preset.encoder.model_copy(update={"width": 512}) == attention.encoder
