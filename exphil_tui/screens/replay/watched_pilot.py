"""The pilot that the replay screen watches: its newest frame, whether it is alive, and its games."""

import asyncio
from collections.abc import Callable

from exphil_core.pilot.directory import PilotDirectory
from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import RunDirectory
from exphil_tui.screens.replay.loading import StoredGames
from exphil_tui.services.pilot_feed import PilotFeed

ALIVE_INTERVAL_S = 1.0
"""Interval in seconds for checking whether the pilot is alive."""


class WatchedPilot:
    """A run's pilot. The view is live until the user moves away from the newest frame."""

    def __init__(self, run: RunDirectory, clock: Callable[[], float]) -> None:
        self._directory = PilotDirectory(run)
        self.run_name = sanitise(run.name, limit=80)
        self.feed = PilotFeed(self._directory, clock)
        self.games = StoredGames(run)
        self.alive = True
        self.live = True
        """Whether the view follows the newest frame."""
        self._requested_game = ""
        """Content id of the game that was requested last."""

    async def poll_alive(self) -> None:
        """Check regularly whether the pilot is alive, in a thread because the disk may be slow."""
        while True:
            self.alive = await asyncio.to_thread(self._directory.alive)
            await asyncio.sleep(ALIVE_INTERVAL_S)

    def game_to_load(self) -> str | None:
        """Return the content id of a game that the live view needs and that was not requested yet."""
        newest = self.feed.newest
        if newest is None or not self.live or newest.content_id == self._requested_game:
            return None
        self._requested_game = newest.content_id
        return newest.content_id

    def close(self) -> None:
        self.feed.close()
