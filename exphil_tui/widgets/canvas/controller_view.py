"""Controller view: the human's and the policy's inputs in one picture, or as text where space is short.

Filled marks are the human's, outlined marks the policy's, for sticks, triggers and buttons.
"""

import math
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Final

import numpy as np

from exphil_core.melee.controller import BUTTONS, Controller
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.canvas.braille import DOTS_HIGH, DOTS_WIDE, Canvas
from exphil_tui.widgets.canvas.canvas_widget import CanvasWidget, Look, draw_rule
from exphil_tui.widgets.text_panel import fitted

_DRAWN_ROWS: Final = 6
"""Minimum rows below the title for the drawn controller."""
_START: Final = 0x1000
"""Start pauses the game; it is not in `BUTTONS`, because a policy never presses it."""
_LABELS: Final = {button: button for button in BUTTONS} | {"D_UP": "↑"}
_ARROWS: Final = "→↗↑↖←↙↓↘"
_NEUTRAL: Final = 0.2
"""Stick magnitude below which no direction is shown."""
_OCTAGON: Final = np.arange(9) * np.pi / 4
_CIRCLE: Final = np.linspace(0, 2 * np.pi, 40, endpoint=False)
_COS: Final = np.cos(_CIRCLE)
_SIN: Final = np.sin(_CIRCLE)
_BUTTONS_WIDE, _BUTTONS_NARROW = 13, 7


class _ControllerInk(IntEnum):
    NOTHING = 0
    TITLE = 1
    TEXT = 2
    MUTED = 3
    RULE = 4
    HUMAN = 5
    PRESSED = 6
    POLICY = 7
    TRAIL = 8
    GATE = 9


_LOOKS = {
    _ControllerInk.NOTHING: Look(colour="foreground"),
    _ControllerInk.TITLE: Look(colour="foreground", bold=True),
    _ControllerInk.TEXT: Look(colour="foreground"),
    _ControllerInk.MUTED: Look(colour="foreground-muted"),
    _ControllerInk.RULE: Look(colour="border-blurred"),
    _ControllerInk.HUMAN: Look(colour="foreground", bold=True),
    _ControllerInk.PRESSED: Look(colour="foreground", bold=True, reverse=True),
    _ControllerInk.POLICY: Look(colour="primary", bold=True),
    _ControllerInk.TRAIL: Look(colour="foreground", strength=0.6),
    _ControllerInk.GATE: Look(colour="foreground", strength=0.35),
}


