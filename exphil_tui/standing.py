"""How a run stands, in a sign, a tone and a sentence: one place, so that every screen says the same.

In: the state of a `RunSummary`. Out: what a person sees of it. What a reader gets wrong: the sign and the word tell
states apart, not the colour; the tone only says how good the news is.
"""

from dataclasses import dataclass
from typing import Literal

from exphil_tui.glyphs import Glyphs

Tone = Literal["good", "warn", "bad", "quiet", "plain"]

RESUMABLE = ("new", "stopped", "preempted", "crashed", "failed", "diverged")
"""States that no process is behind and from which training can go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    sign: str
    ascii_sign: str
    tone: Tone
    sentence: str
    """What it means and what a person can do about it, on the screen of all runs."""

    def sign_in(self, glyphs: Glyphs) -> str:
        return self.ascii_sign if glyphs.ascii else self.sign


_STANDINGS = {
    "new": Standing(sign="○", ascii_sign="o", tone="quiet", sentence="Made, but never started: r starts it."),
    "starting": Standing(
        sign="◌", ascii_sign=".", tone="plain", sentence="Its process reads the data and makes the weights."
    ),
    "running": Standing(
        sign="●",
        ascii_sign=">",
        tone="good",
        sentence="It learns: Enter watches it, p pauses it, s stops it with a checkpoint.",
    ),
    "paused": Standing(
        sign="‖",
        ascii_sign="=",
        tone="warn",
        sentence="It waits, and its process keeps its memory: p lets it go on.",
    ),
    "done": Standing(
        sign="✓", ascii_sign="+", tone="good", sentence="It is finished: Enter shows what it learned."
    ),
    "stopped": Standing(
        sign="■",
        ascii_sign="#",
        tone="plain",
        sentence="It was stopped with a checkpoint: r goes on from there.",
    ),
    "preempted": Standing(
        sign="◇",
        ascii_sign="<",
        tone="warn",
        sentence="The machine asked it to end; it saved first, and r goes on from there.",
    ),
    "diverged": Standing(
        sign="≠",
        ascii_sign="/",
        tone="bad",
        sentence="Its loss was no number any more: start a new one with a lower train.lr.",
    ),
    "failed": Standing(sign="✗", ascii_sign="x", tone="bad", sentence="It ended with an error."),
    "crashed": Standing(
        sign="!",
        ascii_sign="!",
        tone="bad",
        sentence="Its process is gone without a word: r resumes from its newest checkpoint.",
    ),
    "unreadable": Standing(
        sign="?", ascii_sign="?", tone="bad", sentence="Its run.toml cannot be used: x deletes the folder."
    ),
}


def standing(state: str) -> Standing:
    """Of a state that this version does not know too: a newer exphil may have written it."""
    return _STANDINGS.get(
        state, Standing(sign="?", ascii_sign="?", tone="plain", sentence="A state of a newer exphil.")
    )
