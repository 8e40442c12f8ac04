"""Sampling weights: the expected rows of each game and side in a batch.

Without balance, a game's rows are proportional to its frames; with it, characters get the requested shares. A game
has at most one row in a batch while there are as many games as rows. With fewer games, the repeats are spread evenly
over the games (with balance: over those of each character).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from exphil_core.dataset.balance import UNIT, fill, fit_sides, reachable_rows
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Ego
from exphil_core.errors import DataError

MAX_BALANCE_FACTOR = 10
"""Balance draws a character at most this many times as often as without balance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterShare:
    """Shares of the rows with one character as the ego."""

    asked: float
    """Requested by the settings: with balance the balanced share, without it the share of its frames."""
    reachable: float
    """Expected share of the drawn rows: the feasible share nearest to `asked`."""
    unbalanced: float
    """Expected share without balance."""
    games: int
    """Games in which it may be the ego."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingTable:
    """The games that rows are sampled from and their expected rows. Arrays have one entry per game."""

    game: np.ndarray
    """int32: index into `index.games`."""
    frames: np.ndarray
    """int64."""
    characters: np.ndarray
    """int64 [G, 2]: external id of a side that may be the ego, else -1."""
    expected_sides: np.ndarray
    """int64 [G, 2]: expected rows of each side among `rows`, in `UNIT`."""
    rows: int
    """Rows drawn at once."""
    shares: dict[int, CharacterShare]
    """Shares by external character id."""

    @property
    def ego_frames(self) -> int:
        """Sum of the frames of all egos' games; a game counts once for each of its egos."""
        return int(np.where(self.characters >= 0, self.frames[:, None], 0).sum())

    @property
    def expected(self) -> np.ndarray:
        """int64: expected rows of each game among `rows`, in `UNIT`."""
        rows: np.ndarray = self.expected_sides.sum(axis=1)
        return rows

    @property
    def second_slot(self) -> np.ndarray:
        """float64: probability that the ego is the player of slot 1."""
        probability: np.ndarray = self.expected_sides[:, 1] / self.expected
        return probability


def sampling_table(
    egos: Sequence[Ego],
    index: DatasetIndex,
    *,
    rows: int,
    balance: bool,
    balance_temperature: float,
    wanted: Collection[int] = (),
) -> SamplingTable:
    """Compute the expected rows of each side of `egos`.

    Args:
        egos: the sides that may be drawn.
        rows: rows drawn at once; the limit of one row per game applies to them.
        balance: whether characters get balanced shares instead of the shares of their frames.
        balance_temperature: 1 requests the same share for every character, near 0 the share of its frames.
        wanted: external ids of the characters to balance; empty: all. Together they keep the share of their frames,
            and so does each other character.

    Raises:
        DataError: there is no ego.
    """
    if not egos:
        raise DataError(
            f"{index.path}: no side of its {len(index.games)} games can be imitated with these settings; "
            "expected at least one (see `exphil data stats`, and the presets' data section)"
        )
    games = np.unique(np.array([ego.game for ego in egos], np.int32))
    frames = np.array([index.games[game].frames for game in games], np.int64)
    position = {int(game): place for place, game in enumerate(games)}
    characters = np.full((len(games), 2), -1, np.int64)
    for ego in egos:
        characters[position[ego.game], ego.slot] = index.games[ego.game].sides[ego.slot].external_id
    present = np.unique(characters[characters >= 0])
    # A side that is not an ego has weight 0 and an arbitrary character.
    ids = np.searchsorted(present, characters) % len(present)
    weights = np.where(characters >= 0, frames[:, None], 0).astype(np.float64)

    def by_character(values: np.ndarray) -> np.ndarray:
        return np.bincount(ids.ravel(), values.ravel(), minlength=len(present))

    counts = by_character(weights)
    asked = counts / counts.sum()
    sides = unbalanced = _in_units(weights, _even_rows(weights.sum(axis=1), rows))
    if balance:
        is_wanted = np.isin(present, list(wanted)) if wanted else np.ones(len(present), np.bool_)
        asked = _asked_shares(counts, is_wanted, balance_temperature)
        sides = _balanced(weights, ids, unbalanced, asked, rows)
    return SamplingTable(
        game=games,
        frames=frames,
        characters=characters,
        expected_sides=sides,
        rows=rows,
        shares={
            int(character): CharacterShare(
                asked=float(asked[number]),
                reachable=float(by_character(sides)[number] / (rows * UNIT)),
                unbalanced=float(by_character(unbalanced)[number] / (rows * UNIT)),
                games=int((characters == character).any(axis=1).sum()),
            )
            for number, character in enumerate(present)
        },
    )


def _asked_shares(counts: np.ndarray, wanted: np.ndarray, temperature: float) -> np.ndarray:
    """Return the requested shares: proportional to count ** (1 - temperature) among the wanted characters."""
    shares: np.ndarray = counts / counts.sum()
    if wanted.any():
        tempered = shares[wanted] ** (1 - temperature)
        shares[wanted] = shares[wanted].sum() * tempered / tempered.sum()
    return shares


def _balanced(
    weights: np.ndarray, ids: np.ndarray, unbalanced: np.ndarray, asked: np.ndarray, rows: int
) -> np.ndarray:
    """Return the balanced rows of each side, [G, 2], in `UNIT`: the feasible ones nearest to `asked`."""
    count, total = len(asked), rows * UNIT
    open_sides = weights > 0
    enough = len(weights) >= rows
    # A game with one ego counts as that character against itself.
    first, second = np.sort(np.where(open_sides, ids, ids[:, ::-1]), axis=1).T
    games = np.zeros((count, count), np.int64)
    np.add.at(games, (first, second), UNIT)
    games = np.maximum(games, games.T)
    if not enough:
        games = np.where(games > 0, total, 0)
    usual = np.zeros(count, np.int64)
    np.add.at(usual, ids[open_sides], unbalanced[open_sides])
    goal = np.maximum(np.floor(asked * total).astype(np.int64), 1)
    goal = fill(goal, np.full(count, total), total)
    # The unbalanced rows are feasible, so a character that is to get more never gets fewer than those.
    given = reachable_rows(
        goal, np.minimum(goal, usual), np.minimum(usual * MAX_BALANCE_FACTOR, total), games, total
    )
    fitted = fit_sides(
        weights if enough else unbalanced / UNIT, ids, given / UNIT, limit=1.0 if enough else np.inf
    )
    limit = UNIT if enough else total
    units = np.minimum(np.floor(fitted.sum(axis=1) * UNIT).astype(np.int64), limit)
    return _in_units(fitted, fill(units, np.full(len(units), limit), total))


def _in_units(sides: np.ndarray, games: np.ndarray) -> np.ndarray:
    """Split the rows of each game, in `UNIT`, between its sides in proportion to `sides`; [G, 2]."""
    second = np.rint(games * (sides[:, 1] / sides.sum(axis=1))).astype(np.int64)
    return np.stack([games - second, second], axis=1)


def _even_rows(weights: np.ndarray, rows: int) -> np.ndarray:
    """Return the rows of each game, in `UNIT`: proportional to `weights`, within the even share rounded down and up.

    With enough games that is at most one row per game.
    """
    low = rows // len(weights)
    high = -(-rows // len(weights))
    below, above = 0.0, high / weights.min()
    for _ in range(200):
        middle = (below + above) / 2
        if np.clip(weights * middle, low, high).sum() > rows:
            above = middle
        else:
            below = middle
    units = np.floor(np.clip(weights * below, low, high) * UNIT).astype(np.int64)
    return fill(units, np.full(len(units), high * UNIT), rows * UNIT)
