"""What a study asks: its file, and the variants that its axes span.

In: the name of a file in `presets/studies` or a path, and the form (`full`, or `quick` for minutes on a CPU). Out: a
`Study`, or one UsageError with every mistake and its line. What a reader gets wrong: a value of an axis is a layer of
preset tables, like a file that extends the base preset; the budget alone says how long a run is, so a study that sets
`train.max_steps` is refused.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exphil_core.config.loader import resolve_preset
from exphil_core.config.preset import CharacterName, Preset
from exphil_core.config.sources import key_lines, presets_folder, shown_path
from exphil_core.errors import UsageError
from exphil_core.studies.budget import BUDGET_KEYS, Budget

_FILE = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

_VALUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+]{0,31}")
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,47}")

LONGEST_RUN_NAME = 100

TIMES = "budget_times"
"""In a value of an axis, beside the preset's tables: it gets the budget so many times."""


class _Data(BaseModel):
    """What is learned from: the dojo's games, unless real replays are named on the command line or here."""

    model_config = _FILE

    games: int = Field(default=100, ge=2, le=100_000)
    """Of the dojo."""
    seed: int = Field(default=0, ge=0)
    """Of those games."""
    replays: tuple[str, ...] = ()
    """Files, folders, archives or one built dataset, instead of the dojo's games."""


class _Budget(BaseModel):
    """Each limit that is named is a comparison of its own: with two of them, every variant runs under both."""

    model_config = _FILE

    frames: int | None = Field(default=None, ge=1)
    """The same number of frames seen."""
    minutes: float | None = Field(default=None, gt=0)
    """The same time trained."""
    flops: float | None = Field(default=None, gt=0)
    """The same number of floating point operations of the model."""


class _Axis(BaseModel):
    """What is varied."""

    model_config = _FILE

    key: str | None = None
    """The preset key whose values these are; without it, each value is a table of preset tables."""
    values: dict[str, Any] = Field(min_length=1)


class _File(BaseModel):
    model_config = _FILE

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
    data: _Data = _Data()
    budget: _Budget
    set: dict[str, dict[str, Any]] = {}
    """Preset tables that every variant has over the base preset."""
    axes: dict[str, _Axis] = Field(min_length=1)
    quick: dict[str, Any] = {}
    """What the quick form has instead, under the same keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One cell of the axes, under one budget."""

    name: str
    values: Mapping[str, str]
    """Axis → name of the value."""
    budget: Budget
    preset: Preset
    """Resolved, but for the seed, the data and the length of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    name: str
    about: str
    decides: str
    quick: bool
    seeds: tuple[int, ...]
    against: str | None
    cross: tuple[str, ...]
    dojo_games: int
    dojo_seed: int
    replays: tuple[str, ...]
    """Empty where the dojo's games are learned from."""
    variants: tuple[Variant, ...]


def studies_folder() -> Path:
    """Where the shipped study files are."""
    return presets_folder() / "studies"


def study_names() -> tuple[str, ...]:
    """The names of the study files in the folder, in alphabetical order."""
    return tuple(sorted(path.stem for path in studies_folder().glob("*.toml")))


