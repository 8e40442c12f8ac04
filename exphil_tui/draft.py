"""A run that a person is putting together: what was chosen so far, what is wrong with it, the command that starts it.

In: a preset's name and what was chosen beside it, as typed. Out: `Understood`: the resolved preset or a sentence per
field, and the words of the command line. What a reader gets wrong: a choice that the preset makes too is not part of
the command; the command says what differs, and nothing else.
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

FIRST_PRESET = "quick"

Value = str | bool | tuple[str, ...]
"""As a form holds it: what was typed, a switch, or names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A preset key that the form offers."""

    key: str
    option: str
    number: type[int] | type[float] | None = None
    """What is typed must be one; pydantic refuses what is not."""
    may_be_none: bool = False
    """Empty means that there is no such limit."""


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
"""By the name of the field, in the order of the command line."""

WHOLE = "preset"
"""The field that a problem stands at which no other field can mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    preset: str = FIRST_PRESET
    replays: str = ""
    """A dataset, folder, archive or replay; empty for the preset's own."""
    name: str = ""
    """Of the run; empty for preset and time."""
    runs_dir: Path = DEFAULT_RUNS_DIR
    chosen: Mapping[str, Value] = field(default_factory=dict)
    """By field, a key of `SETTINGS`."""

    def choosing(self, name: str, value: Value) -> "Draft":
        assert name in SETTINGS, name
        return replace(self, chosen={**self.chosen, name: value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    preset: Preset | None
    """None where there is a problem with the settings."""
    description: str
    """Of the preset that was chosen."""
    values: Mapping[str, Value]
    """What every field shows: the choice, else what the preset says."""
    differs: frozenset[str]
    """Fields that are not as the preset has them."""
    problems: Mapping[str, str]
    """Field → sentence."""
    notes: tuple[str, ...]
    arguments: tuple[str, ...]
    """Of `exphil`, without how the run is watched: `train --preset …`."""

    @property
    def starting(self) -> tuple[str, ...]:
        """The words that start the run."""
        return (*self.arguments, "--detach")


def advising(draft: Draft, device: Value) -> tuple[str, ...]:
    """The words that ask what to take for the draft's data and characters on `device`, whatever else it chooses."""
    words = ["advise"]
    if draft.replays:
        words += ["--replays", _path_word(draft.replays)]
    characters = draft.chosen.get("characters")
    if isinstance(characters, tuple) and characters:
        words += ["--character", ",".join(characters)]
    if device in ("cpu", "cuda"):
        words += ["--device", str(device)]
    return (*words, *runs_dir_words(draft.runs_dir))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A preset to choose from."""

    name: str
    description: str
    group: str


def understand(
    draft: Draft,
    *,
    there: Callable[[Path], bool] = lambda path: True,
    name_problem: Callable[[str], str | None] = lambda name: None,
) -> Understood:
    """What the draft means. `there` says whether a path is, `name_problem` what is wrong with a run's name."""
    problems: dict[str, str] = {}
    if draft.replays and not there(_path(draft.replays)):
        problems["replays"] = f"{_path(draft.replays)}: there is no such file or folder"
    if draft.name and (sentence := name_problem(draft.name)):
        problems["name"] = sentence
    try:
        base = load_preset(draft.preset)
    except ExphilError as error:
        return Understood(
            preset=None,
            description="",
            values=draft.chosen,
            differs=frozenset(draft.chosen),
            problems={**problems, WHOLE: str(error)},
            notes=(),
            arguments=_arguments(draft, {}),
        )
    own = values_of(base)
    values = {name: draft.chosen.get(name, own[name]) for name in SETTINGS}
    differs = {name: values[name] for name in SETTINGS if not _same(name, values[name], own[name])}
    if not draft.replays and not base.data.replays:
        problems["replays"] = "nothing to learn from yet: choose a dataset, replays, or the demo replays"
    overrides = {SETTINGS[name].key: _typed(name, value) for name, value in differs.items()}
    resolved: Preset | None = None
    notes: tuple[str, ...] = ()
    try:
        # A limit that is taken away has no option of its own.
        options = {
            SETTINGS[name].key: SETTINGS[name].option
            for name in differs
            if overrides[SETTINGS[name].key] != NONE
        }
        found = resolve_preset(draft.preset, overrides, options)
        resolved, notes = found.preset, found.notes
    except ExphilError as error:
        problems = {**_by_field(str(error), tuple(differs)), **problems}
    return Understood(
        preset=resolved,
        description=base.description,
        values=values,
        differs=frozenset(differs),
        problems=problems,
        notes=notes,
        arguments=_arguments(draft, differs),
    )


def values_of(preset: Preset) -> dict[str, Value]:
    """What the form shows of a preset."""
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
    """The words that a field takes, in the order in which they are shown."""
    if name == "backbone":
        return BACKBONE_KINDS
    section, _, key = SETTINGS[name].key.partition(".")
    return get_args(_model(section).model_fields[key].annotation)


def about(name: str, backbone: str) -> str:
    """A sentence about a field, as the settings themselves have it."""
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


def offered_presets() -> tuple[list[Offered], list[str]]:
    """The presets by group, and a sentence for every one that cannot be read."""
    found, broken = [], []
    for name in list_presets():
        try:
            preset = load_preset(name)
        except ExphilError as error:
            broken.append(str(error))
        else:
            found.append(Offered(name=name, description=preset.description, group=_group(preset)))
    found.sort(key=lambda offer: (_GROUPS.index(offer.group), offer.name != FIRST_PRESET))
    return found, broken


_GROUPS = (
    "To begin with",
    "Characters",
    "Backbones of about 20 million parameters",
    "Shapes of the first ExPhil",
)


def _group(preset: Preset) -> str:
    if preset.name.startswith("first_"):
        return _GROUPS[3]
    if preset.name.endswith("20m"):
        return _GROUPS[2]
    return _GROUPS[1] if preset.data.characters else _GROUPS[0]


def command_line(*commands: Sequence[str]) -> str:
    """The commands as they are typed, each after the one before has succeeded."""
    return " && ".join(" ".join(map(quoted, ("exphil", *words))) for words in commands)


def _path_word(text: str) -> str:
    # A word that begins with a dash would be taken for an option.
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
    """The value for the preset; what is no number stays text, and is refused as such."""
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


def _arguments(draft: Draft, differs: Mapping[str, Value]) -> tuple[str, ...]:
    words = ["train", "--preset", draft.preset]
    if draft.replays:
        words += ["--replays", _path_word(draft.replays)]
    taken_away = []
    for name, value in differs.items():
        setting = SETTINGS[name]
        typed = _typed(name, value)
        if typed == NONE and setting.may_be_none:
            taken_away.append(f"{setting.key}={NONE}")
        elif isinstance(value, bool):
            words.append(setting.option if value else setting.option.replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            if value:
                words += [setting.option, ",".join(value)]
            else:
                # An option that names nothing is an error.
                taken_away.append(f"{setting.key}=[]")
        else:
            words += [setting.option, value.strip()]
    if taken_away:
        words += ["--set", *taken_away]
    if draft.name:
        words += ["--name", draft.name]
    return (*words, *runs_dir_words(draft.runs_dir))


_OPTION = re.compile(r"(?:--set )?(?P<label>--[a-z-]+|[a-z_]+\.[a-z_]+)(?: |$)")


def _by_field(sentences: str, differs: Sequence[str]) -> dict[str, str]:
    """Field → what is wrong there, out of the lines of a UsageError."""
    found: dict[str, str] = {}
    for line in sentences.splitlines():
        place, colon, sentence = line.partition(": ")
        if not colon or not place.startswith("--"):
            place, sentence = "", line
        labels = {match["label"] for match in _OPTION.finditer(place)}
        named = [name for name in differs if {SETTINGS[name].option, SETTINGS[name].key} & labels]
        # A contradiction is reported under all that was chosen; it stands where the sentence speaks of it.
        spoken = [name for name in named if SETTINGS[name].key.rpartition(".")[2] in sentence]
        at = next(iter((*spoken, *named)), WHOLE)
        found[at] = f"{found[at]}; {_plain(sentence)}" if at in found else _plain(sentence)
    return found


def _plain(sentence: str) -> str:
    """`policy.delay: expected …` without the key: it stands beside its field."""
    return re.sub(r"^[a-z_]+(\.[a-z_]+)?: (?=\S)", "", sentence)
