"""Resolves a preset: defaults, then what it extends, then itself, then the command line.

In: a name or path, and overrides by dotted key. Out: a `Preset`, or one UsageError that lists every mistake
with the place where it was made. What a reader gets wrong: when a later layer names another kind of backbone,
the settings that only the earlier kind knows are taken out, and `Resolved.notes` says so; a setting that no
kind knows stays in and is an error.
"""

import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from exphil_core.config.backbones import ALIASES
from exphil_core.config.preset import NONE, Preset, plain_values
from exphil_core.config.problems import BACKBONES, SHARED_BACKBONE_KEYS, problems_of
from exphil_core.config.sizes import AUTO, LIMITS, SIZES, SizeName, size_settings
from exphil_core.config.sources import Source, preset_names, read_chain
from exphil_core.config.toml import write_toml
from exphil_core.errors import UsageError
from exphil_core.replays.text import is_text, storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    preset: Preset
    """Where its size is `auto` and not picked yet: with the values of `production`."""
    notes: tuple[str, ...]
    """What a person should be told about how the layers were joined; `exphil train` prints them."""
    layers: "tuple[_Layer, ...]"
    """Base first, the command line last."""

    def at_size(self, name: SizeName, values: Mapping[str, object] | None = None) -> Preset:
        """The preset at a named size, with `values` by dotted key instead of the size's own.

        What a layer says that names a size, or one above it, wins over both.
        """
        preset, _ = _joined(self.layers, name, values or {})
        return preset.model_copy(update={"size": name})

    def setting(self, key: str, value: object) -> "Resolved":
        """The same with one more value, over all layers."""
        layers = (*self.layers, _Layer(tables=_nested({key: value}), labels={key: key}))
        preset, _ = _joined(layers, _size_of(layers), {})
        return replace(self, preset=preset, layers=layers)

    @property
    def explicit(self) -> frozenset[str]:
        """Dotted keys that win over a size's values."""
        return frozenset(
            key for layer in self.layers[_sized_at(self.layers) :] for key in _keys(layer.tables)
        )


def load_preset(name_or_path: str, overrides: Mapping[str, object] | None = None) -> Preset:
    """The resolved preset. UsageError with one line for every mistake."""
    return resolve_preset(name_or_path, overrides).preset


def resolve_preset(
    name_or_path: str,
    overrides: Mapping[str, object] | None = None,
    options: Mapping[str, str] | None = None,
) -> Resolved:
    """The resolved preset with its notes.

    `overrides` are values by dotted key (`train.lr`); `options` names the option that a key came from
    (`{"train.lr": "--lr"}`) where it was not `--set`, so that a mistake is reported under what was typed.
    """
    options = options or {}
    chain = read_chain(name_or_path)
    layers = [_Layer(tables=source.values, source=source) for source in chain]
    labels = {key: options.get(key, f"--set {key}") for key in overrides or {}}
    layers.append(_Layer(tables=_nested(overrides or {}), labels=labels))

    preset, notes = _joined(layers, _size_of(layers), {})
    return Resolved(preset=preset, notes=notes, layers=tuple(layers))


SIZE_BEFORE_PICKED: SizeName = "production"
"""Whose values a preset shows whose size is `auto`, before there is data to pick by."""


def _size_of(layers: "Sequence[_Layer]") -> SizeName | None:
    """Whose values the layers stand on; None where no size is named. An unknown one is refused by the preset."""
    size = next((layer.tables["size"] for layer in reversed(layers) if "size" in layer.tables), None)
    return SIZE_BEFORE_PICKED if size == AUTO else next((name for name in SIZES if name == size), None)


