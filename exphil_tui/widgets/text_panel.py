"""A scrolling text panel with a title line and a fixed head; it repaints only the lines that changed.

Text is drawn literally, never as markup; text from outside must be sanitised before. `picture` gets the width
without the scrollbar.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from exphil_tui.theme.glyphs import UNICODE, Glyphs

if TYPE_CHECKING:
    from textual.events import Click, Resize

LOOKS = ("dim", "strong", "accent", "good", "warn", "bad", "cursor", "rule")

Part = tuple[str, str]
"""Text and its look: one of `LOOKS`, empty, or a colour `#rrggbb`."""

Line = tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelContent:
    """The complete content of a panel."""

    head: tuple[Line, ...] = ()
    """Header lines that do not scroll."""
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    """Notes at the right end of the title, longest first; the first that fits is shown."""
    note_look: str = "dim"
    chosen: int | None = None
    """Index of the line that the cursor is on."""


EMPTY = PanelContent()


class TextPanel(ScrollView, can_focus=True):
    """Base class of the panels. A subclass returns its content from `picture` and calls `update` when it may have
    changed.
    """

    DEFAULT_CSS = """
    TextPanel {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        background: $background;
        & > .panel--dim { color: $foreground-muted; }
        & > .panel--strong { text-style: bold; }
        & > .panel--accent { color: $primary; text-style: bold; }
        & > .panel--good { color: $success; }
        & > .panel--warn { color: $warning; }
        & > .panel--bad { color: $error; text-style: bold; }
        & > .panel--cursor {
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }
        & > .panel--rule { color: $border-blurred; }
    }
    TextPanel:focus > .panel--cursor {
        background: $block-cursor-background;
        text-style: $block-cursor-text-style;
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"panel--{look}" for look in LOOKS}

    TITLE: ClassVar[str] = ""
    """Text of the title line; empty for a panel without one."""

    class TabChosen(Message):
        """The user clicked the tab of another panel; `index` is its index in `tabs`."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.tabs: tuple[str, ...] = ()
        """Names of all panels that share one place, including this one."""
        self._picture = EMPTY
        self._title_strip: Strip | None = None
        self._strips: dict[tuple[Line, bool], Strip] = {}
        self._scrolls = False
        """True if there are more lines than rows, so that a scrollbar covers the end of each line."""
        self._styles_of_looks: dict[str, Style] = {}

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        raise NotImplementedError

    @property
    def glyphs(self) -> Glyphs:
        return getattr(self.app, "glyphs", UNICODE)

    def update(self) -> None:
        """Redraw the lines that changed; does nothing while the panel has no size."""
        width, _ = self.size
        if width == 0:
            return
        found = self._fitting_picture()
        before, self._picture = self._picture, found
        if found == before:
            return
        top, rule = self._top(found), self._rule
        retitled = rule and (found.notes, found.note_look) != (before.notes, before.note_look)
        if retitled:
            self._title_strip = None
        if len(found.lines) != len(before.lines) or len(found.head) != len(before.head):
            self._strips.clear()
            self.virtual_size = Size(width, top + len(found.lines))
            self.refresh()
            return
        changed = [
            top + index - self.scroll_offset.y
            for index, line in enumerate(found.lines)
            if line != before.lines[index] or (index == found.chosen) != (index == before.chosen)
        ]
        changed = [y for y in changed if y >= top]
        changed += [rule + y for y, line in enumerate(found.head) if line != before.head[y]]
        if retitled:
            changed.append(0)
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def _fitting_picture(self) -> PanelContent:
        found = self.picture(self._room, self.glyphs)
        if self._overflows(found) != self._scrolls:
            self._scrolls = not self._scrolls
            found = self.picture(self._room, self.glyphs)
            # Some pictures have fewer lines in less width: then there is no scrollbar.
            self._scrolls = self._overflows(found)
        return found

    def _overflows(self, picture: PanelContent) -> bool:
        rows = self._top(picture) + len(picture.lines)
        return self.styles.overflow_y != "hidden" and rows > self.size.height

    @property
    def _room(self) -> int:
        """Visible cells of a line."""
        return max(1, self.size.width - (self.styles.scrollbar_size_vertical if self._scrolls else 0))

    def rebuild(self) -> None:
        """Redraw everything after a change of width, title, focus or colours."""
        self._scrolls = False
        self._picture = EMPTY
        self._title_strip = None
        self._strips.clear()
        self._styles_of_looks.clear()
        self.update()
        self.refresh()

    def on_resize(self, event: "Resize") -> None:
        self.rebuild()

    def on_focus(self) -> None:
        self._title_strip = None
        self.refresh()

    def on_blur(self) -> None:
        self._title_strip = None
        self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._title_strip = None
        self._strips.clear()
        self._styles_of_looks.clear()

    def on_click(self, event: "Click") -> None:
        if not (self._rule and event.y == 0):
            return
        at = 2
        for index, name in enumerate(self.tabs):
            if at <= event.x < at + cell_len(name):
                self.post_message(self.TabChosen(index))
                event.stop()
            at += cell_len(name) + 2

    def line_at(self, y: int) -> int | None:
        """Return the index of the line in row `y` of the widget; None if there is none."""
        index = y - self._top(self._picture) + self.scroll_offset.y
        inside = y >= self._top(self._picture) and index < len(self._picture.lines)
        return index if inside else None

    @property
    def _rule(self) -> int:
        return 1 if self.TITLE else 0

    def _top(self, picture: PanelContent) -> int:
        return self._rule + len(picture.head)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        rule = self._rule
        if rule and y == 0:
            if self._title_strip is None:
                self._title_strip = self._title(width)
            return self._title_strip
        if y - rule < len(self._picture.head):
            return self._strip(self._picture.head[y - rule], width, cursor=False)
        index = self.line_at(y)
        if index is None:
            return Strip.blank(width, self._style(""))
        return self._strip(self._picture.lines[index], width, cursor=index == self._picture.chosen)

    def _strip(self, line: Line, width: int, *, cursor: bool) -> Strip:
        found = self._strips.get((line, cursor))
        if found is None:
            if len(self._strips) > 2000:
                self._strips.clear()
            # The cursor's background replaces the parts' own.
            over = self.get_component_rich_style("panel--cursor", partial=True) if cursor else Style.null()
            parts = [Segment(text, self._style(look) + over) for text, look in line if text]
            found = Strip(parts).adjust_cell_length(width, self._style("") + over)
            self._strips[(line, cursor)] = found
        return found

    def _style(self, look: str) -> Style:
        """Return the cached style of a look on the panel's background; theme look-ups are slow."""
        found = self._styles_of_looks.get(look)
        if found is None:
            if not look:
                found = self.rich_style
            elif look.startswith("#"):
                found = self._style("") + Style(color=look)
            else:
                found = self._style("") + self.get_component_rich_style(f"panel--{look}", partial=True)
            self._styles_of_looks[look] = found
        return found

    def _title(self, width: int) -> Strip:
        """Render the title line: `▸ characters ──────── validation of step 994 ─`; with tabs, all of their names."""
        glyphs = self.glyphs
        rule = "-" if glyphs.ascii else "─"
        pointer = (">" if glyphs.ascii else "▸") if self.has_focus else rule
        parts: list[Part] = [(pointer, "accent" if self.has_focus else "rule"), (" ", "")]
        for index, name in enumerate(self.tabs or (self.TITLE,)):
            if index:
                parts.append(("  ", ""))
            look = ("accent" if self.has_focus else "strong") if name == self.TITLE else "dim"
            parts.append((name, look))
        parts.append((" ", ""))
        used = sum(cell_len(text) for text, _ in parts)
        note = next((note for note in self._picture.notes if cell_len(note) <= width - used - 4), "")
        room = width - used - (cell_len(note) + 3 if note else 0)
        parts.append((rule * max(0, room), "rule"))
        if note:
            parts += [(" ", ""), (note, self._picture.note_look), (" ", ""), (rule, "rule")]
        strip = Strip([Segment(text, self._style(look)) for text, look in parts])
        return strip.adjust_cell_length(width, self._style(""))


