"""Stick clusters: lookup tables that map every position of the 161 × 161 stick grid to a cluster.

The cluster is not always the nearest point: the game acts on thresholds (dead zone, dash, tap jump), so a main-stick
position is only mapped to a point on the same side of every threshold.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 80
"""Grid steps from the centre to the rim: physical sticks report multiples of 1/80."""
SIDE = 2 * STEPS + 1

MAIN_THRESHOLDS_X = (23, 64)
"""In 1/80: the dead zone (0.2875), and dash and smash turn (0.8)."""
MAIN_THRESHOLDS_Y = (23, 53)
"""In 1/80: the dead zone (0.2875), and tap jump, fast fall and platform drop (0.6625)."""

MAIN_RIGHT = (28, 40, 56, 69, 80)
"""Horizontal points, in 1/80: three for walking speeds and tilts, then two past the dash threshold."""
MAIN_UP = (30, 44, 62, 80)
"""Vertical points, in 1/80: two tilts, then two past the tap-jump threshold."""
MAIN_QUADRANT = (
    # Past the dash threshold: the rim from the shallowest wavedash (17°) to 34°.
    (76, 23),
    (75, 27),
    (73, 32),
    (70, 38),
    (66, 44),
    # Past neither threshold: four inner points, and the rim at 40° with the crouch and the shield drop beside it.
    (30, 30),
    (30, 44),
    (46, 44),
    (54, 30),
    (61, 51),
    # Past the tap-jump threshold: the rim from 44° to the steepest diagonal (71°).
    (57, 55),
    (53, 59),
    (46, 65),
    (36, 71),
    (26, 75),
)
"""Points of the first quadrant, in 1/80; the other three are mirrored. Close to the weighted medoids of human play in
each region (measured in docs/codecs.md)."""

C_RADIUS = 80
C_DIAGONAL = 56


@dataclass(frozen=True, slots=True, kw_only=True)
class StickGrid:
    points: Tensor
    """int64 [N, 2] in 1/80; point 0 is neutral."""
    lookup: Tensor
    """int64 [161 * 161]: index of the point for grid position `(x + 80) * 161 + (y + 80)`."""


def _mirrored(
    right: tuple[int, ...], up: tuple[int, ...], quadrant: tuple[tuple[int, int], ...]
) -> list[tuple[int, int]]:
    points = [(0, 0)]
    points += [(sign * x, 0) for x in right for sign in (1, -1)]
    points += [(0, sign * y) for y in up for sign in (1, -1)]
    points += [(sx * x, sy * y) for x, y in quadrant for sx in (1, -1) for sy in (1, -1)]
    return points


def _grid_positions() -> Tensor:
    axis = torch.arange(-STEPS, STEPS + 1)
    return torch.cartesian_prod(axis, axis)


def _inside_gate(positions: Tensor) -> Tensor:
    """Clamp positions to the unit circle, as the game does."""
    radius = positions.float().norm(dim=1).clamp(min=1.0)
    inside: Tensor = (positions * (STEPS / radius).clamp(max=1.0)[:, None]).round().to(torch.int64)
    return inside


def _region(positions: Tensor, thresholds_x: tuple[int, ...], thresholds_y: tuple[int, ...]) -> Tensor:
    """Number the region between thresholds that each position lies in, signs included."""
    levels = []
    for axis, thresholds in enumerate((thresholds_x, thresholds_y)):
        values = positions[:, axis]
        level = sum((values.abs() >= threshold).to(torch.int64) for threshold in thresholds)
        levels.append(values.sign() * level)
    return levels[0] * 16 + levels[1]


def _grid(
    points: list[tuple[int, int]], thresholds_x: tuple[int, ...], thresholds_y: tuple[int, ...]
) -> StickGrid:
    clusters = torch.tensor(points)
    # Search the right half and mirror it: ties must resolve the same way on both sides.
    mirror = torch.tensor([points.index((-x, y)) for x, y in points])
    positions = _inside_gate(_grid_positions())
    right = positions.clone()
    right[:, 0] = right[:, 0].abs()
    distance = (right[:, None, :] - clusters[None, :, :]).float().square().sum(dim=2)
    other_side = _region(right, thresholds_x, thresholds_y)[:, None] != _region(
        clusters, thresholds_x, thresholds_y
    )
    distance = distance + 1e9 * other_side
    nearest = distance.argmin(dim=1)
    assert distance.min(dim=1).values.max() < 1e9, "a region of the stick has no cluster"
    lookup = torch.where(positions[:, 0] < 0, mirror[nearest], nearest)
    return StickGrid(points=clusters, lookup=lookup)


def main_grid() -> StickGrid:
    """Build the main stick's 79 clusters: neutral, 10 horizontal, 8 vertical, 60 diagonal."""
    return _grid(_mirrored(MAIN_RIGHT, MAIN_UP, MAIN_QUADRANT), MAIN_THRESHOLDS_X, MAIN_THRESHOLDS_Y)


def c_grid() -> StickGrid:
    """Build the C-stick's 9 clusters: neutral and eight directions, matched by distance alone."""
    points = _mirrored((C_RADIUS,), (C_RADIUS,), ((C_DIAGONAL, C_DIAGONAL),))
    return _grid(points, (), ())


def grid_index(x: Tensor, y: Tensor) -> Tensor:
    """Compute lookup indices of positions in -1 to 1; NaN is neutral, values beyond the grid are clamped."""
    column = (x * STEPS).nan_to_num(nan=0.0).round().clamp(-STEPS, STEPS).to(torch.int64) + STEPS
    row = (y * STEPS).nan_to_num(nan=0.0).round().clamp(-STEPS, STEPS).to(torch.int64) + STEPS
    return column * SIDE + row
