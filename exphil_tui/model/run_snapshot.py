"""Status of a run read from its directory, about once a second.

It reads from disk and can be slow: call it from a thread.
"""

from dataclasses import dataclass

from exphil_core.errors import ExphilError
from exphil_core.runs.directory import UNFINISHED, RunDirectory
from exphil_core.runs.log_tail import last_lines

_MAX_OUTPUT_LINES = 20

_STATES_WITH_OUTPUT = ("crashed", "failed")
"""States in which the end of `worker.log` is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot:
    state: str
    """State of the `RunSummary`; `gone` if the run was deleted."""
    heartbeat: float | None = None
    """Time of the process's last heartbeat, in seconds since 1970."""
    latest_step: int | None = None
    """Step of the checkpoint that a resume loads."""
    printed: tuple[str, ...] = ()
    """Last lines of `worker.log` if the run crashed or failed."""

    @property
    def alive(self) -> bool:
        return self.state in UNFINISHED


def read_snapshot(run: RunDirectory) -> RunSnapshot:
    """Read the current snapshot of a run."""
    if not (run.path / "run.toml").exists():
        return RunSnapshot(state="gone")
    state, status = run.standing()
    try:
        latest = run.latest_step()
    except (ExphilError, OSError):
        latest = None
    return RunSnapshot(
        state=state,
        heartbeat=status.heartbeat if status is not None else None,
        latest_step=latest,
        printed=tuple(last_lines(run.path / "worker.log", _MAX_OUTPUT_LINES))
        if state in _STATES_WITH_OUTPUT
        else (),
    )
