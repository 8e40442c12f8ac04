"""Play matches in several processes: the same matches, whatever their number."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from exphil_core.arena.plan import ArenaMatch
from exphil_core.arena.play import AT_ONCE, play_matches
from exphil_core.arena.players import BotPlayer
from exphil_core.arena.score import GameScore
from exphil_core.atomic import atomic_write

LEAST_MATCHES = 8
"""Matches from which another process pays: it takes seconds to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Two players by name, and how they are loaded and recorded."""

    players: tuple[str, str]
    runs_dir: Path
    device: str = "cpu"
    temperature: float = 1.0
    at_once: int = AT_ONCE
    watched: bool = False
    """The first player, a policy, only watches while its character's bot plays: the excess is on the bot's states."""
    record: Path | None = None
    """Folder for replays; it exists."""


def play_pairing(pairing: Pairing, planned: Sequence[ArenaMatch], *, workers: int = 1) -> Iterator[GameScore]:
    """Play the matches and yield their scores: as they end from one process, a process's together from several."""
    workers = max(1, min(workers, len(planned) // LEAST_MATCHES))
    if workers == 1:
        yield from _play(pairing, planned)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = [planned[worker::workers] for worker in range(workers)]
        for future in as_completed([pool.submit(_played, pairing, part) for part in parts]):
            yield from future.result()


def _played(pairing: Pairing, planned: Sequence[ArenaMatch]) -> list[GameScore]:
    return list(_play(pairing, planned))


def _play(pairing: Pairing, planned: Sequence[ArenaMatch]) -> Iterator[GameScore]:
    import torch

    from exphil_core.arena.roster import load_player
    from exphil_core.training.device import choose_device

    device = choose_device(pairing.device)
    first, second = (
        load_player(
            name,
            runs_dir=pairing.runs_dir,
            device=device,
            temperature=pairing.temperature,
            teacher=BotPlayer() if pairing.watched and number == 0 else None,
        )[0]
        for number, name in enumerate(pairing.players)
    )
    record = None if pairing.record is None else partial(_write, pairing.record)
    threads = torch.get_num_threads()
    # One however many processes there are: another number may round differently, and the matches would differ.
    torch.set_num_threads(1)
    try:
        yield from play_matches(planned, (first, second), at_once=pairing.at_once, record=record)
    finally:
        torch.set_num_threads(threads)


def recording_name(match: ArenaMatch) -> str:
    """Return the file name of a match's replay."""
    return f"arena_{match.match.seed}_{match.number:05d}.slp"


def _write(folder: Path, match: ArenaMatch, replay: bytes) -> None:
    atomic_write(folder / recording_name(match), replay)
