"""State of the new-run form: a preset plus overrides, validated into a `train` command line.

The command contains only the settings that differ from the preset.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import list_presets, load_preset, resolve_preset
from exphil_core.config.preset import NONE, Preset
from exphil_core.config.problems import BACKBONES
from exphil_core.errors import ExphilError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR, quoted, runs_dir_words

DEFAULT_PRESET = "quick"

Value = str | bool | tuple[str, ...]
"""A field's value: typed text, a switch, or names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A preset key that the form offers."""

    key: str
    option: str
    number: type[int] | type[float] | None = None
    """Type of a numeric field; pydantic refuses other input."""
    may_be_none: bool = False
    """Whether an empty field means no limit."""


SETTINGS: dict[str, Setting] = {
    "characters": Setting(key="data.characters", option="--character"),
    "balance": Setting(key="train.balance_characters", option="--balance-characters"),
    "character_mode": Setting(key="encoder.character_mode", option="--character-mode"),
    "backbone": Setting(key="backbone.kind", option="--backbone"),
    "window": Setting(key="backbone.window_size", option="--window-size", number=int),
    "prediction": Setting(key="policy.prediction", option="--prediction"),
    "delay": Setting(key="policy.delay", option="--delay", number=int),
    "device": Setting(key="train.device", option="--device"),
    "pilot": Setting(key="pilot.device", option="--pilot"),
    "minutes": Setting(key="train.max_minutes", option="--max-minutes", number=float, may_be_none=True),
    "steps": Setting(key="train.max_steps", option="--max-steps", number=int, may_be_none=True),
    "epochs": Setting(key="train.epochs", option="--epochs", number=float, may_be_none=True),
}
"""By field name, in the order of the command line."""

FALLBACK_FIELD = "preset"
"""Field that shows problems which belong to no other field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRunForm:
    preset: str = DEFAULT_PRESET
    replays: str = ""
    """A dataset, folder, archive or replay; empty for the preset's own."""
    name: str = ""
    """Run name; empty for preset name and time."""
    runs_dir: Path = DEFAULT_RUNS_DIR
    overrides: Mapping[str, Value] = field(default_factory=dict)
    """Overrides by field, a key of `SETTINGS`."""

    def with_override(self, name: str, value: Value) -> "NewRunForm":
        assert name in SETTINGS, name
        return replace(self, overrides={**self.overrides, name: value})


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedForm:
    preset: Preset | None
    """Resolved preset; None if the settings are invalid."""
    description: str
    """Description of the chosen preset."""
    values: Mapping[str, Value]
    """Value of every field: the override, else the preset's."""
    differs: frozenset[str]
    """Fields that differ from the preset."""
    problems: Mapping[str, str]
    """Field → error sentence."""
    notes: tuple[str, ...]
    arguments: tuple[str, ...]
    """Arguments of `exphil` without `--detach`: `train --preset …`."""

    @property
    def start_arguments(self) -> tuple[str, ...]:
        """Arguments of `exphil` that start the run."""
        return (*self.arguments, "--detach")


def advise_arguments(form: NewRunForm, device: Value) -> tuple[str, ...]:
    """Return the `exphil advise` arguments for the form's data and characters on `device`."""
    words = ["advise"]
    if form.replays:
        words += ["--replays", _path_word(form.replays)]
    characters = form.overrides.get("characters")
    if isinstance(characters, tuple) and characters:
        words += ["--character", ",".join(characters)]
    if device in ("cpu", "cuda"):
        words += ["--device", str(device)]
    return (*words, *runs_dir_words(form.runs_dir))


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetEntry:
    """A preset in the preset list."""

    name: str
    description: str
    group: str


def resolve_form(
    form: NewRunForm,
    *,
    exists: Callable[[Path], bool] = lambda path: True,
    name_problem: Callable[[str], str | None] = lambda name: None,
) -> ResolvedForm:
    """Resolve and validate a form.

    Args:
        form: The form's state.
        exists: Whether a path exists.
        name_problem: What is wrong with a run name, or None.
    """
    problems: dict[str, str] = {}
    if form.replays and not exists(_path(form.replays)):
        problems["replays"] = f"{_path(form.replays)}: no such file or folder"
    if form.name and (sentence := name_problem(form.name)):
        problems["name"] = sentence
    try:
        base = load_preset(form.preset)
    except ExphilError as error:
        return ResolvedForm(
            preset=None,
            description="",
            values=form.overrides,
            differs=frozenset(form.overrides),
            problems={**problems, FALLBACK_FIELD: str(error)},
            notes=(),
            arguments=_arguments(form, {}),
        )
    own = values_of(base)
    values = {name: form.overrides.get(name, own[name]) for name in SETTINGS}
    differs = {name: values[name] for name in SETTINGS if not _same(name, values[name], own[name])}
    if not form.replays and not base.data.replays:
        problems["replays"] = "no training data: choose a dataset, replays, or the demo replays"
    overrides = {SETTINGS[name].key: _typed(name, value) for name, value in differs.items()}
    resolved: Preset | None = None
    notes: tuple[str, ...] = ()
    try:
        # A removed limit has no option of its own; `_arguments` writes it with --set.
        options = {
            SETTINGS[name].key: SETTINGS[name].option
            for name in differs
            if overrides[SETTINGS[name].key] != NONE
        }
        found = resolve_preset(form.preset, overrides, options)
        resolved, notes = found.preset, found.notes
    except ExphilError as error:
        problems = {**_by_field(str(error), tuple(differs)), **problems}
    return ResolvedForm(
        preset=resolved,
        description=base.description,
        values=values,
        differs=frozenset(differs),
        problems=problems,
        notes=notes,
        arguments=_arguments(form, differs),
    )


