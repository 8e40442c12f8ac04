"""Write demo replays: `.slp` files of matches between the dojo's bots, each a pure function of (seed, number).

Every character plays equally often, as far as the number of games allows. A file's metadata holds each player's mean
input entropy and surprisal: a lower bound on any model's loss.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from exphil_core.dojo.bot_observation import BotObservation
from exphil_core.dojo.bots import Bot
from exphil_core.dojo.environment import Controllers, DojoMatch
from exphil_core.dojo.match import Match, plan_match
from exphil_core.dojo.slp_writer import Value
from exphil_core.dojo.styles import STYLES
from exphil_core.melee.controller import NEUTRAL

DOJO_VERSION: Final = "1"
DEFAULT_GAMES: Final = 100


@dataclass(slots=True)
class _Tally:
    """Running sums over one player's draws."""

    entropy: float = 0.0
    surprisal: float = 0.0
    variance: float = 0.0
    frames: int = 0

    def metadata(self) -> dict[str, Value]:
        frames = max(1, self.frames)
        return {
            "entropy": f"{self.entropy / frames:.6f}",
            "surprisal": f"{self.surprisal / frames:.6f}",
            "stderr": f"{sqrt(self.variance) / frames:.6f}",
            "frames": self.frames,
        }


def play_match(match: Match) -> bytes:
    """Simulate a match of two bots and return its replay as the bytes of an `.slp` file."""
    played = DojoMatch(match, record=True)
    bots = tuple(bot_of(external_id) for external_id in match.external_ids)
    sights = tuple(BotObservation(match.stage, bot.style.delay, echo=match.echo) for bot in bots)
    dice = tuple(match.inputs(player).random for player in (0, 1))
    tallies = (_Tally(), _Tally())
    controllers: Controllers = (NEUTRAL, NEUTRAL)
    while not played.over:
        if played.frame is not None:
            drawn, playable, posts = [], played.playable, played.frame.posts
            for player in (0, 1):
                situation = sights[player].situation(posts[player], controllers[player], posts[1 - player])
                if not playable:
                    drawn.append(NEUTRAL)
                    continue
                choice = bots[player].choice(situation)
                index = choice.index(dice[player]())
                tally = tallies[player]
                tally.entropy += choice.entropy
                tally.surprisal += choice.surprisals[index]
                tally.variance += choice.variance
                tally.frames += 1
                drawn.append(choice.controllers[index])
            controllers = (drawn[0], drawn[1])
        played.step(controllers)
    players: dict[str, Value] = {
        str(port): tally.metadata() for port, tally in zip(match.port_indices, tallies, strict=True)
    }
    known: dict[str, Value] = {"version": DOJO_VERSION, "players": players}
    return played.replay({**known, "echo": match.echo} if match.echo else known)


def write_match(out: Path, match: Match) -> Path:
    """Write one replay atomically."""
    path = out / match.file_name
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(play_match(match))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def iterate_demo(out: Path, *, games: int, seed: int, echo: int = 0, workers: int = 1) -> Iterator[Path]:
    """Write `games` replays and yield each path once it is written, in order."""
    out.mkdir(parents=True, exist_ok=True)
    matches = [plan_match(seed, number, echo=echo) for number in range(games)]
    if workers <= 1:
        yield from (write_match(out, match) for match in matches)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(write_match, out), matches)


def write_demo(out: Path, *, games: int, seed: int, echo: int = 0, workers: int = 1) -> tuple[Path, ...]:
    """Write `games` replays and return their paths in order."""
    return tuple(iterate_demo(out, games=games, seed=seed, echo=echo, workers=workers))


_BOTS: dict[int, Bot] = {}


def bot_of(external_id: int) -> Bot:
    """Return the process-wide bot of a character; its only state is a cache of distributions."""
    if external_id not in _BOTS:
        _BOTS[external_id] = Bot(STYLES[external_id])
    return _BOTS[external_id]
