"""A preset's TOML file with the line of every key, and the chain of files that it extends.

In: a preset's name or path. Out: `Source`s, base first. `tomllib` gives no positions, so `key_lines` finds
them by parsing one statement at a time, which is exact for every form that TOML has.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import exphil_core
from exphil_core.errors import UsageError

FORMER = {"low_tier_small": "--preset low_tier_unified --size small"}
"""Name of a preset that is gone → what to type instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    path: Path
    values: Mapping[str, object]
    """The tables of the file, without `extends`."""
    lines: Mapping[str, int]
    """Dotted key, or dotted name of a table → line, from 1."""

    def position(self, key: str) -> str:
        """`presets/mamba.toml:12` of a dotted key, or of the table around it where the key has no line."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        name = shown_path(self.path)
        return f"{name}:{self.lines[key]}" if key else name


def presets_folder() -> Path:
    """Where presets are found by name: `EXPHIL_PRESETS`, else `presets/` beside the packages."""
    chosen = os.environ.get("EXPHIL_PRESETS")
    folder = Path(chosen) if chosen else Path(exphil_core.__file__).resolve().parents[1] / "presets"
    if not folder.is_dir():
        raise UsageError(
            f"no folder of presets at {folder}: set EXPHIL_PRESETS to the folder that holds base.toml, "
            "or install exphil from its checkout with 'make setup'"
        )
    return folder


def preset_names() -> tuple[str, ...]:
    """The names of the presets in the folder, in alphabetical order."""
    return tuple(sorted(path.stem for path in presets_folder().glob("*.toml")))


def shown_path(path: Path) -> str:
    """As short as it stays unambiguous: from the current folder, or from the presets' own."""
    for base in (Path.cwd(), presets_folder().resolve().parent):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def read_chain(name_or_path: str) -> tuple[Source, ...]:
    """The preset and all that it extends, base first. UsageError for an unknown name, a cycle or bad TOML."""
    path = _find(name_or_path, Path.cwd(), "")
    chain: list[Source] = []
    seen: list[Path] = []
    while True:
        if path in seen:
            circle = " → ".join(shown_path(p) for p in [*seen[seen.index(path) :], path])
            raise UsageError(f"{shown_path(path)}: extends itself: {circle}")
        seen.append(path)
        source, parent = _read(path)
        chain.insert(0, source)
        if parent is None:
            return tuple(chain)
        path = _find(parent, path.parent, f"{source.position('extends')}: extends: ")


def key_lines(text: str) -> dict[str, int]:
    """Dotted key or table name → the line it stands on. The text must be valid TOML."""
    lines = text.splitlines()
    found: dict[str, int] = {}
    table = ""
    index = 0
    while index < len(lines):
        start = index
        statement = lines[index]
        index += 1
        if not statement.strip() or statement.lstrip().startswith("#"):
            continue
        header = statement.lstrip().startswith("[")
        # A value may go on over lines (arrays, long strings): take lines until the statement is whole.
        while (parsed := _parsed(statement)) is None and index < len(lines):
            statement += "\n" + lines[index]
            index += 1
        keys = _dotted(parsed or {})
        if header:
            table = max(keys, key=len, default="")
            keys = [table]
        for key in keys:
            found.setdefault(key if header or not table else f"{table}.{key}", start + 1)
    return found


def _parsed(statement: str) -> dict[str, object] | None:
    try:
        return tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return None


def _dotted(values: Mapping[str, object], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key, value in values.items():
        keys.append(prefix + key)
        if isinstance(value, Mapping):
            keys += _dotted(value, f"{prefix}{key}.")
    return keys


def _find(name_or_path: str, beside: Path, where: str) -> Path:
    named = presets_folder() / f"{name_or_path}.toml"
    if "/" not in name_or_path and named.is_file():
        return named.resolve()
    path = beside / name_or_path
    if path.is_file():
        return path.resolve()
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        raise UsageError(f"{where}no preset file at {path}")
    if name_or_path in FORMER:
        raise UsageError(f"{where}there is no preset '{name_or_path}' any more: use {FORMER[name_or_path]}")
    names = preset_names()
    near = get_close_matches(name_or_path, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(names)}, or a .toml file"
    raise UsageError(f"{where}unknown preset '{name_or_path}'; {hint}")


def _read(path: Path) -> tuple[Source, str | None]:
    name = shown_path(path)
    try:
        # Some editors begin a file with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name}: not a text file in UTF-8 ({error.reason} at byte {error.start})"
        ) from error
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = f":{place[1]}" if place else ""
        message = re.sub(r" \(at .*\)$", "", str(error))
        raise UsageError(f"{name}{line}: not valid TOML: {message}") from error
    lines = key_lines(text)
    if isinstance(values.get("preset"), dict) and isinstance(values.get("dataset"), dict):
        # A run's own file, which holds the preset that the run was started with.
        values = values["preset"]
        lines = {key.removeprefix("preset."): line for key, line in lines.items()}
    parent = values.pop("extends", None)
    if parent is not None and not isinstance(parent, str):
        raise UsageError(
            f"{name}:{lines['extends']}: extends: expected the name of one preset, found {parent!r}"
        )
    return Source(path=path, values=values, lines=lines), parent
