"""Where in a replay one is: play, pause, speed, steps and jumps, as a function of a clock.

In: how many frames there are, what a person asks for, the time. Out: a `Transport`; a new one for everything that is
asked. What a reader gets wrong: nothing ticks here. Which frame is shown follows from the time alone, so a picture
that comes late shows a later frame, never a slower game.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from exphil_core.melee.frames import FRAMES_PER_SECOND

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
SPEED_NAMES = ("¼", "½", "1", "2", "4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    frames: int
    """At least one."""
    playing: bool = False
    speed: float = 1.0
    """One of `SPEEDS`: times as fast as the game."""
    start: int = 0
    """The frame index that was shown at the time `since`."""
    since: float = 0.0
    """Seconds of whichever clock `now` is read from."""

    def frame_index(self, now: float) -> int:
        """What is shown at that time."""
        if not self.playing:
            return self.start
        # A hair is added: sixty times a sixtieth of a second is not always one.
        passed = int(max(0.0, now - self.since) * self.speed * FRAMES_PER_SECOND + 1e-6)
        return min(self.start + passed, self.frames - 1)

    def settled(self, now: float) -> "Transport":
        """The same, standing still where the end was reached."""
        at = self.frame_index(now)
        return replace(self, playing=False, start=at) if self.playing and at == self.frames - 1 else self

    def played(self, now: float) -> "Transport":
        """Playing from here on; from the first frame where it stood on the last one."""
        at = self.frame_index(now)
        return replace(self, playing=True, start=0 if at == self.frames - 1 else at, since=now)

    def paused(self, now: float) -> "Transport":
        return replace(self, playing=False, start=self.frame_index(now))

    def toggled(self, now: float) -> "Transport":
        return self.paused(now) if self.settled(now).playing else self.played(now)

    def at(self, frame_index: int, now: float) -> "Transport":
        """There, or at the nearest end; playing goes on from there."""
        return replace(self, start=min(max(0, frame_index), self.frames - 1), since=now)

    def moved(self, frames: int, now: float) -> "Transport":
        """So many frames on. One frame is looked at and not passed by: playing ends."""
        found = self.at(self.frame_index(now) + frames, now)
        return replace(found, playing=False) if abs(frames) == 1 else found

    def faster(self, steps: int, now: float) -> "Transport":
        """So many speeds up or down, from where it is."""
        index = min(max(0, SPEEDS.index(self.speed) + steps), len(SPEEDS) - 1)
        return replace(self, start=self.frame_index(now), since=now, speed=SPEEDS[index])


def speed_name(speed: float, *, ascii: bool) -> str:
    """`¼`, `½`, `1`; without letters beyond ASCII `1/4`, `1/2`, `1`."""
    name = SPEED_NAMES[SPEEDS.index(speed)]
    return {"¼": "1/4", "½": "1/2"}.get(name, name) if ascii else name


def time_of(frame_id: int, *, tenths: bool = False) -> str:
    """`1:23` since the game's clock began to run; `-0:02` in the countdown before."""
    seconds, rest = divmod(abs(frame_id), FRAMES_PER_SECOND)
    sign = "-" if frame_id < 0 and (seconds or tenths) else ""
    fine = f".{rest * 10 // FRAMES_PER_SECOND}" if tenths else ""
    return f"{sign}{seconds // 60}:{seconds % 60:02}{fine}"


_TIME = re.compile(r"(?P<sign>[-+−–]?)(?P<minutes>\d{1,3}):(?P<seconds>[0-5]?\d(?:[.,]\d+)?)")
_FRAME = re.compile(r"(?P<sign>[-+−–]?)(?P<number>\d{1,9}(?:,\d{3})*)")


def place_of(text: str, frame_ids: Sequence[int]) -> int | str:
    """The frame index of `-39`, `1,200` or `1:23`; else a sentence on why there is none.

    Between two frames, where a file has a gap, it is the later one.
    """
    text = "".join(text.split())
    first, last = int(frame_ids[0]), int(frame_ids[-1])
    if (match := _FRAME.fullmatch(text)) is not None:
        wanted = int(match["number"].replace(",", ""))
    elif (match := _TIME.fullmatch(text)) is not None:
        seconds = 60 * int(match["minutes"]) + float(match["seconds"].replace(",", "."))
        wanted = round(seconds * FRAMES_PER_SECOND)
    else:
        return "A frame is a number such as -39 or 1200, a time is minutes and seconds such as 1:23."
    if match["sign"] in ("-", "−", "–"):
        wanted = -wanted
    if not first <= wanted <= last:
        return (
            f"This game goes from frame {first} to {last:,} ({time_of(first)} to {time_of(last)}); "
            f"there is no frame {wanted:,}."
        )
    return bisect_left(frame_ids, wanted)