def fitted(text: str, width: int, glyphs: Glyphs) -> str:
    """Cut `text` to `width` cells, with an ellipsis if something is missing."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + glyphs.ellipsis if width > 1 else ""


def left(text: str, width: int, glyphs: Glyphs) -> str:
    """Left-align `text` in exactly `width` cells."""
    return set_cell_size(fitted(text, width, glyphs), width)


def right(text: str, width: int) -> str:
    """Right-align `text`, which must fit, in `width` cells."""
    return " " * max(0, width - cell_len(text)) + text


def wrapped(text: str, width: int) -> list[str]:
    """Wrap text to `width` cells at spaces, keeping a number and its unit together."""
    width = max(1, width)
    lines = [""]
    for bound in _UNIT.sub("\\1\u00a0", text).split(" "):
        word = bound.replace("\u00a0", " ")
        while cell_len(word) > width:
            cut = next((n for n in range(len(word), 0, -1) if cell_len(word[:n]) <= width), 1)
            if lines[-1]:
                lines.append("")
            lines[-1] = word[:cut]
            lines.append("")
            word = word[cut:]
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return [line for line in lines if line] or [""]


def bar(share: float, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """Return the filled and the empty part of a progress bar."""
    full = round(min(1.0, max(0.0, share)) * width)
    return ("#" if glyphs.ascii else "━") * full, ("." if glyphs.ascii else "─") * (width - full)


_UNIT = re.compile(r"(\d) (?=(?:s|min|h|d|ms|MB|GB|%)(?:\W|$))")


def plain(lines: Sequence[Line]) -> str:
    """Return the lines as plain text, for screen readers and copying."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)
