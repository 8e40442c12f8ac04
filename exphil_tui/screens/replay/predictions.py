"""Predictions of a checkpoint for the replay shown, made by `exphil predict` and readable while they grow."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from exphil_core.errors import CheckpointError, ExphilError
from exphil_core.replays.game import Game
from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.predictions import PredictionFile, prediction_path
from exphil_tui.services.subprocess import RunExphil

_POLL_INTERVAL_S = 0.25
"""Interval in seconds for looking for a prediction file in progress."""

_MAX_CHARS = 400


class ReplayPredictions:
    """The prediction file of a replay, and the process that writes it."""

    def __init__(self, on_file: Callable[[PredictionFile], None]) -> None:
        """Create without predictions; `on_file` is called with each prediction file that is opened."""
        self._on_file = on_file
        self.file: PredictionFile | None = None
        self.policy_name = ""
        self.progress = ""
        """Progress of the predicting process; empty if there is none."""
        self.warning = ""
        """Why there are no predictions, or a warning about them."""

    async def load(self, checkpoint: str, path: Path, game: Game, launch: RunExphil, runs_dir: Path) -> None:
        """Show existing predictions, and run `exphil predict` to make or check them.

        Args:
            checkpoint: Name of a run, or of a checkpoint.
            path: The replay file.
            game: The game in it.
            launch: Runs an `exphil` command.
            runs_dir: Folder of the runs.
        """
        self.file = None
        self.warning = self.progress = ""
        self.policy_name = sanitise(Path(checkpoint).name, limit=80)
        try:
            run, step = await asyncio.to_thread(find_checkpoint, runs_dir, checkpoint)
            self.policy_name = f"{sanitise(run.name, limit=80)} step {step:,}"
            found = prediction_path(run.path, game.content_id, step)
            if found.is_file():
                # Show the existing file at once; the command below checks that it belongs to these weights.
                self._take(PredictionFile.open(found, content_id=game.content_id, frames=game.frames))
        except (ExphilError, OSError) as error:
            self.warning = _sentence(error)
            return
        self.progress = "loading the policy…"
        words = ["predict", str(run.step_directory(step)), str(path), "--runs-dir", str(runs_dir)]
        try:
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(self._wait_for_file(found, game))
                await self._predict(words, found, game, launch)
                waiting.cancel()
        finally:
            self.progress = ""

    async def _predict(self, words: list[str], path: Path, game: Game, launch: RunExphil) -> None:
        try:
            ended = await launch(words, told=self._on_progress)
            if ended.code != 0:
                self.warning = ended.problem.splitlines()[-1]
                # Another process may be writing the file, for another workbench; show that one.
                found = PredictionFile.find(path, content_id=game.content_id, frames=game.frames)
                if found is not None:
                    self._take(found)
                return
            warnings = [line for line in ended.problems if line.startswith("warning: ")]
            self.warning = warnings[-1].removeprefix("warning: ") if warnings else ""
            self._take(PredictionFile.open(path, content_id=game.content_id, frames=game.frames))
        except (ExphilError, OSError) as error:
            self.warning = _sentence(error)

    def _on_progress(self, line: str) -> None:
        if line.startswith("predict"):
            self.progress = line

    async def _wait_for_file(self, path: Path, game: Game) -> None:
        """Wait for the prediction file to appear, and open it."""
        while self.file is None:
            await asyncio.sleep(_POLL_INTERVAL_S)
            try:
                found = PredictionFile.find(path, content_id=game.content_id, frames=game.frames)
            except (ExphilError, OSError):
                # The writing process reports errors.
                continue
            if found is not None:
                self._take(found)

    def _take(self, file: PredictionFile) -> None:
        self.file = file
        self._on_file(file)


def find_checkpoint(runs_dir: Path, name: str) -> tuple[RunDirectory, int]:
    """Find the run and checkpoint step of a name; a run name alone means its best, else its latest checkpoint.

    Raises:
        ExphilError: There is no such run or checkpoint.
    """
    run, step = RunDirectory.find_checkpoint(runs_dir, name)
    for found in (step, run.best_step(), run.latest_step()):
        if found is not None:
            return run, found
    raise CheckpointError(f"{run.path}: there is no checkpoint yet")


def _sentence(error: Exception) -> str:
    return sanitise(str(error), limit=_MAX_CHARS)
