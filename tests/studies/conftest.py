"""A study that is small enough for a test, and workers whose runs take milliseconds instead of minutes."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.studies.tiny import TINY


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny study with words of it replaced, and returns its file."""

    def write(*changes: tuple[str, str], more: str = "", name: str = "tiny.toml") -> Path:
        text = TINY
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text + textwrap.dedent(more))
        return path

    return write
