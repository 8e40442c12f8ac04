"""A parsed game: one replay's match as numpy columns, before any ego is chosen.

Arrays have one entry per frame; of repeated frames the last occurrence. Two to four players, in port order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exphil_core.melee import characters
from exphil_core.replays.columns import Version

Columns = Mapping[str, np.ndarray]


def frames_by_character(internal_id: np.ndarray, selected_external_id: int) -> dict[int, int]:
    """Map external character id to the frames on which the player has it on the stage, most played first.

    Zelda and Sheik transform, so a player has at most two characters. Frames without an internal id, or with one
    that the player cannot have, count for the character played most.

    Args:
        internal_id: uint8 [T], the `internal_id` column of the player's leader.
        selected_external_id: The selected character; used if no frame has an id.
    """
    counts = np.bincount(internal_id, minlength=256)[: characters.INTERNAL_ID_COUNT]
    frames = {
        characters.by_internal_id(internal).external_id: count
        for internal, count in enumerate(counts.tolist())
        if count
    }
    # A tie goes to the selected character.
    main = max(
        frames or (selected_external_id,),
        key=lambda external_id: (
            frames.get(external_id, 0),
            external_id == selected_external_id,
            -external_id,
        ),
    )
    other = characters.TRANSFORMS.get(main)
    other_frames = 0 if other is None else frames.get(other, 0)
    found = {main: len(internal_id) - other_frames}
    if other is not None and other_frames:
        found[other] = other_frames
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Loss floor of a dojo bot's inputs, in nats per frame: no model can get below it without leaked information.

    Averaged over the frames from the first playable one (`FIRST_PLAYABLE_FRAME_ID`) to the last.
    """

    entropy: float
    """Mean entropy of the distributions from which the inputs were drawn."""
    surprisal: float
    """Mean of -log p of the inputs that were drawn: the realised value of `entropy` in this game."""
    stderr: float
    """Standard error of `surprisal` around `entropy`."""
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    port_index: int
    external_id: int
    """The selected character; `played` has those on the stage."""
    type: Literal["human", "cpu", "demo"]
    costume: int
    team: int | None
    start_stocks: int
    name: str
    """Name tag or netplay name, sanitised; may be empty. For display only, never stored in a dataset."""
    code: str
    """Netplay connect code, sanitised; may be empty. Never stored in a dataset."""
    leader: Columns
    """`PLAYER_COLUMNS` by name, each [T]."""
    follower: Columns | None
    """The same columns for Nana; all missing on frames where she is absent."""
    floor: Floor | None = None
    """Set only in replays that the dojo wrote (`metadata.dojo`)."""

    @property
    def played(self) -> dict[int, int]:
        """External character id → frames on the stage, most played first."""
        return frames_by_character(self.leader["internal_id"], self.external_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The items of all frames in one table: frame t has rows `offsets[t]:offsets[t + 1]`."""

    offsets: np.ndarray
    """int64 [T + 1]."""
    spawn_id: np.ndarray
    """uint32 [N]."""
    columns: Columns
    """`ITEM_COLUMNS` by name, each [N]; `owner` is an index into the game's `players`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Game:
    content_id: str
    """32 hexadecimal digits: BLAKE2b-128 over what was played, not over the file's bytes."""
    version: Version
    external_stage_id: int
    is_teams: bool
    is_pal: bool | None
    random_seed: int
    match_id: str
    """Slippi's session id of a netplay game, since version 3.14; else empty."""
    played_on: str
    """Console or program that wrote the file, sanitised."""
    end_method: str | None
    """`game`, `no_contest`, `time`…; None if no Game End was written."""
    frame_id: np.ndarray
    """int32 [T], strictly increasing."""
    players: tuple[Player, ...]
    items: Items | None
    """None if the version has no items."""
    stage: Columns
    """`STAGE_COLUMNS` by name, each [T]."""
    rollback_rows: int
    """Number of rows that were dropped: frames that netplay played again, or rolled back at the very end."""
    salvaged: bool
    """The file was truncated; the game is cut to its last complete frame."""
    repaired: tuple[str, ...] = ()
    """Repairs made to the file before it was read: keys of `repair.REPAIRS`."""
    game_number: int | None = None
    """Number of the game within its match, from 1; None without a match id."""
    tiebreak_number: int | None = None
    """0 if the game is not a tiebreak; None without a match id."""
    started_at: str = ""
    """Start time from the metadata, ISO 8601, sanitised; may be empty. Never stored in a dataset."""

    @property
    def frames(self) -> int:
        return len(self.frame_id)
