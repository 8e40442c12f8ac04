"""Load a study: its file, and the variants that its axes span.

A value of an axis is a layer of preset tables, like a file that extends the base preset. Only the budget
decides how long a run is, so a study that sets `train.max_steps` is refused.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from exphil_core.config.loader import resolve_preset
from exphil_core.config.preset import Preset
from exphil_core.config.sizes import AUTO, SIZES
from exphil_core.errors import UsageError
from exphil_core.studies.budget import BUDGET_KEYS, Budget
from exphil_core.studies.study_file import (
    AxisTable,
    Places,
    StudyFile,
    find_study_file,
    read_study_file,
    studies_folder,
)
from exphil_core.suggest import suggestion

_VALUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+]{0,31}")
_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,47}")

LONGEST_RUN_NAME = 100

TIMES = "budget_times"
"""Key of an axis value, beside its preset tables: multiplies the budget."""

STARTS = "starts_from"
"""Key of an axis value: the value whose runs' best weights its runs begin with, seed by seed."""

AGAINST = "against"
"""Key of an axis value: the value that it is compared with, instead of the study's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One combination of axis values, under one budget."""

    name: str
    values: Mapping[str, str]
    """Axis → name of the value."""
    budget: Budget
    preset: Preset
    """Resolved, except for the seed, the data and the length of the run."""
    starts_from: str | None = None
    """Variant whose best weights its runs begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study that was loaded from its file."""

    name: str
    source: str
    """Name of a shipped study, or the absolute path of its file."""
    about: str
    decides: str
    quick: bool
    seeds: tuple[int, ...]
    against: str | None
    references: Mapping[str, str]
    """Value → the value that it is compared with instead."""
    cross: tuple[str, ...]
    dojo_games: int
    dojo_seed: int
    dojo_echo: int
    replays: tuple[str, ...]
    """Empty where the dojo's games are used."""
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
    """Load a study by its name or file.

    Args:
        quick: use quick mode, minutes on a CPU.
        replays: replace the file's replays.
        seeds: replace the file's seeds.
        name: None names the study after its file, its mode and whether it uses real replays, so that
            incomparable studies do not share a folder.
        settings: preset values by dotted key that every variant gets last.

    Raises:
        UsageError: one line for every mistake, with its place in the file.
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
    axes = _axes(file, where)
    variants = tuple(_variants(file, where, axes, settings or {}))
    for variant in variants:
        # A run is called STUDY.VARIANT.SEED.
        if len(f"{name}.{variant.name}.{max(chosen)}") > LONGEST_RUN_NAME:
            raise UsageError(
                f"{where('axes')}: {name}.{variant.name}.{max(chosen)} is longer than the {LONGEST_RUN_NAME} letters "
                "that a run's name may have: choose shorter names of values, or a shorter --name"
            )
    return Study(
        name=name,
        source=path.stem if path.parent == studies_folder() else str(path.absolute()),
        about=file.about,
        decides=file.decides,
        quick=quick,
        seeds=chosen,
        against=file.against,
        references={
            value: layer.against
            for axis in axes.values()
            for value, layer in axis.items()
            if layer.against is not None
        },
        cross=file.cross,
        dojo_games=file.data.games,
        dojo_seed=file.data.seed,
        dojo_echo=file.data.echo,
        replays=learned_from,
        variants=variants,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _StudyLayer:
    """Preset values by dotted key, and where each is set."""

    values: Mapping[str, object]
    places: Mapping[str, str]
    times: float = 1.0
    starts_from: str | None = None
    against: str | None = None


_Axes = Mapping[str, Mapping[str, _StudyLayer]]
"""Axis → value → layer."""


def _axes(file: StudyFile, where: Places) -> _Axes:
    axes = {
        name: _in_order(name, {value: _value(axis, name, value, where) for value in axis.values}, where)
        for name, axis in file.axes.items()
    }
    names = [value for axis in axes.values() for value in axis]
    if file.against is not None and file.against not in names:
        raise UsageError(
            f"{where('against')}: against: unknown value '{file.against}'; {suggestion(file.against, sorted(names))}"
        )
    _refuse_what_two_axes_set(axes, where)
    return axes


def _in_order(name: str, axis: Mapping[str, _StudyLayer], where: Places) -> Mapping[str, _StudyLayer]:
    """Return the values in the order of the file, but each after the one that it starts from."""
    found: dict[str, _StudyLayer] = {}
    for value in axis:
        chain = [value]
        while (before := axis[chain[-1]].starts_from) is not None and before not in found:
            if before in chain:
                circle = chain[chain.index(before) :]
                raise UsageError(
                    f"{where(f'axes.{name}.values.{circle[0]}.{STARTS}')}: {STARTS}: goes round in a circle: "
                    f"{' → '.join([*circle, before])}"
                )
            chain.append(before)
        for each in reversed(chain):
            found.setdefault(each, axis[each])
    return found


def _variants(
    file: StudyFile, where: Places, axes: _Axes, settings: Mapping[str, object]
) -> Iterator[Variant]:
    budgets = _budgets(file, where)
    common = _layer(file.set, "set", where)

    def called(values: Sequence[str], budget: Budget) -> str:
        return "-".join([*values, *([budget.kind] if len(budgets) > 1 else [])])

    for budget, chosen in product(budgets, product(*(axis.items() for axis in axes.values()))):
        layers = [common, *(layer for _, layer in chosen)]
        values = [value for value, _ in chosen]
        overrides: dict[str, object] = {}
        places: dict[str, str] = {}
        for layer in layers:
            overrides |= layer.values
            places |= layer.places
        # Early stopping would leave a part of the budget unused. The lengths are filled in later.
        overrides |= {"evaluation.patience": 0, "train.epochs": "none", "train.max_minutes": "none"}
        overrides |= {"train.max_steps": 1, **settings}
        preset = _same_for_all(resolve_preset(file.preset, overrides, places).preset, where)
        times = 1.0
        for layer in layers:
            times *= layer.times
        before = _before(dict(zip(axes, chosen, strict=True)), preset, where)
        yield Variant(
            name=called(values, budget),
            values=dict(zip(axes, values, strict=True)),
            budget=budget.times(times),
            preset=preset,
            starts_from=None if before is None else called(before, budget),
        )


def _same_for_all(preset: Preset, where: Places) -> Preset:
    """Resolve what a run would pick by its data: variants that are compared must not pick differently."""
    if preset.size == AUTO:
        raise UsageError(
            f"{where('preset')}: preset: the size of {preset.name} is auto, so each variant would pick its own; name "
            f"one for all as set.size: {', '.join(SIZES)}"
        )
    if preset.data.train_on_all_characters != "auto":
        return preset
    data = preset.data.model_copy(update={"train_on_all_characters": False})
    return preset.model_copy(update={"data": data})


def _before(chosen: Mapping[str, tuple[str, _StudyLayer]], preset: Preset, where: Places) -> list[str] | None:
    """Return the values of the variant that this one starts from, one per axis; None without one."""
    starting = {
        axis: layer.starts_from for axis, (_, layer) in chosen.items() if layer.starts_from is not None
    }
    if not starting:
        return None
    last = list(starting)[-1]
    place = where(f"axes.{last}.values.{chosen[last][0]}.{STARTS}")
    if len(starting) > 1:
        raise UsageError(
            f"{place}: {STARTS}: a value of the axis {' and one of '.join(starting)} both start from another, and a "
            "run can begin with one's weights only; leave it to one axis"
        )
    if preset.train.init_from is not None:
        raise UsageError(
            f"{place}: {STARTS}: train.init_from is '{preset.train.init_from}', and a run can begin with one's "
            "weights only; leave one of them out"
        )
    return [starting.get(axis, value) for axis, (value, _) in chosen.items()]


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


def _value(axis: AxisTable, name: str, value: str, where: Places) -> _StudyLayer:
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
        return _checked(_StudyLayer(values={axis.key: given}, places={axis.key: where(place)}), where, place)
    if not isinstance(given, dict):
        raise UsageError(
            f"{where(place)}: {place}: expected a table of preset tables, such as "
            f"{value}.backbone.window_size = 60 (or name the one key that is varied as axes.{name}.key), "
            f"found {json.dumps(given, default=str)}"
        )
    times = given.get(TIMES, 1.0)
    if isinstance(times, bool) or not isinstance(times, int | float) or not times > 0:
        raise UsageError(f"{where(f'{place}.{TIMES}')}: {TIMES}: expected a number above 0, found {times!r}")
    beside = (TIMES, STARTS, AGAINST)
    layer = _layer({key: item for key, item in given.items() if key not in beside}, place, where)
    return replace(
        layer,
        times=float(times),
        starts_from=_other(axis, value, STARTS, where, place),
        against=_other(axis, value, AGAINST, where, place),
    )


def _other(axis: AxisTable, value: str, key: str, where: Places, place: str) -> str | None:
    """Return the other value of the axis that this one names under `key`; None without one."""
    named = axis.values[value].get(key)
    if named is None:
        return None
    at = f"{where(f'{place}.{key}')}: {key}"
    others = [each for each in axis.values if each != value]
    if not isinstance(named, str):
        raise UsageError(f"{at}: expected the name of another value, found {json.dumps(named, default=str)}")
    if named == value:
        raise UsageError(f"{at}: '{value}' names itself; expected another value of the axis")
    if named not in others:
        raise UsageError(f"{at}: unknown value '{named}'; {suggestion(named, sorted(others))}")
    return named


def _layer(tables: Mapping[str, Any], place: str, where: Places) -> _StudyLayer:
    values: dict[str, object] = {}
    places: dict[str, str] = {}
    for section, table in tables.items():
        if section == "size" and isinstance(table, str):
            values[section], places[section] = table, where(f"{place}.{section}")
            continue
        if not isinstance(table, dict):
            known = [
                name for name, field in Preset.model_fields.items() if name not in ("name", "description")
            ]
            raise UsageError(
                f"{where(f'{place}.{section}')}: {place}.{section}: unknown table; "
                f"{suggestion(section, sorted([*known, TIMES, STARTS, AGAINST]))}"
            )
        for key, value in table.items():
            values[f"{section}.{key}"] = value
            places[f"{section}.{key}"] = where(f"{place}.{section}.{key}")
    return _checked(_StudyLayer(values=values, places=places), where, place)


def _checked(layer: _StudyLayer, where: Places, place: str) -> _StudyLayer:
    """Return the layer; UsageError where it sets what the study itself decides."""
    for key, who in BUDGET_KEYS.items():
        if key in layer.values:
            raise UsageError(f"{layer.places[key]}: {key} is decided by {who}, so a study cannot set it")
    return layer


def _refuse_what_two_axes_set(axes: _Axes, where: Places) -> None:
    owner: dict[str, str] = {}
    for name, axis in axes.items():
        for key in {key for layer in axis.values() for key in layer.values}:
            if owner.setdefault(key, name) != name:
                raise UsageError(
                    f"{where(f'axes.{name}')}: axes {owner[key]} and {name} both set {key}, so one would hide the "
                    "other; leave it to one of them"
                )
