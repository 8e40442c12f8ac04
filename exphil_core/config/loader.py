"""Resolve a preset: defaults, then the files it extends, then its own file, then the command line.

All mistakes are reported in one UsageError, each with its position. When a later layer selects another kind of
backbone, settings that only the earlier kind has are dropped, and `Resolved.notes` lists those that the command line
dropped.
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
from exphil_core.config.sources import SourceFile, preset_names, read_chain
from exphil_core.config.toml import write_toml
from exphil_core.errors import UsageError
from exphil_core.replays.text import is_text, storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A resolved preset with the layers it was merged from."""

    preset: Preset
    """If its size is `auto` and not picked yet, it has the values of `production`."""
    notes: tuple[str, ...]
    """Messages about the merge for the user; `exphil train` prints them."""
    layers: "tuple[_PresetLayer, ...]"
    """Base first, the command line last."""

    def at_size(self, name: SizeName, values: Mapping[str, object] | None = None) -> Preset:
        """Return the preset at a named size.

        Args:
            values: values by dotted key that replace the size's own. A layer that names a size, and every layer above
                it, wins over both.
        """
        preset, _ = _joined(self.layers, name, values or {})
        return preset.model_copy(update={"size": name})

    def setting(self, key: str, value: object) -> "Resolved":
        """Return a copy with one more value, above all layers."""
        layers = (*self.layers, _PresetLayer(tables=_nested({key: value}), labels={key: key}))
        preset, _ = _joined(layers, _size_of(layers), {})
        return replace(self, preset=preset, layers=layers)

    @property
    def explicit(self) -> frozenset[str]:
        """Dotted keys that override a size's values."""
        return frozenset(
            key for layer in self.layers[_sized_at(self.layers) :] for key in _keys(layer.tables)
        )


def load_preset(name_or_path: str, overrides: Mapping[str, object] | None = None) -> Preset:
    """Return the resolved preset.

    Raises:
        UsageError: with one line for every mistake.
    """
    return resolve_preset(name_or_path, overrides).preset


def resolve_preset(
    name_or_path: str,
    overrides: Mapping[str, object] | None = None,
    options: Mapping[str, str] | None = None,
) -> Resolved:
    """Return the resolved preset with its notes and layers.

    Args:
        overrides: values by dotted key (`train.lr`), above all files.
        options: the command-line option of a key (`{"train.lr": "--lr"}`), for error messages; `--set` by default.

    Raises:
        UsageError: with one line for every mistake.
    """
    options = options or {}
    chain = read_chain(name_or_path)
    layers = [_PresetLayer(tables=source.values, source=source) for source in chain]
    labels = {key: options.get(key, f"--set {key}") for key in overrides or {}}
    layers.append(_PresetLayer(tables=_nested(overrides or {}), labels=labels))

    preset, notes = _joined(layers, _size_of(layers), {})
    return Resolved(preset=preset, notes=notes, layers=tuple(layers))


SIZE_BEFORE_PICKED: SizeName = "production"
"""The size whose values a preset of size `auto` has until one is picked from the data."""


def _size_of(layers: "Sequence[_PresetLayer]") -> SizeName | None:
    """Return the size that the layers name, or None. `Preset` refuses an unknown one."""
    size = next((layer.tables["size"] for layer in reversed(layers) if "size" in layer.tables), None)
    return SIZE_BEFORE_PICKED if size == AUTO else next((name for name in SIZES if name == size), None)


def _joined(
    layers: "Sequence[_PresetLayer]", size: SizeName | None, values: Mapping[str, object]
) -> tuple[Preset, tuple[str, ...]]:
    """Merge all layers. A size's values, updated by `values`, go below the first layer that names a size."""
    merged = _Merged()
    sized_at = _sized_at(layers)
    for layer in layers[:sized_at]:
        merged.take(layer)
    if size is not None:
        above = {key: value for layer in layers[sized_at:] for key, value in _keys(layer.tables).items()}
        limits = {key for key in LIMITS if above.get(key, NONE) != NONE}
        kinds = [_kind(layer.tables) for layer in layers]
        kind = next((kind for kind in reversed(kinds) if kind in BACKBONES), None)
        known = set(BACKBONES[kind].model_fields) if kind else SHARED_BACKBONE_KEYS
        merged.take(
            _PresetLayer(tables=_nested({**size_settings(size, known, limits=limits), **values}), labels={})
        )
    for layer in layers[sized_at:]:
        merged.take(layer)
    own = next(layer.source for layer in reversed(layers) if layer.source is not None)
    # Name and description belong to one file: a file that extends it does not inherit them.
    merged.values["name"] = own.values.get("name", own.path.stem)
    merged.values["description"] = own.values.get("description", "")
    return merged.validated(own), tuple(merged.notes)


