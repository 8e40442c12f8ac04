"""One widget alone in a terminal, for tests that look at what it draws and at what it paints again."""

from typing import Any

from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.theme import Theme
from textual.widget import Widget

from exphil_tui.theme.glyphs import UNICODE, Glyphs
from exphil_tui.theme.themes import DARK


class Alone(App[None]):
    """A test's own app says in `show` what the widget is told."""

    def __init__(self, widget: Widget, *, glyphs: Glyphs = UNICODE, theme: Theme = DARK) -> None:
        super().__init__()
        self.widget, self.glyphs = widget, glyphs
        self.asked: list[Region] = []
        """What the widget wanted painted again so far."""
        self.register_theme(theme)
        self.theme = theme.name
        plain = widget.refresh

        def refresh(*regions: Region, **how: Any) -> Widget:
            self.asked.extend(regions)
            return plain(*regions, **how)

        widget.refresh = refresh  # type: ignore[method-assign,assignment]

    def compose(self) -> ComposeResult:
        yield self.widget

    def on_mount(self) -> None:
        self.show()

    def show(self) -> None:
        raise NotImplementedError

    def text(self) -> list[str]:
        return [strip.text for strip in self.screen._compositor.render_strips()]
