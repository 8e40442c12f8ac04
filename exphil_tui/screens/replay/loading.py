"""Load games for the replay screen: from a replay file, or from the dataset of a run."""

import asyncio
import tempfile
from pathlib import Path

from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.store import ColumnStore
from exphil_core.dataset.stored_game import stored_game
from exphil_core.replays.isolation.sandbox import read_result, sandbox_command
from exphil_core.runs.directory import RunDirectory
from exphil_tui.model.scene import Replay
from exphil_tui.services.subprocess import run_command


async def load_replay_file(path: Path) -> Replay:
    """Parse a replay in a sandboxed child process.

    Raises:
        ExphilError: The file is not a replay that can be parsed.
        OSError: The child process cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="exphil-view-") as folder:
        out = Path(folder) / "game"
        ended = await run_command(sandbox_command(path, out))
        game = await asyncio.to_thread(
            read_result, out, path, code=ended.code, last_words="\n".join(ended.problems)
        )
    return await asyncio.to_thread(Replay, game)


class StoredGames:
    """Games of the dataset that a run trains on, which is opened once."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._store: ColumnStore | None = None

    def load(self, content_id: str) -> Replay:
        """Load a game; call it from a thread.

        Raises:
            ExphilError: The dataset is damaged or does not hold the game.
            OSError: The dataset cannot be read.
        """
        if self._store is None:
            self._store = ColumnStore(DatasetIndex.open(self._run.dataset_path()))
        return Replay(stored_game(self._store.index, self._store, content_id))
