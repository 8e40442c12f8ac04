"""Clips that a pilot plays: stretches of at most 30 seconds, of the run's held-out games or of one replay.

A game is cut into clips of equal length, which are played one after the other. Games of a minute or more give clips
of 20 to 30 seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, pairwise
from pathlib import Path
from typing import NamedTuple

from exphil_core.config.preset import Preset
from exphil_core.encoding.codecs import Codec
from exphil_core.errors import DataError
from exphil_core.inference.ego_frames import EgoFrames, build_ego_frames
from exphil_core.melee import characters
from exphil_core.melee.frames import FRAMES_PER_SECOND
from exphil_core.replays.columns import Version
from exphil_core.replays.isolation.sandbox import load_game
from exphil_core.replays.pack import PackedGame, PackedSide, pack_game
from exphil_core.runs.directory import RunDirectory
from exphil_core.training.data import open_run_data

LONGEST_CLIP = 30 * FRAMES_PER_SECOND
"""Frames; newer weights wait at most this long."""


class ClipSide(NamedTuple):
    """A game and the player that the policy plays."""

    game: PackedGame
    slot: int
    character: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Frames `start` to `stop` - 1 of a game from one player's view."""

    frames: EgoFrames
    character: str
    start: int
    stop: int


def cut_clips(sides: Iterator[ClipSide], codec: Codec, *, horizon: int) -> Iterator[Clip]:
    """Yield the clips of each side in turn."""
    for side in sides:
        frames = build_ego_frames(side.game, (side.slot,), codec, horizon=horizon)
        for start, stop in clip_bounds(frames.frames):
            yield Clip(frames=frames, character=side.character, start=start, stop=stop)


def clip_bounds(frames: int) -> list[tuple[int, int]]:
    """Return (start, stop) of each clip of a game with that many frames."""
    clips = -(-frames // LONGEST_CLIP)
    return list(pairwise(frames * number // clips for number in range(clips + 1)))


def held_out_sides(run: RunDirectory, preset: Preset) -> Iterator[ClipSide]:
    """Yield the held-out sides that the run is evaluated on, in an endless cycle."""
    data = open_run_data(run, preset)
    for ego in cycle(data.validation):
        entry, rows = data.store.index.games[ego.game], data.store.game(ego.game)
        first, second = (
            PackedSide(
                port_index=side.port_index,
                selected_external_id=side.selected_external_id,
                frames_by_character=side.frames_by_character,
                type=side.type,
            )
            for side in entry.sides
        )
        packed = PackedGame(
            content_id=entry.content_id,
            version=Version(*map(int, entry.version.split("."))),
            external_stage_id=entry.external_stage_id,
            end_method=None,
            salvaged=entry.salvaged,
            rollback_rows=0,
            sides=(first, second),
            frame_id=rows.frame_id,
            groups=rows.columns,
        )
        yield ClipSide(packed, ego.slot, entry.sides[ego.slot].character)


def replay_sides(replay: Path, preset: Preset) -> Iterator[ClipSide]:
    """Yield one replay endlessly, as each player whose character the run learns; as both if it learns neither."""
    game = load_game(replay)
    if len(game.players) != 2:
        raise DataError(f"{replay} has {len(game.players)} players; a pilot plays games of two")
    packed = pack_game(game)
    learned = {characters.by_name(name).external_id for name in preset.data.characters}
    slots = [slot for slot, side in enumerate(packed.sides) if side.external_id in learned] or [0, 1]
    for slot in cycle(slots):
        yield ClipSide(packed, slot, characters.by_external_id(packed.sides[slot].external_id).name)
