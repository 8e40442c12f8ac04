"""A game: one replay's match as columns, before any ego is chosen.

Frozen values of numpy arrays, one entry a frame, of repeated frames the last occurrence. Two to four players, in
port order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exphil_core.melee import characters
from exphil_core.replays.columns import Version

Columns = Mapping[str, np.ndarray]


def frames_by_character(internal_id: np.ndarray, selected_external_id: int) -> dict[int, int]:
    """External character id → frames on which a player has it on the stage, the one played most first.

    Zelda and Sheik transform, so a player has at most two characters. Frames without an internal id, or with one
    that the player cannot have become, count for the one played most.

    Args:
        internal_id: uint8 [T], the `internal_id` column of the player's leader.
        selected_external_id: The character that was selected; returned where no frame has an id.
    """
    counts = np.bincount(internal_id, minlength=256)[: characters.INTERNAL_ID_COUNT]
    frames = {
        characters.by_internal_id(internal).external_id: count
        for internal, count in enumerate(counts.tolist())
        if count
    }
    # Of two that are played equally long, the selected one.
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
    """What is known of a dojo bot's inputs: the loss that no honest model gets below. Nats per frame.

    Counted over the frames from the first playable one (`FIRST_PLAYABLE_FRAME_ID`) to the last.
    """

    entropy: float
    """Mean entropy of the distributions that the inputs were drawn from."""
    surprisal: float
    """Mean of -log p of the inputs that were drawn: the same quantity as it came out in this game."""
    stderr: float
    """Standard error of `surprisal` around `entropy`."""
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    port_index: int
    external_id: int
    """The character that was selected; `played` says which one is on the stage."""
    type: Literal["human", "cpu", "demo"]
    costume: int
    team: int | None
    start_stocks: int
    name: str
    """Name tag or netplay name, sanitised; may be empty. Shown to people, never stored in a dataset."""
    code: str
    """Netplay connect code, sanitised; may be empty. Never stored in a dataset."""
    leader: Columns
    """`PLAYER_COLUMNS` by name, each [T]."""
    follower: Columns | None
    """The same for Nana; all missing where she is not there."""
    floor: Floor | None = None
    """Only in replays that the dojo wrote (`metadata.dojo`)."""

    @property
    def played(self) -> dict[int, int]:
        """External character id → frames on which it is on the stage, the one played most first."""
        return frames_by_character(self.leader["internal_id"], self.external_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The items of every frame, as one table: those of frame t are rows `offsets[t]:offsets[t + 1]`."""

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
    """Slippi's session id where the version has it (3.14) and the game was netplay, else empty."""
    played_on: str
    """The console or program that wrote the file, sanitised."""
    end_method: str | None
    """`game`, `no_contest`, `time`…; None where no Game End was written."""
    frame_id: np.ndarray
    """int32 [T], strictly increasing."""
    players: tuple[Player, ...]
    items: Items | None
    """None where the version has no items."""
    stage: Columns
    """`STAGE_COLUMNS` by name, each [T]."""
    rollback_rows: int
    """Rows that netplay played again, or rolled back at the very end: dropped."""
    salvaged: bool
    """Cut to the last complete frame of a truncated file."""
    repaired: tuple[str, ...] = ()
    """What had to be repaired before the file could be read: keys of `repair.REPAIRS`."""
    game_number: int | None = None
    """Of the game within its match, from 1; None without a match id."""
    tiebreak_number: int | None = None
    """0 where the game is no tiebreak; None without a match id."""
    started_at: str = ""
    """When it began, in ISO 8601, as the metadata has it, sanitised; may be empty. Never stored in a dataset."""

    @property
    def frames(self) -> int:
        return len(self.frame_id)
