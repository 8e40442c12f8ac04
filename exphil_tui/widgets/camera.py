"""Where the picture of a stage looks: at the fighters, as the game's own camera does, or at the whole stage.

In: scenes, one after the other. Out: a `View` in game units. What a reader gets wrong: following has a memory, so a
scene alone does not say what is seen. The camera stands still while all are well inside, and when it moves it moves
smoothly; after a jump to a frame far away it looks there at once. A still picture costs a terminal far less.
"""

import math
from dataclasses import dataclass
from typing import Final

from exphil_tui.scene import Scene

_MARGIN_ACROSS: Final = 26.0
_MARGIN_UP, _MARGIN_DOWN = 32.0, 16.0
"""Game units around the fighters' feet that are seen, as in the game a little more of what lies above."""
_LEAST_WIDE, _LEAST_HIGH = 110.0, 58.0
_REACH: Final = 0.78
"""The share of the way to a blast line that the camera goes; who is beyond is shown at the edge."""
_SLACK: Final = 1.35
"""How much more than needed may be seen before the camera moves in."""
_AHEAD: Final = 1.1
"""How much more than needed is seen after it moved, so that it need not move again at once."""
_EASE: Final = 0.09
"""The share of the way to where it should be that it goes in a frame."""
_JUMP: Final = 30
"""Frames further apart than this are different moments, not a movement."""
_FLOOR: Final = 0.75
"""The share of the floor, around its middle, of which some part is always seen."""
_BARE_BLAST = (-230.0, 230.0, -120.0, 200.0)
"""Of a stage whose measures we don't have: about what most have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    left: float
    right: float
    bottom: float
    top: float

    @property
    def wide(self) -> float:
        return self.right - self.left

    @property
    def high(self) -> float:
        return self.top - self.bottom


class Camera:
    def __init__(self) -> None:
        self._view: View | None = None
        self._goal: View | None = None
        self._at: tuple[str, int] | None = None

    def follow(self, scene: Scene, shape: float) -> View:
        """`shape`: how many times as wide as high the picture is. The same scene again leaves it where it is."""
        needed = _needed(scene, shape)
        at = (scene.stage, scene.frame_index)
        before, self._at = self._at, at
        passed = abs(at[1] - before[1]) if before is not None and before[0] == at[0] else _JUMP + 1
        if self._view is None or self._goal is None or passed > _JUMP or not _alike(self._view, shape):
            self._goal = self._view = _grown(needed, _AHEAD)
            return self._view
        if not _holds(self._goal, needed) or self._goal.wide > _SLACK * _AHEAD * needed.wide:
            self._goal = _grown(needed, _AHEAD)
        self._view = _eased(self._view, self._goal, 1 - (1 - _EASE) ** passed)
        return self._view


def whole(scene: Scene, shape: float) -> View:
    """All between the blast lines, and a little more."""
    left, right, bottom, top = scene.blast or _BARE_BLAST
    return _grown(_shaped(View(left=left, right=right, bottom=bottom, top=top), shape), 1.03)


def _needed(scene: Scene, shape: float) -> View:
    """What must be seen of a scene."""
    left, right, bottom, top = (_REACH * line for line in scene.blast or _BARE_BLAST)
    seen = [fighter for fighter in scene.fighters if not fighter.dead]
    if not seen:
        return _shaped(View(left=-80, right=80, bottom=-30, top=70), shape)
    x = [min(max(fighter.x, left), right) for fighter in seen]
    y = [min(max(fighter.y, bottom), top) for fighter in seen]
    # And the floor nearest to them: who is far out is seen on the way back to it.
    edge = _FLOOR * (scene.edge or 0.0)
    x += [min(max(each, -edge), edge) for each in x]
    y.append(0.0)
    around = View(
        left=max(min(x) - _MARGIN_ACROSS, left),
        right=min(max(x) + _MARGIN_ACROSS, right),
        bottom=max(min(y) - _MARGIN_DOWN, bottom),
        top=min(max(y) + _MARGIN_UP, top),
    )
    return _shaped(around, shape)


def _shaped(view: View, shape: float) -> View:
    """As wide as the picture needs it; a view that is too low grows upwards more than downwards."""
    high = max(view.high, _LEAST_HIGH, max(view.wide, _LEAST_WIDE) / shape)
    wide = high * shape
    more = high - view.high
    middle = (view.left + view.right) / 2
    return View(
        left=middle - wide / 2,
        right=middle + wide / 2,
        bottom=view.bottom - 0.4 * more,
        top=view.top + 0.6 * more,
    )


def _grown(view: View, factor: float) -> View:
    across, up = view.wide * (factor - 1) / 2, view.high * (factor - 1) / 2
    return View(
        left=view.left - across, right=view.right + across, bottom=view.bottom - up, top=view.top + up
    )


def _holds(outer: View, inner: View) -> bool:
    return (
        outer.left <= inner.left
        and outer.right >= inner.right
        and outer.bottom <= inner.bottom
        and outer.top >= inner.top
    )


def _alike(view: View, shape: float) -> bool:
    return math.isclose(view.wide, view.high * shape, rel_tol=1e-6)


def _eased(view: View, goal: View, share: float) -> View:
    # The last bit at once, so that it comes to a stand.
    near = 0.004 * goal.wide
    ends = [
        (view.left, goal.left),
        (view.right, goal.right),
        (view.bottom, goal.bottom),
        (view.top, goal.top),
    ]
    if all(abs(there - here) < near for here, there in ends):
        return goal
    left, right, bottom, top = (here + share * (there - here) for here, there in ends)
    return View(left=left, right=right, bottom=bottom, top=top)
