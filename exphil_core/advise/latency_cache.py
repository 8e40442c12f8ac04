"""Cache of this machine's latencies: the rows of `exphil bench latency`, in a JSON file.

A row counts only with the processor, the versions and the model sources that it was measured with. After an
update no row counts until latencies are measured again.
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
from exphil_core.dataset.discovery import cache_root
from exphil_core.studies.trial_lock import waiting_lock

VERSION = 1

_HARDWARE = ("processor", "cores", "gpu")
_VERSIONS = ("python", "torch", "onnxruntime")
_SOURCES = ("encoding", "models", "inference")
"""Packages whose code decides the latency of a frame."""

_FREE = {
    "encoder": ("dropout", "character_mode"),
    "backbone": ("dropout", "kernel"),
    "policy": ("head_dropout", "delay"),
}
"""Settings that do not change latency: dropout and kernel matter in training, a delay only waits, and a
character is one row of a table in either mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedLatency:
    """Latency of one preset, device, runtime and number of threads."""

    shape: str
    """`shape_of` the preset."""
    backbone: str
    window_size: int
    size: str
    """As the bench names it: `first`, `20m`, or a preset's name."""
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
    """Time of the measurement: ISO 8601, UTC."""

    @property
    def place(self) -> tuple[str, str, str, int]:
        """Key under which a newer row replaces an older one."""
        return self.shape, self.device, self.runtime, self.threads


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedLatencies:
    """The cached rows that count on this machine now."""

    rows: tuple[CachedLatency, ...] = ()
    note: str = ""
    """Why rows are missing; empty without a reason."""


def latency_cache_path() -> Path:
    return cache_root() / "bench" / "latency.json"


def looks_back(preset: Preset) -> bool:
    """Return whether the backbone has attention (heads), so that latency depends on its window."""
    return "heads" in type(preset.backbone).model_fields


def shape_of(preset: Preset) -> str:
    """Return a hash that is equal for presets of equal latency; without attention it ignores the window."""
    tables: dict[str, Any] = {}
    for section, free in _FREE.items():
        values = getattr(preset, section).model_dump(mode="json")
        tables[section] = {key: value for key, value in values.items() if key not in free}
    if not looks_back(preset):
        del tables["backbone"]["window_size"]
    return hashlib.blake2b(json.dumps(tables, sort_keys=True).encode(), digest_size=8).hexdigest()


@cache
def models_revision() -> str:
    """Return a hash of the source code that plays a frame."""
    package = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=8)
    for room in _SOURCES:
        for path in sorted((package / room).glob("*.py")):
            digest.update(f"{room}/{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def identity(machine: Mapping[str, object]) -> dict[str, object]:
    """Return what latency depends on: parts of `exphil bench`'s machine, and the revision of the models."""
    return {key: machine.get(key) for key in (*_HARDWARE, *_VERSIONS)} | {"models": models_revision()}


def read_latency_cache(machine: Mapping[str, object], path: Path | None = None) -> CachedLatencies:
    """Read the rows that count on this machine now."""
    path = path or latency_cache_path()
    here = identity(machine)
    try:
        entries = _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return CachedLatencies(
            note=f"{path} cannot be read as measurements of this exphil, so its contents are ignored"
        )
    for entry in entries:
        if entry["machine"] == here:
            return CachedLatencies(rows=tuple(entry["rows"].values()))
    differing = [
        _differing(entry["machine"], here) for entry in entries if _same_hardware(entry["machine"], here)
    ]
    if not differing:
        return CachedLatencies()
    return CachedLatencies(
        note=f"This machine was measured before with {min(differing, key=len)}; those figures no longer apply"
    )


def write_latency_cache(
    machine: Mapping[str, object], rows: Iterable[CachedLatency], path: Path | None = None
) -> None:
    """Store the rows, each in place of an older one with its key.

    Raises:
        OSError: the file cannot be written; DiskFullError where there is no room.
    """
    path = path or latency_cache_path()
    here = identity(machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    with waiting_lock(path.with_suffix(".lock")):
        try:
            entries = _read(path)
        except (ValueError, KeyError, TypeError, AttributeError):
            # An unreadable file is discarded; its rows can be measured again.
            entries = []
        mine: dict[tuple[str, str, str, int], CachedLatency] = {}
        for entry in entries:
            if entry["machine"] == here:
                mine |= entry["rows"]
        mine |= {row.place: row for row in rows}
        # Rows of the same processor with other versions are dropped.
        others = [entry for entry in entries if not _same_hardware(entry["machine"], here)]
        contents = {
            "v": VERSION,
            "machines": [
                {"machine": entry["machine"], "rows": msgspec.to_builtins(list(entry["rows"].values()))}
                for entry in (*others, {"machine": here, "rows": mine})
            ],
        }
        atomic_write(path, json.dumps(contents, allow_nan=False).encode())


def _read(path: Path) -> list[dict[str, Any]]:
    """Read the machines with their rows by place; none where there is no file."""
    try:
        contents = json.loads(path.read_bytes())
    except FileNotFoundError:
        return []
    if contents["v"] != VERSION:
        raise ValueError(f"version {contents['v']}")
    return [
        {
            "machine": dict(entry["machine"]),
            "rows": {row.place: row for row in msgspec.convert(entry["rows"], list[CachedLatency])},
        }
        for entry in contents["machines"]
    ]


def _same_hardware(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return all(one.get(key) == other.get(key) for key in _HARDWARE)


def _differing(then: Mapping[str, object], now: Mapping[str, object]) -> str:
    found = [f"{key} {then.get(key) or 'missing'}" for key in _VERSIONS if then.get(key) != now.get(key)]
    if then.get("models") != now.get("models"):
        found.append("another revision of exphil's models")
    return " and ".join(found)
