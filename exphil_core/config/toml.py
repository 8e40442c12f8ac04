"""Writes plain values as TOML (the standard library only reads it).

In: nested mappings of strings, numbers, booleans and flat lists. Out: text that `tomllib` reads back equal.
None has no form in TOML, so a caller leaves such keys out.
"""

import json
import math
from collections.abc import Mapping, Sequence


def write_toml(values: Mapping[str, object]) -> str:
    """`values` as a TOML document: plain keys first, then one table for each mapping."""
    return "\n".join(_table(values, ())).strip() + "\n"


def _table(values: Mapping[str, object], path: tuple[str, ...]) -> list[str]:
    lines = [
        f"{_key(key)} = {_value(value)}" for key, value in values.items() if not isinstance(value, Mapping)
    ]
    if path and (lines or not values):
        lines = ["", f"[{'.'.join(_key(part) for part in path)}]", *lines]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += _table(value, (*path, key))
    return lines


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
    return key if bare else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but TOML also forbids a bare DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        assert math.isfinite(value), value
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    assert isinstance(value, Sequence), f"no TOML form for {value!r}"
    return f"[{', '.join(_value(item) for item in value)}]"
