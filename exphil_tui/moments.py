"""The frames of a game that one looks for: where somebody loses a stock, and where somebody is hit.

In: a `Game`. Out: frame indices, each with the slot of the player that it happened to. Worked out once a game, so
that a key press is a search in a short array. What one gets wrong: no replay says "hit"; it is percent that rose,
whoever `last_hit_by` still names from before.
"""

from dataclasses import dataclass

import numpy as np

from exphil_core.melee.action_states import BY_NAME
from exphil_core.melee.characters import by_name
from exphil_core.melee.flags import STRUCK
from exphil_core.replays.columns import MISSING
from exphil_core.replays.game import Game, Player

_HURT = np.array(
    [
        action_state
        for name, action_state in BY_NAME.items()
        if name.startswith(("DAMAGE_", "CAPTURE_", "THROWN_", "DOWN_DAMAGE")) and name != "DAMAGE_FALL"
    ]
)
_HURTS_ITSELF = tuple(by_name(name).internal_id for name in ("pichu", "roy"))
"""By their own moves: Pichu's electricity and a full Flare Blade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    stock_losses: np.ndarray
    """int32 [N, 2]: (frame index, slot of the player whose stocks fell), in order of time."""
    hits: np.ndarray
    """int32 [M, 2]: (frame index, slot of the player who was hit), in order of time."""


def find_moments(game: Game) -> Moments:
    return Moments(
        stock_losses=_table([_stock_losses(player) for player in game.players]),
        hits=_table([_hits(player) for player in game.players]),
    )


def following(moments: np.ndarray, frame_index: int) -> int | None:
    """The first frame of `moments` [N, 2] after `frame_index`, or None."""
    place = int(np.searchsorted(moments[:, 0], frame_index, side="right"))
    return int(moments[place, 0]) if place < len(moments) else None


def preceding(moments: np.ndarray, frame_index: int) -> int | None:
    """The last frame of `moments` [N, 2] before `frame_index`, or None."""
    place = int(np.searchsorted(moments[:, 0], frame_index, side="left"))
    return int(moments[place - 1, 0]) if place else None


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
    """Where percent rises and it was not the player itself: `last_hit_by` names a port, this one's after a move that
    hurts its user. It says nobody during pummels, throws and lasers that don't flinch, so it cannot be asked for
    an opponent."""
    leader = player.leader
    with np.errstate(invalid="ignore"):
        hit = np.diff(leader["percent"], prepend=leader["percent"][:1]) > 0
    hit &= leader["last_hit_by"] != player.port_index
    itself = np.isin(leader["internal_id"], _HURTS_ITSELF)
    if itself.any():
        flags = leader[STRUCK.column]
        struck = (flags != MISSING["u8"]) & (flags & STRUCK.bit != 0)
        hit &= ~itself | struck | np.isin(leader["action_state"], _HURT)
    return np.flatnonzero(hit)