def load_study(
    name_or_path: str,
    *,
    quick: bool = False,
    replays: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    name: str | None = None,
    settings: Mapping[str, object] | None = None,
) -> Study:
    """The study of that name or file. UsageError with one line for every mistake.

    `replays` and `seeds` take the place of the file's. Without a `name`, the study is called after its file, its form
    and whether it is of real replays, so that what cannot be compared does not share a folder. `settings` are preset
    values by dotted key that every variant gets last.
    """
    path = _find(name_or_path)
    file, lines = _read(path, quick=quick)
    where = _Where(name=shown_path(path), lines=lines, quick=quick)
    chosen = seeds or file.seeds
    twice = sorted({seed for seed in chosen if chosen.count(seed) > 1})
    if twice or min(chosen) < 0:
        raise UsageError(
            f"{where('seeds')}: seeds: expected different numbers from 0 up, found {list(chosen)}"
        )
    learned_from = replays or file.data.replays
    if name is None:
        name = path.stem + ("-quick" if quick else "") + ("-replays" if learned_from else "")
    if not _STUDY_NAME.fullmatch(name):
        raise UsageError(
            f"study name '{name}': expected at most 48 letters, digits and _+-, beginning with a letter or digit"
        )
    variants = tuple(_variants(file, where, settings or {}))
    for variant in variants:
        # A run is called STUDY.VARIANT.SEED.
        if len(f"{name}.{variant.name}.{max(chosen)}") > LONGEST_RUN_NAME:
            raise UsageError(
                f"{where('axes')}: {name}.{variant.name}.{max(chosen)} is longer than the {LONGEST_RUN_NAME} letters "
                "that a run's name may have: choose shorter names of values, or a shorter --name"
            )
    return Study(
        name=name,
        about=file.about,
        decides=file.decides,
        quick=quick,
        seeds=chosen,
        against=file.against,
        cross=file.cross,
        dojo_games=file.data.games,
        dojo_seed=file.data.seed,
        replays=learned_from,
        variants=variants,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Where:
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


def _find(name_or_path: str) -> Path:
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
    hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(names)}, or a .toml file"
    raise UsageError(f"unknown study '{name_or_path}'; {hint}")


def _read(path: Path, *, quick: bool) -> tuple[_File, Mapping[str, int]]:
    name = shown_path(path.resolve())
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not a text file in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not valid TOML: {error}") from error
    lines = key_lines(text)
    where = _Where(name=shown_path(path), lines=lines, quick=quick)
    problems: list[str] = []
    changed = values.get("quick", {})
    if isinstance(changed, dict):
        # Looked at in either form, so that a mistake in it does not wait for who asks for it.
        problems += [
            f"{where(f'quick.{key}')}: quick.{key}: unknown key; {_hint(key, set(_File.model_fields) - {'quick'})}"
            for key in changed
            if key not in _File.model_fields or key == "quick"
        ]
        if quick:
            values = _merged(values, changed)
    try:
        # Strict JSON means what TOML does: lists are tuples, 1 is a float, "1" and true are not numbers.
        file = _File.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        problems += [f"{where(key)}: {sentence}" for key, sentence in _problems(error)]
    if problems:
        raise UsageError("\n".join(problems))
    return file, lines


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        under = found.get(key)
        both = isinstance(under, dict) and isinstance(value, dict)
        found[key] = _merged(under, value) if both and under is not None else value
    return found


def _problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    """(dotted key, sentence) for every mistake that pydantic found."""
    tables: Mapping[str, type[BaseModel]] = {"data": _Data, "budget": _Budget, "axes": _Axis}
    for detail in error.errors():
        path = [str(part) for part in detail["loc"] if not isinstance(part, int)]
        key = ".".join(path)
        match detail["type"]:
            case "extra_forbidden":
                model = tables.get(path[0], _File) if len(path) > 1 else _File
                yield key, f"{key}: unknown key; {_hint(path[-1], model.model_fields)}"
            case "missing":
                yield key, f"{key}: missing"
            case "value_error":
                yield key, f"{key}: {detail['ctx']['error']}"
            case _:
                wanted = detail["msg"].removeprefix("Input should be ")
                yield key, f"{key}: expected {wanted}, found {json.dumps(detail['input'], default=str)}"


def _hint(name: str, known: Any) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(names)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """Preset values by dotted key, and where each stands."""

    values: Mapping[str, object]
    places: Mapping[str, str]
    times: float = 1.0


