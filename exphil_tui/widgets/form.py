"""Form rows: a label, one or two editors, and a line for an error.

Arrow keys belong to the form (up and down change the row, left and right the choice), so only a text input that
has the focus may use them.
"""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Select, Static


class Form(VerticalScroll, can_focus=False):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", "Row above", show=False),
        Binding("down", "app.focus_next", "Row below", show=False),
    ]


class ChoiceField(Select[str], inherit_bindings=False):
    """A select field: left and right step through the options, Enter opens the list."""

    BINDING_GROUP_TITLE = "Setting"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "show_overlay", "Show the choices", show=False),
        Binding("left", "step(-1)", "Previous choice", show=False),
        Binding("right", "step(1)", "Next choice", show=False),
    ]

    def __init__(self, options: Sequence[tuple[str, str]], *, id: str) -> None:
        """`options`: pairs of the shown text and the value."""
        super().__init__(
            [(Content(shown), value) for shown, value in options], allow_blank=False, compact=True, id=id
        )
        self._known = [value for _, value in options]

    def show(self, value: str) -> None:
        """Select a value; unknown values are ignored."""
        if value in self._known:
            self.value = value

    def action_step(self, by: int) -> None:
        at = self._known.index(str(self.value))
        self.value = self._known[min(len(self._known) - 1, max(0, at + by))]


class PickerField(Static, can_focus=True):
    """A value chosen from a list on a separate screen."""

    BINDING_GROUP_TITLE = "Setting"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "open", "Choose", show=False)]

    class Opened(Message):
        def __init__(self, opener: "PickerField") -> None:
            super().__init__()
            self.opener = opener

        @property
        def control(self) -> "PickerField":
            return self.opener

    def show(self, text: str) -> None:
        """Show `text` on one line, literally; it must be sanitised."""
        self._text = text
        self.refresh(layout=False)

    _text = ""

    def render(self) -> Content:
        room = max(1, self.size.width - 3)
        text = self._text if len(self._text) <= room else self._text[: room - 1] + "…"
        return Content.assemble((text.ljust(room), ""), (" ▼ ", "$text-muted"))

    def on_click(self, event: Click) -> None:
        self.action_open()

    def action_open(self) -> None:
        self.post_message(self.Opened(self))


class FieldRow(Vertical):
    """A form row: a label, one or two editors, and an error line."""

    def __init__(self, name: str, label: str, *editors: Widget) -> None:
        super().__init__(id=f"row-{name}")
        self.field = name
        self._label = label
        self._editors = editors

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field-line"):
            yield Static(self._label, markup=False, classes="field-label")
            yield from self._editors
        yield Static(markup=False, classes="field-problem")

    def show_problem(self, sentence: str, mark: str) -> None:
        """Show an error, or none if `sentence` is empty. `mark` makes it visible without colour."""
        found = self.query_one(".field-problem", Static)
        found.display = bool(sentence)
        found.update(f"{mark} {sentence}" if sentence else "")
        self.set_class(bool(sentence), "-wrong")

    def show_differs(self, differs: bool, mark: str) -> None:
        """Mark a value that differs from the preset."""
        label = f"{mark if differs else ' '} {self._label}"
        self.query_one(".field-label", Static).update(label)
        self.set_class(differs, "-differs")
