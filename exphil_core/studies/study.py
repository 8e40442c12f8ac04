"""What a study asks: its file, and the variants that its axes span.

In: the name of a file in `presets/studies` or a path, and the form (`full`, or `quick` for minutes on a CPU). Out: a
`Study`, or one UsageError with every mistake and its line. What a reader gets wrong: a value of an axis is a layer of
preset tables, like a file that extends the base preset; the budget alone says how long a run is, so a study that sets
`train.max_steps` is refused.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from exphil_core.config.loader import resolve_preset
from exphil_core.config.preset import Preset
from exphil_core.errors import UsageError
from exphil_core.studies.budget import BUDGET_KEYS, Budget
from exphil_core.studies.study_file import (
    AxisTable,
    Places,
    StudyFile,
    find_study_file,
    hint,
    read_study_file,
)

_VALUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+]{0,31}")
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,47}")

LONGEST_RUN_NAME = 100

TIMES = "budget_times"
"""In a value of an axis, beside the preset's tables: it gets the budget so many times."""


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
    dojo_echo: int
    replays: tuple[str, ...]
    """Empty where the dojo's games are learned from."""
    variants: tuple[Variant, ...]


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
    path = find_study_file(name_or_path)
    file, where = read_study_file(path, quick=quick)
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
        dojo_echo=file.data.echo,
        replays=learned_from,
        variants=variants,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """Preset values by dotted key, and where each stands."""

    values: Mapping[str, object]
    places: Mapping[str, str]
    times: float = 1.0


def _variants(file: StudyFile, where: Places, settings: Mapping[str, object]) -> Iterator[Variant]:
    budgets = _budgets(file, where)
    common = _layer(file.set, "set", where)
    axes = {
        name: {value: _value(axis, name, value, where) for value in axis.values}
        for name, axis in file.axes.items()
    }
    names = [value for axis in axes.values() for value in axis]
    if file.against is not None and file.against not in names:
        raise UsageError(
            f"{where('against')}: against: unknown value '{file.against}'; {hint(file.against, names)}"
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


def _budgets(file: StudyFile, where: Places) -> list[Budget]:
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


def _value(axis: AxisTable, name: str, value: str, where: Places) -> _Layer:
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


def _layer(tables: Mapping[str, Any], place: str, where: Places) -> _Layer:
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            known = [
                name for name, field in Preset.model_fields.items() if name not in ("name", "description")
            ]
            raise UsageError(
                f"{where(f'{place}.{section}')}: {place}.{section}: unknown table; "
                f"{hint(section, [*known, TIMES])}"
            )
        for key, value in table.items():
            values[f"{section}.{key}"] = value
            places[f"{section}.{key}"] = where(f"{place}.{section}.{key}")
    return _checked(_Layer(values=values, places=places), where, place)


def _checked(layer: _Layer, where: Places, place: str) -> _Layer:
    """The layer, or UsageError where it sets what the study itself decides."""
    for key, who in BUDGET_KEYS.items():
        if key in layer.values:
            raise UsageError(f"{layer.places[key]}: {key} is decided by {who}, so a study cannot set it")
    return layer


def _refuse_what_two_axes_set(axes: Mapping[str, Mapping[str, _Layer]], where: Places) -> None:
    owner: dict[str, str] = {}
    for name, axis in axes.items():
        for key in {key for layer in axis.values() for key in layer.values}:
            if owner.setdefault(key, name) != name:
                raise UsageError(
                    f"{where(f'axes.{name}')}: axes {owner[key]} and {name} both set {key}, so one would hide the "
                    "other; leave it to one of them"
                )
