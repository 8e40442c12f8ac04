"""Character balance: compute the expected rows of each side in a batch, so that characters get the requested shares.

The rows that a batch may take from one game are limited, and so are a character's rows. `reachable_rows` finds the
nearest feasible shares exactly, in integers; `fit_sides` derives the rows of each side.
"""

from collections.abc import Iterator

import numpy as np

UNIT = 1 << 32
"""Fixed-point value of one expected row. Integer sums are exact, so no rounding error repeats a game in a batch."""

_TOLERANCE = 1e-9
"""Maximum error of a character's rows after the fit."""

_MOST_ITERATIONS = 200


def reachable_rows(
    asked: np.ndarray, least: np.ndarray, most: np.ndarray, games: np.ndarray, rows: int
) -> np.ndarray:
    """Find the feasible rows of each character that are nearest to the requested ones.

    The result maximises the smallest ratio of rows to requested rows, then the second smallest, and so on (the
    lexicographically optimal base of a polymatroid; found by decomposition: Groenevelt, "Two algorithms for
    maximizing a separable concave function over a polymatroid feasible region", 1991).

    Args:
        asked: int64 [C], in `UNIT`, positive.
        least, most: int64 [C], bounds of the result, in `UNIT`. A division of `rows` within them must exist.
        games: int64 [C, C], symmetric: rows that the games of each pair of characters may have, in `UNIT`; on the
            diagonal those of the games in which only one character can be imitated.
        rows: total, in `UNIT`.

    Returns:
        int64 [C], in `UNIT`; the sum is `rows`.
    """
    found = np.zeros_like(asked)
    for members, given in _divide(np.arange(len(asked)), asked, least, most, games, rows):
        found[members] = given
    return found


def _divide(
    members: np.ndarray, asked: np.ndarray, least: np.ndarray, most: np.ndarray, games: np.ndarray, rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (characters, their rows), those with the scarcest games first."""
    given = _scaled(asked[members], least[members], most[members], rows)
    short = _short_of_games(given, games)
    if not short.any():
        yield members, given
        return
    # A game shared by a scarce and another character counts for the scarce one alone.
    theirs = games[np.ix_(short, short)].copy()
    theirs[np.diag_indices(len(theirs))] += games[np.ix_(short, ~short)].sum(axis=1)
    limit = int(np.triu(theirs).sum())
    yield from _divide(members[short], asked, least, most, theirs, limit)
    yield from _divide(members[~short], asked, least, most, games[np.ix_(~short, ~short)], rows - limit)


def _scaled(asked: np.ndarray, least: np.ndarray, most: np.ndarray, rows: int) -> np.ndarray:
    """Scale `asked` by one factor and clip it to the bounds, so that the sum is `rows`."""
    below, above = 0.0, float((most / asked).max())
    for _ in range(200):
        middle = (below + above) / 2
        if np.clip(asked * middle, least, most).sum() > rows:
            above = middle
        else:
            below = middle
    return fill(np.clip(np.floor(asked * below).astype(np.int64), least, most), most, rows)


def fill(units: np.ndarray, most: np.ndarray, total: int) -> np.ndarray:
    """Raise `units` to the sum `total`: spread what is missing evenly over the entries below `most`."""
    units = units.copy()
    missing = total - int(units.sum())
    # Subtract a rounding excess from the largest entry.
    if missing < 0:
        units[units.argmax()] += missing
        missing = 0
    while missing:
        open_entries = np.flatnonzero(units < most)
        gift = np.minimum((most - units)[open_entries], -(-missing // len(open_entries)))
        gift = np.diff(np.minimum(np.cumsum(gift), missing), prepend=0)
        units[open_entries] += gift
        missing -= int(gift.sum())
    return units


def _short_of_games(given: np.ndarray, games: np.ndarray) -> np.ndarray:
    """Return a mask of the characters whose games together hold fewer rows than given: the worst such set, or none.

    A minimum cut. Twice the rows of the games that touch a set S equal the sum over S of twice a character's own
    games plus its shared games, plus the games between S and the others.
    """
    between = games - np.diag(np.diag(games))
    spare = 2 * np.diag(games) + between.sum(axis=1) - 2 * given
    need, room = np.maximum(-spare, 0), np.maximum(spare, 0)
    while True:
        reached: np.ndarray = need > 0
        came_from = np.full(len(given), -1)
        queue = np.flatnonzero(reached).tolist()
        end = None
        for node in queue:
            if room[node]:
                end = node
                break
            for other in np.flatnonzero((between[node] > 0) & ~reached).tolist():
                reached[other], came_from[other] = True, node
                queue.append(other)
        if end is None:
            return reached
        path = [end]
        while came_from[path[-1]] >= 0:
            path.append(int(came_from[path[-1]]))
        steps = list(zip(path[1:], path[:-1], strict=True))
        amount = min(need[path[-1]], room[end], *(between[one, two] for one, two in steps))
        need[path[-1]] -= amount
        room[end] -= amount
        for one, two in steps:
            between[one, two] -= amount
            between[two, one] += amount


def fit_sides(weights: np.ndarray, characters: np.ndarray, rows: np.ndarray, limit: float) -> np.ndarray:
    """Fit the rows of each side: proportional to `weights` within a character, with at most `limit` per game.

    The result minimises the relative entropy to `weights` subject to each character's `rows` and the limit: a side
    has its weight times a factor of its character, and a game above the limit is scaled down to it. Newton's method
    on the concave dual finds the factors.

    Args:
        weights: float64 [G, 2]; 0 for a side that is not an ego.
        characters: int64 [G, 2], 0 to C - 1; arbitrary where the weight is 0.
        rows: float64 [C]; must be feasible.
        limit: maximum rows of one game; may be infinite.

    Returns:
        float64 [G, 2].
    """
    count = len(rows)
    pairs = characters[:, :, None] * count + characters[:, None, :]

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(characters.ravel(), values.ravel(), minlength=count)

    def sides_of(log_factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the sides, a mask of the games at the limit, and the dual's value."""
        wanted = weights * np.exp(log_factor)[characters]
        game = wanted.sum(axis=1)
        full = game > limit
        over = np.where(full, game / limit, 1.0)
        value = float(log_factor @ rows - np.where(full, limit * (1 + np.log(over)), game).sum())
        return wanted / over[:, None], full, value

    log_factor = np.log(rows / sums(weights))
    sides, full, value = sides_of(log_factor)
    for _ in range(_MOST_ITERATIONS):
        missing = rows - sums(sides)
        if np.abs(missing).max() <= _TOLERANCE:
            break
        curvature = np.diag(sums(sides))
        if full.any():
            shared = sides[full, :, None] * sides[full, None, :] / limit
            curvature = curvature - np.bincount(
                pairs[full].ravel(), shared.ravel(), minlength=count * count
            ).reshape(count, count)
        step = np.linalg.solve(curvature + 1e-13 * rows.sum() * np.eye(count), missing)
        step *= min(1.0, 4.0 / np.abs(step).max())
        tried = sides_of(log_factor + step)
        while tried[2] < value - 1e-13 * abs(value) and np.abs(step).max() > 1e-12:
            step /= 2
            tried = sides_of(log_factor + step)
        log_factor = log_factor + step
        sides, full, value = tried
    return sides
