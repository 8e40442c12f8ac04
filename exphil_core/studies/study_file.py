"""A study's file as it stands: its tables, where each key is, and mistakes with their place.

In: the name of a file in `presets/studies` or a path, and the form. Out: a `StudyFile`, with what the quick form
has instead already in place. What a reader gets wrong: what the axes and `set` say of presets is not looked at
here, for only a whole preset can be right or wrong.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exphil_core.config.preset import NONE, CharacterName
from exphil_core.config.sources import key_lines, presets_folder, shown_path
from exphil_core.errors import UsageError

_TABLE = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataTable(BaseModel):
    """What is learned from: the dojo's games, unless real replays are named on the command line or here."""

    model_config = _TABLE

    games: int = Field(default=100, ge=2, le=100_000)
    """Of the dojo."""
    seed: int = Field(default=0, ge=0)
    """Of those games."""
    echo: int = Field(default=0, ge=0, le=600)
    """How many frames back the dojo's bots remember steps of the opponent, to repeat them; 0 for bots that don't."""
    replays: tuple[str, ...] = ()
    """Files, folders, archives or one built dataset, instead of the dojo's games."""


class BudgetTable(BaseModel):
    """Each limit that is named is a comparison of its own: with two of them, every variant runs under both."""

    model_config = _TABLE

    frames: int | None = Field(default=None, ge=1)
    """The same number of frames seen."""
    minutes: float | None = Field(default=None, gt=0)
    """The same time trained."""
    flops: float | None = Field(default=None, gt=0)
    """The same number of floating point operations of the model."""


class AxisTable(BaseModel):
    """What is varied."""

    model_config = _TABLE

    key: str | None = None
    """The preset key whose values these are; without it, each value is a table of preset tables."""
    values: dict[str, Any] = Field(min_length=1)


class StudyFile(BaseModel):
    model_config = _TABLE

    about: str = Field(min_length=1)
    """The question, in one sentence."""
    decides: str = Field(min_length=1)
    """What would answer it, in one sentence."""
    preset: str = Field(min_length=1)
    """What every variant starts from: a preset's name or file."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    against: str | None = None
    """The value that the others are compared with; without it, the variant with the lowest loss."""
    cross: tuple[CharacterName, ...] = ()
    """Characters on whose held-out games every run is evaluated, whoever it was trained on."""
    data: DataTable = DataTable()
    budget: BudgetTable
    set: dict[str, dict[str, Any] | str] = {}
    """Preset tables, and the preset's size, that every variant has over the base preset."""
    axes: dict[str, AxisTable] = Field(min_length=1)
    quick: dict[str, Any] = {}
    """What the quick form has instead, under the same keys; a value of an axis that is `none` it does without."""


def studies_folder() -> Path:
    """Where the shipped study files are."""
    return presets_folder() / "studies"


def study_names() -> tuple[str, ...]:
    """The names of the study files in the folder, in alphabetical order."""
    return tuple(sorted(path.stem for path in studies_folder().glob("*.toml")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a key of the file stands, as `presets/studies/context_length.toml:12`."""

    name: str
    lines: Mapping[str, int]
    quick: bool

    def __call__(self, key: str) -> str:
        # What the quick form changed stands there.
        for found in (f"quick.{key}", key) if self.quick else (key,):
            while found and found not in self.lines and found != "quick":
                found = found.rpartition(".")[0]
            if found and found != "quick":
                return f"{self.name}:{self.lines[found]}"
        return self.name


def find_study_file(name_or_path: str) -> Path:
    """UsageError with the nearest name where there is none."""
    named = studies_folder() / f"{name_or_path}.toml"
    if "/" not in name_or_path and named.is_file():
        return named
    path = Path(name_or_path)
    if path.is_file():
        return path
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        raise UsageError(f"no study file at {path}")
    names = study_names()
    near = get_close_matches(name_or_path, names, n=1)
    nearest = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(names)}, or a .toml file"
    raise UsageError(f"unknown study '{name_or_path}'; {nearest}")


def read_study_file(path: Path, *, quick: bool) -> tuple[StudyFile, Places]:
    """The file, and where its keys are. UsageError with one line for every mistake."""
    name = shown_path(path.resolve())
    try:
        # Some editors begin a file with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not a text file in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not valid TOML: {error}") from error
    lines = key_lines(text)
    where = Places(name=name, lines=lines, quick=quick)
    problems: list[str] = []
    changed = values.get("quick", {})
    if isinstance(changed, dict):
        # Looked at in either form, so that a mistake in it does not wait for who asks for it.
        problems += [
            f"{where(f'quick.{key}')}: quick.{key}: unknown key; {hint(key, set(StudyFile.model_fields) - {'quick'})}"
            for key in changed
            if key not in StudyFile.model_fields or key == "quick"
        ]
        dropped = _dropped(values, changed)
        for axis, value in dropped:
            key, known = f"quick.axes.{axis}.values.{value}", _values_of(values, axis)
            if value not in known:
                problems.append(f"{where(key)}: {key}: nothing to leave out; {hint(value, known)}")
        if quick:
            values = _merged(values, changed)
            for axis, value in dropped:
                del values["axes"][axis]["values"][value]
    try:
        # Strict JSON means what TOML does: lists are tuples, 1 is a float, "1" and true are not numbers.
        file = StudyFile.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        problems += [f"{where(key)}: {sentence}" for key, sentence in _problems(error)]
    if problems:
        raise UsageError("\n".join(problems))
    return file, where


def _dropped(values: Mapping[str, Any], changed: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(axis, value) of what the quick form says `none` of: it does without them."""
    return [
        (axis, value)
        for axis in _at(changed, "axes")
        # Of an axis that varies one key, `none` is a value like others.
        if "key" not in _at(values, "axes", axis)
        for value, given in _values_of(changed, axis).items()
        if given == NONE
    ]


def _values_of(tables: Mapping[str, Any], axis: str) -> Mapping[str, Any]:
    return _at(tables, "axes", axis, "values")


def _at(tables: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The table that lies there; an empty one where none does."""
    for key in keys:
        found = tables.get(key)
        tables = found if isinstance(found, dict) else {}
    return tables


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        under = found.get(key)
        both = isinstance(under, dict) and isinstance(value, dict)
        found[key] = _merged(under, value) if both and under is not None else value
    return found


def _problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    """(dotted key, sentence) for every mistake that pydantic found."""
    tables: Mapping[str, type[BaseModel]] = {"data": DataTable, "budget": BudgetTable, "axes": AxisTable}
    for detail in error.errors():
        path = [str(part) for part in detail["loc"] if not isinstance(part, int)]
        key = ".".join(path)
        match detail["type"]:
            case "extra_forbidden":
                model = tables.get(path[0], StudyFile) if len(path) > 1 else StudyFile
                yield key, f"{key}: unknown key; {hint(path[-1], model.model_fields)}"
            case "missing":
                yield key, f"{key}: missing"
            case "value_error":
                yield key, f"{key}: {detail['ctx']['error']}"
            case _:
                wanted = detail["msg"].removeprefix("Input should be ")
                yield key, f"{key}: expected {wanted}, found {json.dumps(detail['input'], default=str)}"


def hint(name: str, known: Iterable[str]) -> str:
    """The nearest known name, or all of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(names)}"
