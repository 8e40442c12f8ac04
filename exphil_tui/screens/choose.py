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
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from exphil_tui.screens.steady import SteadyModalScreen


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    value: str
    title: str
    detail: str = ""
    group: str = ""
    muted: bool = False
    """Can be chosen, but there is little behind it."""


class ChooseOne(SteadyModalScreen[str | None]):
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


class ChooseSome(SteadyModalScreen[tuple[str, ...] | None]):
    """Space marks, Enter takes what is marked; Escape leaves all as it was."""

    CSS_PATH = "choose.tcss"
    BINDING_GROUP_TITLE = "Choose some"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Leave as it was"),
        Binding("space", "mark", "Mark"),
        Binding("enter", "take", "Take what is marked", priority=True),
        Binding("a", "all", "Mark all, or none"),
    ]

    def __init__(self, title: str, entries: Sequence[Entry], *, current: Sequence[str], none: str) -> None:
        """`none` says what it means to mark nothing."""
        super().__init__()
        self._title, self._entries, self._none = title, entries, none
        self._marked = set(current)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="choose"):
            yield Static(Content.styled(self._title, "bold"), id="choose-title")
            yield OptionList(*map(self._line, self._entries), compact=True, id="choose-list")
            yield Static(id="choose-marked")
            yield Static(
                Content.styled(
                    "Space marks  Enter takes  a all or none  Esc leaves all as it was", "$text-muted"
                ),
                id="choose-keys",
            )

    def on_mount(self) -> None:
        found = self.query_one(OptionList)
        found.highlighted = 0 if self._entries else None
        found.focus()
        self._say()

    def _line(self, entry: Entry) -> Content:
        # A letter tells what is marked; the weight only repeats it.
        marked = entry.value in self._marked
        return Content.assemble(
            ("[x] " if marked else "[ ] ", "bold $primary" if marked else "$text-muted"),
            (f"{entry.title:<18}", "bold" if marked else "$text-muted" if entry.muted else ""),
            (f"  {entry.detail}", "$text-muted"),
        )

    def _say(self) -> None:
        names = [entry.title for entry in self._entries if entry.value in self._marked]
        text = ", ".join(names) if names else self._none
        self.query_one("#choose-marked", Static).update(Content.styled(text, "$text-accent"))

    def _show(self) -> None:
        found = self.query_one(OptionList)
        for index, entry in enumerate(self._entries):
            found.replace_option_prompt_at_index(index, self._line(entry))
        self._say()

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self._toggle(event.option_index)

    def action_mark(self) -> None:
        index = self.query_one(OptionList).highlighted
        if index is not None:
            self._toggle(index)

    def _toggle(self, index: int) -> None:
        self._marked ^= {self._entries[index].value}
        self._show()

    def action_take(self) -> None:
        self.dismiss(tuple(entry.value for entry in self._entries if entry.value in self._marked))

    def action_all(self) -> None:
        every = {entry.value for entry in self._entries}
        self._marked = set() if self._marked >= every else every
        self._show()
