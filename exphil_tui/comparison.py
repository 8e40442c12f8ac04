"""What tells runs apart: settings that differ, and what then must not be read out of their losses.

In: what each run's `run.toml` says. Out: differences by key, and cautions in sentences. Pure. What a reader gets
wrong: equal settings on different data, or with a different delay, give losses of different questions; the lower of
the two is not the better run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exphil_core.replays.text import sanitise

_SILENT = ("name", "description")
"""Keys that a person reads elsewhere, or that change nothing."""

_UNKNOWN = "not set"
_LETTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    key: str
    values: tuple[str, ...]
    """One a run, in the runs' order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    differences: tuple[Difference, ...]
    cautions: tuple[str, ...]
    """Why losses of these runs do not compare, or do so only with care; empty where they do."""
    comparable: bool
    """Whether the lowest loss over all characters is the best."""


def compare(described: Sequence[Mapping[str, Any]]) -> Comparison:
    """Of two runs or more."""
    flat = [_flat(_table(run.get("preset"))) for run in described]
    data = [_table(run.get("dataset")) for run in described]
    keys = dict.fromkeys(key for run in flat for key in run)
    found = [
        Difference(key=key, values=tuple(run.get(key, _UNKNOWN) for run in flat))
        for key in keys
        if key not in _SILENT and len({run.get(key) for run in flat}) > 1
    ]
    if _differ([run.get("fingerprint") for run in data]):
        paths = tuple(_text(run.get("path")) for run in data)
        found.insert(0, Difference(key="dataset", values=paths))
    if _differ([run.get("name") for run in flat]):
        names = tuple(run.get("name", _UNKNOWN) for run in flat)
        found.insert(0, Difference(key="preset", values=names))
    asked = [
        (
            of.get("fingerprint"),
            *(run.get(key) for key in ("policy.delay", "policy.codec", "data.characters")),
        )
        for run, of in zip(flat, data, strict=True)
    ]
    return Comparison(
        differences=tuple(found), cautions=tuple(_cautions(flat, data)), comparable=not _differ(asked)
    )


def _cautions(flat: Sequence[Mapping[str, str]], data: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    if _differ([run.get("fingerprint") for run in data]):
        found.append("They learned from different data: their losses do not compare.")
    if _differ(delays := [run.get("policy.delay") for run in flat]):
        found.append(
            f"Their delays differ ({_listed(delays)} frames), so they answer different questions: "
            "their losses do not compare."
        )
    if _differ(codecs := [run.get("policy.codec") for run in flat]):
        found.append(
            f"Their codecs differ ({_listed(codecs)}), so they predict different tokens: their losses do not compare."
        )
    if _differ([run.get("data.characters") for run in flat]):
        found.append("They imitate different characters: compare one character at a time, with [ and ].")
    if _differ([(run.get("train.batch_size"), run.get("train.accumulation")) for run in flat]):
        found.append("Their batches differ in size: after as many steps they have not seen as many frames.")
    return found


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        name = sanitise(prefix + str(key), limit=_LETTERS)
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[name] = _text(value)
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return sanitise(", ".join(map(str, value)), limit=_LETTERS) or "all"
    return sanitise(str(value), limit=_LETTERS)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _differ(values: Sequence[object]) -> bool:
    return len(set(values)) > 1


def _listed(values: Sequence[str | None]) -> str:
    return " and ".join(dict.fromkeys(value or _UNKNOWN for value in values))
