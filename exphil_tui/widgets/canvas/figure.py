"""Draw a fighter as a figure of dots: a pose by action state, with a nose in the facing direction.

A pose is a rough picture of the state, not an animation, and says nothing about hitboxes. A body consists of
limbs: thick lines in units of the body's height, x in the facing direction, y up from the feet.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from exphil_core.melee.action_states import COMMON

Pose = Literal[
    "stand", "walk", "run", "crouch", "jump", "fall", "helpless", "tumble", "hurt", "lie", "ledge",
    "forward", "up", "down", "sweep", "back", "spin", "guard", "grab", "held", "roll", "special",
]  # fmt: skip

Limb = tuple[float, float, float, float, float]
"""A line from (x, y) to (x, y), and half its thickness."""

_PHASES = {"walk": 12, "run": 6, "tumble": 4, "roll": 4}
"""Frames per picture of an animated pose; other poses are still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    height: float
    """Standing height in game units."""
    girth: float = 1.0
    round: bool = False
    """True for a ball with feet."""


_BUILDS = {
    "Fox": Build(height=13), "Falco": Build(height=14), "Marth": Build(height=16, girth=0.9),
    "Roy": Build(height=15), "Sheik": Build(height=15, girth=0.9), "Zelda": Build(height=16),
    "Peach": Build(height=16), "Captain Falcon": Build(height=17), "Ganondorf": Build(height=18, girth=1.2),
    "Jigglypuff": Build(height=10, round=True), "Kirby": Build(height=10, round=True),
    "Pikachu": Build(height=10, girth=1.25), "Pichu": Build(height=8.5, girth=1.25),
    "Samus": Build(height=17, girth=1.15), "Bowser": Build(height=19, girth=1.6),
    "Donkey Kong": Build(height=18, girth=1.5), "Yoshi": Build(height=15, girth=1.2),
    "Mewtwo": Build(height=17), "Mr. Game & Watch": Build(height=13, girth=0.9), "Mario": Build(height=12.5),
    "Dr. Mario": Build(height=12.5), "Luigi": Build(height=15), "Link": Build(height=15.5),
    "Young Link": Build(height=12), "Ness": Build(height=11.5, girth=1.15),
    "Ice Climbers": Build(height=11, girth=1.15), "Popo": Build(height=11, girth=1.15),
    "Nana": Build(height=11, girth=1.15),
}  # fmt: skip
"""Estimated by eye, for plausible relative sizes."""

_ANYBODY = Build(height=14)


def build_of(character: str) -> Build:
    return _BUILDS.get(character, _ANYBODY)


def pose_of(action_state: int | None, airborne: bool | None) -> Pose:
    if action_state is not None and action_state < len(_POSES):
        found = _POSES[action_state]
    elif action_state is not None:
        found = "special"
    else:
        found = None
    return found or ("fall" if airborne else "stand")


