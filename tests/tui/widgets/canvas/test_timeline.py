from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.widgets.canvas.timeline import Stocks, Timeline
from tests.tui.widgets.alone import Alone

FRAMES = 9000
TWO = (
    Stocks(port=1, start=4, losses=(2500, 4200, 8100)),
    Stocks(port=3, start=4, losses=(1200, 3600, 5000, 8990)),
)
FOUR = (
    *TWO,
    Stocks(port=2, start=4, losses=(1000, 1400, 1800, 2200), gains=(5000,)),
    Stocks(port=4, start=None, losses=()),
)
_RNG = np.random.default_rng(5)
HITS = np.sort(_RNG.choice(FRAMES, 60, replace=False))
DISAGREEMENTS = np.flatnonzero(
    _RNG.uniform(size=FRAMES) < 0.15 + 0.5 * (np.sin(np.arange(FRAMES) / 400) > 0.3)
)


class TimelineApp(Alone):
    CSS = "Timeline { height: auto; }"

    def __init__(
        self,
        at: int = 4000,
        stocks: Sequence[Stocks] = TWO,
        predicted: int | None = None,
        glyphs: Glyphs = UNICODE,
        frames: int = FRAMES,
    ) -> None:
        self.line = Timeline()
        super().__init__(self.line, glyphs=glyphs)
        self.at, self.stocks, self.predicted, self.frames = at, stocks, predicted, frames
        self.chosen: list[int] = []

    def show(self) -> None:
        self.line.show(
            self.frames,
            self.at,
            stocks=self.stocks,
            hits=HITS,
            disagreements=DISAGREEMENTS[: np.searchsorted(DISAGREEMENTS, self.predicted or 0)],
            predicted=self.predicted,
        )

    def on_timeline_frame_chosen(self, event: Timeline.FrameChosen) -> None:
        self.chosen.append(event.frame_index)


SNAPSHOTS = {
    "two": lambda: TimelineApp(),
    "policy": lambda: TimelineApp(predicted=FRAMES),
    "half_predicted": lambda: TimelineApp(predicted=FRAMES // 2, at=6000),
    "four": lambda: TimelineApp(stocks=FOUR),
    "ascii": lambda: TimelineApp(predicted=FRAMES // 2, glyphs=ASCII),
}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("state", SNAPSHOTS)
def test_the_timeline_looks_as_it_did(snap_compare: Any, state: str, width: int) -> None:
    assert snap_compare(SNAPSHOTS[state](), terminal_size=(width, 6))


def test_the_timeline_reads_without_colour(snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert snap_compare(TimelineApp(predicted=FRAMES // 2), terminal_size=(80, 6))


async def test_a_click_chooses_the_frame_under_it() -> None:
    app = TimelineApp()
    async with app.run_test(size=(83, 6)) as pilot:
        await pilot.click(Timeline, offset=(3, 0))
        await pilot.click(Timeline, offset=(43, 1))
        await pilot.click(Timeline, offset=(82, 2))
        await pilot.pause()
        first, middle, last = app.chosen
        assert 0 <= first < FRAMES / 80
        assert middle == pytest.approx(FRAMES / 2, abs=FRAMES / 80)
        assert FRAMES - FRAMES / 80 < last < FRAMES


async def test_dragging_goes_along_and_stops_at_the_ends() -> None:
    app = TimelineApp()
    async with app.run_test(size=(83, 6)) as pilot:
        await pilot.mouse_down(Timeline, offset=(20, 0))
        await pilot.hover(Timeline, offset=(30, 0))
        await pilot.hover(Timeline, offset=(0, 0))
        await pilot.mouse_up(Timeline, offset=(0, 0))
        await pilot.hover(Timeline, offset=(70, 0))
        await pilot.pause()
        first, further, start = app.chosen[:3]
        assert first < further
        assert start < FRAMES / 80
        assert len(app.chosen) == 3


async def test_the_frame_chosen_is_where_the_mark_then_stands() -> None:
    app = TimelineApp(frames=977)
    async with app.run_test(size=(83, 6)) as pilot:
        for column in (3, 4, 17, 50, 81, 82):
            app.chosen.clear()
            await pilot.click(Timeline, offset=(column, 0))
            app.at = app.chosen[0]
            app.show()
            await pilot.pause()
            reversed_at = []
            place = 0
            for segment in app.line.render_line(0):
                if segment.style and segment.style.reverse:
                    reversed_at.append(place)
                place += len(segment.text)
            assert reversed_at == [column]


async def test_the_next_frame_paints_no_more_than_two_columns() -> None:
    app = TimelineApp(predicted=FRAMES)
    async with app.run_test(size=(83, 6)) as pilot:
        await pilot.pause()
        app.asked.clear()
        for app.at in range(4000, 4060):
            app.show()
            assert sum(region.area for region in app.asked) <= 6
            app.asked.clear()
        app.at = 8000
        app.show()
        assert 0 < sum(region.area for region in app.asked) <= 6


async def test_stocks_are_written_where_they_change() -> None:
    app = TimelineApp(at=0)
    async with app.run_test(size=(93, 6)) as pilot:
        await pilot.pause()
        first, second, *_ = app.text()
        assert first.startswith("P1 4━")
        assert first[3 + 2500 // 100] == "3"
        assert first[3 + 4200 // 100] == "2"
        assert first.rstrip().endswith("━")
        assert second[3 + 8990 // 100] == "✖"


async def test_who_was_lent_a_stock_goes_on() -> None:
    app = TimelineApp(at=0, stocks=FOUR)
    async with app.run_test(size=(93, 6)) as pilot:
        await pilot.pause()
        row = app.text()[2]
        assert row[3 + 22] == "✖"
        assert row[3 + 23 : 3 + 50].strip() == ""
        assert row[3 + 50 : 3 + 60] == "1" + "━" * 9
        assert app.text()[3].startswith("P4 –")


async def test_its_height_is_a_row_a_player_and_one() -> None:
    app = TimelineApp()
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.pause()
        assert app.line.size.height == 3
        app.stocks = FOUR
        app.show()
        await pilot.pause()
        assert app.line.size.height == 5


async def test_more_predictions_are_shown() -> None:
    app = TimelineApp(predicted=1000)
    async with app.run_test(size=(80, 6)) as pilot:
        await pilot.pause()
        before = app.text()[2]
        app.predicted = 5000
        app.show()
        await pilot.pause()
        assert app.text()[2] != before


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (4, 3), (300, 2)])
@pytest.mark.parametrize("frames", [0, 1, 100])
async def test_any_size_draws(size: tuple[int, int], frames: int) -> None:
    app = TimelineApp(at=0, frames=frames)
    async with app.run_test(size=size) as pilot:
        await pilot.click(Timeline, offset=(0, 0))
        await pilot.pause()
        assert all(0 <= chosen < frames for chosen in app.chosen)
