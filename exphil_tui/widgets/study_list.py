"""List of studies: those in the runs folder, and those shipped with exphil.

The cursor posts `StudyChosen`, Enter `StudyEntered`. A shipped study stays in the list after it was started: it
has two modes and can be run on other replays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, PanelContent, TextPanel, fitted, left, right

if TYPE_CHECKING:
    from textual.events import Click

_SIGNS = {
    "running": ("●", ">", "good"),
    "finished": ("✓", "+", "good"),
    "idle": ("◇", "<", "warn"),
    "unreadable": ("?", "?", "bad"),
    "not started": ("○", "o", "dim"),
}

_COUNTS = {"done": 7, "running": 9, "queued": 8, "failed": 8}
"""Count columns and their widths."""
_WIDE = 100
_NAME, _LONG_NAME = 22, 48
"""Maximum width of a name in a narrow and in a wide list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEntry:
    key: str
    """Unique key of the entry."""
    title: str
    state: str
    """State from `StudySnapshot`; `not started` for a shipped study."""
    done: int = 0
    running: int = 0
    queued: int = 0
    failed: int = 0
    runs: int = 0
    result_or_question: str = ""
    """First sentence of the verdict, or the question."""


class StudyList(TextPanel):
    TITLE = "studies"
    BINDING_GROUP_TITLE = "Studies"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", "Study above", show=False),
        Binding("down", "choose(1)", "Study below", show=False),
        Binding("enter", "enter", "Open", show=False),
    ]

    class StudyChosen(Message):
        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class StudyEntered(StudyChosen):
        pass

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._entries: tuple[StudyEntry, ...] = ()
        self.chosen = ""
        """Key of the entry under the cursor."""

    def show(self, entries: Sequence[StudyEntry], chosen: str) -> None:
        self._entries, self.chosen = tuple(entries), chosen
        self.update()
        self._keep_in_view()

    def action_choose(self, way: int) -> None:
        keys = [entry.key for entry in self._entries]
        if keys:
            at = keys.index(self.chosen) if self.chosen in keys else 0
            self._choose(keys[min(len(keys) - 1, max(0, at + way))])

    def action_enter(self) -> None:
        if self.chosen:
            self.post_message(self.StudyEntered(self.chosen))

    def on_click(self, event: "Click") -> None:
        super().on_click(event)
        index = self.line_at(event.y)
        if index is not None:
            self._choose(self._entries[index].key)

    def _choose(self, key: str) -> None:
        if key != self.chosen:
            self.chosen = key
            self.update()
            self._keep_in_view()
            self.post_message(self.StudyChosen(key))

    def _keep_in_view(self) -> None:
        keys = [entry.key for entry in self._entries]
        if self.chosen not in keys:
            return
        index, top = keys.index(self.chosen), self.scroll_offset.y
        visible = max(1, self.size.height - 2)
        if not top <= index < top + visible:
            self.scroll_to(y=index if index < top else index - visible + 1, animate=False)

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        longest = max((len(entry.title) for entry in self._entries), default=0)
        name = min(max(12, longest), _NAME if width < _WIDE else _LONG_NAME)
        rest = max(0, width - name - 4 - sum(_COUNTS.values()))
        heading: Line = (
            (left("    study", name + 4, glyphs), "dim"),
            *((right(title, size), "dim") for title, size in _COUNTS.items()),
            (fitted("  result or question", rest, glyphs), "dim"),
        )
        keys = [entry.key for entry in self._entries]
        return PanelContent(
            head=(heading,),
            lines=tuple(self._line(entry, name, width, glyphs) for entry in self._entries),
            chosen=keys.index(self.chosen) if self.chosen in keys else None,
        )

    def _line(self, entry: StudyEntry, name: int, width: int, glyphs: Glyphs) -> Line:
        sign, ascii_sign, state_look = _SIGNS[entry.state]
        pointer = (">" if glyphs.ascii else "›") if entry.key == self.chosen else " "
        rest = max(0, width - name - 4 - sum(_COUNTS.values()))
        started = entry.state != "not started"
        counts = {
            "running": (entry.running, "good"),
            "queued": (entry.queued, ""),
            "failed": (entry.failed, "bad"),
        }
        return (
            (pointer, "accent"),
            (ascii_sign if glyphs.ascii else sign, state_look),
            (left(f" {entry.title}", name + 2, glyphs), "strong" if started else "dim"),
            (
                right(f"{entry.done}/{entry.runs}" if started else glyphs.dash, _COUNTS["done"]),
                "" if started else "dim",
            ),
            *(
                (
                    right(str(count) if count else glyphs.dash if started else "", _COUNTS[title]),
                    look if count else "dim",
                )
                for title, (count, look) in counts.items()
            ),
            (left(f"  {entry.result_or_question}", rest, glyphs), "" if started else "dim"),
        )
