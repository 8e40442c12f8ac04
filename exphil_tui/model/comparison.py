"""Compare runs by the settings in their `run.toml`: which settings differ, and whether their losses compare.

Losses of runs on different data, or with different delays or codecs, are not comparable: the lower is not the better.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exphil_core.replays.text import sanitise

_IGNORED = ("name", "description")
"""Keys left out: shown elsewhere, or without effect on training."""

_UNKNOWN = "not set"
_LETTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDifference:
    key: str
    values: tuple[str, ...]
    """One per run, in the runs' order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    differences: tuple[SettingDifference, ...]
    cautions: tuple[str, ...]
    """Why the losses of these runs are not or only partly comparable; empty if they are."""
    comparable: bool
    """Whether the run with the lowest loss over all characters is the best."""


def compare(described: Sequence[Mapping[str, Any]]) -> RunComparison:
    """Compare two or more runs.

    Args:
        described: One parsed `run.toml` per run.
    """
    flat = [_flat(_table(run.get("preset"))) for run in described]
    data = [_table(run.get("dataset")) for run in described]
    keys = dict.fromkeys(key for run in flat for key in run)
    found = [
        SettingDifference(key=key, values=tuple(run.get(key, _UNKNOWN) for run in flat))
        for key in keys
        if key not in _IGNORED and len({run.get(key) for run in flat}) > 1
    ]
    if _differ([run.get("fingerprint") for run in data]):
        paths = tuple(_text(run.get("path")) for run in data)
        found.insert(0, SettingDifference(key="dataset", values=paths))
    if _differ([run.get("name") for run in flat]):
        names = tuple(run.get("name", _UNKNOWN) for run in flat)
        found.insert(0, SettingDifference(key="preset", values=names))
    tasks = [
        (
            of.get("fingerprint"),
            *(run.get(key) for key in ("policy.delay", "policy.codec", "data.characters")),
        )
        for run, of in zip(flat, data, strict=True)
    ]
    return RunComparison(
        differences=tuple(found), cautions=tuple(_cautions(flat, data)), comparable=not _differ(tasks)
    )


def _cautions(flat: Sequence[Mapping[str, str]], data: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    if _differ([run.get("fingerprint") for run in data]):
        found.append("They were trained on different data: their losses are not comparable.")
    if _differ(differing := [run.get("policy.delay") for run in flat]):
        found.append(
            f"Their delays differ ({_listed(differing)} frames), so their tasks differ: "
            "their losses are not comparable."
        )
    if _differ(codecs := [run.get("policy.codec") for run in flat]):
        found.append(
            f"Their codecs differ ({_listed(codecs)}), so they predict different tokens: "
            "their losses are not comparable."
        )
    if _differ([run.get("data.characters") for run in flat]):
        found.append("They imitate different characters: compare one character at a time with [ and ].")
    if _differ([(run.get("train.batch_size"), run.get("train.grad_accum_steps")) for run in flat]):
        found.append(
            "Their batch sizes differ: at the same step they have trained on different numbers of frames."
        )
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
