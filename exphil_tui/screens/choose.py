"""Selection dialogs: choose one entry (or type a path), or several.

Entry texts are shown as plain text, not markup; the caller sanitises them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from exphil_tui.screens.base import WorkbenchModalScreen


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    value: str
    title: str
    detail: str = ""
    group: str = ""
    muted: bool = False
    """Shown dimmed; can still be chosen."""


class ChooseOne(WorkbenchModalScreen[str | None]):
    """Dialog for one entry; returns its value or a typed path, None if cancelled."""

    CSS_PATH = "choose.tcss"
    BINDING_GROUP_TITLE = "Choose one"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("slash", "type", "Type a path", show=False),
    ]

    def __init__(
        self, title: str, entries: Sequence[ListEntry], *, current: str = "", path: str | None = None
    ) -> None:
        """Create the dialog.

        Args:
            title: Question above the list.
            entries: Grouped entries, in display order.
            current: Value of the entry under the cursor at the start.
            path: Initial text of the path input; None for no path input.
        """
        super().__init__()
        self._title, self._entries, self._current, self._path = title, entries, current, path

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="choose"):
            yield Static(Content.styled(self._title, "bold"), id="choose-title")
            yield OptionList(compact=True, id="choose-list")
            if self._path is not None:
                yield Static(Content.styled("or type a path and press Enter:", "$text-muted"), id="choose-or")
                yield Input(self._path, placeholder="~/Slippi", compact=True, id="choose-path")
            keys = "Enter select · Esc cancel" + " · / type a path" * (self._path is not None)
            yield Static(Content.styled(keys, "$text-muted"), id="choose-keys")

    def on_mount(self) -> None:
        found = self.query_one(OptionList)
        group = ""
        width = max((len(entry.title) for entry in self._entries), default=0)
        for entry in self._entries:
            if entry.group != group:
                group = entry.group
                found.add_option(Option(Content.styled(group, "$text-muted"), disabled=True))
            title = entry.title if len(entry.title) > 24 else entry.title.ljust(min(width, 24))
            found.add_option(
                Option(
                    Content.assemble(
                        (f"  {title}", "" if entry.muted else "bold"), (f"  {entry.detail}", "$text-muted")
                    ),
                )
            )
        wanted = [index for index, entry in enumerate(self._options()) if entry == self._current]
        found.highlighted = next(
            iter(wanted), next((i for i, value in enumerate(self._options()) if value is not None), None)
        )
        found.focus()

    def _options(self) -> list[str | None]:
        """Return the value of every line of the list; None for headings."""
        lines: list[str | None] = []
        group = ""
        for entry in self._entries:
            if entry.group != group:
                group = entry.group
                lines.append(None)
            lines.append(entry.value)
        return lines

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._options()[event.option_index])

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)

    def action_type(self) -> None:
        if self._path is not None:
            self.query_one(Input).focus()


class ChooseSome(WorkbenchModalScreen[tuple[str, ...] | None]):
    """Dialog for several entries; returns the values of the selected ones, None if cancelled."""

    CSS_PATH = "choose.tcss"
    BINDING_GROUP_TITLE = "Choose several"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("space", "select", "Select"),
        Binding("enter", "confirm", "Confirm", priority=True),
        Binding("a", "all", "Select all or none"),
    ]

    def __init__(
        self, title: str, entries: Sequence[ListEntry], *, current: Sequence[str], none: str
    ) -> None:
        """Create the dialog.

        Args:
            title: Question above the list.
            entries: Entries in display order.
            current: Values selected at the start.
            none: What an empty selection means, shown while nothing is selected.
        """
        super().__init__()
        self._title, self._entries, self._none = title, entries, none
        self._selected = set(current)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="choose"):
            yield Static(Content.styled(self._title, "bold"), id="choose-title")
            yield OptionList(*map(self._line, self._entries), compact=True, id="choose-list")
            yield Static(id="choose-selected")
            yield Static(
                Content.styled("Space select · a all or none · Enter confirm · Esc cancel", "$text-muted"),
                id="choose-keys",
            )

    def on_mount(self) -> None:
        found = self.query_one(OptionList)
        found.highlighted = 0 if self._entries else None
        found.focus()
        self._show_selected()

    def _line(self, entry: ListEntry) -> Content:
        # The letter shows the selection; bold text must not be the only difference.
        selected = entry.value in self._selected
        return Content.assemble(
            ("[x] " if selected else "[ ] ", "bold $primary" if selected else "$text-muted"),
            (f"{entry.title:<18}", "bold" if selected else "$text-muted" if entry.muted else ""),
            (f"  {entry.detail}", "$text-muted"),
        )

    def _show_selected(self) -> None:
        names = [entry.title for entry in self._entries if entry.value in self._selected]
        text = ", ".join(names) if names else self._none
        self.query_one("#choose-selected", Static).update(Content.styled(text, "$text-accent"))

    def _show(self) -> None:
        found = self.query_one(OptionList)
        for index, entry in enumerate(self._entries):
            found.replace_option_prompt_at_index(index, self._line(entry))
        self._show_selected()

    @on(OptionList.OptionSelected)
    def _option_clicked(self, event: OptionList.OptionSelected) -> None:
        self._toggle(event.option_index)

    def action_select(self) -> None:
        index = self.query_one(OptionList).highlighted
        if index is not None:
            self._toggle(index)

    def _toggle(self, index: int) -> None:
        self._selected ^= {self._entries[index].value}
        self._show()

    def action_confirm(self) -> None:
        self.dismiss(tuple(entry.value for entry in self._entries if entry.value in self._selected))

    def action_all(self) -> None:
        values = {entry.value for entry in self._entries}
        self._selected = set() if self._selected >= values else values
        self._show()
