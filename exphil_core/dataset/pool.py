"""The games that rows are drawn from, and how many rows of a batch each of their sides is expected to get.

Without balance a game comes in proportion to its frames. With it, characters come in the shares asked for. Either
way a game has at most one row of a batch while there are as many games as rows; where there are fewer, several
rows of a game cannot be avoided, and they are spread evenly over the games (with balance: over those of each
character).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from exphil_core.dataset.balance import UNIT, fill, fit_sides, reachable_rows
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import Ego
from exphil_core.errors import DataError

MOST_REPEATED = 10
"""Balance draws no character more often than so many times as often as it would come without balance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterShare:
    """Shares of the rows in which one character is the ego."""

    asked: float
    """By the settings: with balance a share of its own, without it the share of its frames."""
    reachable: float
    """Expected of the rows drawn: what is asked, as nearly as the games allow."""
    unbalanced: float
    """Expected without balance."""
    games: int
    """In which it may be the ego."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The games that rows are drawn from, and how often each is to come. One entry a game."""

    game: np.ndarray
    """int32: index into `index.games`."""
    frames: np.ndarray
    """int64."""
    characters: np.ndarray
    """int64 [G, 2]: external id of the side where it may be the ego, else -1."""
    expected_sides: np.ndarray
    """int64 [G, 2]: expected rows of each side among `rows`, in `UNIT`."""
    rows: int
    shares: dict[int, CharacterShare]
    """By external character id."""

    @property
    def ego_frames(self) -> int:
        """Frames of every ego's game, a game counted for each of its egos."""
        return int(np.where(self.characters >= 0, self.frames[:, None], 0).sum())

    @property
    def expected(self) -> np.ndarray:
        """int64: expected rows of each game among `rows`, in `UNIT`."""
        return self.expected_sides.sum(axis=1)

    @property
    def second_slot(self) -> np.ndarray:
        """Probability that the ego is the player of slot 1."""
        return self.expected_sides[:, 1] / self.expected


def pool_of(
    egos: Sequence[Ego],
    index: DatasetIndex,
    *,
    rows: int,
    balance: bool,
    balance_temperature: float,
    wanted: Collection[int] = (),
) -> Pool:
    """The pool of `egos`, for `rows` rows at a time.

    Args:
        egos: the sides that may be drawn.
        rows: drawn at once; among them the limit of one row a game holds.
        balance: whether characters come in shares asked for, instead of as often as their frames.
        balance_temperature: 1 asks for the same share for every character, near 0 for the share of its frames.
        wanted: external ids of the characters to balance, which together keep the share that their frames have;
            so does each of the others. Empty: all.

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
    # Where a side is no ego, its weight is 0 and its character any.
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
    return Pool(
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
    """Shares of the characters that have so many frames: count ** (1 - temperature) among the wanted ones."""
    shares = counts / counts.sum()
    if wanted.any():
        tempered = shares[wanted] ** (1 - temperature)
        shares[wanted] = shares[wanted].sum() * tempered / tempered.sum()
    return shares


def _balanced(
    weights: np.ndarray, ids: np.ndarray, unbalanced: np.ndarray, asked: np.ndarray, rows: int
) -> np.ndarray:
    """Expected rows of each side, in `UNIT`, [G, 2]: each character's as near to what is asked as can be."""
    count, total = len(asked), rows * UNIT
    open_sides = weights > 0
    enough = len(weights) >= rows
    # A game without a second ego counts as one of its only ego against itself.
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
    # What comes without balance is possible: so nothing that is asked for more may come less often.
    given = reachable_rows(
        goal, np.minimum(goal, usual), np.minimum(usual * MOST_REPEATED, total), games, total
    )
    fitted = fit_sides(
        weights if enough else unbalanced / UNIT, ids, given / UNIT, limit=1.0 if enough else np.inf
    )
    limit = UNIT if enough else total
    units = np.minimum(np.floor(fitted.sum(axis=1) * UNIT).astype(np.int64), limit)
    return _in_units(fitted, fill(units, np.full(len(units), limit), total))


def _in_units(sides: np.ndarray, games: np.ndarray) -> np.ndarray:
    """Rows of each game, in `UNIT`, divided between its sides in proportion to `sides`. [G, 2]"""
    second = np.rint(games * (sides[:, 1] / sides.sum(axis=1))).astype(np.int64)
    return np.stack([games - second, second], axis=1)


def _even_rows(weights: np.ndarray, rows: int) -> np.ndarray:
    """Rows of each game, in `UNIT`: proportional to `weights` within what evenness allows.

    At most one where games are enough; else each game has the even share of the rows, rounded down or up.
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