def values_of(preset: Preset) -> dict[str, Value]:
    """Return the form's field values for a preset."""
    found: dict[str, Value] = {}
    for name, setting in SETTINGS.items():
        section, _, key = setting.key.partition(".")
        value = getattr(getattr(preset, section), key)
        match value:
            case bool():
                found[name] = value
            case tuple():
                found[name] = value
            case None:
                found[name] = ""
            case float():
                found[name] = f"{value:g}"
            case _:
                found[name] = str(value)
    return found


def choices_of(name: str) -> tuple[str, ...]:
    """Return the allowed values of a choice field, in display order."""
    if name == "backbone":
        return BACKBONE_KINDS
    section, _, key = SETTINGS[name].key.partition(".")
    return get_args(_model(section).model_fields[key].annotation)


def field_help(name: str, backbone: str) -> str:
    """Return the help text of a field, from the docstring of its setting."""
    section, _, key = SETTINGS[name].key.partition(".")
    if section != "backbone":
        return " ".join((_model(section).model_fields[key].description or "").split())
    if backbone not in BACKBONES:
        return ""
    model = BACKBONES[backbone]
    if key == "kind":
        return f"{backbone}: {' '.join((model.__doc__ or '').split())}"
    return " ".join((model.model_fields[key].description or "").split())


def _model(section: str) -> type[BaseModel]:
    model = Preset.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model


def list_preset_entries() -> tuple[list[PresetEntry], list[str]]:
    """Return the presets ordered by group, and an error sentence for each one that cannot be read."""
    found, broken = [], []
    for name in list_presets():
        try:
            preset = load_preset(name)
        except ExphilError as error:
            broken.append(str(error))
        else:
            found.append(PresetEntry(name=name, description=preset.description, group=_group(preset)))
    found.sort(key=lambda entry: (_GROUPS.index(entry.group), entry.name != DEFAULT_PRESET))
    return found, broken


_GROUPS = (
    "Getting started",
    "Characters",
    "Backbones with about 20 million parameters",
    "Models of the first ExPhil",
)


def _group(preset: Preset) -> str:
    if preset.name.startswith("first_"):
        return _GROUPS[3]
    if preset.name.endswith("20m"):
        return _GROUPS[2]
    return _GROUPS[1] if preset.data.characters else _GROUPS[0]


def command_line(*commands: Sequence[str]) -> str:
    """Format commands as one shell line, joined by `&&`."""
    return " && ".join(" ".join(map(quoted, ("exphil", *words))) for words in commands)


def _path_word(text: str) -> str:
    # A word with a leading dash would be parsed as an option.
    path = str(_path(text))
    return f"./{path}" if path.startswith("-") else path


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _same(name: str, value: Value, own: Value) -> bool:
    if isinstance(value, tuple) and isinstance(own, tuple):
        return set(value) == set(own)
    return value == own or _typed(name, value) == _typed(name, own)


def _typed(name: str, value: Value) -> object:
    """Convert a field value for the preset; text that is not a number is kept, and pydantic refuses it."""
    setting = SETTINGS[name]
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, bool) or setting.number is None:
        return value
    text = value.strip()
    if not text and setting.may_be_none:
        return NONE
    try:
        return setting.number(text)
    except ValueError:
        return text


def _arguments(form: NewRunForm, differs: Mapping[str, Value]) -> tuple[str, ...]:
    words = ["train", "--preset", form.preset]
    if form.replays:
        words += ["--replays", _path_word(form.replays)]
    set_items = []
    for name, value in differs.items():
        setting = SETTINGS[name]
        typed = _typed(name, value)
        if typed == NONE and setting.may_be_none:
            set_items.append(f"{setting.key}={NONE}")
        elif isinstance(value, bool):
            words.append(setting.option if value else setting.option.replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            if value:
                words += [setting.option, ",".join(value)]
            else:
                # An option that names nothing is an error.
                set_items.append(f"{setting.key}=[]")
        else:
            words += [setting.option, value.strip()]
    if set_items:
        words += ["--set", *set_items]
    if form.name:
        words += ["--name", form.name]
    return (*words, *runs_dir_words(form.runs_dir))


_OPTION = re.compile(r"(?:--set )?(?P<label>--[a-z-]+|[a-z_]+\.[a-z_]+)(?: |$)")


def _by_field(sentences: str, differs: Sequence[str]) -> dict[str, str]:
    """Assign the lines of a UsageError to form fields: field → error sentence."""
    found: dict[str, str] = {}
    for line in sentences.splitlines():
        place, colon, sentence = line.partition(": ")
        if not colon or not place.startswith("--"):
            place, sentence = "", line
        labels = {match["label"] for match in _OPTION.finditer(place)}
        named = [name for name in differs if {SETTINGS[name].option, SETTINGS[name].key} & labels]
        # A contradiction names all options involved; show it at a field whose key the sentence mentions.
        mentioned = [name for name in named if SETTINGS[name].key.rpartition(".")[2] in sentence]
        at = next(iter((*mentioned, *named)), FALLBACK_FIELD)
        found[at] = f"{found[at]}; {_plain(sentence)}" if at in found else _plain(sentence)
    return found


def _plain(sentence: str) -> str:
    """Strip the leading key from `policy.delay: expected …`: the sentence is shown beside its field."""
    return re.sub(r"^[a-z_]+(\.[a-z_]+)?: (?=\S)", "", sentence)
