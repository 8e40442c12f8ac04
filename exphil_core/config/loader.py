"""Resolves a preset: defaults, then what it extends, then itself, then the command line.

In: a name or path, and overrides by dotted key. Out: a `Preset`, or one UsageError that lists every mistake
with the place where it was made. What a reader gets wrong: when a later layer names another kind of backbone,
the settings that only the earlier kind knows are taken out, and `Resolved.notes` says so; a setting that no
kind knows stays in and is an error.
"""

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pydantic import ValidationError

from exphil_core.config.backbones import ALIASES
from exphil_core.config.preset import Preset, plain_values
from exphil_core.config.problems import BACKBONES, SHARED_BACKBONE_KEYS, problems_of
from exphil_core.config.sources import Source, preset_names, read_chain
from exphil_core.config.toml import write_toml
from exphil_core.errors import UsageError
from exphil_core.replays.text import is_text, storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    preset: Preset
    notes: tuple[str, ...]
    """What a person should be told about how the layers were joined; `exphil train` prints them."""


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

    merged = _Merged()
    for layer in layers:
        merged.take(layer)
    # A name and a description are of one file: they are not handed on to what extends it.
    own = chain[-1]
    merged.values["name"] = own.values.get("name", own.path.stem)
    merged.values["description"] = own.values.get("description", "")
    return Resolved(preset=merged.validated(own), notes=tuple(merged.notes))


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
        if not equals or "." not in key:
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
        section, _, name = key.partition(".")
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
