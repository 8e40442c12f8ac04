"""A list to choose from, over the screen that asks: one of several, some of several, or a path typed instead.

In: entries in groups. Out: what was chosen, None where nothing was. What a reader gets wrong: texts come as plain
strings, made safe by whoever made the entries, and are never markup.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, SelectionList, Static
from textual.widgets.option_list import Option
from textual.widgets.selection_list import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    value: str
    title: str
    detail: str = ""
    group: str = ""
    muted: bool = False
    """Can be chosen, but there is little behind it."""


class ChooseOne(ModalScreen[str | None]):
    """Enter takes the entry under the cursor; Escape leaves all as it was."""

    CSS_PATH = "choose.tcss"
    BINDING_GROUP_TITLE = "Choose one"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave as it was"),
        Binding("slash", "type", "Type a path", show=False),
    ]

    def __init__(
        self, title: str, entries: Sequence[Entry], *, current: str = "", path: str | None = None
    ) -> None:
        """With `path` not None a path can be typed, too, beginning with that."""
        super().__init__()
        self._title, self._entries, self._current, self._path = title, entries, current, path

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="choose"):
            yield Static(Content.styled(self._title, "bold"), id="choose-title")
            yield OptionList(compact=True, id="choose-list")
            if self._path is not None:
                yield Static(Content.styled("or type a path and press Enter:", "$text-muted"), id="choose-or")
                yield Input(self._path, placeholder="~/Slippi", compact=True, id="choose-path")
            words = "Enter takes it  Esc leaves all as it was" + (
                "  / types a path" * (self._path is not None)
            )
            yield Static(Content.styled(words, "$text-muted"), id="choose-keys")

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
        """The value of every line of the list; None for a heading."""
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


class ChooseSome(ModalScreen[tuple[str, ...] | None]):
    """Space marks, Enter takes what is marked; Escape leaves all as it was."""

    CSS_PATH = "choose.tcss"
    BINDING_GROUP_TITLE = "Choose some"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave as it was"),
        Binding("enter", "take", "Take what is marked", priority=True),
        Binding("a", "all", "Mark all, or none"),
    ]

    def __init__(self, title: str, entries: Sequence[Entry], *, current: Sequence[str], none: str) -> None:
        """`none` says what it means to mark nothing."""
        super().__init__()
        self._title, self._entries, self._current, self._none = title, entries, tuple(current), none

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="choose"):
            yield Static(Content.styled(self._title, "bold"), id="choose-title")
            yield SelectionList[str](
                *(
                    Selection(
                        Content.assemble(
                            (f"{entry.title:<20}", "" if entry.muted else "bold"),
                            (f"  {entry.detail}", "$text-muted"),
                        ),
                        entry.value,
                        entry.value in self._current,
                    )
                    for entry in self._entries
                ),
                compact=True,
                id="choose-list",
            )
            yield Static(id="choose-marked")
            yield Static(
                Content.styled(
                    "Space marks  Enter takes  a all or none  Esc leaves all as it was", "$text-muted"
                ),
                id="choose-keys",
            )

    def on_mount(self) -> None:
        self.query_one(SelectionList).focus()
        self._count()

    @on(SelectionList.SelectedChanged)
    def _count(self) -> None:
        marked = self._marked()
        names = [entry.title for entry in self._entries if entry.value in marked]
        text = ", ".join(names) if names else self._none
        self.query_one("#choose-marked", Static).update(Content.styled(text, "$text-accent"))

    def _marked(self) -> tuple[str, ...]:
        """In the order of the list, not of marking."""
        marked = set(self.query_one(SelectionList).selected)
        return tuple(entry.value for entry in self._entries if entry.value in marked)

    def action_take(self) -> None:
        self.dismiss(self._marked())

    def action_all(self) -> None:
        found = self.query_one(SelectionList)
        if len(found.selected) == len(self._entries):
            found.deselect_all()
        else:
            found.select_all()
