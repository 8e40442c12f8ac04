"""Train/validation split by match, and selection of the sides to imitate (egos).

The split precedes the ego selection: all games of a match are on the same side of it. A game keeps its side when
games are added, except for the few that a rare character needs moved.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exphil_core.dataset.index import DatasetIndex, GameEntry, GameSide


class Ego(NamedTuple):
    """A side of a game that is imitated."""

    game: int
    """Index into `index.games`."""
    slot: int
    """The imitated side, 0 or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Train and validation games: indices into `index.games`, ascending."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


def split_games(index: DatasetIndex, *, validation_share: float, seed: int) -> Split:
    """Hold out about `validation_share` of the matches, and at least one of every character with two matches.

    A game of unknown match is a match of its own. Matches are chosen greedily, one at a time: where possible, no
    character loses its last training match or the last one in which it can be imitated. Among candidates, a match
    that helps several characters wins, then one with few games.
    """
    if not 0.0 <= validation_share < 1.0:
        raise ValueError(f"validation_share is {validation_share}; expected at least 0 and less than 1")
    everything = range(len(index.games))
    if validation_share == 0.0:
        return Split(train=tuple(everything), validation=())
    matches: dict[str, list[int]] = {}
    for number, game in enumerate(index.games):
        matches.setdefault(game.match_key or game.content_id, []).append(number)
    draws = {match: _draw(match, seed) for match in matches}
    held = {match for match in matches if draws[match] < validation_share}
    # Rarest first: a character with more matches has more choice left.
    groups = sorted(
        _groups(index.games, matches), key=lambda group: (len(group), sorted(min(matches[m]) for m in group))
    )
    for group in groups:
        if group <= held:
            held.discard(max(group, key=lambda match: draws[match]))
    pairs = [group for group in groups if len(group) >= 2]
    for group in pairs:
        if group & held:
            continue
        needy = [other for other in pairs if not other & held]
        spared = [match for match in group if not _empties_a_group(match, held, groups)]
        held.add(
            min(
                spared or group,
                key=lambda match: (
                    -sum(match in other for other in needy),
                    len(matches[match]),
                    draws[match],
                ),
            )
        )
    validation = sorted(number for match in held for number in matches[match])
    return Split(train=tuple(sorted(set(everything) - set(validation))), validation=tuple(validation))


def _draw(match: str, seed: int) -> float:
    """Return a uniform number in [0, 1), determined by match and seed."""
    digest = hashlib.blake2b(f"{seed}:{match}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _groups(games: Sequence[GameEntry], matches: Mapping[str, Sequence[int]]) -> list[set[str]]:
    """Return the sets of matches of each character: with a usable side, and with any side of it."""

    def collect(counts: Callable[[GameSide], bool]) -> list[set[str]]:
        found: dict[int, set[str]] = {}
        for match, numbers in matches.items():
            for number in numbers:
                for side in games[number].sides:
                    if counts(side):
                        found.setdefault(side.external_id, set()).add(match)
        return list(found.values())

    return collect(lambda side: side.usable) + collect(lambda side: True)


def _empties_a_group(match: str, held: set[str], groups: list[set[str]]) -> bool:
    return any(match in group and group <= held | {match} for group in groups)


def select_egos(
    index: DatasetIndex,
    games: Iterable[int],
    *,
    characters: tuple[int, ...] = (),
    include_cpu: bool = False,
    include_idle: bool = False,
) -> tuple[Ego, ...]:
    """Select the sides of `games` to imitate: human, active and plausible ones. All frames of a side belong to it,
    also those after a transformation.

    Args:
        games: indices into `index.games`.
        characters: external ids; select only sides that mostly play one of these. Empty: all.
        include_cpu: also select computer players, whose inputs need not be possible on a controller.
        include_idle: also select human sides that hardly move or look scripted.
    """

    def wanted(side: GameSide) -> bool:
        if not side.human:
            return include_cpu and (side.active or include_idle)
        return side.usable or include_idle

    return tuple(
        Ego(game, slot)
        for game in games
        for slot, side in enumerate(index.games[game].sides)
        if wanted(side) and (not characters or side.external_id in characters)
    )
