"""What a person should read of a run, in order of time: starts, warnings, errors, checkpoints, commands, the end.

In: `LogLine`s, and where the process ended badly the last lines of its output. Out: a list that stays at its end
until somebody scrolls up. What a reader gets wrong: these are the run's events; what its process printed is only
shown where the events do not say how it ended.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from exphil_core.replays.text import sanitise
from exphil_tui.glyphs import Glyphs
from exphil_tui.state import LogLine
from exphil_tui.widgets.text_panel import Line, Picture, TextPanel, fitted, left, wrapped

_SIGNS = {
    "start": ("▷", ">", "dim"),
    "warning": ("⚠", "!", "warn"),
    "error": ("✗", "x", "bad"),
    "checkpoint": ("◆", "+", "dim"),
    "command": ("»", "$", "accent"),
    "end": ("■", "#", "strong"),
}
_CLOCK = 10
_LETTERS = 1000


class RunLog(TextPanel):
    TITLE = "log"
    BINDING_GROUP_TITLE = "Log"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._log: tuple[LogLine, ...] = ()
        self._printed: tuple[str, ...] = ()
        self._note = ""

    def show(self, log: Sequence[LogLine], printed: Sequence[str] = (), *, note: str = "") -> None:
        """`printed`: the end of the process's output, where that is what is left of it."""
        if (log, printed, note) == (self._log, self._printed, self._note):
            return
        self._log, self._printed, self._note = tuple(log), tuple(printed), note
        self.update()

    def on_mount(self) -> None:
        super().on_mount()
        # At its end, also when its size changes.
        self.anchor()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        # Who scrolls back to the end follows it again; a ScrollView does not see to that.
        self._check_anchor()

    def picture(self, width: int, glyphs: Glyphs) -> Picture:
        lines = [line for entry in self._log for line in _entry(entry, width, glyphs)]
        if self._printed:
            lines.append((("  the end of its output, worker.log:", "dim"),))
            lines += [(("  ", ""), (fitted(text, width - 3, glyphs), "")) for text in self._printed]
        return Picture(
            lines=tuple(lines) or ((("   nothing happened yet", "dim"),),),
            notes=(self._note,) if self._note else (),
            note_look="warn",
        )


@lru_cache(4096)
def _entry(entry: LogLine, width: int, glyphs: Glyphs) -> tuple[Line, ...]:
    sign, ascii_sign, look = _SIGNS.get(entry.kind, ("·", ".", "dim"))
    lines: list[Line] = []
    for index, text in enumerate(wrapped(sanitise(entry.text, limit=_LETTERS), max(10, width - _CLOCK - 4))):
        begins = index == 0
        lines.append(
            (
                (left(f" {_time(entry.ts)}" if begins else "", _CLOCK, glyphs), "dim"),
                (f"{(ascii_sign if glyphs.ascii else sign) if begins else ' '} ", look),
                (text, look if look in ("warn", "bad") else ""),
            )
        )
    return tuple(lines)


def _time(ts: str) -> str:
    """Of the day, where the viewer is."""
    try:
        return f"{datetime.fromisoformat(ts).astimezone():%H:%M:%S}"
    except ValueError:
        return ""
