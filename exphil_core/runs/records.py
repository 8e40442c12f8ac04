"""Typed records of a run's events, to read what `events.py` writes.

A number that was not finite is null in the file and None here. A type that this version does not know becomes
`Other`, since a newer exphil may have written it. Undeclared keys are skipped. Strings are as in the file; `showable`
makes them safe to show.
"""

import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, TypeVar, get_args

import msgspec
import numpy as np

from exphil_core.replays.text import sanitise
from exphil_core.runs.events import VERSION

Number = float | None

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Integers that a float64 holds exactly; a larger one is damage and would not fit into a curve."""

T = TypeVar("T")

ByName = Annotated[dict[str, T], msgspec.Meta(max_length=64)]
"""Mapping with few keys: Melee has 33 characters, and no policy has as many heads."""

TEXT_LIMIT = 500
NAME_LIMIT = 32
"""Maximum lengths of a text and of a name after `showable`."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """Fields of every event."""

    seq: Count
    ts: str
    """ISO 8601, UTC."""
    v: int = VERSION


class CharacterStepLoss(msgspec.Struct, frozen=True, gc=False):
    """Training loss of one character since the last `step` event."""

    loss: Number
    frames: Count


class RunStarted(Event, frozen=True, tag="run_started"):
    run: str
    preset: str
    backbone: str
    window_size: Count
    parameters: Count
    device: str
    dataset: Mapping[str, object]
    """`games`, `frames`, `per_character`; `shares`: character → `asked`, `reachable`, `drawn`, of the windows."""
    precision: str = ""
    kernel: str | None = None
    steps: Count | None = None
    """Updates of the whole run; None if only time limits it."""
    resumed_from: Count | None = None


class Preparing(Event, frozen=True, tag="preparing"):
    """Progress message before the first step, if preparation takes a while."""

    message: str


class Step(Event, frozen=True, tag="step"):
    step: Count
    loss: Number
    per_character: ByName[CharacterStepLoss]
    heads: ByName[Number]
    epoch: Number = None
    lr: Number = None
    grad_norm: Number = None
    frames_per_s: Number = None
    data_wait: Number = None
    """Share of the time that steps waited for their batch."""
    progress: Number = None
    """0 to 1."""
    eta_s: Number = None


class PressRate(msgspec.Struct, frozen=True, gc=False):
    """Shares of frames in which a button is held."""

    policy: Number
    human: Number


class CharacterEvaluated(msgspec.Struct, frozen=True, gc=False):
    loss: Number
    frames: Count
    games: Count = 0
    baseline_marginal: Number = None
    baseline_repeat: Number = None
    baseline_markov: Number = None
    floor: Number = None
    floor_stderr: Number = None
    closed: Number = None
    press_rates: ByName[PressRate] = {}


class Evaluated(Event, frozen=True, tag="evaluated"):
    step: Count
    split: str
    loss: Number
    per_character: ByName[CharacterEvaluated]
    heads: ByName[Number]
    frames: Count = 0
    baseline_marginal: Number = None
    baseline_repeat: Number = None
    baseline_markov: Number = None
    leak_probe: Number = None
    leaking_onsets: Count | None = None
    jump_onsets: Count | None = None
    copycat: Number = None
    transition_f1: ByName[Number] = {}
    best: bool = False
    """Whether this evaluates the best checkpoint on the whole validation split, at the end of a run."""


class LatencyEvent(Event, frozen=True, tag="latency"):
    device: str
    backbone: str
    frames: Count
    """Frames of the game that the record covers; times are of those that were played."""
    p50_ms: Number
    p95_ms: Number
    p99_ms: Number
    max_ms: Number
    missed: Count
    """Frames without an answer in time, skipped ones included."""
    budget_ms: float
    histogram: Annotated[list[Count], msgspec.Meta(max_length=4096)] = []
    runtime: str = ""
    parameters: Count | None = None
    window_size: Count | None = None
    step: Count | None = None
    """Step of the weights played last."""
    weights: str = ""
    """Checksum of these weights, in hexadecimal."""
    headroom_ms: Number = None
    """The budget minus the p99."""
    late_p99_ms: Number = None
    """p99 of the delay from tick to start of a frame; not part of the frame's own time."""
    recent_max_ms: Number = None
    """Slowest frame since the last `latency` event."""
    recent_missed: Count | None = None
    total_frames: Count | None = None
    """Frames since the pilot began; the percentiles cover the last `frames` of them."""
    total_missed: Count | None = None
    skipped: Count | None = None
    """Frames among `missed` that were never played: the pilot was behind and took a newer one."""
    total_skipped: Count | None = None
    cpu: Number = None
    """CPU cores that the pilot uses."""
    realtime: bool | None = None
    """Whether the pilot has real-time priority on its cores."""
    threads: Count | None = None
    character: str = ""
    """Character that the pilot plays."""
    game: str = ""
    """Content id of the game in play."""
    frame_index: Count | None = None
    snapshot_ms: Number = None
    """How long the trainer last stopped to copy its weights for the pilot; only in a run's own events."""