def _joined(
    layers: "Sequence[_Layer]", size: SizeName | None, values: Mapping[str, object]
) -> tuple[Preset, tuple[str, ...]]:
    """The preset of all layers with a size's values, and those instead of them, below the first that names a size."""
    merged = _Merged()
    sized_at = _sized_at(layers)
    for layer in layers[:sized_at]:
        merged.take(layer)
    if size is not None:
        above = {key: value for layer in layers[sized_at:] for key, value in _keys(layer.tables).items()}
        limited = any(above.get(key, NONE) != NONE for key in LIMITS)
        kinds = [_kind(layer.tables) for layer in layers]
        kind = next((kind for kind in reversed(kinds) if kind in BACKBONES), None)
        known = set(BACKBONES[kind].model_fields) if kind else SHARED_BACKBONE_KEYS
        merged.take(
            _Layer(tables=_nested({**size_settings(size, known, limited=limited), **values}), labels={})
        )
    for layer in layers[sized_at:]:
        merged.take(layer)
    own = next(layer.source for layer in reversed(layers) if layer.source is not None)
    # A name and a description are of one file: they are not handed on to what extends it.
    merged.values["name"] = own.values.get("name", own.path.stem)
    merged.values["description"] = own.values.get("description", "")
    return merged.validated(own), tuple(merged.notes)


def _sized_at(layers: "Sequence[_Layer]") -> int:
    """Where the first layer is that names a size; their number where none does."""
    return next((k for k, layer in enumerate(layers) if "size" in layer.tables), len(layers))


def _kind(tables: Mapping[str, object]) -> str | None:
    backbone = _without_alias(tables).get("backbone")
    return str(backbone.get("kind")) if isinstance(backbone, Mapping) and "kind" in backbone else None


def _keys(tables: Mapping[str, object]) -> dict[str, object]:
    """`section.key` → value."""
    return {
        f"{section}.{key}": value
        for section, table in tables.items()
        if isinstance(table, Mapping)
        for key, value in table.items()
    }


def preset_from_tables(tables: Mapping[str, object], *, where: str) -> Preset:
    """A preset from tables that were resolved before, as `run.toml` holds them, or UsageError."""
    try:
        return Preset.model_validate_json(json.dumps(tables, default=str), strict=True)
    except ValidationError as error:
        problems = [f"{where}: preset.{sentence}" for _, sentence in problems_of(error)]
        raise UsageError("\n".join(problems)) from error


def list_presets() -> tuple[str, ...]:
    """The names of the presets that `load_preset` knows."""
    return preset_names()


def preset_to_toml(preset: Preset) -> str:
    """The resolved preset as TOML; loading it gives an equal preset."""
    return write_toml(plain_values(preset))


def parse_assignments(assignments: Iterable[str]) -> dict[str, object]:
    """`section.key=value` from the command line → overrides. A value is TOML, or else a bare word."""
    overrides: dict[str, object] = {}
    problems = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or ("." not in key and key != "size"):
            problems.append(f"--set {assignment}: expected section.key=value, such as train.lr=0.001")
        elif key in overrides:
            problems.append(f"--set {assignment}: {key} is set twice")
        else:
            overrides[key] = _toml_value(text.strip())
    if problems:
        raise UsageError("\n".join(problems))
    return overrides


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """One file, or the command line."""

    tables: Mapping[str, object]
    source: Source | None = None
    labels: Mapping[str, str] | None = None

    def position(self, key: str) -> str | None:
        """Where the key stands in this layer, or None where it does not."""
        if self.source is not None:
            return self.source.position(key) if key in self.source.lines else None
        assert self.labels is not None
        return self.labels.get(key)


