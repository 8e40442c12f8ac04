"""Playback position of the replay screen, and whether it follows the pilot's newest frame."""

from collections.abc import Callable

from exphil_tui.model.playback import Playback
from exphil_tui.screens.replay.watched_pilot import WatchedPilot


class PlaybackControl:
    """Moves the playback of the loaded game; does nothing before one is loaded. Moving leaves the live view."""

    def __init__(self, clock: Callable[[], float], pilot: WatchedPilot | None) -> None:
        self._clock, self._pilot = clock, pilot
        self.playback: Playback | None = None

    def load(self, frames: int) -> None:
        self.playback = Playback(frames=frames, since=self._clock())

    @property
    def frame_index(self) -> int | None:
        """Index of the frame shown now; None before a game is loaded."""
        return None if self.playback is None else self.playback.frame_index(self._clock())

    def pause_at_end(self) -> None:
        if self.playback is not None:
            self.playback = self.playback.paused_at_end(self._clock())

    def follow(self, frame_index: int) -> None:
        """Show the pilot's newest frame, if the view is live."""
        if self.playback is not None and self._pilot is not None and self._pilot.live:
            self.playback = self.playback.paused(0.0).at(frame_index, 0.0)

    def toggle(self) -> None:
        if self.playback is None:
            return
        # While live, the key only leaves live mode: playback stays paused on the current frame.
        live = self._pilot is not None and self._pilot.live
        self._move(self.playback if live else self.playback.toggled(self._clock()))

    def step(self, frames: int) -> None:
        if self.playback is not None:
            self._move(self.playback.moved(frames, self._clock()))

    def seek(self, frame_index: int) -> None:
        if self.playback is not None:
            self._move(self.playback.at(frame_index, self._clock()))

    def seek_end(self) -> None:
        """Go to the last frame; when watching a pilot, back to live."""
        if self.playback is None:
            return
        self._move(self.playback.at(self.playback.frames - 1, self._clock()))
        if self._pilot is not None:
            self._pilot.live = True

    def change_speed(self, steps: int) -> None:
        if self.playback is not None:
            self._move(self.playback.speed_changed(steps, self._clock()))

    def _move(self, playback: Playback) -> None:
        if self._pilot is not None:
            self._pilot.live = False
        self.playback = playback
