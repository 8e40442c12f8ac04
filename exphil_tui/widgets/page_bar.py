"""Tab bar in the style of a panel title; a click posts `PageChosen`.

It does not switch the page itself: the screen does, and calls `show`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from exphil_tui.theme.glyphs import UNICODE

if TYPE_CHECKING:
    from textual.events import Click


class PageBar(Widget):
    DEFAULT_CSS = """
    PageBar { height: 1; }
    """

    class PageChosen(Message):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._names: tuple[str, ...] = ()
        self._chosen = ""
        self._notes: tuple[str, ...] = ()
        self._active = False

    def show(
        self, names: Sequence[str], chosen: str, *, notes: Sequence[str] = (), active: bool = False
    ) -> None:
        """Show the tabs.

        Args:
            notes: Notes for the right end, longest first; the first that fits is shown.
            active: True if the page below has the focus.
        """
        shown = (tuple(names), chosen, tuple(notes), active)
        if shown != (self._names, self._chosen, self._notes, self._active):
            self._names, self._chosen, self._notes, self._active = shown
            self.refresh()

    def render(self) -> Content:
        glyphs = getattr(self.app, "glyphs", UNICODE)
        rule, pointer = ("-", ">") if glyphs.ascii else ("─", "▸")
        width = self.size.width
        parts = [
            (pointer if self._active else rule, "bold $primary" if self._active else "$border-blurred"),
            (" ", ""),
        ]
        used = 2
        for index, name in enumerate(self._names):
            look = "$foreground-muted"
            if name == self._chosen:
                look = "bold $primary" if self._active else "bold"
            # Brackets mark the current page where colour is missing.
            shown = f"[{name}]" if name == self._chosen and len(self._names) > 1 else name
            gap = "  " if index else ""
            parts += [(gap, ""), (shown, look)]
            used += len(gap) + cell_len(shown)
        note = next((note for note in self._notes if cell_len(note) <= width - used - 5), "")
        room = width - used - 1 - (cell_len(note) + 3 if note else 0)
        parts += [(" ", ""), (rule * max(0, room), "$border-blurred")]
        if note:
            parts += [(f" {note} ", "$foreground-muted"), (rule, "$border-blurred")]
        return Content.assemble(*parts)

    def on_click(self, event: "Click") -> None:
        at = 2
        for name in self._names:
            wide = cell_len(name) + 2 * (name == self._chosen and len(self._names) > 1)
            if at <= event.x < at + wide:
                self.post_message(self.PageChosen(name))
            at += wide + 2
