"""Game filters for datasets, and the input quality of each player (side) of a game.

A predicate removes a game; a side's quality never does. A game with an idle player or a script is kept, since the
opponent may be worth imitating: ego selection decides which sides to imitate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exphil_core.melee import stages
from exphil_core.melee.characters import PLAYABLE_COUNT
from exphil_core.melee.controller import BUTTON_MASK, STICK_STEP
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID, FRAMES_PER_SECOND
from exphil_core.replays.columns import MISSING
from exphil_core.replays.game import Game, Player

FILTERS_VERSION = 2
"""Part of a dataset's cache key: raise it when the same game would be judged differently."""

_MAX_MISSING = 0.05

ACTIVE_SHARE = 0.08
"""Inputs of an active side change on at least this share of frames (humans: 0.1 to 0.65)."""

_MAX_OFF_GRID = 0.02
"""Human stick values lie on a grid of 1/80; 6 to 11 % of a CPU player's values do not."""

_MIN_STICK_POSITIONS = 4
"""Box controllers use 13 or more positions of the main stick, analog sticks hundreds, a script that repeats one
trick two or three."""

_MAX_PRESSES_PER_SECOND = 15.0

_LOOP_WINDOW = 60
_LOOP_CHANGES = 8
_MAX_REPEATED = 0.5
"""Maximum share of repeated windows: among windows of `_LOOP_WINDOW` frames with at least `_LOOP_CHANGES` input
changes, those that occurred before, bit for bit. Humans: 0.001 at most; scripts: 0.54 to 0.97."""

_FULL_DEFLECTION, _NEUTRAL_DEFLECTION = 0.95, 0.01
"""Minimum distance of the main stick from its centre that counts as full, and maximum that counts as neutral."""

_MIN_DIGITAL_SHARE = 0.5
"""Share of main stick moves that jump between neutral and full within one frame, from which a side is digital.
Humans with an analog stick: 0.01 to 0.23; with a box controller: 0.57 to 0.75; scripts: 0.93 to 1."""

_MIN_DIGITAL_DWELL = 4.0
"""Minimum median number of frames between a digital side's stick moves. Humans with a box controller have 5 to 7,
since fingers must press and release; a script that decides every few frames has 1 to 3."""

_MAX_SAME_DWELL = 0.3
"""Maximum share of a digital side's stick moves that follow after the most common number of frames. Humans: 0.11 to
0.15; dojo bots: up to 0.18; a script with a fixed period: 0.9."""

_FEW_MOVES = 30
"""With fewer stick moves than this, the timing of a side is not judged."""

