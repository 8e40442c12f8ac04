"""Plausibility checks: values that are valid one by one but impossible in this game. Replays have no checksum."""

import numpy as np

from exphil_core.melee import characters, stages
from exphil_core.replays.columns import MISSING
from exphil_core.replays.game import Columns, Game, Player
from exphil_core.replays.refusals import Refused

_BEYOND_BLAST_LINES = 100.0
"""Units. A player who crosses a blast line dies in that frame, and nothing moves faster than this."""


def check_plausible(game: Game, subject: str) -> None:
    """Raise `Refused` for a game with impossible values.

    These are a player with more stocks than at the start, far beyond the blast lines of a tournament stage, or
    with a character that was not selected.
    """
    for player in game.players:
        for follower, columns in ((False, player.leader), (True, player.follower)):
            if columns is None:
                continue
            wrong = _too_many_stocks(player, columns) or _beyond_the_stage(game, columns)
            wrong = wrong or _another_character(player, columns, follower=follower)
            if wrong is not None:
                name, row, expected = wrong
                whose = f"{'the follower of ' if follower else ''}port {player.port_index + 1}"
                raise impossible(
                    subject, game.frame_id, row, f"{name} of {whose}", columns[name][row], expected
                )


def impossible(
    subject: str, frame_id: np.ndarray, row: int, what: str, value: float, expected: str
) -> Refused:
    """Return a refusal that names the value, its frame and what was expected."""
    detail = f"{what} is {value:g} in frame {frame_id[row]}; expected {expected}"
    return Refused("impossible_values", subject, detail)


_Wrong = tuple[str, int, str]
"""Column, row and what was expected."""


def _too_many_stocks(player: Player, columns: Columns) -> _Wrong | None:
    stocks = columns["stocks"]
    if player.start_stocks == 0:  # not a stock match
        return None
    rows = np.flatnonzero((stocks > player.start_stocks) & (stocks != MISSING["u8"]))
    return ("stocks", int(rows[0]), f"at most the {player.start_stocks} of the start") if len(rows) else None


def _beyond_the_stage(game: Game, columns: Columns) -> _Wrong | None:
    if not stages.is_supported(game.external_stage_id):
        return None
    left, right, bottom, top = stages.by_external_id(game.external_stage_id).blast
    for name, low, high in (("position_x", left, right), ("position_y", bottom, top)):
        low, high = low - _BEYOND_BLAST_LINES, high + _BEYOND_BLAST_LINES
        rows = np.flatnonzero((columns[name] < low) | (columns[name] > high))
        if len(rows):
            return name, int(rows[0]), f"{low:g} to {high:g} on this stage"
    return None


def _another_character(player: Player, columns: Columns, *, follower: bool) -> _Wrong | None:
    if player.external_id >= characters.PLAYABLE_COUNT:
        return None
    external_ids = {player.external_id, characters.TRANSFORMS.get(player.external_id, player.external_id)}
    selected = [characters.by_external_id(external_id) for external_id in sorted(external_ids)]
    if follower:
        selected = [characters.by_name("nana")]
    another = columns["internal_id"] != MISSING["u8"]
    for character in selected:
        another &= columns["internal_id"] != character.internal_id
    if not another.any():
        return None
    named = " or ".join(f"{character.internal_id} ({character.title})" for character in selected)
    return "internal_id", int(another.argmax()), named
