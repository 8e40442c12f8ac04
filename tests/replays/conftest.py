"""`handmade(...)` writes a replay of `Handmade(...)` and gives its path; `playing` are inputs of a lively player."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.replays.handmade import Handmade


@pytest.fixture
def build() -> Callable[..., Any]:
    """The class `Handmade`."""
    return Handmade


@pytest.fixture
def handmade(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "game.slp", **fields: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Handmade(**fields).build())
        return path

    return write


@pytest.fixture
def playing() -> dict[str, Any]:
    """Fields of a game in which both sides press and hit: kept by every filter, and each call another game."""

    def pre(row: int, port_index: int) -> dict[str, Any]:
        draw = random.Random(f"{row // 3} {port_index}")
        return {
            "main_x": draw.randrange(-80, 81) / 80,
            "main_y": draw.randrange(-80, 81) / 80,
            "buttons": draw.choice((0, 0, 0, 0x100, 0x400)),
        }

    def post(row: int, port_index: int) -> dict[str, Any]:
        return {"percent": row // 100}

    return {"pre": pre, "post": post}
