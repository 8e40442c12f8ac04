"""Outlines of the six tournament stages in game units, for drawing only.

Model inputs use the dimensions of `melee.stages`. Source: the game's collision data as recorded by the community
(Melee Light, Slippi Lab).
"""

from functools import lru_cache

import numpy as np

from exphil_core.melee.stages import STAGES

_RIGHT_SIDES: dict[str, tuple[tuple[float, float], ...]] = {
    "fountain": (
        (51, 0), (53.5, 0.62), (63.35, 0.62), (63.35, -4.5), (59.33, -15), (56.9, -19.5), (55, -27), (52, -32),
        (48, -38), (41, -42), (19, -49.5), (13, -54.5), (10, -62), (8.8, -72), (8.8, -150),
    ),
    "stadium": (
        (87.75, 0), (87.75, -4), (73.75, -15), (73.75, -17.75), (60, -17.75), (60, -38), (15, -60), (15, -112),
    ),
    "yoshis": (
        (39, 0), (56, -3.5), (56, -7), (55, -8), (54, -11), (53, -12), (53, -27), (54, -28), (54, -30),
        (53, -31), (53, -46), (54, -47), (54, -91),
    ),
    "dreamland": ((77.27, 0), (76.5, -11), (65.75, -36)),
    "battlefield": (
        (68.4, 0), (65, -6), (36, -19), (39, -21), (33, -25), (30, -29), (29, -35), (10, -40), (10, -30),
    ),
    "finaldestination": (
        (85.57, 0), (85.57, -10), (65, -20), (65, -30), (60, -47), (50, -55), (45, -56),
    ),
}  # fmt: skip
"""Right halves, from the middle of the floor to the middle below; the left halves are mirror images."""


@lru_cache
def outline(title: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return x and y of the corners, clockwise from the left end of the floor; None for an unknown stage."""
    sides = {stage.title: _RIGHT_SIDES[stage.name] for stage in STAGES}
    if title not in sides:
        return None
    right = np.array(sides[title])
    left = right[::-1] * (-1, 1)
    # The floor's left end first, then its right end and down.
    x, y = np.concatenate((left[-1:], right, left[:-1])).T
    return x, y
