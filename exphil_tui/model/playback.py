"""Replay playback position: play, pause, speed, seek, as pure functions of a clock.

The current frame follows from the time alone, so a late repaint skips frames instead of slowing the game down.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from exphil_core.melee.frames import FRAMES_PER_SECOND

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
SPEED_NAMES = ("¼", "½", "1", "2", "4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Playback:
    frames: int
    """Number of frames, at least 1."""
    playing: bool = False
    speed: float = 1.0
    """Playback speed relative to the game; one of `SPEEDS`."""
    start: int = 0
    """Frame index at time `since`."""
    since: float = 0.0
    """Seconds, on the same clock as `now`."""

    def frame_index(self, now: float) -> int:
        """Return the frame index at time `now`."""
        if not self.playing:
            return self.start
        # The epsilon guards against rounding: 60 * (1 / 60) is not always 1.
        passed = int(max(0.0, now - self.since) * self.speed * FRAMES_PER_SECOND + 1e-6)
        return min(self.start + passed, self.frames - 1)

    def paused_at_end(self, now: float) -> "Playback":
        """Pause at the last frame once it is reached."""
        at = self.frame_index(now)
        return replace(self, playing=False, start=at) if self.playing and at == self.frames - 1 else self

    def started(self, now: float) -> "Playback":
        """Start playing; at the last frame, start over from the first."""
        at = self.frame_index(now)
        return replace(self, playing=True, start=0 if at == self.frames - 1 else at, since=now)

    def paused(self, now: float) -> "Playback":
        return replace(self, playing=False, start=self.frame_index(now))

    def toggled(self, now: float) -> "Playback":
        return self.paused(now) if self.paused_at_end(now).playing else self.started(now)

    def at(self, frame_index: int, now: float) -> "Playback":
        """Seek to a frame index, clamped to the replay; playback continues from there."""
        return replace(self, start=min(max(0, frame_index), self.frames - 1), since=now)

    def moved(self, frames: int, now: float) -> "Playback":
        """Seek by a number of frames; a single-frame step pauses."""
        found = self.at(self.frame_index(now) + frames, now)
        return replace(found, playing=False) if abs(frames) == 1 else found

    def speed_changed(self, steps: int, now: float) -> "Playback":
        """Change the speed by `steps` entries of `SPEEDS`."""
        index = min(max(0, SPEEDS.index(self.speed) + steps), len(SPEEDS) - 1)
        return replace(self, start=self.frame_index(now), since=now, speed=SPEEDS[index])


def speed_name(speed: float, *, ascii: bool) -> str:
    """Format a speed: `¼`, `½`, `1`, or in ASCII `1/4`, `1/2`, `1`."""
    name = SPEED_NAMES[SPEEDS.index(speed)]
    return {"¼": "1/4", "½": "1/2"}.get(name, name) if ascii else name


def time_of(frame_id: int, *, tenths: bool = False) -> str:
    """Format the game time of a frame id: `1:23`, or `-0:02` in the countdown before frame 0."""
    seconds, rest = divmod(abs(frame_id), FRAMES_PER_SECOND)
    sign = "-" if frame_id < 0 and (seconds or tenths) else ""
    fine = f".{rest * 10 // FRAMES_PER_SECOND}" if tenths else ""
    return f"{sign}{seconds // 60}:{seconds % 60:02}{fine}"


_TIME = re.compile(r"(?P<sign>[-+−–]?)(?P<minutes>\d{1,3}):(?P<seconds>[0-5]?\d(?:[.,]\d+)?)")
_FRAME = re.compile(r"(?P<sign>[-+−–]?)(?P<number>\d{1,9}(?:,\d{3})*)")


def parse_frame(text: str, frame_ids: Sequence[int]) -> int | str:
    """Parse a frame id or time (`-39`, `1,200`, `1:23`) into a frame index.

    Args:
        text: The typed text.
        frame_ids: Frame ids of the replay, ascending.

    Returns:
        The frame index (the next later frame if the file lacks that id), or an error sentence.
    """
    text = "".join(text.split())
    first, last = int(frame_ids[0]), int(frame_ids[-1])
    if (match := _FRAME.fullmatch(text)) is not None:
        wanted = int(match["number"].replace(",", ""))
    elif (match := _TIME.fullmatch(text)) is not None:
        seconds = 60 * int(match["minutes"]) + float(match["seconds"].replace(",", "."))
        wanted = round(seconds * FRAMES_PER_SECOND)
    else:
        return "Expected a frame number such as -39 or 1200, or a time in minutes and seconds such as 1:23."
    if match["sign"] in ("-", "−", "–"):
        wanted = -wanted
    if not first <= wanted <= last:
        return (
            f"There is no frame {wanted:,}: this game goes from frame {first} to {last:,} "
            f"({time_of(first)} to {time_of(last)})."
        )
    return bisect_left(frame_ids, wanted)
