from typing import Any

import numpy as np
import pytest

from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.widgets.canvas.track import Track
from tests.tui.widgets.alone import Alone


def swing(frames: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(2)
    values = np.abs(np.sin(np.arange(frames) / 50)) * rng.uniform(0.7, 1, frames)
    values[1100:1160] = np.nan
    return values


class TrackApp(Alone):
    CSS = "Track { height: 1fr; }"

    def __init__(self, values: np.ndarray, at: int = 1000, glyphs: Glyphs = UNICODE) -> None:
        self.track = Track()
        super().__init__(self.track, glyphs=glyphs)
        self.values, self.at = values, at

    def show(self) -> None:
        self.track.show(self.values, at=self.at, title="probability of what the human did")


@pytest.mark.parametrize("size", [(80, 3), (80, 5), (120, 5)], ids=["80x3", "80x5", "120x5"])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_the_track_looks_as_it_did(snap_compare: Any, size: tuple[int, int], glyphs: Glyphs) -> None:
    assert snap_compare(TrackApp(swing(), glyphs=glyphs), terminal_size=size)


async def test_the_value_of_the_frame_stands_in_the_title() -> None:
    app = TrackApp(np.full(500, 0.62), at=100)
    async with app.run_test(size=(80, 5)) as pilot:
        await pilot.pause()
        assert "62 %" in app.text()[0]


@pytest.mark.parametrize("at", [1130, 5000])
async def test_a_frame_that_is_not_known_is_a_dash(at: int) -> None:
    app = TrackApp(swing(), at=at)
    async with app.run_test(size=(80, 5)) as pilot:
        await pilot.pause()
        assert "–" in app.text()[0]


async def test_what_is_not_known_is_a_gap_and_zero_is_a_line() -> None:
    values = np.zeros(4000)
    values[1000:2000] = np.nan
    app = TrackApp(values, at=1000)
    async with app.run_test(size=(80, 4)) as pilot:
        await pilot.pause()
        bottom = app.text()[-1]
        assert all(letter != " " for letter in bottom[:40])
        assert all(letter in " +0123456789s│" for letter in bottom[41:])


async def test_higher_values_are_higher() -> None:
    app = TrackApp(np.full(4000, 0.1))
    async with app.run_test(size=(80, 5)) as pilot:
        lit = []
        for value in (0.1, 0.4, 0.7, 1.0):
            app.values = np.full(4000, value)
            app.show()
            await pilot.pause()
            lit.append(sum(letter != " " for row in app.text()[1:] for letter in row[5:39]))
        assert lit == sorted(set(lit))


async def test_a_frame_later_the_picture_is_the_same_or_one_column_of_dots_further() -> None:
    app = TrackApp(np.where(np.arange(4000) // 4 % 30 < 3, 1.0, 0.0), at=1000)
    async with app.run_test(size=(80, 5)) as pilot:
        await pilot.pause()
        seen = []
        for app.at in range(1000, 1008):
            app.show()
            await pilot.pause()
            seen.append(app.text()[1:])
        assert seen[0] == seen[1] == seen[2] == seen[3]
        assert seen[3] != seen[4]
        app.at = 1240
        app.show()
        await pilot.pause()
        # A period of the values later it looks the same.
        assert app.text()[1:] == seen[0]


async def test_the_same_frame_again_paints_nothing() -> None:
    app = TrackApp(swing())
    async with app.run_test(size=(80, 5)) as pilot:
        await pilot.pause()
        app.asked.clear()
        app.show()
        assert app.asked == []


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (10, 1), (300, 3)])
@pytest.mark.parametrize("frames", [0, 1, 100])
async def test_any_size_draws(size: tuple[int, int], frames: int) -> None:
    async with TrackApp(swing(max(frames, 1))[:frames], at=0).run_test(size=size) as pilot:
        await pilot.pause()
