"""Read a preset's TOML file, with the line of every key, and the files that it extends.

`tomllib` gives no positions, so `key_lines` finds them by parsing one statement at a time. This is exact for all of
TOML's syntax.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import exphil_core
from exphil_core.errors import UsageError
from exphil_core.paths import checkout_folder
from exphil_core.suggest import suggestion

REMOVED_PRESETS = {"low_tier_small": "--preset low_tier_unified --size small"}
"""Removed preset → the options to use instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A parsed preset file."""

    path: Path
    values: Mapping[str, object]
    """The file's tables, without `extends`."""
    lines: Mapping[str, int]
    """Dotted key or table name → line, from 1."""

    def position(self, key: str) -> str:
        """Return the position of a dotted key, or of its table if the key has no line: `presets/mamba.toml:12`."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        name = display_path(self.path)
        return f"{name}:{self.lines[key]}" if key else name


def presets_folder() -> Path:
    """Return the folder of named presets: `EXPHIL_PRESETS`, else `presets/` of the wheel or of the checkout.

    Raises:
        UsageError: the folder does not exist.
    """
    chosen = os.environ.get("EXPHIL_PRESETS")
    root = checkout_folder() or Path(exphil_core.__file__).resolve().parent
    folder = Path(chosen) if chosen else root / "presets"
    if not folder.is_dir():
        raise UsageError(
            f"no folder of presets at {folder}: set EXPHIL_PRESETS to the folder that holds base.toml, "
            "or install exphil again"
        )
    return folder


def preset_names() -> tuple[str, ...]:
    """Return the names of the presets in the folder, in alphabetical order."""
    return tuple(sorted(path.stem for path in presets_folder().glob("*.toml")))


def display_path(path: Path) -> str:
    """Return the path relative to the current folder or the presets' parent folder, where it is below one."""
    for base in (Path.cwd(), presets_folder().resolve().parent):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def read_chain(name_or_path: str) -> tuple[SourceFile, ...]:
    """Return the preset's file and all files that it extends, base first.

    Raises:
        UsageError: unknown name, a cycle, or invalid TOML.
    """
    path = _find(name_or_path, Path.cwd(), "")
    chain: list[SourceFile] = []
    seen: list[Path] = []
    while True:
        if path in seen:
            circle = " → ".join(display_path(p) for p in [*seen[seen.index(path) :], path])
            raise UsageError(f"{display_path(path)}: extends itself: {circle}")
        seen.append(path)
        source, parent = _read(path)
        chain.insert(0, source)
        if parent is None:
            return tuple(chain)
        path = _find(parent, path.parent, f"{source.position('extends')}: extends: ")


def key_lines(text: str) -> dict[str, int]:
    """Return the line, from 1, of each dotted key and table name. `text` must be valid TOML."""
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
        # A value may span lines (arrays, long strings): add lines until the statement is complete.
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
    if name_or_path in REMOVED_PRESETS:
        raise UsageError(f"{where}there is no preset '{name_or_path}': use {REMOVED_PRESETS[name_or_path]}")
    names = preset_names()
    otherwise = f"expected one of {', '.join(names)}, or a .toml file"
    raise UsageError(
        f"{where}unknown preset '{name_or_path}'; {suggestion(name_or_path, names, otherwise=otherwise)}"
    )


def _read(path: Path) -> tuple[SourceFile, str | None]:
    name = display_path(path)
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
        # A run.toml: it holds the preset that the run was started with.
        values = values["preset"]
        lines = {key.removeprefix("preset."): line for key, line in lines.items()}
    parent = values.pop("extends", None)
    if parent is not None and not isinstance(parent, str):
        raise UsageError(
            f"{name}:{lines['extends']}: extends: expected the name of one preset, found {parent!r}"
        )
    return SourceFile(path=path, values=values, lines=lines), parent
