"""The loader joins layers in their order, and reports every mistake where it was made."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from exphil_core.config.loader import (
    load_preset,
    parse_assignments,
    preset_from_tables,
    preset_to_toml,
    resolve_preset,
)
from exphil_core.config.problems import RENAMED
from exphil_core.errors import UsageError

BASE = """description = "ground"

[backbone]
kind = "attention"
heads = 4

[train]
epochs = 2
lr = 0.5
"""


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "base.toml").write_text(BASE)
    monkeypatch.setenv("EXPHIL_PRESETS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def mistakes(name: str, overrides: dict[str, object] | None = None, **options: str) -> list[str]:
    labels = {key.replace("__", "."): option for key, option in options.items()}
    with pytest.raises(UsageError) as raised:
        resolve_preset(name, overrides, labels)
    return str(raised.value).splitlines()


def test_a_later_layer_wins_and_leaves_the_rest(presets: Path) -> None:
    (presets / "child.toml").write_text('extends = "base"\n[train]\nlr = 0.25\n')
    preset = load_preset("child", {"train.seed": 7})
    assert (preset.train.lr, preset.train.epochs, preset.train.seed) == (0.25, 2, 7)
    assert load_preset("child", {"train.lr": 0.125}).train.lr == 0.125


def test_name_and_description_are_not_inherited(presets: Path) -> None:
    (presets / "child.toml").write_text('extends = "base"\n')
    preset = load_preset("child")
    assert (preset.name, preset.description) == ("child", "")


def test_a_preset_is_found_by_name_then_by_path_and_extends_likewise(presets: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "base"\n')
    (tmp_path / "yours.toml").write_text('extends = "mine.toml"\n')
    assert load_preset("yours.toml").name == "yours"
    assert load_preset(str(tmp_path / "mine.toml")).train.lr == 0.5


def test_all_mistakes_are_reported_at_once_with_file_line_and_nearest_name(presets: Path) -> None:
    (presets / "bad.toml").write_text(
        'extends = "base"\n'
        "\n"
        "[data]\n"
        'characters = [\n  "mewtoo",\n]\n'
        "[backbone]\n"
        "d_stat = 3\n"
        "[train]\n"
        "# lr = 3\n"
        'lr = "fast"\n'
        'device = "gpu"\n'
        "mirror_prob = 2.0\n"
        "seed = nan\n"
        "[trian]\n"
    )
    assert mistakes("bad", {"train.bach_size": 4}) == [
        "presets/bad.toml:4: data.characters: unknown character 'mewtoo'; did you mean 'mewtwo'?",
        "presets/bad.toml:8: backbone.d_stat: unknown key; expected one of "
        "window_size, width, layers, dropout, heads, kind, ffn_factor",
        'presets/bad.toml:11: train.lr: expected a valid number, found "fast"',
        "presets/bad.toml:12: train.device: unknown value 'gpu'; did you mean 'cpu'?",
        "presets/bad.toml:13: train.mirror_prob: expected less than or equal to 1, found 2.0",
        "presets/bad.toml:14: train.seed: expected a finite number",
        "presets/bad.toml:15: trian: unknown key; did you mean 'train'?",
        "--set: train.bach_size: unknown key; did you mean 'batch_size'?",
    ]


def test_a_mistake_is_reported_in_the_file_that_made_it(presets: Path) -> None:
    (presets / "child.toml").write_text('extends = "grand"\n[train]\nseed = 1\n')
    (presets / "grand.toml").write_text('extends = "base"\ntrain.lr = -1\n')
    assert mistakes("child") == ["presets/grand.toml:2: train.lr: expected greater than 0, found -1"]


def test_a_mistake_of_an_option_carries_its_name(presets: Path) -> None:
    assert mistakes("base", {"backbone.kind": "atention"}, backbone__kind="--backbone") == [
        "--backbone: backbone.kind: unknown backbone 'atention'; did you mean 'attention'?"
    ]


def test_unknown_preset_names_the_nearest(presets: Path) -> None:
    assert mistakes("bas") == ["unknown preset 'bas'; did you mean 'base'?"]
    (presets / "child.toml").write_text('\nextends = "bass"\n')
    assert mistakes("child") == ["presets/child.toml:2: extends: unknown preset 'bass'; did you mean 'base'?"]


def test_a_circle_of_extends_is_refused(presets: Path) -> None:
    (presets / "a.toml").write_text('extends = "b"\n')
    (presets / "b.toml").write_text('extends = "a"\n')
    assert mistakes("a") == [
        "presets/a.toml: extends itself: presets/a.toml → presets/b.toml → presets/a.toml"
    ]


def test_broken_toml_names_its_line(presets: Path) -> None:
    (presets / "bad.toml").write_text('extends = "base"\n[train\nlr = 1\n')
    (line,) = mistakes("bad")
    assert line.startswith("presets/bad.toml:2: not valid TOML: ")


def test_text_is_not_taken_for_a_number_nor_truth_for_a_count(presets: Path) -> None:
    assert mistakes("base", {"train.batch_size": "32"}) == [
        '--set: train.batch_size: expected a valid integer, found "32"'
    ]
    assert mistakes("base", {"train.batch_size": True})
    assert mistakes("base", {"train.batch_size": 1.5})
    assert load_preset("base", {"train.lr": 1}).train.lr == 1.0


def test_another_backbone_keeps_what_all_share_and_says_what_it_drops(presets: Path) -> None:
    (presets / "wide.toml").write_text('extends = "base"\n[backbone]\nwidth = 128\n[encoder]\nwidth = 128\n')
    resolved = resolve_preset("wide", {"backbone.kind": "gru"})
    assert (resolved.preset.backbone.kind, resolved.preset.backbone.width) == ("gru", 128)
    assert resolved.notes == (
        "the backbone is gru instead of attention, so attention's heads=4 no longer apply",
    )


def test_a_setting_of_another_backbone_is_an_error_where_it_was_asked_for(presets: Path) -> None:
    assert mistakes("base", {"backbone.kind": "gru", "backbone.heads": 2}) == [
        "--set: backbone.heads: unknown key for backbone 'gru'; it is a setting of lstm_hybrid, attention, jamba"
    ]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"train.epochs": "none"}, "the run would never end"),
        (
            {"policy.prediction": "interleaved", "backbone.kind": "mlp"},
            "policy.prediction is 'interleaved' but backbone.kind is 'mlp'",
        ),
        ({"policy.delay_range": [6, 2]}, "delay_range is 6 to 2"),
        ({"policy.delay_range": [2, 6]}, "delay is 0, but delay_range says that 2 to 6 are trained"),
        ({"policy.delay_range": [0, 6], "train.carry_state": True}, "would change within a game"),
        ({"backbone.heads": 3}, "width 256 does not split into 3 heads"),
        ({"encoder.width": 128}, "encoder.width is 128 but backbone.width is 256"),
        ({"train.chunk_length": 30}, "train.chunk_length is 30 but backbone.window_size is 60"),
        ({"train.noise_prob": 0.5, "train.noise_std": 0}, "no noise would be added"),
        ({"train.balance_temperature": 0.5}, "balance_characters is off"),
        ({"pilot.threads": 2}, "device is 'off', so no pilot would play with them"),
        ({"pilot.threads": 2, "pilot.device": "cuda"}, "where one thread does all"),
        ({"data.characters": ["fox", "Fox"]}, "names fox more than once"),
        ({"data.characters": ["sandbag"]}, "cannot be selected"),
        (
            {"data.max_games_per_character": {"mewtow": 2}},
            "unknown character 'mewtow'; did you mean 'mewtwo'?",
        ),
        (
            {"data.max_games_per_character": {"mewtwo": 0}},
            "a whole number of games from 1 up for mewtwo, found 0",
        ),
        ({"data.max_games_per_character": {"m2": 1, "mewtwo": 2}}, "names mewtwo more than once"),
        ({"data.max_games_per_character": {}}, "limits no character"),
        (
            {"data.max_games_per_character": "mewtwo:2"},
            "or a table of them by character such as { mewtwo = 2 }",
        ),
        ({"data.max_games_per_character": True}, "a whole number of games from 1 up"),
        (
            {
                "data.max_games_per_character": {"mewtwo": 2, "fox": 3},
                "data.characters": ["fox"],
                "data.train_on_all_characters": False,
            },
            "max_games_per_character limits mewtwo, but only fox are trained on",
        ),
        ({"backbone.window_size": 1}, "greater than or equal to 2"),
        (
            {"train.carry_state": True, "backbone.kind": "mlp"},
            "train.carry_state is on but backbone.kind is 'mlp'",
        ),
        (
            {"train.carry_state": True, "policy.prediction": "last"},
            "train.carry_state is on but policy.prediction is 'last'",
        ),
    ],
)
def test_a_contradiction_is_a_sentence(presets: Path, overrides: dict[str, object], words: str) -> None:
    (line,) = mistakes("base", overrides)
    assert words in line
    assert line.startswith("--set")


def test_characters_are_known_by_their_aliases(presets: Path) -> None:
    preset = load_preset("base", {"data.characters": ["GnW", "Captain Falcon"]})
    assert preset.data.characters == ("gameandwatch", "falcon")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("data.max_games_per_character=3", 3),
        ("data.max_games_per_character=none", None),
        ("data.max_games_per_character={ GnW = 2, link = 5 }", {"gameandwatch": 2, "link": 5}),
    ],
)
def test_most_games_are_one_number_or_one_for_each_character_that_is_named(
    presets: Path, typed: str, found: object
) -> None:
    preset = load_preset("base", parse_assignments([typed]))
    assert preset.data.max_games_per_character == found
    assert preset_from_tables(tomllib.loads(preset_to_toml(preset)), where="run.toml") == preset
    assert preset_from_tables(preset.model_dump(mode="json"), where="config.json") == preset


def test_most_games_of_a_character_in_a_table_of_a_file_are_at_their_line(presets: Path) -> None:
    (presets / "few.toml").write_text(
        'extends = "base"\n\n[data]\nmax_games_per_character = { mewtow = 2 }\n'
    )
    (line,) = mistakes("few")
    assert line == (
        "presets/few.toml:4: data.max_games_per_character: unknown character 'mewtow'; did you mean 'mewtwo'?"
    )


def test_everybody_s_games_may_be_limited_by_name_where_everybody_is_learned_from(presets: Path) -> None:
    limit = {"data.max_games_per_character": {"mewtwo": 2}}
    assert load_preset("base", limit).data.max_games_per_character == {"mewtwo": 2}
    others = {**limit, "data.characters": ["fox"], "data.train_on_all_characters": True}
    assert load_preset("base", others).data.max_games_per_character == {"mewtwo": 2}


def test_a_setting_under_its_former_name_is_refused_with_the_new_one(presets: Path) -> None:
    (presets / "old.toml").write_text('extends = "base"\n\n[data]\nlearn_from_all = true\n')
    (line,) = mistakes("old")
    assert line == (
        "presets/old.toml:4: data.learn_from_all: this setting is called train_on_all_characters now"
    )


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_every_renamed_setting_names_one_that_exists(old: str) -> None:
    section, _, name = old.partition(".")
    fields = type(getattr(load_preset("base"), section)).model_fields
    assert name not in fields
    assert RENAMED[old] in fields
    with pytest.raises(UsageError, match=rf"{re.escape(old)}: this setting is called {RENAMED[old]} now"):
        load_preset("base", {old: 1})


@pytest.mark.parametrize("value", ["auto", True, False])
def test_training_on_all_characters_has_three_values(presets: Path, value: bool | str) -> None:
    settings = {"data.characters": ["fox"], "data.train_on_all_characters": value}
    preset = load_preset("base", settings)
    assert preset.data.train_on_all_characters == value
    assert preset_from_tables(tomllib.loads(preset_to_toml(preset)), where="run.toml") == preset


def test_a_limit_is_turned_off_with_none(presets: Path) -> None:
    preset = load_preset("base", {"train.epochs": "none", "train.max_steps": 10})
    assert (preset.train.epochs, preset.train.max_steps) == (None, 10)


def test_a_training_window_is_twice_the_band_or_the_recurrent_window(presets: Path) -> None:
    assert load_preset("base").chunk_length == 120
    assert load_preset("base", {"backbone.kind": "gru"}).chunk_length == 60
    assert load_preset("base", {"train.chunk_length": 100}).chunk_length == 100


def test_assignments_are_toml_values_or_bare_words() -> None:
    given = [
        "train.lr=1e-4",
        "backbone.kind = gru",
        'data.characters=["fox"]',
        "train.balance_characters=true",
    ]
    assert parse_assignments(given) == {
        "train.lr": 1e-4,
        "backbone.kind": "gru",
        "data.characters": ["fox"],
        "train.balance_characters": True,
    }


def test_bad_assignments_are_all_reported() -> None:
    with pytest.raises(UsageError) as raised:
        parse_assignments(["lr=3", "train.lr", "train.seed=1", "train.seed=2"])
    assert str(raised.value).splitlines() == [
        "--set lr=3: expected section.key=value, such as train.lr=0.001",
        "--set train.lr: expected section.key=value, such as train.lr=0.001",
        "--set train.seed=2: train.seed is set twice",
    ]


def test_a_missing_folder_of_presets_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPHIL_PRESETS", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="set EXPHIL_PRESETS"):
        load_preset("base")


def test_a_backbone_goes_by_its_other_names_too(presets: Path) -> None:
    (presets / "child.toml").write_text('extends = "base"\n[backbone]\nkind = "sliding_window"\nheads = 2\n')
    assert load_preset("child").backbone == load_preset("base", {"backbone.heads": 2}).backbone
    switched = resolve_preset("base", {"backbone.kind": "gru"}).preset
    assert switched.backbone.kind == "gru"
    typed = resolve_preset("base", {"backbone.kind": "sliding_window"})
    assert typed.preset.backbone == load_preset("base").backbone
    assert not typed.notes


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            {"backbone.kind": "jamba", "backbone.layers": 1},
            "backbone: the first attention layer would be number 1, but there are 1 layers: expected an "
            "attention_offset below 1, or kind 'mamba'",
        ),
        (
            {"backbone.kind": "jamba", "backbone.attention_offset": 4},
            "backbone: attention_offset is 4, but layers are counted modulo attention_period 3: expected 0 to 2",
        ),
        (
            {"backbone.kind": "jamba", "backbone.heads": 5},
            "backbone: width 256 does not split into 5 heads of even width; the nearest number of heads that does "
            "is 4",
        ),
        (
            {"backbone.kind": "mamba2", "backbone.head_width": 60},
            "backbone: expand * width = 512 inner channels do not split into heads of head_width 60; the nearest "
            "head_width that divides them is 64",
        ),
        (
            {"backbone.kind": "mamba", "backbone.kernel": "compield"},
            "backbone.kernel: unknown value 'compield'; did you mean 'compiled'?",
        ),
        (
            {"backbone.window_size": 0},
            "backbone.window_size: expected greater than or equal to 2, found 0",
        ),
    ],
)
def test_what_a_backbone_cannot_be_is_said_with_what_it_can(
    presets: Path, overrides: dict[str, object], sentence: str
) -> None:
    assert mistakes("base", overrides)[-1].endswith(sentence)


def test_a_path_that_is_no_text_is_named_under_what_was_typed() -> None:
    odd = os.fsdecode(b"caf\xe9")
    with pytest.raises(
        UsageError, match=r"--replays: data.replays: expected text, found 'caf\\udce9'"
    ) as caught:
        resolve_preset("quick", {"data.replays": ("fine", odd)}, {"data.replays": "--replays"})
    assert len(str(caught.value).splitlines()) == 1
