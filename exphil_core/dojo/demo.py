"""Write demo replays: `.slp` files of matches between the dojo's bots, each a pure function of (seed, number).

Every character plays equally often, as far as the number of games allows. A file's metadata holds each player's mean
input entropy and surprisal: a lower bound on any model's loss.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Final

from exphil_core.dojo.bot_observation import BotObservation
from exphil_core.dojo.bots import Bot
from exphil_core.dojo.physics import step
from exphil_core.dojo.slp_writer import SlpWriter, Value
from exphil_core.dojo.styles import STYLES
from exphil_core.dojo.world import DOJO_STAGES, Frame, World
from exphil_core.melee.characters import LOW_TIER, by_name
from exphil_core.melee.controller import NEUTRAL, Controller
from exphil_core.melee.frames import FIRST_PLAYABLE_FRAME_ID
from exphil_core.melee.stages import Stage

DOJO_VERSION: Final = "1"
DEFAULT_GAMES: Final = 100
LAST_FRAME_ID: Final = 4800
"""A match that is undecided at this frame ends by time."""

_EXTERNAL_IDS: Final = tuple(by_name(name).external_id for name in LOW_TIER)
_PAIRINGS: Final = tuple((first, second) for first in _EXTERNAL_IDS for second in _EXTERNAL_IDS)
_PORTS: Final = ((0, 1), (0, 2), (1, 3), (2, 3), (0, 3), (1, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The settings of one game: players, ports, stage and seed."""

    number: int
    seed: int
    stage: Stage
    external_ids: tuple[int, int]
    port_indices: tuple[int, int]
    echo: int = 0
    """Both bots repeat the step that the opponent took this many frames ago; 0 turns that off."""

    @property
    def file_name(self) -> str:
        first, second = (LOW_TIER[_EXTERNAL_IDS.index(external_id)] for external_id in self.external_ids)
        echo = f"_echo{self.echo}" if self.echo else ""
        return f"dojo{echo}_{self.seed}_{self.number:05d}_{first}_vs_{second}_{self.stage.name}.slp"


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


def plan_match(seed: int, number: int, *, echo: int = 0) -> Match:
    """Plan a match: rounds of all 25 pairings, each round shuffled; random stage and ports."""
    round_number, place = divmod(number, len(_PAIRINGS))
    order = list(_PAIRINGS)
    _random(seed, "round", round_number).shuffle(order)
    chance = _random(seed, "match", number)
    return Match(
        number=number,
        seed=seed,
        stage=DOJO_STAGES[chance.randrange(len(DOJO_STAGES))],
        external_ids=order[place],
        port_indices=_PORTS[chance.randrange(len(_PORTS))],
        echo=echo,
    )


def play_match(match: Match) -> bytes:
    """Simulate a match and return its replay as the bytes of an `.slp` file."""
    world = World(match.stage, match.external_ids, match.port_indices)
    bots = tuple(_bot(external_id) for external_id in match.external_ids)
    sights = tuple(BotObservation(match.stage, bot.style.delay, echo=match.echo) for bot in bots)
    dice = tuple(_random(match.seed, "inputs", match.number, player).random for player in (0, 1))
    tallies = (_Tally(), _Tally())
    match_id = f"mode.dojo-{match.seed}-{match.number}" + (f"-echo{match.echo}" if match.echo else "")
    writer = SlpWriter(
        world, random_seed=_random(match.seed, "game", match.number).getrandbits(32), match_id=match_id
    )
    controllers: tuple[Controller, Controller] = (NEUTRAL, NEUTRAL)
    before: Frame | None = None
    while not world.over and world.frame_id < LAST_FRAME_ID:
        if before is not None:
            drawn = []
            playable = world.frame_id + 1 >= FIRST_PLAYABLE_FRAME_ID
            for player in (0, 1):
                situation = sights[player].situation(
                    before.posts[player], controllers[player], before.posts[1 - player]
                )
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
        frame = step(world, controllers)
        writer.add(controllers, frame, before)
        before = frame
    players: dict[str, Value] = {
        str(port): tally.metadata() for port, tally in zip(match.port_indices, tallies, strict=True)
    }
    known: dict[str, Value] = {"version": DOJO_VERSION, "players": players}
    return writer.finish(dojo={**known, "echo": match.echo} if match.echo else known)


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


def _bot(external_id: int) -> Bot:
    """Return the process-wide bot of a character; its only state is a cache of distributions."""
    if external_id not in _BOTS:
        _BOTS[external_id] = Bot(STYLES[external_id])
    return _BOTS[external_id]


def _random(seed: int, *purpose: str | int) -> Random:
    """Return an independent generator for each purpose, equal on every machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return Random(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big"))
