"""Draw one frame of a game on a `Canvas`: the stage, items and fighters.

Inks are numbers: see `StageInk` and `ink_of_port`. Drawing order, bottom to top: stage interior, lines, items,
fighters, labels. A fighter hides the fighters below it and tints the lines it touches without breaking them. The
ego is drawn last.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from exphil_core.melee.action_states import BY_NAME
from exphil_tui.model.scene import Platform, Scene, SceneFighter
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.canvas.braille import DOTS_HIGH, DOTS_WIDE, Canvas
from exphil_tui.widgets.canvas.camera import CameraView
from exphil_tui.widgets.canvas.figure import Pose, build_of, figure, letters, phase_of, pose_of
from exphil_tui.widgets.canvas.stage_outlines import outline

_EARTH_MASK: Final = 0x01 | 0x20
"""Dots of a cell that fill the stage's interior; sparse, so that figures in front stay visible."""
_LEAST_DOTS: Final = 8
"""Minimum height of a figure in dots."""
_LETTER_DOTS: Final = 12
"""Height of an ASCII figure in dots; ASCII figures have one size."""
_NANA: Final = 0.85
"""Drawn height of Nana relative to Popo; in the game they are the same size."""
_LENS: Final = 8
"""Radius in dots of the magnifier at the edge that shows an off-screen fighter."""
_FULL_SHIELD, _SMALLEST_SHIELD = 60.0, 0.15
_NAMED_THINGS: Final = 4
_REBIRTH: Final = (BY_NAME["REBIRTH"], BY_NAME["REBIRTH_WAIT"])
_CIRCLE: Final = np.linspace(0, 2 * np.pi, 49)
_COS: Final = np.cos(_CIRCLE)
_SIN: Final = np.sin(_CIRCLE)


class StageInk(IntEnum):
    NOTHING = 0
    TITLE = 1
    TEXT = 2
    MUTED = 3
    RULE = 4
    GROUND = 5
    EARTH = 6
    BLAST = 7
    THING = 8
    WARN = 9


def ink_of_port(port: int) -> int:
    """Return the ink of a player's figure; the next two are those of its label and its faint parts."""
    return len(StageInk) + 3 * (port - 1)


def ink_of_label(port: int) -> int:
    return ink_of_port(port) + 1


def ink_of_faint(port: int) -> int:
    return ink_of_port(port) + 2


def draw(
    scene: Scene, view: CameraView, columns: int, rows: int, *, ego: int | None, glyphs: Glyphs
) -> Canvas:
    drawing = _Drawing(scene, view, columns, rows, glyphs)
    drawing.stage()
    drawing.things()
    # Nana below Popo, the ego on top.
    for fighter in sorted(scene.fighters, key=lambda one: (one.slot == ego, not one.follower)):
        drawing.fighter(fighter)
    return drawing.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Label:
    texts: tuple[str, ...]
    """Candidate texts; the first that fits is used."""
    column: int
    """Preferred column of the middle."""
    rows: tuple[int, ...]
    """Candidate rows, best first."""
    ink: int


