"""A study that is small enough for a test, and workers whose runs take milliseconds instead of minutes."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = """\
about = "Does width help?"
decides = "The loss of wide against narrow."
preset = "quick"
seeds = [0, 1]
against = "narrow"

[data]
games = 6

[budget]
frames = 6_400

[set.train]
batch_size = 4
chunk_length = 32
warmup_steps = 2
precision = "fp32"
device = "cpu"

[set.backbone]
window_size = 16
layers = 1
heads = 2

[set.policy]
head_width = 16

[set.evaluation]
every_minutes = "none"
max_frames = 2000

[axes.width.values.narrow]
backbone.width = 16
encoder.width = 16

[axes.width.values.wide]
backbone.width = 32
encoder.width = 32

[quick]
budget.frames = 3_200
"""


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