def _sized_at(layers: "Sequence[_PresetLayer]") -> int:
    """Return the index of the first layer that names a size; the number of layers if none does."""
    return next((k for k, layer in enumerate(layers) if "size" in layer.tables), len(layers))


def _kind(tables: Mapping[str, object]) -> str | None:
    backbone = _without_alias(tables).get("backbone")
    return str(backbone.get("kind")) if isinstance(backbone, Mapping) and "kind" in backbone else None


def _keys(tables: Mapping[str, object]) -> dict[str, object]:
    """Return the values by `section.key`."""
    return {
        f"{section}.{key}": value
        for section, table in tables.items()
        if isinstance(table, Mapping)
        for key, value in table.items()
    }


def preset_from_tables(tables: Mapping[str, object], *, where: str) -> Preset:
    """Return the preset of resolved tables, as `run.toml` stores them.

    Args:
        where: the file, for error messages.

    Raises:
        UsageError: with one line for every mistake.
    """
    try:
        return Preset.model_validate_json(json.dumps(tables, default=str), strict=True)
    except ValidationError as error:
        problems = [f"{where}: preset.{sentence}" for _, sentence in problems_of(error)]
        raise UsageError("\n".join(problems)) from error


def list_presets() -> tuple[str, ...]:
    """Return the names that `load_preset` accepts."""
    return preset_names()


def preset_to_toml(preset: Preset) -> str:
    """Return the resolved preset as TOML; loading it gives an equal preset."""
    return write_toml(plain_values(preset))


def parse_assignments(assignments: Iterable[str]) -> dict[str, object]:
    """Parse `section.key=value` assignments of `--set` into overrides. A value that is not TOML is a string."""
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
class _PresetLayer:
    """One preset file, or the command line."""

    tables: Mapping[str, object]
    source: SourceFile | None = None
    labels: Mapping[str, str] | None = None
    """Dotted key → the command-line option that set it."""

    def position(self, key: str) -> str | None:
        """Return the position of the key in this layer, or None if the layer does not set it."""
        if self.source is not None:
            return self.source.position(key) if key in self.source.lines else None
        assert self.labels is not None
        return self.labels.get(key)


class _Merged:
    """Merges layers into one tree of values."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.notes: list[str] = []
        self._layers: list[_PresetLayer] = []

    def take(self, layer: _PresetLayer) -> None:
        """Merge `layer` over the current values."""
        layer = replace(layer, tables=_without_alias(layer.tables))
        self._switch_backbone(layer)
        for section, value in layer.tables.items():
            below = self.values.get(section)
            if isinstance(below, dict) and isinstance(value, Mapping):
                below.update(value)
            else:
                self.values[section] = dict(value) if isinstance(value, Mapping) else value
        self._layers.append(layer)

    def _switch_backbone(self, layer: _PresetLayer) -> None:
        below, above = self.values.get("backbone"), layer.tables.get("backbone")
        if not isinstance(below, dict) or not isinstance(above, Mapping):
            return
        old, new = below.get("kind"), above.get("kind")
        if new is None or new == old or old not in BACKBONES or new not in BACKBONES:
            return
        known = set(BACKBONES[old].model_fields) - SHARED_BACKBONE_KEYS - {"kind"}
        stays = set(BACKBONES[new].model_fields)
        dropped = {key: below.pop(key) for key in sorted(known & set(below) - stays)}
        # A file's author chose it; a user of the command line may not have meant it.
        if dropped and layer.source is None:
            settings = ", ".join(f"{key}={value}" for key, value in dropped.items())
            self.notes.append(
                f"the backbone is {new} instead of {old}, so {old}'s {settings} no longer apply"
            )

    def position(self, path: tuple[str, ...], own: SourceFile) -> str:
        """Return where the value at `path` was set last, else where its table was.

        A contradiction within or between tables is attributed to the last layer that set something there.
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

    def validated(self, own: SourceFile) -> Preset:
        """Return the preset.

        Raises:
            UsageError: with every mistake, in the order of the files.
        """
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
            # Strict JSON has TOML's rules: lists become tuples, 1 is a float, "1" and true are not numbers.
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
    """Return `tables` with an alias of the backbone's kind replaced."""
    backbone = tables.get("backbone")
    if not isinstance(backbone, Mapping) or backbone.get("kind") not in ALIASES:
        return tables
    return {**tables, "backbone": {**backbone, "kind": ALIASES[str(backbone["kind"])]}}


def _order(position: str) -> tuple[bool, str, int]:
    """Sort key of a position: files first, by line, then the command line."""
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
    """Remove what JSON cannot hold (non-finite numbers, invalid UTF-8), which is reported separately."""
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
