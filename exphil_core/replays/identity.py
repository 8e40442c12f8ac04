"""Game identity: content id, and hashed keys that match recordings of one game and games of one match.

No key holds a name, a connect code or a match id in plain text.
"""

import hashlib
from datetime import UTC, datetime, timedelta

import numpy as np

from exphil_core.melee.controller import BUTTON_MASK
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID
from exphil_core.replays.columns import MISSING
from exphil_core.replays.game import Columns, Game

IDENTITY_COLUMNS: tuple[str, ...] = (
    "main_x",
    "main_y",
    "c_x",
    "c_y",
    "trigger_l",
    "trigger_r",
    "buttons",
    "position_x",
    "position_y",
    "direction",
    "percent",
    "shield",
    "action_state",
    "internal_id",
    "stocks",
)
"""Columns hashed into the content id: those that every version has, so that a new column changes no id."""

_STICKS_AND_TRIGGERS: tuple[str, ...] = IDENTITY_COLUMNS[:6]

_SHORTEST_PREFIX = 256
_MIN_INPUT_CHANGES = 30
"""Minimum frames of changing input in a prefix that identifies a game: players of two games may both be idle."""


def content_id(game: Game) -> str:
    """BLAKE2b-128 hash of what was played: the same for a renamed, repacked or re-annotated file."""
    digest = hashlib.blake2b(digest_size=16)
    header = [game.external_stage_id, game.random_seed, game.is_teams]
    for player in game.players:
        header += [player.port_index, player.external_id, player.costume, player.start_stocks]
    digest.update(repr([int(value) for value in header]).encode())
    digest.update(np.ascontiguousarray(game.frame_id).data)
    for player in game.players:
        for name in IDENTITY_COLUMNS:
            digest.update(np.ascontiguousarray(player.leader[name]).data)
    return digest.hexdigest()


def match_key(game: Game) -> str:
    """Key shared by all games of one match; empty if unknown.

    Netplay has match ids since 3.14; before, the games of two connect codes on one evening count as a match. Offline
    games have neither. Games of dojo bots have no key, since the bots remember nothing between games.
    """
    if any(player.floor for player in game.players):
        return ""
    if game.match_id:
        return _key("match", game.match_id)
    codes = sorted(player.code for player in game.players)
    evening = _evening(game.started_at)
    return _key("evening", evening, *codes) if evening and all(codes) else ""


def _evening(started_at: str) -> str:
    """Date on which the evening began. Days are split at 11:00 UTC, when the fewest netplay games are played."""
    try:
        started = datetime.fromisoformat(started_at)
    except ValueError:
        return ""
    if started.tzinfo is not None:
        started = started.astimezone(UTC)
    return (started - timedelta(hours=11)).date().isoformat()


def twin_keys(game: Game) -> tuple[str, ...]:
    """Keys that are equal in both players' recordings of a game: recordings that share any key are of one game.

    One key hashes match id, game number and tiebreak number, if the file has them. The other hashes the random seed,
    stage, characters and finalised inputs of the first playable frames: two recordings may end some frames apart, or
    one may be cut off, but they begin alike.
    """
    setting = (
        game.external_stage_id,
        *((player.port_index, player.external_id) for player in game.players),
    )
    keys = []
    if game.match_id:
        keys.append(_key("game", game.match_id, game.game_number, game.tiebreak_number, *setting))
    beginning = _beginning(game)
    if beginning is not None:
        keys.append(_key("inputs", game.random_seed, *setting, beginning))
    return tuple(keys)


def _beginning(game: Game) -> str | None:
    """Digest of the inputs of the first 256 playable frames, or 512, 1024, … until enough of them change.

    None if the inputs hardly change in the whole game.
    """
    start = int(np.searchsorted(game.frame_id, FIRST_PLAYABLE_FRAME_ID))  # earlier inputs have no effect
    length = _SHORTEST_PREFIX
    while start + length <= game.frames:
        prefix = slice(start, start + length)
        inputs = np.concatenate([_inputs(player.leader, prefix) for player in game.players], axis=1)
        if np.count_nonzero((inputs[1:] != inputs[:-1]).any(axis=1)) >= _MIN_INPUT_CHANGES:
            return hashlib.blake2b(inputs.tobytes(), digest_size=16).hexdigest()
        length *= 2
    return None


def _inputs(leader: Columns, rows: slice) -> np.ndarray:
    """[T, 7] little-endian float32: sticks, triggers, and the buttons as a number."""
    axes = [leader[name][rows] for name in _STICKS_AND_TRIGGERS]
    held = leader["buttons"][rows]
    buttons = np.where(held == MISSING["u16"], 0, held & BUTTON_MASK)
    # Missing values and -0.0 become 0, so that equal inputs have equal bytes.
    inputs: np.ndarray = np.nan_to_num(np.stack((*axes, buttons), axis=1)).astype("<f4") + np.float32(0)
    return inputs


def _key(kind: str, *parts: object) -> str:
    return hashlib.blake2b(repr((kind, *parts)).encode(), digest_size=10).hexdigest()
