"""What a viewer knows of a run, and how events change it: `reduce(state, batch)`, a pure function.

In: a `RunState` and decoded events in order. Out: the next `RunState`. What a reader gets wrong: nothing here looks
at a clock, a file or a process. Whether a process is still behind the run is the directory's to say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exphil_core.runs.records import Evaluated, Latency, Resources, RunFinished, RunStarted, Step
from exphil_tui.series import Series

TOTAL = "all"
"""The key of the curve over all characters."""

LOG_LINES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """Something that a person should read: a warning, an error, a checkpoint, a command, a start, an end."""

    ts: str
    kind: str
    """start, warning, error, checkpoint, command, end."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    started: RunStarted | None = None
    """The newest start."""
    starts: int = 0
    train: Mapping[str, Series] = field(default_factory=dict)
    """Loss by character, and under `TOTAL`, over steps."""
    validation: Mapping[str, Series] = field(default_factory=dict)
    train_heads: Mapping[str, Series] = field(default_factory=dict)
    validation_heads: Mapping[str, Series] = field(default_factory=dict)
    speed: Series = field(default_factory=Series)
    """Frames a second."""
    data_wait: Series = field(default_factory=Series)
    step: Step | None = None
    """The newest."""
    evaluated: Evaluated | None = None
    """The newest during training or after it."""
    previous_evaluated: Evaluated | None = None
    """The one before, for what changed."""
    frames: Mapping[str, int] = field(default_factory=dict)
    """Training frames seen by character, since the run began."""
    latency: Latency | None = None
    resources: Resources | None = None
    log: tuple[LogLine, ...] = ()
    """The newest `LOG_LINES`."""
    checkpoints: tuple[int, ...] = ()
    best_step: int | None = None
    best_loss: float | None = None
    paused: bool = False
    pending: tuple[str, ...] = ()
    """Commands that were received and are not done."""
    finished: RunFinished | None = None
    """None from a start to the end that follows it."""
    last_ts: str = ""
    events: int = 0
    bad_lines: int = 0
    restarts: int = 0
    missing: bool = False
    """The event file is not there (yet, or any more)."""
