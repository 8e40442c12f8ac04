"""What a panel's picture has room for, and how its text is broken."""

import pytest

from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import PanelContent, TextPanel, wrapped
from tests.tui.widgets.alone import Alone


class Full(TextPanel):
    """Lines that end with a letter in their last cell."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.widths: list[int] = []

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        self.widths.append(width)
        return PanelContent(lines=tuple((("." * (width - 1) + "x", ""),) for _ in range(self.count)))


class Grown(Full):
    """More lines where there is more room."""

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        self.count = 9 if width == 20 else 3
        return super().picture(width, glyphs)


class PanelApp(Alone):
    def __init__(self, panel: TextPanel) -> None:
        self.panel = panel
        super().__init__(panel)

    def show(self) -> None:
        self.panel.update()


@pytest.mark.parametrize("count", [1, 4, 5, 40])
async def test_no_letter_lies_under_the_scrollbar(count: int) -> None:
    app = PanelApp(Full(count))
    async with app.run_test(size=(20, 4)) as pilot:
        await pilot.pause()
        assert all("x" in line for line in app.text()[:count])
        assert app.panel.show_vertical_scrollbar == (count > 4)


async def test_a_panel_has_its_last_column_again_when_nothing_scrolls_any_more() -> None:
    panel = Full(9)
    app = PanelApp(panel)
    async with app.run_test(size=(20, 4)) as pilot:
        await pilot.pause()
        assert app.text()[0].startswith("." * 18 + "x")
        panel.count = 2
        panel.update()
        await pilot.pause()
        assert app.text()[0] == "." * 19 + "x"
        panel.widths.clear()
        panel.update()
        assert panel.widths == [20]


async def test_a_panel_that_fits_only_where_there_is_less_room_stays_as_it_is() -> None:
    panel = Grown(0)
    app = PanelApp(panel)
    async with app.run_test(size=(20, 4)) as pilot:
        await pilot.pause()
        before = app.text()
        for _ in range(3):
            panel.update()
            await pilot.pause()
            assert app.text() == before
        assert not panel.show_vertical_scrollbar


@pytest.mark.parametrize("width", [-3, 0, 1])
def test_text_breaks_also_where_there_is_no_room(width: int) -> None:
    assert wrapped("ab c", width) == ["a", "b", "c"]
