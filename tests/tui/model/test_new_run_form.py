"""What a form means: the command that says the same, and sentences at the fields that are wrong."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from exphil_core.config.loader import list_presets, load_preset, resolve_preset
from exphil_core.runs.commands import quoted
from exphil_tui.model.new_run_form import (
    FALLBACK_FIELD,
    SETTINGS,
    NewRunForm,
    Value,
    command_line,
    list_preset_entries,
    resolve_form,
    values_of,
)

OTHER: dict[str, tuple[Value, object]] = {
    "characters": (("mewtwo", "link"), ("mewtwo", "link")),
    "balance": (True, True),
    "character_mode": ("one_hot", "one_hot"),
    "backbone": ("gru", "gru"),
    "window": ("30", 30),
    "prediction": ("last", "last"),
    "delay": ("18", 18),
    "device": ("cpu", "cpu"),
    "pilot": ("cpu", "cpu"),
    "minutes": ("7.5", 7.5),
    "steps": ("500", 500),
    "epochs": ("2", 2.0),
}


def _draft(**chosen: Value) -> NewRunForm:
    return NewRunForm(replays="demo", overrides=chosen)


def _as_typed(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `exphil train` resolves the words to."""
    from exphil_core.cli import train
    from exphil_core.cli.main import run

    found: dict[str, Any] = {}

    def resolve(name: str, overrides: dict[str, object], options: dict[str, str]) -> Any:
        resolved = resolve_preset(name, overrides, options)
        found["preset"] = resolved.preset
        return resolved

    def stop(*rest: object, **more: object) -> int:
        return 0

    monkeypatch.setattr(train, "resolve_preset", resolve)
    monkeypatch.setattr(train, "print_dry_run", stop)
    assert run([*arguments, "--dry-run"]) == 0
    return found


def test_the_form_offers_only_what_the_command_line_knows() -> None:
    from exphil_core.cli.train import _OPTIONS

    known = {option: key for key, option in _OPTIONS.values()}
    for setting in SETTINGS.values():
        assert known[setting.option] == setting.key


@pytest.mark.parametrize("preset", list_presets())
def test_a_preset_as_it_is_needs_no_option(preset: str) -> None:
    found = resolve_form(NewRunForm(preset=preset, replays="demo"))
    assert found.arguments == ("train", "--preset", preset, "--replays", "demo")
    assert not found.problems
    assert found.values == values_of(load_preset(preset))


@pytest.mark.parametrize("name", SETTINGS)
def test_every_choice_is_the_same_in_the_form_and_on_the_command_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, meant = OTHER[name]
    draft = _draft(**{name: value})
    if name == "character_mode":
        draft = _draft(
            character_mode="learned" if values_of(load_preset("quick"))[name] == "one_hot" else "one_hot"
        )
        meant = draft.overrides[name]
    found = resolve_form(draft)
    assert not found.problems
    assert found.preset is not None
    section, key = SETTINGS[name].key.split(".")
    assert getattr(getattr(found.preset, section), key) == meant
    assert (
        _as_typed(found.arguments, monkeypatch)["preset"].model_copy(update={"data": found.preset.data})
        == found.preset
    )
    assert found.differs == {name}


def test_a_choice_that_the_preset_makes_too_is_left_out() -> None:
    found = resolve_form(_draft(window="60", minutes="3.0", steps="", characters=(), balance=False))
    assert found.arguments == ("train", "--preset", "quick", "--replays", "demo")
    assert not found.differs


def test_a_limit_that_is_emptied_is_taken_away_on_the_command_line_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = resolve_form(_draft(minutes="", steps="100"))
    assert found.preset is not None
    assert (found.preset.train.max_minutes, found.preset.train.max_steps) == (None, 100)
    assert "train.max_minutes=none" in found.arguments
    typed = _as_typed(found.arguments, monkeypatch)["preset"]
    assert (typed.train.max_minutes, typed.train.max_steps) == (None, 100)


def test_all_characters_can_be_chosen_where_the_preset_names_some(monkeypatch: pytest.MonkeyPatch) -> None:
    found = resolve_form(NewRunForm(preset="mewtwo", replays="demo", overrides={"characters": ()}))
    assert found.preset is not None
    assert found.preset.data.characters == ()
    assert _as_typed(found.arguments, monkeypatch)["preset"].data.characters == ()


