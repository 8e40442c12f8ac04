"""The new events returned by one read of a run's event file."""

from collections.abc import Sequence
from dataclasses import dataclass

from exphil_core.runs.records import Record
from exphil_tui.model.step_columns import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Result of one read of an event file."""

    records: Sequence[Record | Steps] = ()
    bad_lines: int = 0
    """Complete lines that are not an event."""
    restarted: bool = False
    """The file was truncated or replaced: `records` start at its beginning, and earlier records are void."""
    missing: bool = False
    """The file does not exist (yet, or any more)."""
    problem: str = ""
    """Why the file cannot be read; empty if it can."""
