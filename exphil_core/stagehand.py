"""A pilot's stagehand as a process, which its pilot starts: `exphil_core.stagehand RUN LINK MEMORIES [REPLAY]`.

In: a run, and the numbers of the files that its parent left open for it. Out: what `inference.stagehand` says over
the link, until the parent is gone. What a reader gets wrong: it is at its usual priority until the pilot plays, so
that waiting for it is short. From then on it has only the time that nobody else wants; where a machine has none, it
takes a little of the cores that the pilot is not on, since else the pilot would play old weights for ever.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from exphil_core.cpu import available_cores
from exphil_core.errors import DataError, ExphilError
from exphil_core.melee import characters
from exphil_core.runs.directory import RunDirectory

if TYPE_CHECKING:
    from exphil_core.config.preset import Preset
    from exphil_core.inference.stagehand import NextGame
    from exphil_core.models.weights import Weights

ENOUGH_CORES = 0.15
"""That nobody uses: new weights are then made ready in that time alone."""

MEASURED_SECONDS = 1.0

STUCK_SECONDS = 2.0
"""After which a piece of work is not left to the time that nobody uses any longer."""

NICE = 5
"""A quarter of a core that somebody else wants, too, for the second or two that new weights take."""


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
    room = _Room()

    def aside(work: Callable[[], Any]) -> Any:
        return _in_thread(work, as_idle=room.cores() >= ENOUGH_CORES) if hand.in_play else work()

    hand = Stagehand(policy, games, newest, link, Memories.of(handles), aside=aside)
    hand.serve()


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


class _Room:
    """How much time nobody uses on the core where that is most; what this process took of it counts as unused."""

    def __init__(self) -> None:
        self._before = self._read()
        self._cores = 0.0

    def cores(self) -> float:
        """On average over the last second or two."""
        (then, own_then, idle_then), now = self._before, self._read()
        seconds = now[0] - then
        if seconds >= MEASURED_SECONDS:
            idle = max(after - before for before, after in zip(idle_then, now[2], strict=False))
            self._before = now
            self._cores = (idle + now[1] - own_then) / seconds
        return self._cores

    def _read(self) -> tuple[float, float, list[float]]:
        return time.monotonic(), time.process_time(), [core.idle for core in psutil.cpu_times(percpu=True)]


def _in_thread(work: Callable[[], Any], *, as_idle: bool) -> Any:
    """In a thread of low priority. Few users may lift one again, so the next work has a thread of its own."""
    done: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        _step_aside(as_idle=as_idle)
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="work")
    thread.start()
    thread.join(STUCK_SECONDS)
    if thread.is_alive():
        with suppress(OSError, AttributeError):
            os.sched_setscheduler(thread.native_id or 0, os.SCHED_OTHER, os.sched_param(0))
        thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _step_aside(*, as_idle: bool) -> None:
    """Of the calling thread, as far as the system lets threads be told apart."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    if not hasattr(os, "SCHED_IDLE"):
        return
    with suppress(OSError):
        if as_idle:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        elif others := set(available_cores()) - os.sched_getaffinity(os.getppid()):
            os.sched_setaffinity(0, others)


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
