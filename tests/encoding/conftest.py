"""A batch with nothing in it, to be filled by name: `empty_batch(rows, length)`, `put(batch, "p0.percent", 12.0)`."""

from collections.abc import Callable

import numpy as np
import pytest

from exphil_core.dataset.batches import Batch
from exphil_core.replays.columns import DTYPES, GROUPS, LAYOUT, MISSING, POSITION

Put = Callable[[Batch, str, object], None]


@pytest.fixture
def empty_batch() -> Callable[[int, int], Batch]:
    """Every column missing, every frame valid and playable, Final Destination."""

    def build(rows: int, length: int) -> Batch:
        return Batch(
            columns={
                group: np.full((rows, length, len(LAYOUT[group])), MISSING[group], DTYPES[group])
                for group in GROUPS
            },
            frame_id=np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
            valid=np.ones((rows, length), np.bool_),
            reset=np.tile(np.arange(length) == 0, (rows, 1)),
            ego_slot=np.zeros(rows, np.uint8),
            external_id=np.zeros(rows, np.uint8),
            stage=np.full(rows, 32, np.uint8),
            mirror=np.zeros(rows, np.bool_),
            game=np.arange(rows, dtype=np.int32),
            start=np.zeros(rows, np.int32),
        )

    return build


@pytest.fixture
def put() -> Put:
    """Sets a column of every row and frame, or whatever part of them the value covers."""

    def set_column(batch: Batch, name: str, value: object) -> None:
        group, index = POSITION[name]
        batch.columns[group][..., index] = value

    return set_column
