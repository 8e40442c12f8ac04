"""The events of a run as typed records: what a viewer reads where `events.py` writes.

In: lines of `events.jsonl`. Out: one record a line, by the event's `type`. What a reader gets wrong: a number that
was not finite is null in the file and None here; a type that this version does not know is an `Other`, since a newer
exphil may have written it; a key that is not declared here is skipped, not refused.
"""

from collections.abc import Mapping
from typing import get_args

import msgspec

from exphil_core.runs.events import VERSION

Number = float | None


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """What every event has."""

    seq: int
    ts: str
    """ISO 8601, UTC."""
    v: int = VERSION


class CharacterLoss(msgspec.Struct, frozen=True, gc=False):
    """Of one character, since the last `step` event."""

    loss: Number
    frames: int


class RunStarted(Event, frozen=True, tag="run_started"):
    run: str
    preset: str
    backbone: str
    window_size: int
    parameters: int
    device: str
    dataset: Mapping[str, object]
    """`games`, `frames`, `per_character`, `shares`."""
    precision: str = ""
    kernel: str | None = None
    steps: int | None = None
    """Updates of the whole run; None where only time limits it."""
    resumed_from: int | None = None


class Step(Event, frozen=True, tag="step"):
    step: int
    loss: Number
    per_character: dict[str, CharacterLoss]
    heads: dict[str, Number]
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
    frames: int
    games: int = 0
    baseline_marginal: Number = None
    baseline_repeat: Number = None
    baseline_markov: Number = None
    floor: Number = None
    floor_stderr: Number = None
    closed: Number = None
    press_rates: dict[str, PressRate] = {}


class Evaluated(Event, frozen=True, tag="evaluated"):
    step: int
    split: str
    loss: Number
    per_character: dict[str, CharacterEvaluated]
    heads: dict[str, Number]
    frames: int = 0
    baseline_marginal: Number = None
    baseline_repeat: Number = None
    baseline_markov: Number = None
    leak_probe: Number = None
    copycat: Number = None
    transition_f1: dict[str, Number] = {}
    best: bool = False
    """Of the best checkpoint, over the whole validation split, at the end of a run."""


class Latency(Event, frozen=True, tag="latency"):
    device: str
    backbone: str
    frames: int
    p50_ms: Number
    p95_ms: Number
    p99_ms: Number
    max_ms: Number
    missed: int
    budget_ms: float
    histogram: list[int] = []


class Resources(Event, frozen=True, tag="resources"):
    cpu: Number
    """Cores in use, on average since the last such event."""
    memory_bytes: int
    memory_total_bytes: int
    gpu_memory_bytes: int | None = None
    gpu_memory_total_bytes: int | None = None
    gpu_utilization: Number = None


class CheckpointSaved(Event, frozen=True, tag="checkpoint_saved"):
    step: int
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
    step: int | None
    summary: Mapping[str, object] = {}


class Other(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event of a type that this version does not know."""

    seq: int
    ts: str
    type: str


Record = (
    RunStarted
    | Step
    | Evaluated
    | Latency
    | Resources
    | CheckpointSaved
    | CommandSeen
    | Warned
    | Failed
    | RunFinished
    | Other
)

_KNOWN: msgspec.json.Decoder[Record] = msgspec.json.Decoder(
    RunStarted
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
_UNKNOWN = msgspec.json.Decoder(Other)
_TYPES = frozenset(kind.__struct_config__.tag for kind in get_args(Record) if kind is not Other)


def decode(line: bytes) -> Record | None:
    """The record of one line; None where the line is not an event."""
    try:
        return _KNOWN.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        other = _UNKNOWN.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    # A known type with a wrong key is damage, not a newer exphil.
    return None if other.type in _TYPES else other
