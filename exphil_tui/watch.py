"""How a run stands on disk, looked at from outside about once a second.

In: a run directory. Out: a `Sight`. What a reader gets wrong: this touches the disk and may take as long as the disk
does, so a screen looks from a thread.
"""

from dataclasses import dataclass

from exphil_core.errors import ExphilError
from exphil_core.runs.directory import UNFINISHED, RunDirectory
from exphil_core.runs.log_end import last_lines

PRINTED_LINES = 20

_BADLY = ("crashed", "failed")
"""Ends of which the process's own output may say more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    state: str
    """As a `RunSummary` has it; `gone` where there is no run any more."""
    heartbeat: float | None = None
    """Seconds since 1970, when its process last was heard of."""
    latest_step: int | None = None
    """Of the checkpoint that a resume takes."""
    printed: tuple[str, ...] = ()
    """The end of `worker.log`, where the run ended badly."""

    @property
    def alive(self) -> bool:
        return self.state in UNFINISHED


def look(run: RunDirectory) -> Sight:
    """How the run stands now."""
    if not (run.path / "run.toml").exists():
        return Sight(state="gone")
    state, status = run.standing()
    try:
        latest = run.latest_step()
    except (ExphilError, OSError):
        latest = None
    return Sight(
        state=state,
        heartbeat=status.heartbeat if status is not None else None,
        latest_step=latest,
        printed=tuple(last_lines(run.path / "worker.log", PRINTED_LINES)) if state in _BADLY else (),
    )
