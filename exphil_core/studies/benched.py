"""What a frame costs on this machine, kept from one bench to the next: the rows of `exphil bench latency`.

In: rows, and the machine that they were taken on. Out: a small JSON file in the cache, and the rows that hold here
and now. What a reader gets wrong: a row holds only with the processor, the versions and the sources of the models
that it was measured with; after an update there are none, until somebody measures again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from exphil_core.atomic import atomic_write
from exphil_core.config.preset import Preset
from exphil_core.dataset.catalog import cache_root
from exphil_core.studies.claim import waiting_lock

VERSION = 1

_HARDWARE = ("processor", "cores", "gpu")
_VERSIONS = ("python", "torch", "onnxruntime")
_SOURCES = ("encoding", "models", "inference")
"""Rooms of the package whose code decides what a frame costs."""

_FREE = {
    "encoder": ("dropout", "character_mode"),
    "backbone": ("dropout", "kernel"),
    "policy": ("head_dropout", "delay"),
}
"""Settings without a cost in play: dropout and kernels are of training, a delay waits, and who a character is costs
one row of a table, whichever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchedRow:
    shape: str
    """`shape_of` the preset."""
    backbone: str
    window_size: int
    size: str
    """As the bench calls it: `first`, `20m`, or a preset's name."""
    parameters: int
    device: str
    runtime: str
    threads: int
    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    missed: int
    realtime: bool
    measured: str
    """When: ISO 8601, UTC."""

    @property
    def place(self) -> tuple[str, str, str, int]:
        """What a newer row takes the place of."""
        return self.shape, self.device, self.runtime, self.threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Benched:
    rows: tuple[BenchedRow, ...] = ()
    note: str = ""
    """Why there are fewer than somebody might expect; empty where nothing is to be said."""


def benched_path() -> Path:
    return cache_root() / "bench" / "latency.json"


def looks_back(preset: Preset) -> bool:
    """Whether its backbone has attention, which alone has heads, so that a frame costs what its window is long."""
    return "heads" in type(preset.backbone).model_fields


def shape_of(preset: Preset) -> str:
    """Equal for presets whose frames cost the same. Without attention, a window has no part in it."""
    tables: dict[str, Any] = {}
    for section, free in _FREE.items():
        values = getattr(preset, section).model_dump(mode="json")
        tables[section] = {key: value for key, value in values.items() if key not in free}
    if not looks_back(preset):
        del tables["backbone"]["window_size"]
    return hashlib.blake2b(json.dumps(tables, sort_keys=True).encode(), digest_size=8).hexdigest()


@cache
def models_revision() -> str:
    """Another one whenever the code that plays a frame is another."""
    package = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=8)
    for room in _SOURCES:
        for path in sorted((package / room).glob("*.py")):
            digest.update(f"{room}/{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def identity(machine: Mapping[str, object]) -> dict[str, object]:
    """What of `exphil bench`'s machine a figure depends on, with the revision of the models."""
    return {key: machine.get(key) for key in (*_HARDWARE, *_VERSIONS)} | {"models": models_revision()}


def read_benched(machine: Mapping[str, object], path: Path | None = None) -> Benched:
    """The rows that were taken on this machine, as it is now."""
    path = path or benched_path()
    here = identity(machine)
    try:
        kept = _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Benched(
            note=f"{path} cannot be read as measurements of this exphil, so what it held does not count"
        )
    for entry in kept:
        if entry["machine"] == here:
            return Benched(rows=tuple(entry["rows"].values()))
    differing = [
        _differing(entry["machine"], here) for entry in kept if _same_hardware(entry["machine"], here)
    ]
    if not differing:
        return Benched()
    return Benched(
        note=f"This machine was measured before, with {min(differing, key=len)}: those figures do not count now"
    )


def keep_benched(machine: Mapping[str, object], rows: Iterable[BenchedRow], path: Path | None = None) -> None:
    """Keeps the rows, each in place of an older one of its kind. Raises OSError and DiskFullError."""
    path = path or benched_path()
    here = identity(machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    with waiting_lock(path.with_suffix(".lock")):
        try:
            kept = _read(path)
        except (ValueError, KeyError, TypeError, AttributeError):
            # Nothing in it counts any more, and it can be measured again.
            kept = []
        mine: dict[tuple[str, str, str, int], BenchedRow] = {}
        for entry in kept:
            if entry["machine"] == here:
                mine |= entry["rows"]
        mine |= {row.place: row for row in rows}
        # What the same processor did with other versions does not come to count again.
        others = [entry for entry in kept if not _same_hardware(entry["machine"], here)]
        told = {
            "v": VERSION,
            "machines": [
                {"machine": entry["machine"], "rows": msgspec.to_builtins(list(entry["rows"].values()))}
                for entry in (*others, {"machine": here, "rows": mine})
            ],
        }
        atomic_write(path, json.dumps(told, allow_nan=False).encode())


def _read(path: Path) -> list[dict[str, Any]]:
    """Machines with their rows by place; none where there is no file."""
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    if said["v"] != VERSION:
        raise ValueError(f"version {said['v']}")
    return [
        {
            "machine": dict(entry["machine"]),
            "rows": {row.place: row for row in msgspec.convert(entry["rows"], list[BenchedRow])},
        }
        for entry in said["machines"]
    ]


def _same_hardware(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return all(one.get(key) == other.get(key) for key in _HARDWARE)


def _differing(then: Mapping[str, object], now: Mapping[str, object]) -> str:
    found = [f"{key} {then.get(key) or 'missing'}" for key in _VERSIONS if then.get(key) != now.get(key)]
    if then.get("models") != now.get("models"):
        found.append("another revision of exphil's models")
    return " and ".join(found)
