"""Help screen: the keys of the screen below, grouped by widget, and how to read it.

Keys come from the bindings, the text from the screen's `HELP`; nothing is written here by hand.
"""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Footer, Static

from exphil_tui.commands import KeyedAction, heading, keyed_actions
from exphil_tui.screens.base import WorkbenchScreen


class HelpScreen(WorkbenchScreen[None]):
    CSS_PATH = "help.tcss"
    BINDING_GROUP_TITLE = "Help"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 (declared so by Screen)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1", "close", "Back"),
        Binding("up", "scroll(-1)", "Up", show=False),
        Binding("down", "scroll(1)", "Down", show=False),
        Binding("pageup", "scroll(-10)", "Page up", show=False),
        Binding("pagedown,space", "scroll(10)", "Page down", show=False),
    ]

    def __init__(self, screen: Screen[object]) -> None:
        super().__init__()
        self._screen_below = screen
        self._actions = keyed_actions(screen)

    def compose(self) -> ComposeResult:
        title = heading(self._screen_below)
        yield Static(Content.assemble(("exphil", "bold $primary"), f"  Help: {title}"), classes="title")
        with VerticalScroll(id="help", can_focus=False):
            yield Static(self._keys(), id="help-keys")
            yield Static(self._reading(), id="help-reading")
        yield Footer(show_command_palette=False)

    def action_close(self) -> None:
        self.dismiss()

    def action_scroll(self, lines: int) -> None:
        self.query_one("#help").scroll_relative(y=lines, animate=False)

    def _reading(self) -> Content:
        lines = (self._screen_below.HELP or "").strip().splitlines()
        head = Content.styled("How to read this screen\n", "bold $primary")
        return head + Content("\n".join(lines)) if lines else Content("")

    def _keys(self) -> Content:
        parts = []
        shown = [(node, [self._keys_of(found) for found in actions]) for node, actions in self._actions]
        width = max((len(keys) for _, actions in shown for keys in actions), default=0)
        for (node, actions), (_, keys) in zip(self._actions, shown, strict=True):
            lines = [Content.styled(heading(node), "bold $primary")]
            lines += [_line(key, found, width) for key, found in zip(keys, actions, strict=True)]
            parts.append(Content("\n").join(lines))
        return Content("\n\n").join(parts)

    def _keys_of(self, found: KeyedAction) -> str:
        keys = dict.fromkeys(self.app.get_key_display(binding) for binding in found.keys)
        return " ".join(keys)


def _line(keys: str, found: KeyedAction, width: int) -> Content:
    looks = ("bold", "") if found.possible else ("$foreground-muted", "$foreground-muted")
    return Content.assemble((f"{keys:>{width}}", looks[0]), "  ", (found.sentence, looks[1]))
