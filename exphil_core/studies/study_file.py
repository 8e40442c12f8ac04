"""Read a study file: its tables, the line of each key, and mistakes with their place.

Preset values in `axes` and `set` are not checked here: only a whole preset can be right or wrong.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exphil_core.config.preset import NONE, CharacterName
from exphil_core.config.sources import display_path, key_lines, presets_folder
from exphil_core.errors import UsageError
from exphil_core.suggest import suggestion

_TABLE = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataTable(BaseModel):
    """The data of the runs: dojo games, unless real replays are named on the command line or here."""

    model_config = _TABLE

    games: int = Field(default=100, ge=2, le=100_000)
    """Number of dojo games."""
    seed: int = Field(default=0, ge=0)
    """Seed of the dojo games."""
    echo: int = Field(default=0, ge=0, le=600)
    """Frames after which the dojo's bots repeat the opponent's steps; 0 for bots that do not."""
    replays: tuple[str, ...] = ()
    """Files, folders, archives or one built dataset, instead of dojo games."""


class BudgetTable(BaseModel):
    """Lengths of the runs; with more than one limit, every variant runs under each of them separately."""

    model_config = _TABLE

    frames: int | None = Field(default=None, ge=1)
    """Frames seen."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes trained."""
    flops: float | None = Field(default=None, gt=0)
    """Floating point operations of the model."""


class AxisTable(BaseModel):
    """One axis of variation."""

    model_config = _TABLE

    key: str | None = None
    """Preset key whose values these are; without it, each value is a table of preset tables."""
    values: dict[str, Any] = Field(min_length=1)


class StudyFile(BaseModel):
    """Contents of a study file."""

    model_config = _TABLE

    about: str = Field(min_length=1)
    """The question, in one sentence."""
    decides: str = Field(min_length=1)
    """What would answer it, in one sentence."""
    preset: str = Field(min_length=1)
    """Base preset of every variant: a name or a file."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    against: str | None = None
    """Value that the others are compared with; without it, the variant with the lowest loss."""
    cross: tuple[CharacterName, ...] = ()
    """Characters on whose held-out games every run is evaluated, whatever it was trained on."""
    data: DataTable = DataTable()
    budget: BudgetTable
    set: dict[str, dict[str, Any] | str] = {}
    """Preset tables, and the preset's size, that every variant sets over the base preset."""
    axes: dict[str, AxisTable] = Field(min_length=1)
    quick: dict[str, Any] = {}
    """Replacements in quick mode, under the same keys; an axis value that is `none` is left out."""


def studies_folder() -> Path:
    """Return the folder of the shipped study files."""
    return presets_folder() / "studies"


def study_names() -> tuple[str, ...]:
    """Return the names of the shipped studies, in alphabetical order."""
    return tuple(sorted(path.stem for path in studies_folder().glob("*.toml")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a key is in the file, as `presets/studies/context_length.toml:12`."""

    name: str
    lines: Mapping[str, int]
    quick: bool

    def __call__(self, key: str) -> str:
        # Keys that quick mode replaces are in its table.
        for found in (f"quick.{key}", key) if self.quick else (key,):
            while found and found not in self.lines and found != "quick":
                found = found.rpartition(".")[0]
            if found and found != "quick":
                return f"{self.name}:{self.lines[found]}"
        return self.name


def find_study_file(name_or_path: str) -> Path:
    """Return the path of a study by its name or file.

    Raises:
        UsageError: there is none; the message has the nearest name.
    """
    named = studies_folder() / f"{name_or_path}.toml"
    if "/" not in name_or_path and named.is_file():
        return named
    path = Path(name_or_path)
    if path.is_file():
        return path
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        raise UsageError(f"no study file at {path}")
    names = study_names()
    otherwise = f"expected one of {', '.join(names)}, or a .toml file"
    raise UsageError(
        f"unknown study '{name_or_path}'; {suggestion(name_or_path, names, otherwise=otherwise)}"
    )


def read_study_file(path: Path, *, quick: bool) -> tuple[StudyFile, Places]:
    """Read and check a study file.

    Args:
        quick: apply the table of quick mode.

    Returns:
        The file, and where its keys are.

    Raises:
        UsageError: one line for every mistake.
    """
    name = display_path(path.resolve())
    try:
        # Some editors write a byte order mark.
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
        # Checked in either mode, so that mistakes in it are found early.
        allowed = sorted(StudyFile.model_fields.keys() - {"quick"})
        problems += [
            f"{where(f'quick.{key}')}: quick.{key}: unknown key; {suggestion(key, allowed)}"
            for key in changed
            if key not in allowed
        ]
        dropped = _dropped(values, changed)
        for axis, value in dropped:
            key, known = f"quick.axes.{axis}.values.{value}", _values_of(values, axis)
            if value not in known:
                problems.append(
                    f"{where(key)}: {key}: nothing to leave out; {suggestion(value, sorted(known))}"
                )
        if quick:
            values = _merged(values, changed)
            for axis, value in dropped:
                del values["axes"][axis]["values"][value]
    try:
        # Strict JSON matches TOML: lists are tuples, 1 is a float, "1" and true are not numbers.
        file = StudyFile.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        problems += [f"{where(key)}: {sentence}" for key, sentence in _problems(error)]
    if problems:
        raise UsageError("\n".join(problems))
    return file, where


def _dropped(values: Mapping[str, Any], changed: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (axis, value) of the values that quick mode leaves out with `none`."""
    return [
        (axis, value)
        for axis in _at(changed, "axes")
        # In an axis that varies one key, `none` is a value like others.
        if "key" not in _at(values, "axes", axis)
        for value, given in _values_of(changed, axis).items()
        if given == NONE
    ]


def _values_of(tables: Mapping[str, Any], axis: str) -> Mapping[str, Any]:
    return _at(tables, "axes", axis, "values")


def _at(tables: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return the nested table; an empty one where there is none."""
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
    """Yield (dotted key, sentence) for every mistake that pydantic found."""
    tables: Mapping[str, type[BaseModel]] = {"data": DataTable, "budget": BudgetTable, "axes": AxisTable}
    for detail in error.errors():
        path = [str(part) for part in detail["loc"] if not isinstance(part, int)]
        key = ".".join(path)
        match detail["type"]:
            case "extra_forbidden":
                model = tables.get(path[0], StudyFile) if len(path) > 1 else StudyFile
                yield key, f"{key}: unknown key; {suggestion(path[-1], sorted(model.model_fields))}"
            case "missing":
                yield key, f"{key}: missing"
            case "value_error":
                yield key, f"{key}: {detail['ctx']['error']}"
            case _:
                wanted = detail["msg"].removeprefix("Input should be ")
                yield key, f"{key}: expected {wanted}, found {json.dumps(detail['input'], default=str)}"