class _Merged:
    """The layers so far, as one tree of values."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.notes: list[str] = []
        self._layers: list[_Layer] = []

    def take(self, layer: _Layer) -> None:
        """Lays `layer` over what is there."""
        layer = replace(layer, tables=_without_alias(layer.tables))
        self._switch_backbone(layer)
        for section, value in layer.tables.items():
            below = self.values.get(section)
            if isinstance(below, dict) and isinstance(value, Mapping):
                below.update(value)
            else:
                self.values[section] = dict(value) if isinstance(value, Mapping) else value
        self._layers.append(layer)

    def _switch_backbone(self, layer: _Layer) -> None:
        below, above = self.values.get("backbone"), layer.tables.get("backbone")
        if not isinstance(below, dict) or not isinstance(above, Mapping):
            return
        old, new = below.get("kind"), above.get("kind")
        if new is None or new == old or old not in BACKBONES or new not in BACKBONES:
            return
        known = set(BACKBONES[old].model_fields) - SHARED_BACKBONE_KEYS - {"kind"}
        stays = set(BACKBONES[new].model_fields)
        dropped = {key: below.pop(key) for key in sorted(known & set(below) - stays)}
        # Between files it is the author's choice; on the command line a person may not have meant it.
        if dropped and layer.source is None:
            settings = ", ".join(f"{key}={value}" for key, value in dropped.items())
            self.notes.append(
                f"the backbone is {new} instead of {old}, so {old}'s {settings} no longer apply"
            )

    def position(self, path: tuple[str, ...], own: Source) -> str:
        """Where the value at `path` was set last; where its table was, if the value itself never was.

        A contradiction within a table or between tables was made by whoever set something there last.
        """
        if len(path) < 2:
            labels = self._layers[-1].labels or {}
            touched = [label for key, label in labels.items() if key.startswith(".".join((*path, "")))]
            if touched:
                return " ".join(touched)
        for depth in range(len(path), 0, -1):
            key = ".".join(path[:depth])
            for layer in reversed(self._layers):
                position = layer.position(key)
                if position is not None:
                    return position
        return own.position("")

    def validated(self, own: Source) -> Preset:
        """The preset, or UsageError with every mistake, in the order of the files."""
        problems = [
            (path, f"{'.'.join(path)}: expected a finite number") for path in _not_finite(self.values)
        ]
        problems += [
            (
                path,
                f"{'.'.join(path)}: expected text, found '{storable(text)}', a name that is not UTF-8, which "
                "a preset and run.toml cannot hold; give the file or folder another name, or a link with one",
            )
            for path, text in _not_text(self.values)
        ]
        try:
            # Strict JSON means what TOML does: lists are tuples, 1 is a float, "1" and true are not numbers.
            preset = Preset.model_validate_json(json.dumps(_holdable(self.values), default=str), strict=True)
        except ValidationError as error:
            problems += problems_of(error)
        if not problems:
            return preset
        placed = sorted(
            ((self.position(path, own), path, sentence) for path, sentence in problems),
            key=lambda problem: _order(problem[0]),
        )
        # `--set train.lr: train.lr: …` would name the key twice.
        lines = [
            f"{place.removesuffix(' ' + '.'.join(path))}: {sentence}" for place, path, sentence in placed
        ]
        raise UsageError("\n".join(lines))


def _without_alias(tables: Mapping[str, object]) -> Mapping[str, object]:
    """`tables` with the backbone under its own name."""
    backbone = tables.get("backbone")
    if not isinstance(backbone, Mapping) or backbone.get("kind") not in ALIASES:
        return tables
    return {**tables, "backbone": {**backbone, "kind": ALIASES[str(backbone["kind"])]}}


def _order(position: str) -> tuple[bool, str, int]:
    """Files first, from top to bottom, then the command line."""
    name, _, line = position.rpartition(":")
    return position.startswith("-"), name, int(line) if line.isdigit() else 0


def _nested(overrides: Mapping[str, object]) -> dict[str, object]:
    tables: dict[str, object] = {}
    for key, value in overrides.items():
        section, dot, name = key.partition(".")
        if not dot:
            tables[section] = value
            continue
        table = tables.setdefault(section, {})
        assert isinstance(table, dict), f"override {key} is not section.key"
        table[name] = value
    return tables


def _not_finite(value: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(value, float) and not math.isfinite(value):
        return [path]
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in _not_finite(item, (*path, key))]
    return []


def _not_text(value: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        return [] if is_text(value) else [(path, value)]
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in _not_text(item, (*path, key))]
    if isinstance(value, list | tuple):
        return [found for item in value for found in _not_text(item, path)]
    return []


def _holdable(value: object) -> object:
    """`value` without what JSON cannot hold, numbers and letters; that is reported on its own."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list | tuple):
        return [_holdable(item) for item in value]
    if isinstance(value, Mapping):
        return {
            key: _holdable(item)
            for key, item in value.items()
            if not _not_finite(item) or isinstance(item, Mapping)
        }
    return value
