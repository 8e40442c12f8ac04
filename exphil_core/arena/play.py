"""Play planned matches, many at once: the same matches whatever the number at once."""

from collections.abc import Callable, Iterator, Sequence

from exphil_core.arena.plan import ArenaMatch
from exphil_core.arena.players import ArenaPlayer, Seat
from exphil_core.arena.score import GameScore, ScoreCounter
from exphil_core.dojo.demo import DOJO_VERSION
from exphil_core.dojo.environment import DojoMatch
from exphil_core.dojo.slp_writer import Value
from exphil_core.melee.controller import NEUTRAL

AT_ONCE = 96

Recording = Callable[[ArenaMatch, bytes], None]
"""Receives each match's replay."""


class _Table:
    """One match in play, with the seats of both players."""

    def __init__(
        self, planned: ArenaMatch, players: Sequence[ArenaPlayer], *, row: int, record: bool
    ) -> None:
        self.planned = planned
        self.played = DojoMatch(planned.match, record=record)
        self.counter = ScoreCounter(planned)
        self.seats = tuple(Seat(planned, self.played, player=player, row=row) for player in (0, 1))
        for player, seat in zip(players, self.seats, strict=True):
            player.begin(seat)
        # Nobody can act on a match without a frame.
        self.counter.add(self.played.step((NEUTRAL, NEUTRAL)))


def play_matches(
    planned: Sequence[ArenaMatch],
    players: tuple[ArenaPlayer, ArenaPlayer],
    *,
    at_once: int = AT_ONCE,
    record: Recording | None = None,
) -> Iterator[GameScore]:
    """Play the matches and yield the score of each when it ends.

    Args:
        players: Both players; one object cannot be both.
        at_once: Matches that are in play together.
        record: Called with each match's `.slp` file, when it ends.
    """
    assert players[0] is not players[1], "each player needs an object of its own"
    waiting = iter(planned)
    tables: dict[int, _Table] = {}
    free = list(reversed(range(at_once)))
    while True:
        while free and (following := next(waiting, None)) is not None:
            row = free.pop()
            tables[row] = _Table(following, players, row=row, record=record is not None)
        if not tables:
            return
        rows = sorted(tables)
        chosen = [
            player.act([tables[row].seats[number] for row in rows]) for number, player in enumerate(players)
        ]
        for row, first, second in zip(rows, *chosen, strict=True):
            table = tables[row]
            controllers = (first, second) if table.planned.seat == 0 else (second, first)
            table.counter.add(table.played.step(controllers))
            if not table.played.over:
                continue
            del tables[row]
            free.append(row)
            excess, _ = [player.end(seat) for player, seat in zip(players, table.seats, strict=True)]
            if record is not None:
                record(table.planned, table.played.replay(_described(table.planned, players)))
            yield table.counter.score(excess)


def _described(planned: ArenaMatch, players: tuple[ArenaPlayer, ArenaPlayer]) -> dict[str, Value]:
    ports = planned.match.port_indices
    seats = (planned.seat, 1 - planned.seat)
    names = {str(ports[seat]): player.name for seat, player in zip(seats, players, strict=True)}
    # `players` is the table of loss floors, which only a match of two bots' draws has.
    return {"version": DOJO_VERSION, "players": {}, "arena": {"match": planned.number, "players": names}}