@lru_cache(4096)
def figure(
    pose: Pose, phase: int, height: int, build: Build, facing: int, *, hollow: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a figure of `height` dots.

    Args:
        facing: -1 left, 1 right, 0 unknown (drawn without a nose).

    Returns:
        x (to the right) and y (down) of the dots, relative to the feet.
    """
    body = _body(pose, phase, build, nose=facing != 0)
    limbs = np.array(body) * height
    limbs[:, 4] = np.maximum(limbs[:, 4] * build.girth, 0.55)
    if facing < 0:
        limbs[:, (0, 2)] *= -1
    x0, y0, x1, y1, radius = (part[:, None, None] for part in limbs.T)
    reach = limbs[:, 4].max()
    left, right = limbs[:, (0, 2)].min() - reach, limbs[:, (0, 2)].max() + reach
    low, high = limbs[:, (1, 3)].min() - reach, limbs[:, (1, 3)].max() + reach
    across, up = (
        np.arange(math.floor(left), math.ceil(right) + 1),
        np.arange(math.floor(low), math.ceil(high) + 1),
    )
    x, y = across[None, None, :] + 0.0, up[None, :, None] + 0.5
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((x - x0) * dx + (y - y0) * dy) / np.maximum(dx**2 + dy**2, 1e-9), 0, 1)
    inside = ((x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2 <= radius**2).any(axis=0)
    if hollow:
        core = np.zeros_like(inside)
        core[1:-1, 1:-1] = (
            inside[1:-1, 1:-1] & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
        )
        inside = inside & ~core
    rows, columns = np.nonzero(inside)
    return across[columns].astype(float), -1.0 - up[rows]


def phase_of(pose: Pose, state_age: float | None, frame_index: int) -> int:
    """Return which of four pictures an animated pose shows."""
    frames = _PHASES.get(pose)
    if frames is None:
        return 0
    age = frame_index if state_age is None or not 0 <= state_age < 10_000 else state_age
    return int(age // frames) % 4


def _body(pose: Pose, phase: int, build: Build, *, nose: bool) -> list[Limb]:
    if build.round:
        body = _round(pose, phase)
    else:
        body = list(_POSTURES.get(pose, _POSTURES["stand"]))
        if pose == "walk" or pose == "run":
            stride = (1.0, 0.35, -1.0, 0.35)[phase]
            body = _stride(stride, lean=0.16 if pose == "run" else 0.04)
    if not nose:
        body = [limb for limb in body if limb[4] != _NOSE]
    if pose in ("tumble", "roll"):
        turned = (0.5 if pose == "tumble" else 0.0) * math.pi - phase * math.pi / 2
        body = [_turned(limb, turned, 0.5 if pose == "tumble" else 0.3) for limb in body]
    return body


def _turned(limb: Limb, angle: float, middle: float) -> Limb:
    cos, sin = math.cos(angle), math.sin(angle)
    x0, y0, x1, y1, radius = limb
    y0, y1 = y0 - middle, y1 - middle
    return (
        x0 * cos - y0 * sin,
        x0 * sin + y0 * cos + middle,
        x1 * cos - y1 * sin,
        x1 * sin + y1 * cos + middle,
        radius,
    )


_NOSE = 0.05
_HEAD, _TORSO, _LEG, _ARM = 0.155, 0.125, 0.07, 0.055


def _head(x: float, y: float) -> list[Limb]:
    return [(x, y, x, y, _HEAD), (x + 0.1, y - 0.03, x + 0.3, y - 0.05, _NOSE)]


def _stride(stride: float, *, lean: float) -> list[Limb]:
    step = 0.26 * stride
    return [
        *_head(0.03 + lean, 0.83),
        (lean * 0.8, 0.65, 0.0, 0.42, _TORSO),
        (0.0, 0.40, -step, 0.06 + 0.06 * abs(stride), _LEG),
        (0.0, 0.40, step, 0.06, _LEG),
        (lean * 0.8, 0.62, lean + 0.2 * stride, 0.45, _ARM),
        (lean * 0.8, 0.62, lean - 0.2 * stride, 0.47, _ARM),
    ]


_UPRIGHT: list[Limb] = [*_head(0.03, 0.84), (0.0, 0.66, 0.0, 0.42, _TORSO)]
_LEGS: list[Limb] = [(-0.05, 0.40, -0.14, 0.06, _LEG), (0.05, 0.40, 0.15, 0.06, _LEG)]

_POSTURES: dict[str, list[Limb]] = {
    "stand": [*_UPRIGHT, *_LEGS, (0.02, 0.64, 0.2, 0.5, _ARM), (-0.02, 0.64, -0.17, 0.46, _ARM)],
    "crouch": [
        *_head(0.12, 0.50),
        (0.04, 0.38, -0.04, 0.24, _TORSO),
        (-0.04, 0.2, -0.2, 0.06, _LEG),
        (0.0, 0.2, 0.2, 0.06, _LEG),
        (0.06, 0.36, 0.24, 0.22, _ARM),
    ],
    "jump": [
        *_head(0.05, 0.86),
        (0.02, 0.68, -0.02, 0.46, _TORSO),
        (-0.02, 0.42, -0.16, 0.16, _LEG),
        (0.02, 0.42, 0.16, 0.30, _LEG),
        (0.16, 0.30, 0.08, 0.16, _LEG),
        (0.02, 0.68, 0.24, 0.86, _ARM),
        (0.0, 0.68, -0.2, 0.80, _ARM),
    ],
    "fall": [
        *_head(0.04, 0.82),
        (0.0, 0.66, 0.0, 0.44, _TORSO),
        (-0.02, 0.42, -0.2, 0.14, _LEG),
        (0.02, 0.42, 0.14, 0.10, _LEG),
        (0.02, 0.66, 0.3, 0.72, _ARM),
        (-0.02, 0.66, -0.28, 0.72, _ARM),
    ],
    "helpless": [
        *_head(0.12, 0.74),
        (0.04, 0.62, 0.0, 0.42, _TORSO),
        (-0.02, 0.42, -0.06, 0.08, _LEG),
        (0.02, 0.42, 0.06, 0.06, _LEG),
        (0.04, 0.60, 0.14, 0.34, _ARM),
        (0.0, 0.60, -0.14, 0.34, _ARM),
    ],
    "hurt": [
        *_head(-0.2, 0.78),
        (-0.12, 0.64, 0.02, 0.42, _TORSO),
        (0.0, 0.40, -0.06, 0.06, _LEG),
        (0.04, 0.40, 0.22, 0.10, _LEG),
        (-0.1, 0.62, 0.16, 0.68, _ARM),
        (-0.1, 0.62, 0.12, 0.52, _ARM),
    ],
    "lie": [
        *_head(0.42, 0.16),
        (0.22, 0.14, -0.02, 0.13, _TORSO),
        (-0.05, 0.12, -0.46, 0.08, _LEG),
        (0.2, 0.14, 0.0, 0.30, _ARM),
    ],
    # The hands are at the ledge; the stage view draws the arms up to it.
    "ledge": [
        *_head(0.0, 0.76),
        (-0.04, 0.58, -0.08, 0.34, _TORSO),
        (-0.08, 0.32, -0.18, 0.0, _LEG),
        (-0.06, 0.32, 0.0, 0.04, _LEG),
    ],
    "forward": [
        *_head(0.08, 0.80),
        (0.06, 0.64, 0.0, 0.42, _TORSO),
        (-0.02, 0.40, -0.24, 0.06, _LEG),
        (0.04, 0.40, 0.18, 0.06, _LEG),
        (0.06, 0.62, 0.62, 0.58, 0.075),
    ],
    "up": [
        *_head(0.06, 0.80),
        (0.0, 0.64, 0.0, 0.42, _TORSO),
        *_LEGS,
        (0.0, 0.66, -0.06, 1.22, 0.075),
    ],
    "down": [
        *_head(0.06, 0.66),
        (0.02, 0.52, 0.0, 0.36, _TORSO),
        (-0.02, 0.36, -0.2, 0.2, _LEG),
        (0.0, 0.4, 0.2, -0.14, 0.08),
        (0.02, 0.54, -0.22, 0.66, _ARM),
    ],
    "sweep": [
        *_head(0.0, 0.56),
        (0.0, 0.42, 0.0, 0.28, _TORSO),
        (0.0, 0.2, -0.5, 0.07, 0.08),
        (0.0, 0.2, 0.56, 0.07, 0.08),
        (0.0, 0.42, -0.2, 0.5, _ARM),
        (0.0, 0.42, 0.2, 0.5, _ARM),
    ],
    "back": [
        *_head(0.12, 0.74),
        (0.06, 0.60, -0.04, 0.42, _TORSO),
        (0.0, 0.40, 0.1, 0.06, _LEG),
        (-0.02, 0.44, -0.58, 0.50, 0.08),
        (0.06, 0.60, 0.24, 0.46, _ARM),
    ],
    "spin": [
        *_head(0.04, 0.78),
        (0.0, 0.62, 0.0, 0.42, _TORSO),
        (0.0, 0.42, -0.3, 0.22, _LEG),
        (0.0, 0.40, 0.44, 0.34, 0.08),
        (0.0, 0.62, -0.38, 0.62, _ARM),
        (0.0, 0.62, 0.30, 0.62, _ARM),
    ],
    "guard": [
        *_head(0.06, 0.68),
        (0.0, 0.52, -0.02, 0.34, _TORSO),
        (-0.04, 0.32, -0.18, 0.06, _LEG),
        (0.04, 0.32, 0.18, 0.06, _LEG),
        (0.04, 0.52, 0.2, 0.60, _ARM),
    ],
    "grab": [
        *_head(0.08, 0.80),
        (0.04, 0.64, 0.0, 0.42, _TORSO),
        *_LEGS,
        (0.06, 0.66, 0.42, 0.66, _ARM),
        (0.06, 0.56, 0.42, 0.54, _ARM),
    ],
    "roll": [(0.0, 0.3, 0.0, 0.3, 0.3), (0.0, 0.3, 0.44, 0.3, _NOSE)],
    "special": [
        *_head(0.06, 0.80),
        (0.04, 0.64, 0.0, 0.42, _TORSO),
        (-0.04, 0.40, -0.2, 0.08, _LEG),
        (0.04, 0.40, 0.2, 0.08, _LEG),
        (0.06, 0.64, 0.44, 0.76, 0.065),
        (0.06, 0.62, 0.46, 0.50, 0.065),
    ],
}  # fmt: skip
_POSTURES["held"] = _POSTURES["hurt"]
_POSTURES["tumble"] = _POSTURES["fall"]


def _round(pose: Pose, phase: int) -> list[Limb]:
    """Return the limbs of a ball-shaped body; its striking limb depends on the pose."""
    low = {"crouch": 0.34, "lie": 0.3, "guard": 0.42}.get(pose, 0.5)
    body: list[Limb] = [(0.0, low, 0.0, low, 0.44 if low > 0.4 else 0.32)]
    body.append((0.3, low + 0.08, 0.66, low + 0.06, _NOSE))
    stride = (1.0, 0.3, -1.0, 0.3)[phase] if pose in ("walk", "run") else 0.6
    if pose not in ("roll", "lie"):
        body += [(0.0, 0.1, 0.3 * stride, 0.05, 0.09), (0.0, 0.1, -0.3 * stride, 0.05, 0.09)]
    if pose == "ledge":
        return body
    strike = {
        "forward": (0.2, 0.5, 0.85, 0.5, 0.1),
        "special": (0.2, 0.55, 0.8, 0.66, 0.1),
        "grab": (0.2, 0.5, 0.75, 0.55, 0.1),
        "up": (0.0, 0.6, 0.0, 1.25, 0.1),
        "down": (0.1, 0.3, 0.25, -0.25, 0.1),
        "sweep": (-0.75, 0.12, 0.75, 0.12, 0.1),
        "back": (-0.2, 0.5, -0.85, 0.5, 0.1),
        "spin": (-0.7, 0.5, 0.7, 0.45, 0.1),
    }.get(pose, (0.0, 0.5, -0.52, 0.62 if pose in ("jump", "fall") else 0.4, 0.08))
    return [*body, strike]


_LETTERS: dict[str, tuple[str, str, str]] = {
    "stand": (" o>", "/|\\", "/ \\"),
    "walk": (" o>", "/|\\", " |\\"),
    "run": (" o>", "/|-", "/ >"),
    "crouch": ("   ", " o>", "/^\\"),
    "jump": ("\\o>", " | ", "/ /"),
    "fall": (" o>", "-|-", "/ /"),
    "helpless": (" o>", "(|)", " v "),
    "tumble": ("   ", "=-o", "   "),
    "hurt": ("o  ", "\\|-", "/ \\"),
    "lie": ("   ", "   ", "=-o"),
    "ledge": ("|o>", " | ", " / "),
    "forward": (" o>", "/|=", "/ \\"),
    "up": ("|o>", " | ", "/ \\"),
    "down": (" o>", "/|\\", " v "),
    "sweep": ("   ", " o>", "_^_"),
    "back": (" o>", "=|\\", " \\ "),
    "spin": (" o>", "-+-", "/ \\"),
    "guard": ("   ", " o>", "/|\\"),
    "grab": (" o>", "/|c", "/ \\"),
    "held": ("o  ", "\\|/", "/ \\"),
    "roll": ("   ", "   ", "(@)"),
    "special": (" o>", "/|*", "/ \\"),
}
_OTHER_WAY = str.maketrans("<>/\\()", "><\\/)(")


def letters(pose: Pose, facing: int) -> tuple[str, ...]:
    """Return the ASCII figure: three rows of three cells, from the head down."""
    rows = _LETTERS[pose]
    if facing < 0:
        return tuple(row[::-1].translate(_OTHER_WAY) for row in rows)
    return tuple(row.replace(">", " ") for row in rows) if facing == 0 else rows


def _poses() -> list[Pose | None]:
    """Return the pose of each action state; None if it depends only on whether the fighter is airborne."""
    starts: list[tuple[str, Pose]] = [  # the longest matching prefix wins
        ("SLEEP", "lie"), ("REBIRTH", "stand"), ("WAIT", "stand"), ("WALK", "walk"), ("TURN", "stand"),
        ("DASH", "run"), ("RUN", "run"), ("TURN_RUN", "run"), ("KNEE_BEND", "crouch"), ("JUMP", "jump"),
        ("FALL", "fall"), ("FALL_SPECIAL", "helpless"), ("DAMAGE_FALL", "tumble"), ("SQUAT", "crouch"),
        ("LANDING", "crouch"), ("ATTACK", "forward"), ("ATTACK_HI", "up"), ("ATTACK_LW", "sweep"),
        ("ATTACK_AIR_N", "spin"), ("ATTACK_AIR_F", "forward"), ("ATTACK_AIR_B", "back"),
        ("ATTACK_AIR_HI", "up"), ("ATTACK_AIR_LW", "down"), ("DAMAGE", "hurt"), ("DAMAGE_FLY", "tumble"),
        ("LIGHT_THROW", "forward"), ("HEAVY_THROW", "forward"), ("GUARD", "guard"), ("DOWN", "lie"),
        ("DOWN_STAND", "crouch"), ("DOWN_ATTACK", "sweep"), ("DOWN_FORWARD", "roll"), ("DOWN_BACK", "roll"),
        ("PASSIVE", "crouch"), ("PASSIVE_STAND", "roll"), ("PASSIVE_WALL_JUMP", "jump"),
        ("SHIELD_BREAK_FLY", "tumble"), ("SHIELD_BREAK_FALL", "tumble"), ("SHIELD_BREAK_DOWN", "lie"),
        ("FURA_FURA", "helpless"), ("CATCH", "grab"), ("THROW", "forward"), ("THROW_HI", "up"),
        ("THROW_LW", "down"), ("THROW_B", "back"), ("CAPTURE", "held"), ("THROWN", "tumble"),
        ("ESCAPE", "crouch"), ("ESCAPE_F", "roll"), ("ESCAPE_B", "roll"), ("ESCAPE_AIR", "jump"),
        ("REBOUND", "hurt"), ("FLY_REFLECT", "tumble"), ("STOP_", "hurt"), ("MISS_FOOT", "hurt"),
        ("CLIFF_CATCH", "ledge"), ("CLIFF_WAIT", "ledge"), ("CLIFF_CLIMB", "crouch"),
        ("CLIFF_ATTACK", "forward"), ("CLIFF_ESCAPE", "roll"), ("CLIFF_JUMP", "jump"),
        ("YOSHI_EGG", "roll"), ("BURY", "crouch"),
    ]  # fmt: skip
    found: list[Pose | None] = []
    for name in COMMON:
        fitting = [(len(start), pose) for start, pose in starts if name.startswith(start)]
        found.append(max(fitting)[1] if fitting else None)
    return found


_POSES = _poses()
