"""Which matches are played: all pairings of the characters and all stages equally, in mirrored pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from exphil_core.dojo.match import Match, seeded
from exphil_core.dojo.world import DOJO_STAGES
from exphil_core.melee.stages import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaMatch:
    """One match of an arena. The matches of a pair differ only in the seats of the two players."""

    match: Match
    seat: int
    """The first player's seat: 0 starts on the left, 1 on the right."""

    @property
    def number(self) -> int:
        return self.match.number

    @property
    def pair(self) -> int:
        return self.match.number // 2

    def character(self, player: int) -> int:
        """Return the external id of the character that player 0 (the first) or 1 plays."""
        return self.match.external_ids[self.seat if player == 0 else 1 - self.seat]


def plan_matches(
    games: int,
    *,
    seed: int,
    first: Sequence[int],
    second: Sequence[int],
    stages: Sequence[Stage] = DOJO_STAGES,
) -> list[ArenaMatch]:
    """Plan `games` matches.

    Match n is the same whatever the number of games, so more games extend fewer.

    Args:
        games: Number of matches, rounded up to whole pairs.
        first: External ids of the characters that the first player plays.
        second: Those of the second.
    """
    settings = list(product(first, second, stages))
    found: list[ArenaMatch] = []
    for pair in range((games + 1) // 2):
        round_number, place = divmod(pair, len(settings))
        order = list(settings)
        seeded(seed, "arena round", round_number).shuffle(order)
        own, other, stage = order[place]
        for seat in (0, 1):
            match = Match(
                number=2 * pair + seat,
                seed=seed,
                stage=stage,
                external_ids=(own, other) if seat == 0 else (other, own),
                port_indices=(0, 1),
            )
            found.append(ArenaMatch(match=match, seat=seat))
    return found