@pytest.mark.parametrize(
    ("preset", "chosen", "at", "word"),
    [
        ("quick", {"window": "sixty"}, "window", "sixty"),
        ("quick", {"window": ""}, "window", "integer"),
        ("quick", {"window": "1"}, "window", "greater than or equal to 2"),
        ("quick", {"delay": "500"}, "delay", "120"),
        ("quick", {"delay": "1.5"}, "delay", "1.5"),
        ("quick", {"minutes": ""}, "minutes", "never end"),
        ("quick", {"minutes": "-1"}, "minutes", "greater than 0"),
        ("quick", {"minutes": "nan", "delay": "3"}, "minutes", "finite"),
        ("quick", {"characters": ("mewtwo", "lnk")}, "characters", "did you mean 'link'"),
        ("quick", {"backbone": "gruu", "delay": "3"}, "backbone", "did you mean 'gru'"),
        ("quick", {"prediction": "interlaced"}, "prediction", "interleaved"),
        ("qick", {}, FALLBACK_FIELD, "did you mean 'quick'"),
    ],
)
def test_an_error_is_shown_at_its_field(preset: str, chosen: dict[str, Value], at: str, word: str) -> None:
    found = resolve_form(NewRunForm(preset=preset, replays="demo", overrides=chosen))
    assert found.preset is None
    assert set(found.problems) == {at}
    assert word in found.problems[at]
    assert not found.problems[at].startswith(("--", "train.", "policy.", "backbone."))


def test_a_conflict_with_the_preset_is_shown_at_the_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short.toml").write_text('extends = "quick"\n[train]\nchunk_length = 80\n')
    monkeypatch.chdir(tmp_path)
    found = resolve_form(
        NewRunForm(preset="short.toml", replays="demo", overrides={"delay": "2", "window": "100"})
    )
    assert list(found.problems) == ["window"]
    assert "chunk_length is 80" in found.problems["window"]


def test_several_errors_are_shown_at_their_fields() -> None:
    found = resolve_form(
        NewRunForm(replays="/nowhere", name="a b", overrides={"window": "x", "delay": "y"}),
        exists=lambda path: False,
        name_problem=lambda name: f"'{name}' is no name",
    )
    assert set(found.problems) == {"replays", "name", "window", "delay"}
    assert "no such file" in found.problems["replays"]


def test_without_data_it_says_what_to_choose() -> None:
    assert "demo replays" in resolve_form(NewRunForm()).problems["replays"]


def test_a_note_of_the_presets_is_kept() -> None:
    found = resolve_form(_draft(backbone="gru"))
    assert any("heads" in note for note in found.notes)


def test_a_path_that_looks_like_an_option_is_not_taken_for_one() -> None:
    assert "./--resume" in resolve_form(NewRunForm(replays="--resume")).arguments


def test_name_and_runs_dir_are_in_the_command() -> None:
    found = resolve_form(NewRunForm(replays="demo", name="first", runs_dir=Path("/srv/runs")))
    assert found.arguments[-4:] == ("--name", "first", "--runs-dir", "/srv/runs")
    assert found.start_arguments[-1] == "--detach"


@pytest.mark.parametrize(
    "word",
    ["plain", "two words", "it's", "", "$HOME `x`", "\x1b[2J", "a\nb", "café", "\u202egpj", "\udce9\\'"],
)
def test_a_shell_reads_back_the_word_that_was_quoted(word: str) -> None:
    text = quoted(word)
    assert text.isprintable()
    said = subprocess.run(["bash", "-c", f"printf %s {text}"], capture_output=True, check=True).stdout
    assert said == word.encode("utf-8", "surrogateescape")


def test_commands_are_joined_so_that_the_second_waits_for_the_first() -> None:
    text = command_line(("demo", "--out", "a b"), ("train", "--preset", "quick"))
    assert text == "exphil demo --out 'a b' && exphil train --preset quick"
    assert shlex.split(text.split(" && ")[0]) == ["exphil", "demo", "--out", "a b"]


def test_the_first_preset_to_choose_is_the_one_for_any_machine() -> None:
    offers, broken = list_preset_entries()
    assert not broken
    assert offers[0].name == "quick"
    assert {offer.name for offer in offers} == set(list_presets())
    assert all(offer.description for offer in offers)
    groups = [offer.group for offer in offers]
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index)
