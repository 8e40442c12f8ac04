"""Camera of the stage view: follow the fighters as the game's camera does, or show the whole stage.

`Camera` is stateful: its view depends on earlier scenes. It stays still while all fighters are well inside the
view, moves smoothly otherwise, and jumps when the frame does. A still picture costs far fewer terminal writes.
"""

import math
from dataclasses import dataclass
from typing import Final

from exphil_tui.model.scene import Scene

_MARGIN_ACROSS: Final = 26.0
_MARGIN_UP, _MARGIN_DOWN = 32.0, 16.0
"""Margins around the fighters' feet in game units; as in the game, larger above than below."""
_LEAST_WIDE, _LEAST_HIGH = 110.0, 58.0
_REACH: Final = 0.78
"""Share of the way to a blast line that the camera follows; fighters beyond are shown at the edge."""
_SLACK: Final = 1.35
"""How many times the needed width may be shown before the camera zooms in."""
_AHEAD: Final = 1.1
"""How many times the needed width is shown after a move, so that the next move is not needed at once."""
_EASE: Final = 0.09
"""Share of the remaining way to its goal that the camera moves per frame."""
_JUMP: Final = 30
"""A jump of more frames than this cuts to the new view without easing."""
_FLOOR: Final = 0.75
"""Share of the floor, around its middle, of which some part is always in view."""
_BARE_BLAST = (-230.0, 230.0, -120.0, 200.0)
"""Approximate blast lines (left, right, bottom, top) for a stage without known dimensions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraView:
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
        self._view: CameraView | None = None
        self._goal: CameraView | None = None
        self._at: tuple[str, int] | None = None

    def follow(self, scene: Scene, shape: float) -> CameraView:
        """Return the view for a scene, moving the camera if the scene is new.

        Args:
            shape: Width of the picture divided by its height.
        """
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


def whole(scene: Scene, shape: float) -> CameraView:
    """Return the view that contains all blast lines, with a small margin."""
    left, right, bottom, top = scene.blast or _BARE_BLAST
    return _grown(_shaped(CameraView(left=left, right=right, bottom=bottom, top=top), shape), 1.03)


def _needed(scene: Scene, shape: float) -> CameraView:
    """Return the view that contains what must be visible in a scene."""
    left, right, bottom, top = (_REACH * line for line in scene.blast or _BARE_BLAST)
    seen = [fighter for fighter in scene.fighters if not fighter.dead]
    if not seen:
        return _shaped(CameraView(left=-80, right=80, bottom=-30, top=70), shape)
    x = [min(max(fighter.x, left), right) for fighter in seen]
    y = [min(max(fighter.y, bottom), top) for fighter in seen]
    # Include the floor nearest to the fighters, so that a fighter far out is shown with the way back.
    edge = _FLOOR * (scene.edge or 0.0)
    x += [min(max(each, -edge), edge) for each in x]
    y.append(0.0)
    around = CameraView(
        left=max(min(x) - _MARGIN_ACROSS, left),
        right=min(max(x) + _MARGIN_ACROSS, right),
        bottom=max(min(y) - _MARGIN_DOWN, bottom),
        top=min(max(y) + _MARGIN_UP, top),
    )
    return _shaped(around, shape)


def _shaped(view: CameraView, shape: float) -> CameraView:
    """Extend a view to the aspect ratio `shape`; extra height goes 60 % upwards."""
    high = max(view.high, _LEAST_HIGH, max(view.wide, _LEAST_WIDE) / shape)
    wide = high * shape
    more = high - view.high
    middle = (view.left + view.right) / 2
    return CameraView(
        left=middle - wide / 2,
        right=middle + wide / 2,
        bottom=view.bottom - 0.4 * more,
        top=view.top + 0.6 * more,
    )


def _grown(view: CameraView, factor: float) -> CameraView:
    across, up = view.wide * (factor - 1) / 2, view.high * (factor - 1) / 2
    return CameraView(
        left=view.left - across, right=view.right + across, bottom=view.bottom - up, top=view.top + up
    )


def _holds(outer: CameraView, inner: CameraView) -> bool:
    return (
        outer.left <= inner.left
        and outer.right >= inner.right
        and outer.bottom <= inner.bottom
        and outer.top >= inner.top
    )


def _alike(view: CameraView, shape: float) -> bool:
    return math.isclose(view.wide, view.high * shape, rel_tol=1e-6)


def _eased(view: CameraView, goal: CameraView, share: float) -> CameraView:
    # Snap to the goal when close, so that the camera comes to rest.
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
    return CameraView(left=left, right=right, bottom=bottom, top=top)
