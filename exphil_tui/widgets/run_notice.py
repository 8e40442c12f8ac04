"""What a person has to know or do now: the run crashed, was deleted, waits, or cannot be read.

In: a `Notice`, or none. Out: a few lines, or no room taken at all. What a reader gets wrong: what a run says in the
course of training is the log's; here is only what changes what one can do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from exphil_tui.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, Picture, TextPanel, fitted, wrapped

LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    sign: str
    sentence: str
    look: str
    """warn, bad, or empty for news that is not bad."""
    printed: tuple[str, ...] = ()
    """The end of the process's output; may be shown in part."""


class RunNotice(TextPanel, can_focus=False):
    DEFAULT_CSS = """
    RunNotice {
        height: auto;
        max-height: 8;
        overflow-y: hidden;
        margin: 1 0 0 0;
        display: none;
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._notices: tuple[Notice, ...] = ()
        self._printed_lines = 0

    def show(self, notices: Sequence[Notice], *, printed_lines: int) -> None:
        """`printed_lines`: how many of a process's output there is room for."""
        if (tuple(notices), printed_lines) == (self._notices, self._printed_lines):
            return
        self._notices, self._printed_lines = tuple(notices), printed_lines
        self.display = bool(notices)
        width = self.size.width or self.app.size.width
        self.styles.height = len(self.picture(width, self.glyphs).lines)
        self.update()

    def picture(self, width: int, glyphs: Glyphs) -> Picture:
        lines: list[Line] = []
        for notice in self._notices:
            for index, text in enumerate(wrapped(notice.sentence, max(10, width - 5))):
                sign = notice.sign if index == 0 else " "
                lines.append(((f" {sign} ", notice.look), (text, notice.look)))
            shown = notice.printed[-self._printed_lines :] if self._printed_lines else ()
            lines += [
                (
                    ("   ", ""),
                    ("|" if glyphs.ascii else "│", "rule"),
                    (f" {fitted(text, width - 6, glyphs)}", ""),
                )
                for text in shown
            ]
        return Picture(lines=tuple(lines[:LINES]))
