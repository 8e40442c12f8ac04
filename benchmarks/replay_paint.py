"""Benchmark: painting the replay pane. `python -m benchmarks.replay_paint [REPLAY]` prints one JSON object.

Measures milliseconds from values (a scene, controllers, a probability per frame) to terminal bytes of the stage, two
pads, the track and the timeline at 120 × 40, for a replay or a dojo match with a synthetic policy. It takes every
second frame, as in play at 30 FPS: `all` makes every cell anew, `playing` those that changed. The reference,
alternating in the same process, draws dot by dot in a loop without numpy. Both must produce the same cells.

`scene` (making the values of a frame) is not included in the others. On a shared machine, `_cpu` is what the pane
itself needs.
"""

import argparse
import asyncio
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.containers import Horizontal
from textual.geometry import Region
from textual.strip import Strip

from exphil_core.dojo.demo import write_demo
from exphil_core.melee.controller import BUTTONS, NEUTRAL, Controller
from exphil_core.replays.parse import parse_replay
from exphil_tui.model.scene import Replay, Scene
from exphil_tui.widgets.canvas import canvas_widget, controller_view, stage, stage_drawing, timeline, track
from exphil_tui.widgets.canvas.braille import Canvas
from exphil_tui.widgets.canvas.canvas_widget import CanvasWidget
from exphil_tui.widgets.canvas.controller_view import ControllerView
from exphil_tui.widgets.canvas.stage import StageView
from exphil_tui.widgets.canvas.timeline import Stocks, Timeline
from exphil_tui.widgets.canvas.track import Track

WIDTH, HEIGHT = 120, 40
GOAL_MS = 8.0
FRAMES, REFERENCE_FRAMES = 600, 20
STRIDE = 2

_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


class Pane(App[None]):
    CSS = """
    StageView { width: 74; height: 21; }
    Pad { width: 60; height: 10; }
    Horizontal { height: 10; }
    Track { height: 5; }
    Timeline { height: auto; }
    """

    def compose(self) -> ComposeResult:
        yield StageView()
        with Horizontal():
            yield ControllerView()
            yield ControllerView()
        yield Track()
        yield Timeline()


