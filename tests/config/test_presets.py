"""Every preset in `presets/` loads, says what it is for, and survives being written down."""

import tomllib
from pathlib import Path

import pytest

from exphil_core.cli.main import run
from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import (
    list_presets,
    load_preset,
    preset_from_tables,
    preset_to_toml,
    resolve_preset,
)
from exphil_core.config.sizes import SIZES, SizeName
from exphil_core.errors import UsageError
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
    assert (preset.size, preset.train) == ("auto", production.train)


def test_the_unified_preset_balances_the_five_with_a_learned_embedding() -> None:
    preset = load_preset("low_tier_unified")
    assert preset.data.characters == LOW_TIER
    assert preset.train.balance_characters
    assert preset.encoder.character_mode == "learned"


def test_production_is_the_first_exphils_settings() -> None:
    preset = load_preset("production", {"size": "production"})
    train = preset.train
    assert (train.batch_size, train.grad_accum_steps, train.epochs) == (256, 4, 100)
    assert (train.lr, train.warmup_steps, train.ema_decay) == (1e-4, 2000, 0.9995)
    assert (train.mirror_prob, train.noise_prob, train.noise_std) == (0.5, 0.3, 0.01)
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
    assert preset.train.batch_size * preset.train.grad_accum_steps == 1024


@pytest.mark.parametrize("name", TWENTY_MILLION)
def test_the_presets_of_one_size_differ_in_the_backbone_alone(name: str) -> None:
    preset, attention = load_preset(name), load_preset("attention_20m")
    assert preset.backbone.kind == name.removesuffix("_20m")
    assert preset.backbone.window_size == 180
    assert (preset.policy, preset.train, preset.data) == (attention.policy, attention.train, attention.data)
    assert preset.encoder.model_copy(update={"width": 512}) == attention.encoder


ANCHORS: dict[str, dict[str, object]] = {
    "first_mlp": {"width": 512, "layers": 2, "residual": False},
    "first_attention": {"width": 256, "layers": 2, "heads": 4, "ffn_factor": 1},
    "first_lstm_hybrid": {"width": 256, "layers": 1, "attention_layers": 1, "heads": 4},
    "first_lstm": {"width": 256, "layers": 2, "dropout": 0.1},
    "first_gru": {"width": 256, "layers": 2, "dropout": 0.1},
    "first_mamba": {"width": 256, "layers": 2, "d_state": 16, "expand": 2, "d_conv": 4, "dt_rank": 16},
    "first_jamba": {"width": 256, "layers": 6, "heads": 4, "attention_period": 3, "attention_offset": 2},
}
"""The shapes of the first ExPhil's backbones."""


@pytest.mark.parametrize("name", FIRST)
def test_a_first_preset_has_the_shape_of_the_first_exphils(name: str) -> None:
    shape = load_preset(name).backbone.model_dump()
    assert {key: shape[key] for key in ANCHORS[name]} == ANCHORS[name]


def test_a_preset_that_became_a_size_is_refused_with_what_to_type() -> None:
    with pytest.raises(UsageError) as refused:
        load_preset("low_tier_small")
    assert str(refused.value) == (
        "there is no preset 'low_tier_small': use --preset low_tier_unified --size small"
    )


@pytest.mark.parametrize("name", ["production", "low_tier_unified", *LOW_TIER])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", BACKBONE_KINDS)
def test_every_sized_preset_has_every_size_with_every_backbone(name: str, size: SizeName, kind: str) -> None:
    preset = load_preset(name, {"size": size, "backbone.kind": kind})
    settings = SIZES[size].settings
    assert preset.size == size
    assert preset.backbone.width == preset.encoder.width == settings["backbone.width"]
    assert (preset.train.batch_size, preset.train.lr) == (settings["train.batch_size"], settings["train.lr"])


def test_what_a_preset_file_or_the_command_line_sets_wins_over_the_size(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "low_tier_unified"\n\n[train]\nlr = 0.5\nwarmup_steps = 7\n')
    resolved = resolve_preset(str(own), {"size": "small", "train.batch_size": 3})
    train = resolved.preset.train
    assert (train.lr, train.warmup_steps, train.batch_size) == (0.5, 7, 3)
    assert {"train.lr", "train.warmup_steps", "train.batch_size"} <= resolved.explicit
    fitted = resolved.at_size("medium", {"train.warmup_steps": 1, "train.ema_decay": 0.5})
    assert (fitted.size, fitted.train.warmup_steps, fitted.train.ema_decay) == ("medium", 7, 0.5)
    # What the file under the size says does not.
    assert load_preset("low_tier_unified", {"size": "small"}).backbone.width == 128


def test_a_size_s_own_limit_ends_a_run_only_where_nothing_else_does() -> None:
    own = load_preset("low_tier_unified", {"size": "small"}).train
    assert (own.epochs, own.max_steps, own.max_minutes) == (10, None, 15.0)
    # More time does not make more passes over few games better.
    timed = load_preset("low_tier_unified", {"size": "small", "train.max_minutes": 60}).train
    assert (timed.epochs, timed.max_steps, timed.max_minutes) == (10, None, 60)
    asked = load_preset("low_tier_unified", {"size": "small", "train.max_steps": 9}).train
    assert (asked.epochs, asked.max_steps, asked.max_minutes) == (None, 9, None)


def test_an_unknown_size_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown value 'smal'; did you mean 'small'"):
        resolve_preset("low_tier_unified", {"size": "smal"}, {"size": "--size"})


def test_a_preset_that_picks_its_size_is_shown_with_a_word_about_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["presets", "show", "low_tier_unified"]) == 0
    said = capsys.readouterr()
    assert "size is auto" in said.err
    assert tomllib.loads(said.out)["size"] == "auto"
    assert run(["presets", "show", "quick"]) == 0
    assert capsys.readouterr().err == ""
