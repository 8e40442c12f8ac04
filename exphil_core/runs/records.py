"""The events of a run as typed records: what a viewer reads where `events.py` writes.

In: lines of `events.jsonl`. Out: one record a line, by the event's `type`. What a reader gets wrong: a number that
was not finite is null in the file and None here; a type that this version does not know is an `Other`, since a newer
exphil may have written it; a key that is not declared here is skipped, not refused. Strings are what the file holds:
`showable` makes them safe to show.
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
"""What a float64 holds exactly: a larger one is damage, and would not fit into a curve."""

T = TypeVar("T")

ByName = Annotated[dict[str, T], msgspec.Meta(max_length=64)]
"""Of a few names: Melee has 33 characters, and no policy has as many heads."""

TEXT_LIMIT = 500
NAME_LIMIT = 32
"""Letters of a text and of a name that `showable` leaves."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """What every event has."""

    seq: Count
    ts: str
    """ISO 8601, UTC."""
    v: int = VERSION


class CharacterLoss(msgspec.Struct, frozen=True, gc=False):
    """Of one character, since the last `step` event."""

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
    """Updates of the whole run; None where only time limits it."""
    resumed_from: Count | None = None


class Preparing(Event, frozen=True, tag="preparing"):
    """What a run does before its first step, where that takes a while."""

    message: str


class Step(Event, frozen=True, tag="step"):
    step: Count
    loss: Number
    per_character: ByName[CharacterLoss]
    heads: ByName[Number]
    epoch: Number = None
    lr: Number = None
    grad_norm: Number = None
    frames_per_s: Number = None
    data_wait: Number = None
    """Share of the time that a step waited for its batch."""
    progress: Number = None
    """0 to 1."""
    eta_s: Number = None


class PressRate(msgspec.Struct, frozen=True, gc=False):
    """Shares of frames on which a button is held."""

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
    """Of the best checkpoint, over the whole validation split, at the end of a run."""


class Latency(Event, frozen=True, tag="latency"):
    device: str
    backbone: str
    frames: Count
    p50_ms: Number
    p95_ms: Number
    p99_ms: Number
    max_ms: Number
    missed: Count
    budget_ms: float
    histogram: Annotated[list[Count], msgspec.Meta(max_length=4096)] = []
    runtime: str = ""
    parameters: Count | None = None
    window_size: Count | None = None
    step: Count | None = None
    """Of the weights that were played last."""
    weights: str = ""
    """Their checksum, in hexadecimal."""
    headroom_ms: Number = None
    """The budget less the p99."""
    late_p99_ms: Number = None
    """How late frames began after their tick, apart from what they took."""
    recent_max_ms: Number = None
    """The slowest frame since the last such event."""
    recent_missed: Count | None = None
    total_frames: Count | None = None
    """Since the pilot began; the percentiles are of the last `frames` of them."""
    total_missed: Count | None = None
    skipped: Count | None = None
    """Frames among those on which nothing was played, since one before them took more than a second."""
    cpu: Number = None
    """Cores that the pilot has in use."""
    realtime: bool | None = None
    """Whether the system lets it go before others on its core."""
    threads: Count | None = None
    character: str = ""
    """Whose side is played."""
    game: str = ""
    """Content id of the game that is played."""
    frame_index: Count | None = None
    snapshot_ms: Number = None
    """For how long the trainer stood still when it last copied its weights for the pilot; in a run's own events."""


class Resources(Event, frozen=True, tag="resources"):
    cpu: Number
    """Cores in use, on average since the last such event."""
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


class Failed(Event, frozen=True, tag="error"):
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
    | Latency
    | Resources
    | CheckpointSaved
    | CommandSeen
    | Warned
    | Failed
    | RunFinished
)
Record = Known | Other

_KNOWN: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Known)
_UNKNOWN = msgspec.json.Decoder(Other)
_TYPES = frozenset(kind.__struct_config__.tag for kind in get_args(Known))


_DEEPEST = 8
"""Levels of a value that `showable` keeps."""


def decode(line: bytes) -> Record | None:
    """The record of one line; None where the line is not an event."""
    record = _decoded(line)
    # JSON lets a string hold half a character, and `EventLog` writes one for a path that is not UTF-8.
    return _decoded(_without_halves(line)) if record is None and rb"\u" in line else record


def decode_lines(text: bytes | memoryview) -> list[Record] | None:
    """The records of whole lines, in a third less time than one by one; None where one of them is not one record."""
    return all_lines(_KNOWN, text)


def all_lines(decoder: msgspec.json.Decoder[T], text: bytes | memoryview) -> list[T] | None:
    """One value of each line of `text`; None where it cannot be had."""
    try:
        records = list(decoder.decode_lines(text))
    except (ValueError, RecursionError):
        return None
    # Blank lines are passed over there, and a value may stretch over several. (numpy counts three times as fast.)
    lines = int(np.count_nonzero(np.frombuffer(text, np.uint8) == ord("\n")))
    return records if len(records) == lines else None


def showable(record: T) -> T:
    """The same record with every string on one line, short, and free of what a terminal would obey."""
    return _safe(record, _DEEPEST)  # type: ignore[return-value]


@lru_cache(maxsize=1024)
def showable_name(name: str) -> str:
    """`name`, if it can be shown; else what of it can be shown, and a number that keeps two such names apart."""
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
    """The line with a question mark for every half of a character; empty where it is not JSON."""
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