def _variants(file: _File, where: _Where, settings: Mapping[str, object]) -> Iterator[Variant]:
    budgets = _budgets(file, where)
    common = _layer(file.set, "set", where)
    axes = {
        name: {value: _value(axis, name, value, where) for value in axis.values}
        for name, axis in file.axes.items()
    }
    names = [value for axis in axes.values() for value in axis]
    if file.against is not None and file.against not in names:
        raise UsageError(
            f"{where('against')}: against: unknown value '{file.against}'; {_hint(file.against, names)}"
        )
    _refuse_what_two_axes_set(axes, where)
    for budget, chosen in product(budgets, product(*(axis.items() for axis in axes.values()))):
        layers = [common, *(layer for _, layer in chosen)]
        values = [value for value, _ in chosen]
        overrides: dict[str, object] = {}
        places: dict[str, str] = {}
        for layer in layers:
            overrides |= layer.values
            places |= layer.places
        # A run that stops early has not had its budget. The lengths are put in once they are known.
        overrides |= {"evaluation.patience": 0, "train.epochs": "none", "train.max_minutes": "none"}
        overrides |= {"train.max_steps": 1, **settings}
        preset = resolve_preset(file.preset, overrides, places).preset
        times = 1.0
        for layer in layers:
            times *= layer.times
        yield Variant(
            name="-".join([*values, *([budget.kind] if len(budgets) > 1 else [])]),
            values=dict(zip(axes, values, strict=True)),
            budget=budget.times(times),
            preset=preset,
        )


def _budgets(file: _File, where: _Where) -> list[Budget]:
    amounts = {"frames": file.budget.frames, "minutes": file.budget.minutes, "flops": file.budget.flops}
    found = [
        Budget(kind=kind, amount=float(amount))  # type: ignore[arg-type]
        for kind, amount in amounts.items()
        if amount is not None
    ]
    if not found:
        raise UsageError(
            f"{where('budget')}: budget: nothing makes the variants comparable; give at least one of frames, "
            "minutes and flops"
        )
    return found


def _value(axis: _Axis, name: str, value: str, where: _Where) -> _Layer:
    place = f"axes.{name}.values.{value}"
    if not _VALUE_NAME.fullmatch(value):
        raise UsageError(
            f"{where(place)}: {place}: a value's name is part of a run's name; expected at most 32 letters, digits "
            "and _+, beginning with a letter or digit"
        )
    given = axis.values[value]
    if axis.key is not None:
        if axis.key.count(".") != 1:
            raise UsageError(
                f"{where(f'axes.{name}.key')}: axes.{name}.key: expected a preset key such as "
                f"backbone.window_size, found '{axis.key}'"
            )
        return _checked(_Layer(values={axis.key: given}, places={axis.key: where(place)}), where, place)
    if not isinstance(given, dict):
        raise UsageError(
            f"{where(place)}: {place}: expected a table of preset tables, such as "
            f"{value}.backbone.window_size = 60 (or name the one key that is varied as axes.{name}.key), "
            f"found {json.dumps(given, default=str)}"
        )
    times = given.get(TIMES, 1.0)
    if isinstance(times, bool) or not isinstance(times, int | float) or not times > 0:
        raise UsageError(f"{where(f'{place}.{TIMES}')}: {TIMES}: expected a number above 0, found {times!r}")
    layer = _layer({key: item for key, item in given.items() if key != TIMES}, place, where)
    return _Layer(values=layer.values, places=layer.places, times=float(times))


def _layer(tables: Mapping[str, Any], place: str, where: _Where) -> _Layer:
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            known = [
                name for name, field in Preset.model_fields.items() if name not in ("name", "description")
            ]
            raise UsageError(
                f"{where(f'{place}.{section}')}: {place}.{section}: unknown table; "
                f"{_hint(section, [*known, TIMES])}"
            )
        for key, value in table.items():
            values[f"{section}.{key}"] = value
            places[f"{section}.{key}"] = where(f"{place}.{section}.{key}")
    return _checked(_Layer(values=values, places=places), where, place)


def _checked(layer: _Layer, where: _Where, place: str) -> _Layer:
    """The layer, or UsageError where it sets what the study itself decides."""
    for key, who in BUDGET_KEYS.items():
        if key in layer.values:
            raise UsageError(f"{layer.places[key]}: {key} is decided by {who}, so a study cannot set it")
    return layer


def _refuse_what_two_axes_set(axes: Mapping[str, Mapping[str, _Layer]], where: _Where) -> None:
    owner: dict[str, str] = {}
    for name, axis in axes.items():
        for key in {key for layer in axis.values() for key in layer.values}:
            if owner.setdefault(key, name) != name:
                raise UsageError(
                    f"{where(f'axes.{name}')}: axes {owner[key]} and {name} both set {key}, so one would hide the "
                    "other; leave it to one of them"
                )
