"""The studies: those that were begun in this folder, and those that come with exphil.

In: a `StudyEntry` each. Out: a list whose cursor chooses one (`StudyChosen`); Enter goes into it (`StudyEntered`).
What a reader gets wrong: a study that comes with exphil stays in the list when it was begun, for it has two forms and
may be run on other replays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from exphil_tui.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, Picture, TextPanel, fitted, left, right

if TYPE_CHECKING:
    from textual.events import Click

_SIGNS = {
    "going on": ("●", ">", "good"),
    "finished": ("✓", "+", "good"),
    "at rest": ("◇", "<", "warn"),
    "unreadable": ("?", "?", "bad"),
    "to begin": ("○", "o", "dim"),
}

_COUNT = 6
_WIDE = 100
_NAME, _LONG_NAME = 22, 48
"""Cells of a name at most, in a narrow list and in a wide one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEntry:
    key: str
    """Tells it from the others."""
    title: str
    state: str
    """As a `StudySight` has it; `to begin` of one that comes with exphil."""
    done: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0
    runs: int = 0
    said: str = ""
    """What the verdict says first, or the question."""


class StudyList(TextPanel):
    TITLE = "studies"
    BINDING_GROUP_TITLE = "Studies"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", "Study above", show=False),
        Binding("down", "choose(1)", "Study below", show=False),
        Binding("enter", "enter", "Look into it", show=False),
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
        """The key of the one that the cursor is on."""

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

    def picture(self, width: int, glyphs: Glyphs) -> Picture:
        longest = max((len(entry.title) for entry in self._entries), default=0)
        name = min(max(12, longest), _NAME if width < _WIDE else _LONG_NAME)
        counts = ("done", "runs", "waits", "fails")
        rest = max(0, width - name - 4 - 4 * _COUNT - 1)
        heading: Line = (
            (left("    study", name + 4, glyphs), "dim"),
            (right(counts[0], _COUNT + 1), "dim"),
            *((right(each, _COUNT), "dim") for each in counts[1:]),
            (fitted("  what came out, or is asked", rest, glyphs), "dim"),
        )
        keys = [entry.key for entry in self._entries]
        return Picture(
            head=(heading,),
            lines=tuple(self._line(entry, name, width, glyphs) for entry in self._entries),
            chosen=keys.index(self.chosen) if self.chosen in keys else None,
        )

    def _line(self, entry: StudyEntry, name: int, width: int, glyphs: Glyphs) -> Line:
        sign, ascii_sign, look = _SIGNS[entry.state]
        pointer = (">" if glyphs.ascii else "›") if entry.key == self.chosen else " "
        rest = max(0, width - name - 4 - 4 * _COUNT - 1)
        begun = entry.state != "to begin"
        counts = (entry.running, entry.waiting, entry.failed)
        looks = ("good", "", "bad")
        return (
            (pointer, "accent"),
            (ascii_sign if glyphs.ascii else sign, look),
            (left(f" {entry.title}", name + 2, glyphs), "strong" if begun else "dim"),
            (
                right(f"{entry.done}/{entry.runs}" if begun else glyphs.dash, _COUNT + 1),
                "" if begun else "dim",
            ),
            *(
                (
                    right(str(count) if count else glyphs.dash if begun else "", _COUNT),
                    each if count else "dim",
                )
                for count, each in zip(counts, looks, strict=True)
            ),
            (left(f"  {entry.said}", rest, glyphs), "" if begun else "dim"),
        )