class ControllerView(CanvasWidget):
    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._human: Controller | None = None
        self._policy: Controller | None = None
        self._title = ""
        self._presses: tuple[float, ...] | None = None
        self._trail: tuple[tuple[float, float], ...] = ()

    def show(
        self,
        human: Controller | None,
        policy: Controller | None = None,
        *,
        title: str,
        presses: Sequence[float] | None = None,
        trail: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Show inputs.

        Args:
            presses: The policy's probability for each of `BUTTONS`.
            trail: Earlier positions of the main stick.
        """
        chances = None if presses is None else tuple(presses)
        shown = (human, policy, title, chances, tuple(trail))
        if shown != (self._human, self._policy, self._title, self._presses, self._trail):
            self._human, self._policy, self._title, self._presses, self._trail = shown
            self.update()

    def looks(self) -> Sequence[Look]:
        return [_LOOKS[ink] for ink in _ControllerInk]

    def picture(self, width: int, height: int) -> Canvas:
        page = Canvas(width, height)
        top = 1 if height >= 2 else 0
        if top:
            self._rule(page)
        if self._human is None and self._policy is None:
            page.text(2, top, fitted("no inputs", width - 2, self.glyphs), _ControllerInk.MUTED)
        elif height - top >= _DRAWN_ROWS and width >= 24:
            self._draw_controller(page, top)
        else:
            self._write_values(page, top)
        return page

    def _rule(self, page: Canvas) -> None:
        """Render the title line: `─ P1 Fox ──── ■ human  □ policy ─`."""
        draw_rule(page, _ControllerInk.RULE, self.glyphs)
        filled, outlined = _marks(self.glyphs)
        key = f" {filled} human  {outlined} policy " if self._policy is not None else ""
        room = page.columns - 5
        if len(self._title) + len(key) + 1 > room:
            key = ""
        page.text(1, 0, f" {fitted(self._title, room, self.glyphs)} ", _ControllerInk.TITLE)
        if key:
            at = page.columns - len(key) - 1
            page.text(at, 0, key, _ControllerInk.MUTED)
            page.text(at + 1, 0, filled, _ControllerInk.HUMAN)
            page.text(at + 10, 0, outlined, _ControllerInk.POLICY)

    # Drawn form.

    def _draw_controller(self, page: Canvas, top: int) -> None:
        self._draw_triggers(page, top)
        top += 1
        rows = page.rows - top
        single = rows >= len(BUTTONS)
        if single:
            wide = _BUTTONS_WIDE if self._presses is not None else _BUTTONS_NARROW
        else:
            wide = 11 if self._presses is not None else 9
        room = page.columns - wide - 2
        # Two sticks side by side, the C-stick about 70 % of the main one's size.
        main = min(math.floor(room * 0.6), 2 * rows)
        second = min(room - main - 1, math.floor(main * 0.7))
        spare = rows - math.ceil(main / 2)
        with_values = spare >= 1
        up = top + (spare - 1) // 2 if with_values else top
        main_rows = math.ceil(main / 2)
        self._draw_stick(page, 0, up, main, "main", trail=self._trail)
        down = up + main_rows - math.ceil(second / 2)
        self._draw_stick(page, main + 1, down, second, "c", trail=())
        if with_values:
            self._write_sticks(page, up + main_rows, main)
        page.text(main + 1 + second // 2, down - 1, "C", _ControllerInk.MUTED)
        at = page.columns - wide
        if single:
            gap = (rows - len(BUTTONS)) // 2
            for index, button in enumerate(BUTTONS):
                self._draw_button(page, at, top + gap + index, button, wide)
        else:
            gap = (rows - 4) // 2
            for index, button in enumerate(BUTTONS):
                column, row = divmod(index, 4)
                self._draw_button(page, at + column * (wide // 2 + 1), top + gap + row, button, wide // 2)
        if self._human is not None and self._human.buttons & _START:
            page.text(at, page.rows - 1, "START", _ControllerInk.PRESSED)

    def _draw_stick(
        self,
        page: Canvas,
        left: int,
        top: int,
        columns: int,
        which: str,
        *,
        trail: Sequence[tuple[float, float]],
    ) -> None:
        if columns < 4:
            return
        gate, reach = _gate(columns)
        page.cover(gate, left, top)
        middle_x = DOTS_WIDE * (left + columns / 2)
        middle_y = DOTS_HIGH * (top + gate.rows / 2)
        inner = reach - 2
        human, policy = (_stick(held, which) for held in (self._human, self._policy))
        if trail and human is not None:
            ways = np.array((*trail, human)) * (inner, -inner) + (middle_x, middle_y)
            page.polyline(ways[:, 0], ways[:, 1], _ControllerInk.TRAIL)
        size = max(1.2, 0.13 * reach)
        filled, outlined = "#", "o"
        for stick, letter, ink in (
            (human, filled, _ControllerInk.HUMAN),
            (policy, outlined, _ControllerInk.POLICY),
        ):
            if stick is None:
                continue
            x, y = middle_x + inner * stick[0], middle_y - inner * stick[1]
            if self.glyphs.ascii:
                page.text(math.floor(x / DOTS_WIDE), math.floor(y / DOTS_HIGH), letter, ink)
            elif letter == filled:
                page.disc(x, y, size, ink)
            else:
                page.plot(x + (size + 1.3) * _COS, y + (size + 1.3) * _SIN, ink)

    def _draw_triggers(self, page: Canvas, row: int) -> None:
        """Draw both trigger values, human and policy: `L ━━━━━──────  R ───────────`."""
        each = (page.columns - 2) // 2
        for at, button in ((0, "L"), (each + 2, "R")):
            self._draw_bar(page, at, row, button, each)

    def _draw_bar(self, page: Canvas, left: int, row: int, button: str, width: int) -> None:
        human, policy = (_trigger(held, button) for held in (self._human, self._policy))
        clicked = self._human is not None and self._human.pressed(button)
        page.text(left, row, button, _ControllerInk.PRESSED if clicked else _ControllerInk.MUTED)
        cells = width - 2
        if human is None:
            page.text(left + 2, row, self.glyphs.dash, _ControllerInk.MUTED)
        else:
            full = round(cells * min(max(human, 0.0), 1.0))
            bar, rest = ("#", ".") if self.glyphs.ascii else ("━", "─")
            page.text(left + 2, row, bar * full, _ControllerInk.HUMAN)
            page.text(left + 2 + full, row, rest * (cells - full), _ControllerInk.GATE)
        if policy is not None:
            at = left + 2 + round((cells - 1) * min(max(policy, 0.0), 1.0))
            page.text(at, row, _marks(self.glyphs)[1], _ControllerInk.POLICY)

    def _draw_button(self, page: Canvas, left: int, row: int, button: str, width: int) -> None:
        """Draw a button: `■ A □ ━━── 73`: human's mark, policy's mark, press probability."""
        filled, outlined = _marks(self.glyphs)
        pressed = self._human is not None and self._human.pressed(button)
        label = "^" if self.glyphs.ascii and button == "D_UP" else _LABELS[button]
        page.text(left, row, filled if pressed else " ", _ControllerInk.HUMAN)
        page.text(left + 1, row, label, _ControllerInk.PRESSED if pressed else _ControllerInk.MUTED)
        if self._policy is not None and self._policy.pressed(button):
            page.text(left + 2, row, outlined, _ControllerInk.POLICY)
        if self._presses is None:
            return
        probability = self._presses[BUTTONS.index(button)]
        if not math.isfinite(probability):
            return
        share = min(max(probability, 0.0), 1.0)
        if width < 8:
            levels = self.glyphs.blocks
            page.text(
                left + 3, row, levels[math.ceil(share * (len(levels) - 1) - 0.05)], _ControllerInk.POLICY
            )
            return
        cells = width - 8
        full = round(cells * share)
        bar, rest = ("#", ".") if self.glyphs.ascii else ("━", "─")
        page.text(left + 4, row, bar * full, _ControllerInk.POLICY)
        page.text(left + 4 + full, row, rest * (cells - full), _ControllerInk.GATE)
        page.text(
            left + 4 + cells,
            row,
            f"{100 * share:3.0f}%",
            _ControllerInk.MUTED if share < 0.5 else _ControllerInk.TEXT,
        )

    def _write_sticks(self, page: Canvas, row: int, main: int) -> None:
        """Write the human's and the policy's main stick values below the sticks, as far as rows allow."""
        held = [(self._human, _ControllerInk.TEXT), (self._policy, _ControllerInk.POLICY)]
        for offset, (controller, ink) in enumerate([one for one in held if one[0] is not None]):
            if row + offset < page.rows and controller is not None:
                page.text(max(main // 2 - 6, 0), row + offset, _values(_stick(controller, "main")), ink)

    # Text form.

    def _write_values(self, page: Canvas, top: int) -> None:
        """Write one row for the human and one for the policy."""
        filled, outlined = _marks(self.glyphs)
        rows = [(self._human, filled, _ControllerInk.HUMAN)]
        if self._policy is not None:
            rows.append((self._policy, outlined, _ControllerInk.POLICY))
        for offset, (held, mark, ink) in enumerate(rows[: page.rows - top]):
            page.text(0, top + offset, mark, ink)
            if held is None:
                page.text(2, top + offset, self.glyphs.dash, _ControllerInk.MUTED)
            else:
                self._write_controller(page, top + offset, held, ink)

    def _write_controller(self, page: Canvas, row: int, held: Controller, ink: int) -> None:
        """Write one controller: `■ ↗ +0.71 +0.70  C·  L▃ R   A·X·····`, shortened in a narrow widget."""
        wide = page.columns >= 38
        at = 2
        page.text(at, row, _arrow(_stick(held, "main"), self.glyphs), ink)
        at += 2
        if wide:
            page.text(at, row, _values(_stick(held, "main")), _ControllerInk.TEXT)
            at += 13
        page.text(at, row, "C", _ControllerInk.MUTED)
        page.text(at + 1, row, _arrow(_stick(held, "c"), self.glyphs), ink)
        at += 3 if not wide else 4
        for button in ("L", "R"):
            value = _trigger(held, button)
            levels = self.glyphs.blocks
            share = 0.0 if value is None else min(max(value, 0.0), 1.0)
            page.text(at, row, button.lower(), _ControllerInk.MUTED)
            level = self.glyphs.dash if value is None else levels[math.ceil(share * (len(levels) - 1))]
            page.text(at + 1, row, level, ink)
            at += 2 if not wide else 3
        at += 1
        for button in BUTTONS:
            pressed = held.pressed(button)
            label = "^" if self.glyphs.ascii and button == "D_UP" else _LABELS[button]
            dot = "." if self.glyphs.ascii else "·"
            looks = (
                (_ControllerInk.PRESSED if ink == _ControllerInk.HUMAN else ink)
                if pressed
                else _ControllerInk.GATE
            )
            page.text(at, row, label if pressed else dot, looks)
            at += 1


@lru_cache
def _gate(columns: int) -> tuple[Canvas, float]:
    """Draw the octagonal gate of a stick; return it and the distance from its centre to a corner in dots."""
    gate = Canvas(columns, math.ceil(columns / 2))
    middle_x, middle_y = gate.dots_wide / 2, gate.dots_high / 2
    reach = min(middle_x, middle_y) - 0.5
    gate.polyline(
        middle_x + reach * np.cos(_OCTAGON), middle_y - reach * np.sin(_OCTAGON), _ControllerInk.GATE
    )
    gate.plot(np.array([middle_x]), np.array([middle_y]), _ControllerInk.GATE)
    return gate, reach


def _marks(glyphs: Glyphs) -> tuple[str, str]:
    return ("#", "o") if glyphs.ascii else ("■", "□")


def _stick(held: Controller | None, which: str) -> tuple[float, float] | None:
    """Return the stick's position; None if it is unknown."""
    if held is None:
        return None
    found = (held.main_x, held.main_y) if which == "main" else (held.c_x, held.c_y)
    return found if all(math.isfinite(part) for part in found) else None


def _trigger(held: Controller | None, button: str) -> float | None:
    if held is None:
        return None
    found = held.trigger_l if button == "L" else held.trigger_r
    return found if math.isfinite(found) else None


def _values(stick: tuple[float, float] | None) -> str:
    return "" if stick is None else f"{stick[0]:+.2f} {stick[1]:+.2f}"


def _arrow(stick: tuple[float, float] | None, glyphs: Glyphs) -> str:
    if stick is None:
        return glyphs.dash
    if math.hypot(*stick) < _NEUTRAL:
        return "." if glyphs.ascii else "·"
    octant = round(math.atan2(stick[1], stick[0]) / (math.pi / 4)) % 8
    return (">/^\\</v\\" if glyphs.ascii else _ARROWS)[octant]
