from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exphil_core.melee.action_states import BY_NAME, LAST
from exphil_core.melee.characters import CHARACTERS
from exphil_core.melee.stages import STAGES
from exphil_core.replays.parse import parse_replay
from exphil_tui.model.scene import Replay, Scene, SceneFighter
from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.theme.palette import COLOURS
from exphil_tui.theme.themes import DARK, LIGHT
from exphil_tui.widgets.canvas.braille import Canvas
from exphil_tui.widgets.canvas.camera import Camera, CameraView, whole
from exphil_tui.widgets.canvas.figure import build_of, figure, letters, pose_of
from exphil_tui.widgets.canvas.stage import StageView
from exphil_tui.widgets.canvas.stage_drawing import draw, ink_of_port
from exphil_tui.widgets.canvas.stage_outlines import outline
from tests.tui.widgets.alone import Alone
from tests.tui.widgets.fixed_scene import fighter, scene, thing

SHAPE = 2.0

Situation = tuple[str, Callable[[Scene], object]]


def somebody(test: Callable[[SceneFighter], object]) -> Callable[[Scene], object]:
    return lambda shown: any(test(one) for one in shown.fighters)


SITUATIONS: dict[str, Situation] = {
    "ledge": (
        "games/falco_vs_marth_bf_v3.17.0.slp",
        somebody(lambda one: one.action_state == BY_NAME["CLIFF_WAIT"]),
    ),
    "shield": (
        "games/fox_vs_gnw_fod_v3.17.0.slp",
        somebody(lambda one: one.shielding and (one.shield or 60) < 45 and not one.hitlag),
    ),
    "tumble": (
        "games/sheik_vs_sheik_ps_v3.18.0.slp",
        somebody(lambda one: (one.hitstun or 0) > 30 and one.hitlag == 0),
    ),
    "hit": (
        "games/sheik_vs_sheik_ps_v3.18.0.slp",
        somebody(lambda one: (one.hitstun or 0) > 20 and one.hitlag),
    ),
    "off_stage": (
        "games/fox_vs_marth_dl_v3.9.0.slp",
        somebody(lambda one: abs(one.x) > 215 and not one.dead),
    ),
    "ice_climbers": (
        "games/ics_vs_falco_dl_v3.12.0.slp",
        somebody(lambda one: one.follower and not one.airborne),
    ),
    "moving_platforms": (
        "odd/marth_vs_falcon_fod_v3.18.0.slp",
        somebody(lambda one: one.y > 20 and one.airborne is False),
    ),
    "randall": ("games/puff_vs_fox_ys_v2.0.1.slp", somebody(lambda one: one.x < -60 and one.y < -10)),
    "four": (
        "odd/falcon_vs_ganon_vs_falcon_vs_marth_bf_v1.2.0.slp",
        somebody(lambda one: (one.percent or 0) > 30),
    ),
    "oldest": ("games/zelda_vs_ics_ys_v0.1.0.slp", somebody(lambda one: (one.percent or 0) > 30)),
    "lost": ("games/yoshi_vs_fox_ys_v3.17.0.slp", somebody(lambda one: one.dead)),
    "projectiles": ("games/falco_vs_fox_ps_v3.3.0.slp", lambda shown: len(shown.items) >= 2),
}


class StageApp(Alone):
    CSS = "StageView { height: 1fr; }"

    def __init__(
        self, scenes: Sequence[Scene], glyphs: Glyphs = UNICODE, *, whole: bool = False, light: bool = False
    ) -> None:
        self.view = StageView()
        super().__init__(self.view, glyphs=glyphs, theme=LIGHT if light else DARK)
        self.scenes, self.whole = scenes, whole

    def show(self) -> None:
        self.view.whole = self.whole
        for shown in self.scenes:
            self.view.show(shown, ego=0)


@cache
def game(path: Path) -> Replay:
    return Replay(parse_replay(path))


