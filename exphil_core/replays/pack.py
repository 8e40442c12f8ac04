"""A two-player game as the rows a dataset stores: one array per dtype group, `columns.LAYOUT` wide.

In: a `Game`. Out: a `PackedGame`, which is all that travels from a worker process to the dataset's writer.
Side 0 is the player of the lower port, whoever is imitated later; no ego is chosen here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exphil_core.replays.columns import Group, Version
from exphil_core.replays.game import Floor


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSide:
    """What a game's header says of one player. No names: a dataset holds none."""

    port_index: int
    external_id: int
    type: Literal["human", "cpu", "demo"]
    floor: Floor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedGame:
    content_id: str
    version: Version
    external_stage_id: int
    end_method: str | None
    salvaged: bool
    rollback_rows: int
    sides: tuple[PackedSide, PackedSide]
    frame_id: np.ndarray
    """int32 [T], strictly increasing."""
    groups: Mapping[Group, np.ndarray]
    """[T, len(LAYOUT[group])] each, C-contiguous, of the group's dtype."""

    @property
    def frames(self) -> int:
        return len(self.frame_id)
