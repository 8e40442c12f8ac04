"""Which games are held out, and which players are imitated.

The split is by match, before any ego is chosen: games of one match are on one side, whoever is imitated in them, and
a game stays on its side when others join (but for the few that a rare character needs moved).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exphil_core.dataset.index import DatasetIndex, GameEntry, Side


class Ego(NamedTuple):
    game: int
    """Index into `index.games`."""
    slot: int
    """Which of its sides is imitated, 0 or 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Indices into `index.games`, ascending."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


def split_games(index: DatasetIndex, *, validation_share: float, seed: int) -> Split:
    """Holds out about `validation_share` of the matches, and of every character with two matches at least one.

    A game whose match is not known is a match of its own. As far as the choice of one match at a time can help it,
    no character loses its last match to learn from or the last one in which it can be imitated, and a match that
    helps two characters in need is preferred, then one of few games.
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
    # Rarest first: the more matches a character has, the more choice is left to it.
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
    """Uniform in [0, 1), fixed by the match and the seed."""
    digest = hashlib.blake2b(f"{seed}:{match}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _groups(games: Sequence[GameEntry], matches: Mapping[str, Sequence[int]]) -> list[set[str]]:
    """The matches of each character: those where any side plays it, and those where a usable side does."""

    def collect(counts: Callable[[Side], bool]) -> list[set[str]]:
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
    """The sides of `games` to imitate: human, active and plausible ones that mostly play one of these external
    character ids (none given: all). All frames of a side belong to it, also those after a transformation.

    `include_idle` adds human sides that hardly move or repeat a script; `include_cpu` adds computer players,
    whose inputs need not look like a controller's.
    """

    def wanted(side: Side) -> bool:
        if not side.human:
            return include_cpu and (side.active or include_idle)
        return side.usable or include_idle

    return tuple(
        Ego(game, slot)
        for game in games
        for slot, side in enumerate(index.games[game].sides)
        if wanted(side) and (not characters or side.external_id in characters)
    )