_MULTIPLIER = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True, kw_only=True)
class SideQuality:
    human: bool
    """The replay's player type is human; idle players and scripts have it, too."""
    active: bool
    plausible: bool
    """Inputs look human: on the stick grid, no faster than fingers, not a loop."""
    activity: float
    """Share of playable frames on which the inputs change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    name: str
    sentence: str
    removes: Callable[[Game, int], bool]
    """Takes a game and the minimum number of frames."""


def _player_missing(game: Game, min_frames: int) -> bool:
    return any(
        np.mean(player.leader["action_state"] == MISSING["u16"]) > _MAX_MISSING for player in game.players
    )


def _no_damage(game: Game, min_frames: int) -> bool:
    return not any(np.any(player.leader["percent"] > 0) for player in game.players)


PREDICATES: tuple[Predicate, ...] = (
    Predicate(
        name="not_1v1",
        sentence="it does not have exactly two players",
        removes=lambda game, _: len(game.players) != 2,
    ),
    Predicate(name="teams", sentence="it is a team game", removes=lambda game, _: game.is_teams),
    Predicate(
        name="unknown_character",
        sentence="a player has no character of the select screen",
        removes=lambda game, _: any(player.external_id >= PLAYABLE_COUNT for player in game.players),
    ),
    Predicate(
        name="unsupported_stage",
        sentence="it is not on one of the six tournament stages",
        removes=lambda game, _: not stages.is_supported(game.external_stage_id),
    ),
    Predicate(
        name="too_short",
        sentence="it has fewer frames than the minimum",
        removes=lambda game, min_frames: game.frames < min_frames,
    ),
    Predicate(
        name="player_missing",
        sentence=f"a player is missing on more than {_MAX_MISSING:.0%} of the frames",
        removes=_player_missing,
    ),
    Predicate(name="no_damage", sentence="neither player took damage", removes=_no_damage),
)
"""Predicates in the order in which they are tried: a game is counted under the first that removes it."""


def removed_by(game: Game, *, min_frames: int) -> Predicate | None:
    """Return the first predicate that removes the game, or None."""
    return next((predicate for predicate in PREDICATES if predicate.removes(game, min_frames)), None)


def side_quality(game: Game, player: Player) -> SideQuality:
    """Judge the inputs of one player over the playable frames of a game."""
    playable = game.frame_id >= FIRST_PLAYABLE_FRAME_ID
    buttons = player.leader["buttons"][playable]
    buttons = np.where(buttons == MISSING["u16"], 0, buttons & BUTTON_MASK)
    axes = [
        np.nan_to_num(player.leader[name][playable])
        for name in ("main_x", "main_y", "c_x", "c_y", "trigger_l", "trigger_r")
    ]
    if len(buttons) < 2:
        return SideQuality(human=player.type == "human", active=False, plausible=False, activity=0.0)
    changes = np.diff(buttons) != 0
    for axis in axes:
        changes |= np.diff(axis) != 0
    activity = float(changes.mean())
    return SideQuality(
        human=player.type == "human",
        active=activity >= ACTIVE_SHARE,
        plausible=_is_plausible(axes, buttons, changes),
        activity=activity,
    )


def _is_plausible(axes: list[np.ndarray], buttons: np.ndarray, changes: np.ndarray) -> bool:
    main_x, main_y, c_x, c_y, _, _ = axes
    off_grid = np.mean([_off_grid(axis) for axis in (main_x, main_y, c_x, c_y)])
    steps = np.round(np.stack((main_x, main_y)) / STICK_STEP).astype(np.int64)
    positions = _distinct(steps[0] * 1024 + steps[1])
    pressed = np.count_nonzero(buttons[1:] & ~buttons[:-1])
    return bool(
        off_grid <= _MAX_OFF_GRID
        and positions >= _MIN_STICK_POSITIONS
        and pressed * FRAMES_PER_SECOND <= _MAX_PRESSES_PER_SECOND * len(buttons)
        and not _is_slow_script(main_x, main_y)
        and _repeated(axes, buttons, changes) <= _MAX_REPEATED
    )


def _is_slow_script(main_x: np.ndarray, main_y: np.ndarray) -> bool:
    """Whether the stick jumps like a box controller's, with timing that no human has."""
    moved = np.flatnonzero((np.diff(main_x) != 0) | (np.diff(main_y) != 0))
    if len(moved) < _FEW_MOVES:
        return False
    deflection = np.hypot(main_x, main_y)
    neutral, full = deflection <= _NEUTRAL_DEFLECTION, deflection >= _FULL_DEFLECTION
    before, after = moved, moved + 1
    jumps = (neutral[before] & full[after]) | (full[before] & neutral[after])
    if jumps.mean() < _MIN_DIGITAL_SHARE:
        return False
    dwell = np.diff(moved)
    same = np.bincount(dwell).max() / len(dwell)
    return bool(np.median(dwell) < _MIN_DIGITAL_DWELL or same > _MAX_SAME_DWELL)


def _off_grid(axis: np.ndarray) -> float:
    steps = axis / STICK_STEP
    return float(np.mean(np.abs(steps - np.round(steps)) > 0.01))


def _repeated(axes: list[np.ndarray], buttons: np.ndarray, changes: np.ndarray) -> float:
    """Share of the busy windows whose inputs repeat those of another busy window, bit for bit.

    A window's hash is a difference of prefix sums: sum of token[i] * m**i over the window, divided by
    m**start, in arithmetic modulo 2**64, where the odd m has an inverse.
    """
    length = len(buttons)
    if length <= _LOOP_WINDOW:
        return 0.0
    token = buttons.astype(np.uint64)
    for axis in axes:
        bits = np.ascontiguousarray(axis, np.float32).view(np.uint32)
        token = (token ^ (token >> np.uint64(29))) * np.uint64(_MULTIPLIER) + bits
    token = (token ^ (token >> np.uint64(31))) * np.uint64(_MULTIPLIER)
    sums = _from_zero(np.cumsum(token * _powers(_MULTIPLIER, length)))
    inverses = _powers(pow(_MULTIPLIER, -1, 2**64), length - _LOOP_WINDOW + 1)
    windows = (sums[_LOOP_WINDOW:] - sums[:-_LOOP_WINDOW]) * inverses
    # A change between frames i and i + 1 belongs to the windows that hold both.
    changed = np.concatenate((np.zeros(1, np.int64), np.cumsum(changes)))
    busy = changed[_LOOP_WINDOW - 1 :] - changed[: length - _LOOP_WINDOW + 1] >= _LOOP_CHANGES
    found = windows[busy]
    return 1 - _distinct(found) / len(found) if len(found) else 0.0


def _distinct(values: np.ndarray) -> int:
    """Number of different values. numpy's `unique` hashes them, which takes several times as long."""
    ordered = np.sort(values)
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + bool(len(ordered))


def _from_zero(sums: np.ndarray) -> np.ndarray:
    return np.concatenate((np.zeros(1, sums.dtype), sums))


def _powers(base: int, count: int) -> np.ndarray:
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers)
