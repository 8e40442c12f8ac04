"""Sign, tone and sentence for each run state, shared by all screens.

The sign tells states apart; the colour (tone) must not be the only difference.
"""

from dataclasses import dataclass
from typing import Literal

from exphil_tui.theme.glyphs import Glyphs

Tone = Literal["good", "warn", "bad", "quiet", "plain"]

RESUMABLE = ("new", "stopped", "preempted", "crashed", "failed", "diverged")
"""States without a process from which training can be resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    sign: str
    ascii_sign: str
    tone: Tone
    sentence: str
    """What the state means and which keys help, as shown in the list of runs."""

    def sign_in(self, glyphs: Glyphs) -> str:
        return self.ascii_sign if glyphs.ascii else self.sign


_STATUSES = {
    "new": RunStatus(sign="○", ascii_sign="o", tone="quiet", sentence="Not started yet: r starts it."),
    "starting": RunStatus(
        sign="◌", ascii_sign=".", tone="plain", sentence="Loading data and initialising the model."
    ),
    "running": RunStatus(
        sign="●",
        ascii_sign=">",
        tone="good",
        sentence="Training: Enter opens it, p pauses it, s stops it with a checkpoint.",
    ),
    "paused": RunStatus(
        sign="‖",
        ascii_sign="=",
        tone="warn",
        sentence="Paused, and its process keeps its memory: p continues it.",
    ),
    "done": RunStatus(sign="✓", ascii_sign="+", tone="good", sentence="Finished: Enter shows its results."),
    "stopped": RunStatus(
        sign="■",
        ascii_sign="#",
        tone="plain",
        sentence="Stopped with a checkpoint: r resumes from it.",
    ),
    "preempted": RunStatus(
        sign="◇",
        ascii_sign="<",
        tone="warn",
        sentence="Preempted by the machine after saving a checkpoint: r resumes from it.",
    ),
    "diverged": RunStatus(
        sign="≠",
        ascii_sign="/",
        tone="bad",
        sentence="The loss became NaN or infinite: start a new run with a lower train.lr.",
    ),
    "failed": RunStatus(sign="✗", ascii_sign="x", tone="bad", sentence="Failed with an error."),
    "crashed": RunStatus(
        sign="!",
        ascii_sign="!",
        tone="bad",
        sentence="The worker exited unexpectedly: r resumes from the newest checkpoint.",
    ),
    "unreadable": RunStatus(
        sign="?", ascii_sign="?", tone="bad", sentence="Its run.toml cannot be read: x deletes the folder."
    ),
}


def run_status(state: str) -> RunStatus:
    """Return the status for a state, also for unknown states of a newer exphil."""
    return _STATUSES.get(
        state, RunStatus(sign="?", ascii_sign="?", tone="plain", sentence="A state from a newer exphil.")
    )
