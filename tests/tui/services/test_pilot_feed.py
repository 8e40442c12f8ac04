"""What the replay pane reads of a pilot: its newest frame, what it missed and skipped, and why it is silent."""

import numpy as np
import pytest

from exphil_core.pilot.directory import PilotDirectory
from exphil_core.runs.events import EventLog
from exphil_core.runs.prediction_layout import ComponentLayout, Layout
from exphil_core.runs.predictions import PredictionRing
from exphil_tui.services.pilot_feed import RETRY_S, PilotFeed
from tests.tui.conftest import MakeRun

LAYOUT = Layout(
    codec="clusters",
    components=(ComponentLayout(name="main", size=3, kind="stick", labels=("a", "b", "c"), points=None),),
    horizon=1,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pilot(make_run: MakeRun) -> PilotDirectory:
    found = PilotDirectory(make_run("running"))
    found.path.mkdir()
    return found


def append(ring: PredictionRing, frame_index: int, *, missed: bool = False, game: bytes = b"ab" * 16) -> None:
    record = np.zeros(1, LAYOUT.dtype)
    record["frame_index"], record["missed"], record["content_id"] = frame_index, missed, game
    ring.append(record)


def test_missed_and_skipped_frames_of_the_game_are_counted(pilot: PilotDirectory) -> None:
    ring, feed = PredictionRing.create(pilot.frames_path, LAYOUT, {}), PilotFeed(pilot, Clock())
    for frame_index in (10, 11, 15):
        append(ring, frame_index, missed=frame_index == 11)
    feed.poll()
    append(ring, 16)
    feed.poll()
    assert (feed.missed, feed.skipped) == (4, 3)
    # A new game begins anew.
    append(ring, 0, game=b"cd" * 16)
    feed.poll()
    assert (feed.missed, feed.skipped) == (0, 0)


def test_frames_that_were_not_read_in_time_are_not_taken_for_skipped_ones(pilot: PilotDirectory) -> None:
    ring, feed = PredictionRing.create(pilot.frames_path, LAYOUT, {}, capacity=4), PilotFeed(pilot, Clock())
    append(ring, 0)
    feed.poll()
    for frame_index in range(1, 30):
        append(ring, frame_index)
    feed.poll()
    assert (feed.missed, feed.skipped) == (0, 0)


def test_a_silent_pilot_that_loads_weights_says_so(pilot: PilotDirectory) -> None:
    ring, clock = PredictionRing.create(pilot.frames_path, LAYOUT, {}), Clock()
    feed = PilotFeed(pilot, clock)
    with EventLog(pilot.events_path) as log:
        append(ring, 0)
        feed.poll()
        log.append("loading", step=1240)
        clock.now += 2 * RETRY_S
        feed.poll()
        assert feed.loading == 1240
        append(ring, 1)
        feed.poll()
        assert feed.loading is None
