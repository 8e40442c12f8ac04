"""Find stock losses and hits in a replay, as frame indices with player slots.

Replays have no "hit" event: a hit is a rise in percent, and `last_hit_by` may still name an earlier attacker.
"""

from dataclasses import dataclass

import numpy as np

from exphil_core.melee.action_states import BY_NAME
from exphil_core.melee.characters import by_name
from exphil_core.melee.flags import STRUCK
from exphil_core.replays.columns import MISSING
from exphil_core.replays.game import Game, Player

_DAMAGE_STATES = np.array(
    [
        action_state
        for name, action_state in BY_NAME.items()
        if name.startswith(("DAMAGE_", "CAPTURE_", "THROWN_", "DOWN_DAMAGE")) and name != "DAMAGE_FALL"
    ]
)
_SELF_DAMAGING = tuple(by_name(name).internal_id for name in ("pichu", "roy"))
"""Characters whose own moves hurt them: Pichu's electric attacks, Roy's fully charged Flare Blade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayEvents:
    stock_losses: np.ndarray
    """int32 [N, 2]: (frame index, slot of the player who lost a stock), sorted by frame."""
    hits: np.ndarray
    """int32 [M, 2]: (frame index, slot of the player who was hit), sorted by frame."""


def find_events(game: Game) -> ReplayEvents:
    """Find all stock losses and hits of a game."""
    return ReplayEvents(
        stock_losses=_table([_stock_losses(player) for player in game.players]),
        hits=_table([_hits(player) for player in game.players]),
    )


def next_event_frame(events: np.ndarray, frame_index: int) -> int | None:
    """Return the first frame of `events` [N, 2] after `frame_index`, or None."""
    index = int(np.searchsorted(events[:, 0], frame_index, side="right"))
    return int(events[index, 0]) if index < len(events) else None


def previous_event_frame(events: np.ndarray, frame_index: int) -> int | None:
    """Return the last frame of `events` [N, 2] before `frame_index`, or None."""
    index = int(np.searchsorted(events[:, 0], frame_index, side="left"))
    return int(events[index - 1, 0]) if index else None


def _table(frames_of_slot: list[np.ndarray]) -> np.ndarray:
    frames = np.concatenate(frames_of_slot)
    slots = np.repeat(np.arange(len(frames_of_slot)), [len(frames) for frames in frames_of_slot])
    order = np.lexsort((slots, frames))
    return np.stack((frames[order], slots[order]), axis=1).astype(np.int32)


def _stock_losses(player: Player) -> np.ndarray:
    stocks = player.leader["stocks"].astype(np.int16)
    known = stocks != MISSING["u8"]
    return np.flatnonzero((stocks[1:] < stocks[:-1]) & known[1:] & known[:-1]) + 1


def _hits(player: Player) -> np.ndarray:
    """Return the frames where percent rises through another player.

    After a self-damaging move `last_hit_by` names the player's own port. It names no port during pummels, throws and
    lasers that don't flinch, so requiring an opponent's port would miss those.
    """
    leader = player.leader
    with np.errstate(invalid="ignore"):
        hit = np.diff(leader["percent"], prepend=leader["percent"][:1]) > 0
    hit &= leader["last_hit_by"] != player.port_index
    self_damaging = np.isin(leader["internal_id"], _SELF_DAMAGING)
    if self_damaging.any():
        flags = leader[STRUCK.column]
        struck = (flags != MISSING["u8"]) & (flags & STRUCK.bit != 0)
        hit &= ~self_damaging | struck | np.isin(leader["action_state"], _DAMAGE_STATES)
    return np.flatnonzero(hit)