def found(replays: Path, situation: str) -> Scene:
    """The first frame of a real replay in which somebody is in it."""
    file, test = SITUATIONS[situation]
    replay = game(replays / file)
    for frame_index in range(100, replay.frames, 3):
        shown = replay.scene(frame_index)
        if test(shown):
            return shown
    raise AssertionError(f"nobody is in the situation '{situation}' in {file}")


@pytest.mark.parametrize("size", [(80, 15), (74, 24)], ids=["80x15", "74x24"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_stage_looks_as_it_did(
    snap_compare: Any, replays: Path, situation: str, size: tuple[int, int]
) -> None:
    assert snap_compare(StageApp([found(replays, situation)]), terminal_size=size)


@pytest.mark.parametrize("situation", ["shield", "off_stage", "ice_climbers"])
def test_the_stage_reads_in_ascii(snap_compare: Any, replays: Path, situation: str) -> None:
    app = StageApp([found(replays, situation)], ASCII)

    assert snap_compare(app, terminal_size=(80, 15))


def test_the_stage_reads_without_colour(
    snap_compare: Any, replays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert snap_compare(StageApp([found(replays, "four")]), terminal_size=(80, 15))


def test_the_stage_reads_on_a_light_terminal(snap_compare: Any, replays: Path) -> None:
    assert snap_compare(StageApp([found(replays, "four")], light=True), terminal_size=(80, 15))


def test_the_whole_stage_is_seen_up_to_the_blast_lines(snap_compare: Any, replays: Path) -> None:
    assert snap_compare(StageApp([found(replays, "off_stage")], whole=True), terminal_size=(74, 24))


def test_no_frame_says_so(snap_compare: Any) -> None:
    assert snap_compare(StageApp([]), terminal_size=(80, 15))


async def test_the_same_frame_again_paints_nothing() -> None:
    shown = scene(fighter(), fighter(slot=1, port=2, x=30.0))
    async with StageApp([shown]).run_test(size=(80, 20)) as pilot:
        app = pilot.app
        assert isinstance(app, StageApp)
        await pilot.pause()
        app.asked.clear()
        app.view.show(shown, ego=0)

        assert app.asked == []


async def test_a_fighter_that_moves_paints_where_it_was_and_is() -> None:
    before = scene(fighter(), fighter(slot=1, port=2, x=30.0))
    after = scene(fighter(x=1.5), fighter(slot=1, port=2, x=30.0), frame_index=501)
    async with StageApp([before]).run_test(size=(80, 20)) as pilot:
        app = pilot.app
        assert isinstance(app, StageApp)
        await pilot.pause()
        app.asked.clear()
        app.view.show(after, ego=0)

        assert 0 < sum(region.area for region in app.asked) < 120


async def test_what_was_painted_bit_by_bit_is_what_is_painted_at_once(replays: Path) -> None:
    replay = game(replays / SITUATIONS["ice_climbers"][0])
    scenes = [replay.scene(frame_index) for frame_index in range(900, 1100, 2)]
    async with StageApp([]).run_test(size=(80, 20)) as pilot:
        app = pilot.app
        assert isinstance(app, StageApp)
        for shown in scenes:
            app.view.show(shown, ego=0)
            await pilot.pause()
        bit_by_bit = app.text()
        app.view.notify_style_update()
        app.view.refresh()
        await pilot.pause()
        assert app.text() == bit_by_bit


@pytest.mark.parametrize("size", [(1, 1), (5, 2), (20, 5), (40, 8), (200, 60)])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
async def test_any_size_draws(size: tuple[int, int], glyphs: Glyphs) -> None:
    crowd = [fighter(slot=slot, port=slot + 1, x=300.0 * slot - 400) for slot in range(4)]
    async with StageApp([scene(*crowd)], glyphs).run_test(size=size) as pilot:
        await pilot.pause()


@pytest.mark.parametrize(
    "file", ["odd/fox_vs_fox_vs_fox_vs_fox_fd_v3.12.0.slp", "games/puff_vs_fox_ys_v2.0.1.slp"]
)
async def test_every_frame_of_a_real_replay_draws(replays: Path, file: str) -> None:
    replay = game(replays / file)
    step = max(replay.frames // 150, 1)
    async with StageApp([]).run_test(size=(80, 20)) as pilot:
        app = pilot.app
        assert isinstance(app, StageApp)
        for frame_index in (*range(0, replay.frames, step), replay.frames - 1):
            app.view.show(replay.scene(frame_index), ego=0)


async def test_what_a_version_does_not_tell_is_a_dash_and_zero_a_zero() -> None:
    unknown = fighter(
        percent=None,
        hitlag=None,
        hitstun=None,
        velocity=None,
        invulnerability=None,
        state_age=None,
        stocks=None,
    )
    known = fighter(slot=1, port=2, percent=0.0)
    async with StageApp([scene(unknown, known)]).run_test(size=(110, 20)) as pilot:
        await pilot.pause()
        app = pilot.app
        assert isinstance(app, StageApp)
        first, second = app.text()[-2:]
    assert first.count("–") == 7
    assert " 0 " not in first
    assert " 0 %" in second
    assert "–" not in second


async def test_items_that_a_version_does_not_tell_are_said_to_be_unknown() -> None:
    for known in (True, False):
        async with StageApp([scene(fighter(), items_known=known)]).run_test(size=(80, 20)) as pilot:
            await pilot.pause()
            app = pilot.app
            assert isinstance(app, StageApp)
            assert ("items –" in app.text()[0]) is not known


async def test_the_background_of_the_theme_stands_behind_every_cell() -> None:
    async with StageApp([scene(fighter())]).run_test(size=(80, 20)) as pilot:
        await pilot.pause()
        app = pilot.app
        assert isinstance(app, StageApp)
        background = app.view.background_colors[1].rich_color
        for row in range(20):
            assert {segment.style.bgcolor for segment in app.view.render_line(row) if segment.style} == {
                background
            }


async def test_every_theme_has_the_colours_that_it_needs() -> None:
    async with StageApp([scene(fighter(), fighter(slot=1, port=2, x=20.0))]).run_test(size=(80, 20)) as pilot:
        app = pilot.app
        assert isinstance(app, StageApp)
        for name in app.available_themes:
            app.theme = name
            await pilot.pause()
            assert any("P2 Fox" in row for row in app.text())


# Figures.


@pytest.mark.parametrize("character", CHARACTERS, ids=lambda one: one.name)
def test_every_action_state_has_a_figure_that_faces_both_ways(character: Any) -> None:
    build = build_of(character.title)
    for action_state in range(LAST + 1):
        pose = pose_of(action_state, None)
        right = figure(pose, 0, 16, build, 1, hollow=False)
        left = figure(pose, 0, 16, build, -1, hollow=False)
        assert len(right[0]) > 8
        mirrored = {(-x, y) for x, y in zip(*right, strict=True)}
        assert mirrored == set(zip(*left, strict=True))


def test_a_nose_tells_where_a_fighter_faces() -> None:
    for character in ("Fox", "Jigglypuff", "Bowser"):
        for height in (8, 13, 24):
            right = figure("stand", 0, height, build_of(character), 1, hollow=False)
            left = figure("stand", 0, height, build_of(character), -1, hollow=False)
            nowhere = figure("stand", 0, height, build_of(character), 0, hollow=False)
            assert set(zip(*right, strict=True)) != set(zip(*left, strict=True))
            assert set(zip(*nowhere, strict=True)) < set(zip(*right, strict=True))


def test_an_intangible_fighter_is_an_outline_of_the_same_figure() -> None:
    filled = set(zip(*figure("stand", 0, 20, build_of("Fox"), 1, hollow=False), strict=True))
    hollow = set(zip(*figure("stand", 0, 20, build_of("Fox"), 1, hollow=True), strict=True))

    assert hollow < filled
    assert len(hollow) < 0.85 * len(filled)


def test_a_pichu_is_smaller_than_a_ganondorf() -> None:
    assert build_of("Pichu").height < build_of("Fox").height < build_of("Ganondorf").height


def test_every_pose_has_letters_for_both_sides() -> None:
    for action_state in range(LAST + 1):
        pose = pose_of(action_state, None)
        for facing in (-1, 0, 1):
            rows = letters(pose, facing)
            assert [len(row) for row in rows] == [3, 3, 3]
            assert all(row.isascii() for row in rows)


# The camera.


def walk(frames: int, seed: int) -> list[Scene]:
    """Two fighters who wander, far out too."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(0, 2.5, (frames, 2)), axis=0) + np.array((-30, 30))
    y = np.abs(np.cumsum(rng.normal(0, 1.5, (frames, 2)), axis=0))
    return [
        scene(
            fighter(x=float(x[t, 0]), y=float(y[t, 0])),
            fighter(slot=1, port=2, x=float(x[t, 1]), y=float(y[t, 1])),
            frame_index=1000 + t,
        )
        for t in range(frames)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_camera_never_leaps_from_one_frame_to_the_next(seed: int) -> None:
    camera = Camera()
    views = [camera.follow(shown, SHAPE) for shown in walk(400, seed)]
    for before, after in pairwise(views):
        assert abs(after.left - before.left) < 0.12 * before.wide
        assert abs(after.top - before.top) < 0.12 * before.wide
        assert after.wide == pytest.approx(SHAPE * after.high)


def test_the_camera_stands_still_while_all_are_well_inside() -> None:
    camera = Camera()
    views = [
        camera.follow(scene(fighter(x=3 * np.sin(t / 9)), fighter(slot=1, x=20.0), frame_index=t), SHAPE)
        for t in range(200)
    ]
    assert len(set(views[120:])) == 1


def test_after_a_jump_the_camera_looks_where_a_new_one_would() -> None:
    camera = Camera()
    for shown in walk(100, 1):
        camera.follow(shown, SHAPE)
    far = scene(fighter(x=-60.0), fighter(slot=1, x=-40.0), frame_index=5000)

    assert camera.follow(far, SHAPE) == Camera().follow(far, SHAPE)


@pytest.mark.parametrize("stage", [one.name for one in STAGES])
def test_whoever_lives_within_the_camera_s_reach_is_in_view(stage: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        shown = scene(
            fighter(x=float(rng.uniform(-120, 120)), y=float(rng.uniform(-40, 100))),
            fighter(slot=1, x=float(rng.uniform(-120, 120)), y=float(rng.uniform(-40, 100))),
            stage=stage,
        )
        view = Camera().follow(shown, SHAPE)
        for one in shown.fighters:
            assert view.left < one.x < view.right
            assert view.bottom < one.y < view.top


def test_the_whole_stage_has_all_blast_lines_in_it() -> None:
    for stage in STAGES:
        view = whole(scene(fighter(), stage=stage.name), SHAPE)
        left, right, bottom, top = stage.blast
        assert view.left < left
        assert view.right > right
        assert view.bottom < bottom
        assert view.top > top


# The picture.


def cells_of(canvas: Canvas, ink: int) -> set[tuple[int, int]]:
    rows, columns = np.nonzero((canvas.inks == ink) & (canvas.masks != 0))
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


def drawn(shown: Scene, view: CameraView | None = None, **how: Any) -> Canvas:
    """100 x 50 cells; with the default view a unit is a dot, and (0, 0) is in row 25 and column 50."""
    view = view or CameraView(left=-100, right=100, bottom=-100, top=100)
    return draw(shown, view, 100, 50, ego=how.get("ego"), glyphs=how.get("glyphs", UNICODE))


def test_a_fighter_stands_where_the_game_says() -> None:
    for x, y in ((0.0, 0.0), (-60.0, 30.0), (51.3, -20.5)):
        mine = cells_of(drawn(scene(fighter(x=x, y=y, action_state=None, airborne=True))), ink_of_port(1))
        rows, columns = zip(*mine, strict=True)
        assert max(rows) == pytest.approx((100 - y) / 4 - 0.5, abs=1)
        assert sum(columns) / len(columns) == pytest.approx((100 + x) / 2, abs=2)


def test_who_is_outside_is_shown_at_the_edge_nearest_to_it() -> None:
    for x, y, where in (
        (180.0, 0.0, lambda row, column: column > 85),
        (-180.0, 0.0, lambda row, column: column < 15),
        (0.0, 180.0, lambda row, column: row < 10),
        (0.0, -180.0, lambda row, column: row > 38),
    ):
        mine = cells_of(drawn(scene(fighter(x=x, y=y))), ink_of_port(1))
        assert len(mine) > 10
        assert all(where(row, column) for row, column in mine)


def test_a_shield_shrinks_with_its_health() -> None:
    def wide(health: float) -> int:
        guard = fighter(action_state=BY_NAME["GUARD"], shielding=True, shield=health, airborne=False)
        close = CameraView(left=-25, right=25, bottom=-10, top=40)
        columns = [column for _, column in cells_of(drawn(scene(guard), close), ink_of_port(1))]
        return max(columns) - min(columns)

    assert wide(60) > wide(40) > wide(20)


def test_the_ego_hides_who_stands_behind_it() -> None:
    pair = scene(fighter(), fighter(slot=1, port=2))
    first, second = drawn(pair, ego=0), drawn(pair, ego=1)

    assert len(cells_of(first, ink_of_port(1))) > len(cells_of(first, ink_of_port(2)))
    assert len(cells_of(second, ink_of_port(2))) > len(cells_of(second, ink_of_port(1)))


def test_every_player_has_a_colour_and_a_label_of_its_own() -> None:
    crowd = [fighter(slot=slot, port=slot + 1, x=40.0 * slot - 60) for slot in range(4)]
    canvas = drawn(scene(*crowd))
    rows = ["".join(map(chr, row)) for row in canvas.codes()]
    for port in range(1, 5):
        assert cells_of(canvas, ink_of_port(port))
        assert any(f"P{port} Fox 42%" in row for row in rows)
    assert len(set(COLOURS[:4])) == 4


def test_things_are_named_and_drawn_in_their_owner_s_colour() -> None:
    alone = drawn(scene(fighter(x=-50.0)))
    with_laser = drawn(scene(fighter(x=-50.0), items=(thing(x=40.0),)))

    assert cells_of(with_laser, ink_of_port(1)) > cells_of(alone, ink_of_port(1))
    assert any("laser" in "".join(map(chr, row)) for row in with_laser.codes())


def test_nowhere_is_drawn_nowhere() -> None:
    lost = fighter(x=1e9, y=-1e9, dead=True)
    drawn(scene(lost, fighter(slot=1, port=2, x=1e9, y=1e9)))


def test_an_outline_lies_within_the_blast_lines_and_is_the_same_on_both_sides() -> None:
    for stage in STAGES:
        corners = outline(stage.title)
        assert corners is not None
        x, y = corners
        assert x.max() == pytest.approx(stage.edge, abs=0.1)
        assert x.min() == pytest.approx(-stage.edge, abs=0.1)
        assert set(np.round(x, 3)) == set(np.round(-x, 3))
        assert y.max() < 1


def test_a_stage_that_nobody_measured_has_a_floor_where_one_stands() -> None:
    bare = scene(fighter(x=-20.0), stage="battlefield", edge=None, blast=None, platforms=())
    bare = Scene(**{name: getattr(bare, name) for name in Scene.__slots__} | {"stage": "Onett"})
    Camera().follow(bare, SHAPE)
    row = drawn(bare).codes()[25]
    assert (row != 32).sum() >= 10
