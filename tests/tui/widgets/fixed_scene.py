"""Scenes, fighters and controllers with every value given, for tests that change one."""

from typing import Any

from exphil_core.melee.action_states import BY_NAME
from exphil_core.melee.controller import Controller
from exphil_core.melee.stages import by_name
from exphil_tui.model.scene import Platform, Scene, SceneFighter, SceneItem


def fighter(**changes: Any) -> SceneFighter:
    values: dict[str, Any] = {
        "slot": 0,
        "port": 1,
        "follower": False,
        "name": "",
        "type": "human",
        "team": None,
        "character": "Fox",
        "x": 0.0,
        "y": 0.0,
        "facing": 1,
        "action_state": BY_NAME["WAIT"],
        "action": "stand",
        "state_age": 3.0,
        "percent": 42.0,
        "shield": 60.0,
        "stocks": 4,
        "jumps": 2,
        "hitlag": 0.0,
        "hitstun": 0.0,
        "airborne": False,
        "shielding": False,
        "dead": False,
        "offscreen": False,
        "fastfalling": False,
        "invulnerability": "none",
        "velocity": (0.0, 0.0),
        "controller": Controller(),
    }
    return SceneFighter(**(values | changes))


def scene(
    *fighters: SceneFighter, frame_index: int = 500, stage: str = "battlefield", **changes: Any
) -> Scene:
    measures = by_name(stage)
    values: dict[str, Any] = {
        "frame_index": frame_index,
        "frame_id": frame_index - 123,
        "stage": measures.title,
        "edge": measures.edge,
        "blast": measures.blast,
        "platforms": tuple(
            Platform(left=left, right=right, height=height, moving=False)
            for left, right, height in measures.platforms
        ),
        "fighters": fighters,
        "items": (),
        "items_known": True,
        "note": "",
    }
    return Scene(**(values | changes))


def thing(**changes: Any) -> SceneItem:
    values: dict[str, Any] = {
        "x": 10.0,
        "y": 8.0,
        "name": "laser",
        "type_id": 54,
        "state": 0,
        "owner": 0,
        "projectile": True,
        "velocity": (7.0, 0.0),
    }
    return SceneItem(**(values | changes))
