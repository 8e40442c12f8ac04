"""Log of a run: starts, warnings, errors, checkpoints, commands and the end, in order of time.

It follows its end until the user scrolls up. The process's own output is shown only where the events do not say
how the run ended.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from exphil_core.replays.text import sanitise
from exphil_tui.model.run_state import LogLine
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, PanelContent, TextPanel, fitted, left, wrapped

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
        """`printed`: the last lines of the process's output, if the run ended badly."""
        if (log, printed, note) == (self._log, self._printed, self._note):
            return
        self._log, self._printed, self._note = tuple(log), tuple(printed), note
        self.update()

    def on_mount(self) -> None:
        super().on_mount()  # type: ignore[no-untyped-call]
        # Stay at the end, also when the size changes.
        self.anchor()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        # Follow the end again after the user scrolls back to it; ScrollView does not do this.
        self._check_anchor()

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        lines = [line for entry in self._log for line in _entry(entry, width, glyphs)]
        if self._printed:
            lines.append((("  last lines of worker.log:", "dim"),))
            lines += [(("  ", ""), (fitted(text, width - 3, glyphs), "")) for text in self._printed]
        return PanelContent(
            lines=tuple(lines) or ((("   no events yet", "dim"),),),
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
    """Format a timestamp as local time of day; empty if it is invalid."""
    try:
        return f"{datetime.fromisoformat(ts).astimezone():%H:%M:%S}"
    except ValueError:
        return ""
