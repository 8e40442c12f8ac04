"""Notices of the run screen: the run crashed, was deleted, waits, or cannot be read.

It takes no space without a notice. Messages of the training itself belong to the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, PanelContent, TextPanel, fitted, wrapped

LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNotice:
    sign: str
    sentence: str
    look: str
    """Look: `warn`, `bad`, or empty for neutral news."""
    printed: tuple[str, ...] = ()
    """Last lines of the process's output; may be shown in part."""


class RunNoticePanel(TextPanel, can_focus=False):
    DEFAULT_CSS = """
    RunNoticePanel {
        height: auto;
        max-height: 8;
        overflow-y: hidden;
        margin: 1 0 0 0;
        display: none;
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._notices: tuple[RunNotice, ...] = ()
        self._printed_lines = 0

    def show(self, notices: Sequence[RunNotice], *, printed_lines: int) -> None:
        """`printed_lines`: maximum lines of process output to show."""
        if (tuple(notices), printed_lines) == (self._notices, self._printed_lines):
            return
        self._notices, self._printed_lines = tuple(notices), printed_lines
        self.display = bool(notices)
        width = self.size.width or self.app.size.width
        self.styles.height = len(self.picture(width, self.glyphs).lines)
        self.update()

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
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
        return PanelContent(lines=tuple(lines[:LINES]))