class DotByDot(Canvas):
    """Reference canvas that loops over every dot and every cell instead of using numpy."""

    def _light(self, x: np.ndarray, y: np.ndarray, ink: int) -> None:
        for across, down in zip(x.tolist(), y.tolist(), strict=True):
            if 0 <= across < self.dots_wide and 0 <= down < self.dots_high:
                column, row = int(across), int(down)
                self.masks[row // 4, column // 2] |= _BITS[row % 4][column % 2]
                self.inks[row // 4, column // 2] = ink

    def _join(self, x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray, ink: int) -> None:
        for left, top, right, bottom in zip(x0, y0, x1, y1, strict=True):
            dx, dy = float(right - left), float(bottom - top)
            steps = int(max(abs(dx), abs(dy)))
            for step in range(1, steps):
                across = left + math.floor(step * (dx / steps) + 0.5)
                down = top + math.floor(step * (dy / steps) + 0.5)
                self._light(np.array([across]), np.array([down]), ink)

    def polygon(self, x: np.ndarray, y: np.ndarray, ink: int) -> None:
        self.polyline(np.append(x, x[:1]), np.append(y, y[:1]), ink)
        corners = list(zip(x.tolist(), y.tolist(), strict=True))
        edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
        for row in range(self.dots_high):
            middle = row + 0.5
            crossings = [
                x0 + (middle - y0) * ((x1 - x0) / (y1 - y0))
                for (x0, y0), (x1, y1) in edges
                if (y0 <= middle) != (y1 <= middle)
            ]
            for column in range(self.dots_wide):
                if sum(at <= column + 0.5 for at in crossings) % 2:
                    self._light(np.array([column]), np.array([row]), ink)

    def disc(self, x: float, y: float, radius: float, ink: int) -> None:
        for row in range(self.dots_high):
            for column in range(self.dots_wide):
                if (column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= radius**2:
                    self._light(np.array([column]), np.array([row]), ink)

    def cover(self, above: Canvas, column: int = 0, row: int = 0) -> None:
        for there in range(above.rows):
            for across in range(above.columns):
                x, y = column + across, row + there
                held = above.masks[there, across] or above.letters[there, across] >= 0
                if held and 0 <= x < self.columns and 0 <= y < self.rows:
                    self.masks[y, x] = above.masks[there, across]
                    self.inks[y, x] = above.inks[there, across]
                    self.letters[y, x] = above.letters[there, across]

    def codes(self, *, ascii: bool = False) -> np.ndarray:
        found = np.zeros((self.rows, self.columns), np.uint32)
        for row in range(self.rows):
            for column in range(self.columns):
                letter, mask = self.letters[row, column], self.masks[row, column]
                found[row, column] = letter if letter >= 0 else 0x2800 + int(mask) if mask else 32
        return found


def cell_by_cell(codes: np.ndarray, inks: np.ndarray, styles: Sequence[Style]) -> Strip:
    segments = [
        Segment(chr(code), styles[ink])
        for code, ink in zip(codes.tolist(), inks.tolist(), strict=True)
        if code
    ]
    return Strip(Segment.simplify(segments))


@contextmanager
def without_numpy() -> Iterator[None]:
    """Make the widgets draw dot by dot within the block."""
    modules = (stage, stage_drawing, controller_view, timeline, track)
    fast = canvas_widget.strip
    for module in modules:
        module.Canvas = DotByDot  # type: ignore[misc, assignment]
    canvas_widget.strip = cell_by_cell  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in modules:
            module.Canvas = Canvas  # type: ignore[misc]
        canvas_widget.strip = fast


class Film:
    """A game with a synthetic policy; passes each frame's values to the widgets as a screen does."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        rng = np.random.default_rng(0)
        swing = np.abs(np.sin(np.arange(replay.frames) / 40))
        self.probability = swing * rng.uniform(0.6, 1, replay.frames)
        self.presses = rng.uniform(0, 1, (replay.frames, len(BUTTONS))) ** 4
        self.disagreements = np.flatnonzero(self.probability < 0.3)
        self.hits = np.unique(replay.events.hits[:, 0])
        losses = replay.events.stock_losses.tolist()
        self.stocks = [
            Stocks(
                port=player.port_index + 1,
                start=player.start_stocks,
                losses=[frame_index for frame_index, slot in losses if slot == at],
            )
            for at, player in enumerate(replay.game.players)
        ]

    def held(self, scene: Scene, slot: int) -> Controller | None:
        return next((one.controller for one in scene.fighters if one.slot == slot and not one.follower), None)

    def show(self, pane: Pane, scene: Scene, before: Sequence[Scene]) -> None:
        at = scene.frame_index
        pane.query_one(StageView).show(scene, ego=0)
        for slot, one in enumerate(pane.query(ControllerView)):
            past = [self.held(earlier, slot) or NEUTRAL for earlier in before]
            one.show(
                self.held(scene, slot),
                (self.held(before[0], slot) if before else None) or NEUTRAL,
                title=f"P{slot + 1}",
                presses=self.presses[at].tolist(),
                trail=[(held.main_x, held.main_y) for held in past],
            )
        pane.query_one(Track).show(self.probability, at=at, title="probability of what the human did")
        pane.query_one(Timeline).show(
            self.replay.frames,
            at,
            stocks=self.stocks,
            hits=self.hits,
            disagreements=self.disagreements,
            predicted=self.replay.frames * 2 // 3,
        )


class Painter:
    """Collects the regions that the widgets ask to repaint, and renders them to bytes."""

    def __init__(self, pane: Pane) -> None:
        self.console = Console(force_terminal=True, color_system="truecolor", width=WIDTH)
        self.widgets = list(pane.query(CanvasWidget))
        self.asked: list[tuple[CanvasWidget, Region]] = []
        for widget in self.widgets:
            widget.refresh = self._collector(widget)  # type: ignore[method-assign]

    def _collector(self, widget: CanvasWidget) -> Callable[..., CanvasWidget]:
        def refresh(*regions: Region, **_: object) -> CanvasWidget:
            self.asked.extend((widget, region) for region in regions)
            return widget

        return refresh

    def forget(self) -> None:
        """Make every cell count as changed in the next paint."""
        for widget in self.widgets:
            widget._codes = np.zeros((0, 0), np.uint32)

    def paint(self, show: Callable[[], None]) -> tuple[float, float, int]:
        """Return elapsed milliseconds, CPU milliseconds of this thread, and bytes."""
        self.asked.clear()
        began, worked = time.perf_counter(), time.thread_time()
        show()
        text = "".join(
            widget.render_line(region.y).crop(region.x, region.right).render(self.console)
            for widget, region in self.asked
        )
        passed, at_work = time.perf_counter() - began, time.thread_time() - worked
        return 1000 * passed, 1000 * at_work, len(text.encode())

    def cells(self) -> list[np.ndarray]:
        return [widget._codes.copy() for widget in self.widgets]


async def measure(replay: Replay) -> dict[str, object]:
    film = Film(replay)
    first = min(200, replay.frames // 4)
    frames = range(first, min(first + STRIDE * FRAMES, replay.frames), STRIDE)
    spent: dict[str, list[float]] = {
        name: []
        for name in ("all", "all_cpu", "playing", "playing_cpu", "scene", "reference", "reference_cpu")
    }
    sizes: dict[str, list[int]] = {"all": [], "playing": []}
    apart = 0
    pane = Pane()
    async with pane.run_test(size=(WIDTH, HEIGHT)) as pilot:
        await pilot.pause()
        painter = Painter(pane)
        past: list[Scene] = []
        for number, at in enumerate(frames):
            began = time.perf_counter()
            scene = replay.scene(at)
            spent["scene"].append(1000 * (time.perf_counter() - began))
            before = past[-6:]

            def show(scene: Scene = scene, before: Sequence[Scene] = before) -> None:
                film.show(pane, scene, before)

            def redraw(show: Callable[[], None] = show) -> None:
                show()
                # A widget that is given unchanged values draws nothing by itself.
                for widget in painter.widgets:
                    widget.update()

            playing = painter.paint(show)
            painter.forget()
            everything = painter.paint(redraw)
            for name, (ms, at_work, size) in (("playing", playing), ("all", everything)):
                if number:
                    spent[name].append(ms)
                    spent[f"{name}_cpu"].append(at_work)
                    sizes[name].append(size)
            if number % (max(len(frames) // REFERENCE_FRAMES, 1)) == 0:
                mine = painter.cells()
                with without_numpy():
                    painter.forget()
                    pane.query_one(Timeline)._ground = None
                    ms, at_work, _ = painter.paint(redraw)
                spent["reference"].append(ms)
                spent["reference_cpu"].append(at_work)
                pane.query_one(Timeline)._ground = None
                apart += sum(int((a != b).sum()) for a, b in zip(mine, painter.cells(), strict=True))
                painter.paint(redraw)
            past = [*past[-9:], scene]
    found: dict[str, object] = {
        "width": WIDTH,
        "height": HEIGHT,
        "stage": replay.scene(0).stage,
        "players": len(replay.game.players),
        "frames": len(spent["all"]),
    }
    for name, values in spent.items():
        found[f"{name}_ms"] = round(statistics.median(values), 3)
        found[f"{name}_p99_ms"] = round(sorted(values)[math.ceil(0.99 * len(values)) - 1], 3)
    found |= {f"{name}_bytes": round(statistics.median(values)) for name, values in sizes.items()}
    found["fastest"] = {name: round(min(values), 3) for name, values in spent.items()}
    found["goal_ms"] = GOAL_MS
    found["reaches_goal"] = statistics.median(spent["all"]) < GOAL_MS
    found["reference_to_all"] = round(
        statistics.median(spent["reference_cpu"]) / statistics.median(spent["all_cpu"]), 1
    )
    found["cells_that_differ"] = apart
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("replay", type=Path, nargs="?", help="a .slp file; none: a match of the dojo")
    given = parser.parse_args()
    if given.replay is not None:
        replay = Replay(parse_replay(given.replay))
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_demo(Path(folder), games=1, seed=11)
            replay = Replay(parse_replay(next(Path(folder).glob("*.slp"))))
    print(json.dumps(asyncio.run(measure(replay))))


if __name__ == "__main__":
    main()