class _Drawing:
    def __init__(self, scene: Scene, view: CameraView, columns: int, rows: int, glyphs: Glyphs) -> None:
        self.scene, self.view, self.glyphs = scene, view, glyphs
        self.columns, self.rows = columns, rows
        self.scale = DOTS_WIDE * columns / view.wide
        self.earth = Canvas(columns, rows)
        self.lines = Canvas(columns, rows)
        self.figures = Canvas(columns, rows)
        self.labels = Canvas(columns, rows)
        self.fighter_labels: list[_Label] = []
        self.names: list[_Label] = []

    def x(self, units: float) -> float:
        return (units - self.view.left) * self.scale

    def y(self, units: float) -> float:
        return (self.view.top - units) * self.scale

    def stage(self) -> None:
        """Draw the stage's body, its platforms, and the blast lines in view."""
        # One polyline with gaps is much faster than many lines.
        ways = [self._body()]
        for platform in self.scene.platforms:
            left, right, y = self.x(platform.left), self.x(platform.right), self.y(platform.height)
            ways.append(np.array(((left, y), (right - 1, y))))
        gap = np.full((1, 2), np.nan)
        x, y = np.concatenate([part for way in ways for part in (way, gap)]).T
        self.lines.polyline(x, y, StageInk.GROUND)
        x, y = np.concatenate([self._underside(platform) for platform in self.scene.platforms] or [gap]).T
        self.lines.plot(x, y, StageInk.GROUND)
        self._blast_lines()

    def _body(self) -> np.ndarray:
        """Fill the stage's interior and return its outline, [N, 2] in dots."""
        corners = outline(self.scene.stage)
        if corners is None:
            return self._bare_floor()
        x, y = (corners[0] - self.view.left) * self.scale, (self.view.top - corners[1]) * self.scale
        if not self.glyphs.ascii:
            self.earth.polygon(x, y, StageInk.EARTH)
            self.earth.masks &= _EARTH_MASK
        return np.stack((np.append(x, x[:1]), np.append(y, y[:1])), axis=1)

    def _bare_floor(self) -> np.ndarray:
        """Return a floor line for a stage without an outline: between its edges if known, else below grounded
        fighters.
        """
        edge = self.scene.edge
        if edge is not None:
            return np.array(((self.x(-edge), self.y(0)), (self.x(edge), self.y(0))))
        found = [(math.nan, math.nan)]
        for fighter in self.scene.fighters:
            if fighter.airborne is False:
                y = self.y(fighter.y)
                found += [(self.x(fighter.x - 12), y), (self.x(fighter.x + 12), y), (math.nan, math.nan)]
        return np.array(found)

    def _underside(self, platform: Platform) -> np.ndarray:
        """Return the second line below a platform, [N, 2] in dots; dashed if the platform moves."""
        left, right = math.floor(self.x(platform.left)), math.floor(self.x(platform.right))
        x = np.arange(left + 1, right - 1)
        if platform.moving:
            x = x[(x - left) % 6 < 3]
        return np.stack((x, np.full(len(x), self.y(platform.height) + 1)), axis=1)

    def _blast_lines(self) -> None:
        if self.scene.blast is None:
            return
        left, right, bottom, top = self.scene.blast
        across = np.arange(self.x(left), self.x(right), 4)
        down = np.arange(self.y(top), self.y(bottom), 4)
        seen_x = [self.x(units) for units in (left, right) if self.view.left < units < self.view.right]
        seen_y = [self.y(units) for units in (bottom, top) if self.view.bottom < units < self.view.top]
        for x in seen_x:
            self.lines.plot(np.full(down.size, x), down, StageInk.BLAST)
        for y in seen_y:
            self.lines.plot(across, np.full(across.size, y), StageInk.BLAST)

    def things(self) -> None:
        named: set[str] = set()
        for thing in self.scene.items:
            x, y = self.x(thing.x), self.y(thing.y)
            ink = StageInk.THING if thing.owner is None else self._ink_of_slot(thing.owner)
            if thing.projectile and thing.velocity is not None and math.hypot(*thing.velocity) > 0.5:
                # A streak as long as its velocity vector, at most 10 game units.
                vx, vy = thing.velocity
                share = min(1.0, 10 / math.hypot(vx, vy))
                self.lines.line(x, y, x - vx * self.scale * share, y + vy * self.scale * share, ink)
            reach = max(1.0, 1.2 * self.scale)
            self.lines.polygon(
                np.array((x - reach, x, x + reach, x)), np.array((y, y - reach, y, y + reach)), ink
            )
            if thing.name not in named and len(named) < _NAMED_THINGS:
                named.add(thing.name)
                row = math.floor(y / DOTS_HIGH)
                self.names.append(
                    _Label(
                        texts=(thing.name,),
                        column=math.floor(x / DOTS_WIDE),
                        rows=(row - 1, row + 1, row - 2),
                        ink=StageInk.MUTED,
                    )
                )

    def _ink_of_slot(self, slot: int) -> int:
        ports = [fighter.port for fighter in self.scene.fighters if fighter.slot == slot]
        return ink_of_port(ports[0]) if ports else StageInk.THING

    def fighter(self, fighter: SceneFighter) -> None:
        x, y = self.x(fighter.x), self.y(fighter.y)
        inside = 0 <= x < self.lines.dots_wide and 0 <= y < self.lines.dots_high + 4
        if fighter.dead:
            self._lost(fighter, x, y)
            return
        build = build_of(fighter.character)
        units = build.height * (_NANA if fighter.follower else 1.0)
        height = max(round(units * self.scale), _LEAST_DOTS)
        if self.glyphs.ascii:
            height = _LETTER_DOTS
        if not inside:
            self._outside(fighter, x, y)
            return
        pose = pose_of(fighter.action_state, fighter.airborne)
        hangs = pose == "ledge" and self.scene.edge is not None and fighter.y < 0
        if hangs:
            # Stretch the figure, so that the arms reach from the feet's position to the ledge.
            height = min(max(height, round((y - self.y(0)) / 1.2)), round(1.5 * height))
        layer = Canvas(self.columns, self.rows)
        self._figure(layer, fighter, pose, x, y, height)
        if fighter.shielding:
            self._shield(layer, fighter, x, y, height)
        if hangs and not self.glyphs.ascii:
            self._arms(layer, fighter, x, y - 0.62 * height)
        if pose in ("tumble", "hurt"):
            self._streaks(fighter, x, y - 0.5 * height)
            if fighter.hitlag:
                self._burst(x, y - 0.5 * height, 0.7 * height)
        if fighter.action_state in _REBIRTH:
            layer.line(x - 0.5 * height, y, x + 0.5 * height, y, ink_of_port(fighter.port))
        self.figures.cover(layer)
        self._label(fighter, x, y - 1.05 * height, y, below=hangs)

    def _arms(self, layer: Canvas, fighter: SceneFighter, x: float, shoulder: float) -> None:
        assert self.scene.edge is not None
        ledge = self.x(math.copysign(self.scene.edge, fighter.x))
        inwards = -math.copysign(1.0, fighter.x)
        for offset in (0.0, 1.0):
            layer.line(
                x + offset, shoulder, ledge + inwards * (1 + offset), self.y(0), ink_of_port(fighter.port)
            )

    def _figure(
        self, layer: Canvas, fighter: SceneFighter, pose: Pose, x: float, y: float, height: int
    ) -> None:
        ink = ink_of_faint(fighter.port) if fighter.follower else ink_of_port(fighter.port)
        facing = fighter.facing or 0
        if self.glyphs.ascii:
            feet = math.floor((y - 1) / DOTS_HIGH)
            for row, text in enumerate(letters(pose, facing)):
                for column, letter in enumerate(text):
                    if letter != " ":
                        place = math.floor(x / DOTS_WIDE) + column - 1
                        layer.text(place, feet + row - 2, letter, ink)
            return
        phase = phase_of(pose, fighter.state_age, self.scene.frame_index)
        hollow = fighter.invulnerability == "intangible"
        across, down = figure(pose, phase, height, build_of(fighter.character), facing, hollow=hollow)
        layer.plot(math.floor(x) + across, math.floor(y) + down, ink)
        if fighter.invulnerability == "invulnerable":
            reach = 0.72 * height
            halo_x, halo_y = x + reach * _COS[::2], y - 0.5 * height + reach * _SIN[::2]
            layer.plot(halo_x, halo_y, ink_of_faint(fighter.port))

    def _shield(self, layer: Canvas, fighter: SceneFighter, x: float, y: float, height: int) -> None:
        """Draw a shield; its radius falls with its health, to 15 % of the full one at 0."""
        health = _FULL_SHIELD if fighter.shield is None else min(max(fighter.shield, 0.0), _FULL_SHIELD)
        radius = 0.72 * height * (_SMALLEST_SHIELD + (1 - _SMALLEST_SHIELD) * health / _FULL_SHIELD)
        ring = Canvas(self.columns, self.rows)
        middle = y - 0.48 * height
        ring.polyline(x + radius * _COS, middle + radius * _SIN, ink_of_port(fighter.port))
        # A gap between the ring and the body, where they would touch.
        gap = Canvas(self.columns, self.rows)
        for inner in (radius - 1.2, radius - 2):
            if inner > 0:
                gap.polyline(x + inner * _COS, middle + inner * _SIN, 1)
        layer.masks &= ~gap.masks
        layer.masks |= ring.masks
        layer.inks[ring.masks != 0] = ink_of_port(fighter.port)

    def _streaks(self, fighter: SceneFighter, x: float, y: float) -> None:
        """Draw a trail behind a fast fighter."""
        if fighter.velocity is None or math.hypot(*fighter.velocity) < 1.0:
            return
        vx, vy = fighter.velocity
        back = np.arange(2, 9) * 1.5
        self.lines.plot(x - back * vx * self.scale, y + back * vy * self.scale, ink_of_faint(fighter.port))

    def _burst(self, x: float, y: float, radius: float) -> None:
        for angle in np.arange(8) * np.pi / 4:
            cos, sin = math.cos(angle), math.sin(angle)
            self.lines.line(
                x + 0.75 * radius * cos,
                y + 0.75 * radius * sin,
                x + radius * cos,
                y + radius * sin,
                StageInk.WARN,
            )

    def _lost(self, fighter: SceneFighter, x: float, y: float) -> None:
        """Mark where a fighter crossed the blast line, clamped to the edge of the picture."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return
        text = f"{'x' if self.glyphs.ascii else '✖'} P{fighter.port}"
        column = min(max(math.floor(x / DOTS_WIDE) - 1, 0), self.columns - len(text))
        row = min(max(math.floor(y / DOTS_HIGH), 0), self.rows - 1)
        self.labels.text(column, row, text, ink_of_label(fighter.port))

    def _outside(self, fighter: SceneFighter, x: float, y: float) -> None:
        """Draw an off-screen fighter in a magnifier at the edge, with an arrow towards it."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return
        wide, high = self.lines.dots_wide, self.lines.dots_high
        lens = min(_LENS, high // 4)
        margin = lens + 3
        at_x, at_y = min(max(x, margin), wide - margin - 1), min(max(y, margin), high - margin - 1)
        ink = ink_of_port(fighter.port)
        layer = Canvas(self.columns, self.rows)
        layer.polyline(at_x + lens * _COS, at_y + lens * _SIN, ink)
        inside = Canvas(self.columns, self.rows)
        height = max(lens + 2, 6)
        pose = pose_of(fighter.action_state, fighter.airborne)
        self._figure(inside, fighter, pose, at_x, at_y + 0.55 * height, height)
        layer.masks |= inside.masks
        layer.inks[inside.masks != 0] = ink
        angle = math.atan2(y - at_y, x - at_x)
        cos, sin = math.cos(angle), math.sin(angle)
        tip_x, tip_y = at_x + (lens + 3) * cos, at_y + (lens + 3) * sin
        base_x, base_y = at_x + lens * cos, at_y + lens * sin
        layer.polygon(
            np.array((tip_x, base_x - 3 * sin, base_x + 3 * sin)),
            np.array((tip_y, base_y + 3 * cos, base_y - 3 * cos)),
            ink,
        )
        self.figures.cover(layer)
        self._label(fighter, at_x, at_y - lens, at_y + lens)

    def _label(
        self, fighter: SceneFighter, x: float, head: float, feet: float, *, below: bool = False
    ) -> None:
        percent = self.glyphs.dash if fighter.percent is None else f"{fighter.percent:.0f}"
        stunned = "!" if (fighter.hitstun or 0) > 0 else ""
        port = f"P{fighter.port}"
        full = fighter.character if fighter.follower else f"{port} {fighter.character}"
        over, under = math.floor(head / DOTS_HIGH) - 1, math.floor(feet / DOTS_HIGH) + 1
        rows = (under, under + 1, over) if below else (over, over - 1, over - 2, under, over - 3, under + 1)
        self.fighter_labels.append(
            _Label(
                texts=tuple(f"{who} {percent}%{stunned}" for who in (full, port)),
                column=math.floor(x / DOTS_WIDE),
                rows=rows,
                ink=ink_of_faint(fighter.port) if fighter.follower else ink_of_label(fighter.port),
            )
        )

    def _place_labels(self) -> None:
        """Place labels clear of figures and other labels. A fighter's label is always placed, the ego's first."""
        taken = (self.figures.masks != 0) | (self.figures.letters >= 0)
        for label in reversed(self.fighter_labels):
            if not self._place(label, taken):
                self._place(label, None)
        for name in self.names:
            self._place(name, taken)

    def _place(self, label: "_Label", taken: np.ndarray | None) -> bool:
        for text in label.texts:
            column = min(max(label.column - len(text) // 2, 0), self.columns - len(text))
            for wanted in label.rows:
                row = min(max(wanted, 0), self.rows - 1)
                if self.labels.is_free(column, row, len(text)) and not (
                    taken is not None and taken[row, column : column + len(text)].any()
                ):
                    self.labels.text(column, row, text, label.ink)
                    return True
        return False

    def finish(self) -> Canvas:
        self._place_labels()
        page = self.earth
        drawn = (self.figures.masks != 0) | (self.figures.letters >= 0)
        # Figures replace the stage's interior; lines continue behind a figure in its colour.
        page.masks[drawn] = 0
        lit = self.lines.masks != 0
        page.masks[lit] = 0
        page.inks[lit] = self.lines.inks[lit]
        page.masks |= self.lines.masks | self.figures.masks
        page.inks[drawn] = self.figures.inks[drawn]
        page.letters[drawn] = self.figures.letters[drawn]
        page.cover(self.labels)
        return page
