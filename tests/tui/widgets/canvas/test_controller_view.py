import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from exphil_core.melee.controller import BUTTON_BITS, BUTTONS, NEUTRAL, Controller
from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.widgets.canvas.controller_view import ControllerView
from tests.tui.widgets.alone import Alone

HELD = Controller(
    main_x=0.7125,
    main_y=0.7,
    c_y=-1.0,
    trigger_l=0.43,
    buttons=BUTTON_BITS["A"] | BUTTON_BITS["X"] | BUTTON_BITS["R"],
)
WOULD = Controller(
    main_x=0.2, main_y=0.95, trigger_l=0.6, trigger_r=1.0, buttons=BUTTON_BITS["X"] | BUTTON_BITS["Y"]
)
PRESSES = (0.03, 0.002, 0.81, 0.55, 0.0, 0.12, 0.3, 0.01)
TRAIL = ((0.0, 0.0), (0.2, 0.0), (0.5, 0.1), (0.9, 0.2), (0.8, 0.5))

SIZES = [(36, 10), (28, 8), (36, 17), (30, 10), (40, 3), (20, 3)]


class PadApp(Alone):
    CSS = "Pad { height: 1fr; }"

    def __init__(
        self,
        human: Controller | None = HELD,
        policy: Controller | None = None,
        presses: Sequence[float] | None = None,
        trail: Sequence[tuple[float, float]] = (),
        glyphs: Glyphs = UNICODE,
    ) -> None:
        self.pad = ControllerView()
        super().__init__(self.pad, glyphs=glyphs)
        self.human, self.policy, self.presses, self.trail = human, policy, presses, trail

    def show(self) -> None:
        self.pad.show(self.human, self.policy, title="P1 Fox", presses=self.presses, trail=self.trail)


@pytest.mark.parametrize("size", SIZES, ids=[f"{width}x{height}" for width, height in SIZES])
@pytest.mark.parametrize("with_policy", [False, True], ids=["human", "policy"])
def test_the_pad_looks_as_it_did(snap_compare: Any, size: tuple[int, int], with_policy: bool) -> None:
    app = PadApp(HELD, WOULD, PRESSES, TRAIL) if with_policy else PadApp(HELD, trail=TRAIL)

    assert snap_compare(app, terminal_size=size)


@pytest.mark.parametrize("size", [(36, 10), (40, 3)], ids=["36x10", "40x3"])
def test_the_pad_reads_in_ascii(snap_compare: Any, size: tuple[int, int]) -> None:
    assert snap_compare(PadApp(HELD, WOULD, PRESSES, TRAIL, ASCII), terminal_size=size)


def test_the_pad_reads_without_colour(snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert snap_compare(PadApp(HELD, WOULD, PRESSES, TRAIL), terminal_size=(36, 10))


@pytest.mark.parametrize("size", [(36, 10), (28, 8), (40, 3), (20, 3)], ids=str)
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
async def test_each_press_reads_without_colour_and_says_whose_it_is(
    size: tuple[int, int], glyphs: Glyphs
) -> None:
    app = PadApp(NEUTRAL, NEUTRAL, glyphs=glyphs)
    async with app.run_test(size=size) as pilot:
        for button in BUTTONS:
            pressed = replace(NEUTRAL, buttons=BUTTON_BITS[button])
            seen = set()
            for human, policy in (
                (NEUTRAL, NEUTRAL),
                (pressed, NEUTRAL),
                (NEUTRAL, pressed),
                (pressed, pressed),
            ):
                app.human, app.policy = human, policy
                app.show()
                await pilot.pause()
                seen.add("\n".join(app.text()))
            assert len(seen) == 4, button


@pytest.mark.parametrize("size", [(36, 10), (28, 8), (40, 3)], ids=str)
async def test_each_part_of_a_controller_is_seen(size: tuple[int, int]) -> None:
    app = PadApp(NEUTRAL)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        neutral = app.text()
        for change in (
            {"main_x": 1.0},
            {"main_y": -1.0},
            {"c_x": -1.0},
            {"c_y": 1.0},
            {"trigger_l": 0.4},
            {"trigger_r": 1.0},
        ):
            app.human = replace(NEUTRAL, **change)
            app.show()
            await pilot.pause()
            assert app.text() != neutral, change


async def test_a_stick_is_drawn_where_it_points() -> None:
    app = PadApp(NEUTRAL)
    async with app.run_test(size=(36, 10)) as pilot:
        await pilot.pause()
        at_rest = app.text()
        for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            app.human = replace(NEUTRAL, main_x=float(x), main_y=float(y))
            app.show()
            await pilot.pause()
            lit = [
                (row, column)
                for row, (now, before) in enumerate(zip(app.text(), at_rest, strict=True))
                for column, (letter, was) in enumerate(zip(now, before, strict=True))
                if letter != was and dots(letter) > dots(was) and column < 18
            ]
            mean_row = sum(row for row, _ in lit) / len(lit)
            mean_column = sum(column for _, column in lit) / len(lit)
            assert (mean_column - 7) * x > 2 or x == 0
            assert (5 - mean_row) * y > 1 or y == 0


def dots(letter: str) -> int:
    return (ord(letter) - 0x2800).bit_count() if 0x2800 <= ord(letter) <= 0x28FF else 0


async def test_unknown_inputs_are_said_to_be_unknown() -> None:
    app = PadApp(None)
    async with app.run_test(size=(36, 10)) as pilot:
        await pilot.pause()
        assert any("no inputs" in row for row in app.text())

        app.human = replace(NEUTRAL, trigger_l=math.nan)
        app.show()
        await pilot.pause()
        assert "L –" in app.text()[1]


async def test_a_policy_without_a_human_is_shown() -> None:
    app = PadApp(None, WOULD, PRESSES)
    async with app.run_test(size=(36, 10)) as pilot:
        await pilot.pause()
        assert any("Y□" in row for row in app.text())
        assert not any("■" in row for row in app.text()[1:])


async def test_the_same_inputs_again_paint_nothing_and_a_press_paints_little() -> None:
    app = PadApp(HELD, WOULD, PRESSES)
    async with app.run_test(size=(36, 10)) as pilot:
        await pilot.pause()
        app.asked.clear()
        app.show()
        assert app.asked == []

        app.human = replace(HELD, buttons=HELD.buttons | BUTTON_BITS["B"])
        app.show()
        assert 0 < sum(region.area for region in app.asked) <= 4


async def test_start_is_said() -> None:
    app = PadApp(replace(NEUTRAL, buttons=0x1000))
    async with app.run_test(size=(36, 17)) as pilot:
        await pilot.pause()
        assert any("START" in row for row in app.text())


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (24, 7), (25, 30), (120, 40)])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
async def test_any_size_draws(size: tuple[int, int], glyphs: Glyphs) -> None:
    async with PadApp(HELD, WOULD, PRESSES, TRAIL, glyphs).run_test(size=size) as pilot:
        await pilot.pause()
