"""One small set of the dojo's replays for this room, and a reader that gives what the bots saw."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import peppi_py
import pytest

from exphil_core.dojo.demo import write_demo
from exphil_core.dojo.world import Post
from exphil_core.melee.controller import Controller

PRE_FIELDS = {
    "main_x": "joystick.x",
    "main_y": "joystick.y",
    "c_x": "cstick.x",
    "c_y": "cstick.y",
    "trigger_l": "triggers_physical.l",
    "trigger_r": "triggers_physical.r",
    "buttons": "buttons_physical",
}
POST_FIELDS = {
    "internal_id": "character",
    "action_state": "state",
    "position_x": "position.x",
    "position_y": "position.y",
    "direction": "direction",
    "percent": "percent",
    "shield": "shield",
    "last_attack_landed": "last_attack_landed",
    "combo_count": "combo_count",
    "last_hit_by": "last_hit_by",
    "stocks": "stocks",
    "state_age": "state_age",
    "flags_1": "state_flags.0",
    "flags_2": "state_flags.1",
    "flags_3": "state_flags.2",
    "flags_4": "state_flags.3",
    "flags_5": "state_flags.4",
    "misc_as": "misc_as",
    "airborne": "airborne",
    "ground_id": "ground",
    "jumps": "jumps",
    "l_cancel": "l_cancel",
    "hurtbox_state": "hurtbox_state",
    "velocity_air_x": "velocities.self_x_air",
    "velocity_y": "velocities.self_y",
    "knockback_x": "velocities.knockback_x",
    "knockback_y": "velocities.knockback_y",
    "velocity_ground_x": "velocities.self_x_ground",
    "hitlag": "hitlag",
    "animation_index": "animation_index",
}
"""In the order of `Post`; the two instance ids at its end are unknown to peppi."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    port_index: int
    external_id: int
    posts: tuple[Post, ...]
    controllers: tuple[Controller, ...]
    floor: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    game: Any
    frame_id: np.ndarray
    sides: tuple[Side, Side]


def _values(root: Any, path: str) -> np.ndarray:
    for name in path.split("."):
        root = root[int(name)] if name.isdigit() and isinstance(root, tuple | list) else getattr(root, name)
    return np.asarray(root.to_numpy(zero_copy_only=False))


def _on_grid(column: np.ndarray) -> np.ndarray:
    """The hardware's steps, which float32 only comes close to. Button bits stay as they are."""
    return np.round(column.astype(np.float64) * 80) / 80 if column.dtype.kind == "f" else column


@cache
def _read(path: Path) -> Replay:
    game = peppi_py.read_slippi(str(path))
    sides = []
    for player, port in zip(game.start.players, game.frames.ports, strict=True):
        post = [_values(port.leader.post, field).tolist() for field in POST_FIELDS.values()]
        pre = [_on_grid(_values(port.leader.pre, field)).tolist() for field in PRE_FIELDS.values()]
        index = int(player.port)
        sides.append(
            Side(
                port_index=index,
                external_id=int(player.character),
                posts=tuple(Post._make((*row, 0, 0)) for row in zip(*post, strict=True)),
                controllers=tuple(
                    Controller(**dict(zip(PRE_FIELDS, row, strict=True))) for row in zip(*pre, strict=True)
                ),
                floor=game.metadata["dojo"]["players"][str(index)],
            )
        )
    return Replay(game=game, frame_id=_values(game.frames, "id"), sides=(sides[0], sides[1]))


@pytest.fixture(scope="session")
def read() -> Callable[[Path], Replay]:
    """Read a replay of the dojo with peppi."""
    return _read


@pytest.fixture(scope="session")
def matches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Ten matches: five of each of two seeds."""
    folder = tmp_path_factory.mktemp("matches")
    return write_demo(folder, games=5, seed=0) + write_demo(folder, games=5, seed=41)
