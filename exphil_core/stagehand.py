"""A pilot's stagehand as a process, which its pilot starts: `exphil_core.stagehand RUN LINK MEMORIES [REPLAY]`.

In: a run, and the numbers of the files that its parent left open for it. Out: what `inference.stagehand` says over
the link, until the parent is gone. What a reader gets wrong: it is at its usual priority until the pilot plays, so
that waiting for it is short, and from then on has only the time that nobody else wants.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from exphil_core.errors import DataError, ExphilError
from exphil_core.melee import characters
from exphil_core.runs.directory import RunDirectory

if TYPE_CHECKING:
    from exphil_core.config.preset import Preset
    from exphil_core.inference.stagehand import NextGame
    from exphil_core.models.weights import Weights

LEAST_NICE = 19


def work(
    run: RunDirectory, link: "Connection[object, object]", handles: list[int], replay: Path | None
) -> None:
    import torch

    from exphil_core.inference.newest import NewestWeights
    from exphil_core.inference.stagehand import Memories, Notice, Stagehand
    from exphil_core.models.policy import build_policy
    from exphil_core.training.keeper import playable_preset

    torch.set_num_threads(1)
    preset = playable_preset(run.preset())
    policy = build_policy(preset).eval()
    newest = NewestWeights(
        run,
        like=policy.state_dict(),
        read_checkpoint=_read_checkpoint,
        warn=lambda code, message: link.send(Notice(code=code, message=message)),
    )
    games = _games(run, preset) if replay is None else _games_of(replay, preset)
    Stagehand(policy, games, newest, link, Memories.of(handles)).serve(in_play=_step_back)


def _read_checkpoint(directory: Path) -> "Weights":
    from exphil_core.errors import CheckpointError
    from exphil_core.models.weights import Weights, checksum
    from exphil_core.training.checkpoint import load_checkpoint

    try:
        found = load_checkpoint(directory, training=False)
    except OSError as error:
        # It was pruned while it was read.
        raise CheckpointError(f"{directory} cannot be read: {error.strerror}") from error
    return Weights(step=found.step, checksum=checksum(found.model), tensors=found.model)


def _games(run: RunDirectory, preset: "Preset") -> Iterator["NextGame"]:
    """The held-out sides that the run is judged on, over and over."""
    from exphil_core.inference.stagehand import NextGame
    from exphil_core.replays.columns import Version
    from exphil_core.replays.pack import PackedGame, PackedSide
    from exphil_core.training.data import open_run_data

    data = open_run_data(run, preset)
    for ego in cycle(data.validation):
        entry, rows = data.store.index.games[ego.game], data.store.game(ego.game)
        first, second = (
            PackedSide(port_index=side.port_index, external_id=side.external_id, type=side.type)
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
        yield NextGame(packed, ego.slot, entry.sides[ego.slot].character)


def _games_of(replay: Path, preset: "Preset") -> Iterator["NextGame"]:
    """One replay over and over, as each of the players whose character the run learns, or as both."""
    from exphil_core.inference.stagehand import NextGame
    from exphil_core.replays.pack import pack_game
    from exphil_core.replays.viewing import load_game

    game = load_game(replay)
    if len(game.players) != 2:
        raise DataError(f"{replay} has {len(game.players)} players; a pilot plays games of two")
    packed = pack_game(game)
    learned = {characters.by_name(name).external_id for name in preset.data.characters}
    slots = [slot for slot, side in enumerate(packed.sides) if side.external_id in learned] or [0, 1]
    for slot in cycle(slots):
        yield NextGame(packed, slot, characters.by_external_id(packed.sides[slot].external_id).name)


def _step_back() -> None:
    """Only where nothing else wants to run, as far as the system has such a thing."""
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, LEAST_NICE)


def main() -> int:
    # Ctrl-C and a closed terminal are for the pilot, whose end is this one's, too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run, number, handles, *replay = sys.argv[1:]
    link: Connection[object, object] = Connection(int(number))
    try:
        work(
            RunDirectory.open(Path(run)),
            link,
            [int(handle) for handle in handles.split(",")],
            Path(replay[0]) if replay else None,
        )
    except (EOFError, ConnectionError):
        return 0
    except ExphilError as error:
        from exphil_core.inference.stagehand import Failed

        with suppress(ConnectionError):
            link.send(Failed(message=str(error), exit_code=error.exit_code))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