class LoadingWeights(Event, frozen=True, tag="loading"):
    """The pilot loads newer weights between two clips; only in a pilot's own events."""

    step: Count


class Resources(Event, frozen=True, tag="resources"):
    cpu: Number
    """Cores in use, averaged since the last `resources` event."""
    memory_bytes: Count
    memory_total_bytes: Count
    gpu_memory_bytes: Count | None = None
    gpu_memory_total_bytes: Count | None = None
    gpu_utilization: Number = None


class CheckpointSaved(Event, frozen=True, tag="checkpoint_saved"):
    step: Count
    path: str
    best: bool


class CommandSeen(Event, frozen=True, tag="command"):
    command: str
    state: str
    """received, done, refused."""
    id: str = ""
    reason: str = ""


class Warned(Event, frozen=True, tag="warning"):
    code: str
    message: str


class ErrorEvent(Event, frozen=True, tag="error"):
    code: str
    message: str


class RunFinished(Event, frozen=True, tag="run_finished"):
    status: str
    step: Count | None
    summary: Mapping[str, object] = {}


class Other(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event of a type that this version does not know."""

    seq: int
    ts: str
    type: str


Known = (
    RunStarted
    | Preparing
    | Step
    | Evaluated
    | LatencyEvent
    | LoadingWeights
    | Resources
    | CheckpointSaved
    | CommandSeen
    | Warned
    | ErrorEvent
    | RunFinished
)
Record = Known | Other

_KNOWN: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Known)
_UNKNOWN = msgspec.json.Decoder(Other)
_TYPES = frozenset(kind.__struct_config__.tag for kind in get_args(Known))


_DEEPEST = 8
"""Levels of nesting that `showable` keeps."""


def decode(line: bytes) -> Record | None:
    """Decode one line; None if it is not an event."""
    record = _decoded(line)
    # JSON strings may contain lone surrogates, and `EventLog` writes them for paths that are not UTF-8.
    return _decoded(_without_halves(line)) if record is None and rb"\u" in line else record


def decode_lines(text: bytes | memoryview) -> list[Record] | None:
    """Decode complete lines, in a third less time than one by one; None if one of them is not exactly one record."""
    return all_lines(_KNOWN, text)


def all_lines(decoder: msgspec.json.Decoder[T], text: bytes | memoryview) -> list[T] | None:
    """Decode one value per line of `text`; None if any line is not exactly one value."""
    try:
        records = list(decoder.decode_lines(text))
    except (ValueError, RecursionError):
        return None
    # decode_lines skips blank lines and lets a value span several; so count. (numpy counts three times as fast.)
    lines = int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))
    return records if len(records) == lines else None


def showable(record: T) -> T:
    """Return the record with every string on one line, short, and without terminal control characters."""
    return _safe(record, _DEEPEST)  # type: ignore[return-value]


@lru_cache(maxsize=1024)
def showable_name(name: str) -> str:
    """Return `name` if it can be shown; otherwise its printable part and a checksum that keeps names distinct."""
    if name and name == sanitise(name, limit=NAME_LIMIT):
        return name
    mark = f"#{zlib.crc32(name.encode('utf-8', 'replace')):08x}"
    return sanitise(name, limit=NAME_LIMIT - len(mark)) + mark


def _decoded(line: bytes) -> Record | None:
    try:
        return _KNOWN.decode(line)
    except (ValueError, RecursionError):
        pass
    try:
        other = _UNKNOWN.decode(line)
    except (ValueError, RecursionError):
        return None
    # A known type with a wrong key is damage, not a newer exphil.
    return None if other.type in _TYPES else other


def _without_halves(line: bytes) -> bytes:
    """Replace lone surrogates by question marks; return b"" if the line is not JSON."""
    try:
        return json.dumps(json.loads(line), ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return b""


def _safe(value: object, depth: int) -> object:
    if isinstance(value, str):
        return sanitise(value, limit=TEXT_LIMIT)
    if isinstance(value, msgspec.Struct):
        fields = value.__struct_fields__
        return type(value)(**{name: _safe(getattr(value, name), depth - 1) for name in fields})
    if isinstance(value, Mapping):
        return (
            {showable_name(key): _safe(item, depth - 1) for key, item in value.items()} if depth > 0 else {}
        )
    if isinstance(value, list):
        return [_safe(item, depth - 1) for item in value] if depth > 0 else []
    if isinstance(value, int) and abs(value) > 2**53:
        return None
    return value
