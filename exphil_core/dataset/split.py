"""Which games are held out, and which players are imitated.

In: a `DatasetIndex`. Out: indices into `index.games`, and egos. The split is by game and by content, before
any ego is chosen: no game is on both sides, whoever is imitated in it, and a game stays on its side when
others join (but for the few that a rare character needs moved).
"""

import hashlib
from collections.abc import Callable, Iterable
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
    """Holds out about `validation_share` of the games, and of every character with two games at least one.

    As far as the choice of one game at a time can help it, no character loses its last training game or the
    last one in which it can be imitated, and a game that helps two characters in need is preferred.
    """
    if not 0.0 <= validation_share < 1.0:
        raise ValueError(f"validation_share is {validation_share}; expected at least 0 and less than 1")
    everything = range(len(index.games))
    if validation_share == 0.0:
        return Split(train=tuple(everything), validation=())
    draws = [_draw(game.content_id, seed) for game in index.games]
    held = {game for game in everything if draws[game] < validation_share}
    # Rarest first: the more games a character has, the more choice is left to it.
    groups = sorted(_groups(index.games), key=lambda group: (len(group), sorted(group)))
    for group in groups:
        if group <= held:
            held.discard(max(group, key=lambda game: draws[game]))
    pairs = [group for group in groups if len(group) >= 2]
    for group in pairs:
        if group & held:
            continue
        needy = [other for other in pairs if not other & held]
        spared = [game for game in group if not _empties_a_group(game, held, groups)]
        held.add(
            min(
                spared or group,
                key=lambda game: (-sum(game in other for other in needy), draws[game]),
            )
        )
    return Split(
        train=tuple(game for game in everything if game not in held),
        validation=tuple(sorted(held)),
    )


def _draw(content_id: str, seed: int) -> float:
    """Uniform in [0, 1), fixed by the game's content and the seed."""
    digest = hashlib.blake2b(f"{seed}:{content_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _groups(games: tuple[GameEntry, ...]) -> list[set[int]]:
    """The games of each character: those where any side plays it, and those where a usable side does."""

    def collect(counts: Callable[[Side], bool]) -> list[set[int]]:
        found: dict[int, set[int]] = {}
        for number, game in enumerate(games):
            for side in game.sides:
                if counts(side):
                    found.setdefault(side.external_id, set()).add(number)
        return list(found.values())

    return collect(lambda side: side.usable) + collect(lambda side: True)


def _empties_a_group(game: int, held: set[int], groups: list[set[int]]) -> bool:
    return any(game in group and group <= held | {game} for group in groups)


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
