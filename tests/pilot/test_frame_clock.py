"""The grid of ticks stands still, whatever is played on it."""

from dataclasses import dataclass, field

import pytest

from exphil_core.inference.latency import RATE, FrameTiming
from exphil_core.pilot.frame_clock import FrameTick, frame_ticks
from exphil_core.pilot.latency_window import KEPT_FRAMES, LatencyWindow


@dataclass
class FakeClock:
    """Time that passes only where it is spent; it wakes up a little late."""

    now: float = 1000.0
    oversleeps: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds + self.oversleeps


def played(clock: FakeClock, took: list[float]) -> list[tuple[FrameTick, FrameTiming]]:
    found = []
    for tick in frame_ticks(len(took), clock=clock, sleep=clock.sleep):
        clock.now += took[tick.number]
        found.append((tick, FrameTiming(due=tick.due, began=tick.began, done=clock.now)))
    return found


def test_an_hour_of_late_wake_ups_and_uneven_frames_drifts_by_nothing() -> None:
    clock = FakeClock(oversleeps=0.0007)
    frames = 3600 * 60
    found = played(clock, [0.001 * (1 + number % 15) for number in range(frames)])
    assert len(found) == frames
    for number in (1, 59, 60, 100_000, frames - 1):
        tick, timing = found[number]
        assert tick.due - 1000.0 == pytest.approx(number / RATE, abs=1e-6)
        assert timing.late_ms == pytest.approx(0.7, abs=1e-3)
        assert timing.took_ms == pytest.approx(1 + number % 15, abs=1e-3)
    assert not any(timing.missed for _, timing in found)


def test_a_stall_skips_what_has_passed_and_the_grid_stays() -> None:
    clock = FakeClock()
    found = played(clock, [0.004] * 10 + [0.505] + [0.004] * 90)
    ticks = [tick for tick, _ in found]
    # Half a second is thirty ticks and a little: the thirtieth is the newest.
    assert [tick.number for tick in ticks] == [*range(11), *range(40, 101)]
    assert [tick.skipped for tick in ticks if tick.skipped] == [29]
    assert all((tick.due - 1000.0) * RATE == pytest.approx(tick.number) for tick in ticks)
    assert all(tick.began - tick.due < 1 / RATE for tick in ticks)
    assert [number for number, tick in enumerate(ticks) if tick.began - tick.due > 1e-6] == [11]


def test_a_player_that_is_always_too_slow_skips_and_falls_no_further_behind() -> None:
    clock = FakeClock()
    found = played(clock, [0.03] * 2000)
    assert all(tick.began - tick.due < 1 / RATE for tick, _ in found[:-1])
    assert all(timing.missed for _, timing in found)
    assert len(found) + sum(tick.skipped for tick, _ in found) == 2000
    assert len(found) == pytest.approx(2000 / RATE / 0.03, abs=2)


def test_the_last_frame_is_played_however_late() -> None:
    clock = FakeClock()
    found = played(clock, [0.004, 90.0, *[0.004] * 58])
    assert [(tick.number, tick.skipped) for tick, _ in found] == [(0, 0), (1, 0), (59, 57)]


def test_what_is_missed_is_counted_once_and_a_skipped_tick_is_a_missed_frame() -> None:
    recent = LatencyWindow()
    recent.add(FrameTiming(due=0.0, began=0.0, done=0.010))
    recent.add(FrameTiming(due=1 / RATE, began=1 / RATE, done=1 / RATE + 0.020))
    # The wake-up was late, the work was short.
    recent.add(FrameTiming(due=2 / RATE, began=2 / RATE + 0.015, done=2 / RATE + 0.018), skipped=70)
    felt = recent.taken()
    assert (felt.missed, felt.recent_missed, felt.total_missed) == (72, 72, 72)
    assert (felt.total_frames, felt.skipped, felt.total_skipped, len(felt.took_ms)) == (73, 70, 70, 3)
    assert felt.recent_max_ms == pytest.approx(20)
    fields = felt.fields()
    assert (fields["frames"], fields["missed"], fields["skipped"]) == (73, 72, 70)
    assert fields["max_ms"] == pytest.approx(20)
    assert fields["late_p99_ms"] == pytest.approx(15)
    assert fields["headroom_ms"] == pytest.approx(1000 / 60 - 20)

    recent.add(FrameTiming(due=3 / RATE, began=3 / RATE, done=3 / RATE + 0.005))
    felt = recent.taken()
    assert (felt.missed, felt.recent_missed, felt.total_missed) == (72, 0, 72)
    assert felt.recent_max_ms == pytest.approx(5)


def test_percentiles_are_of_the_last_ten_seconds_and_totals_of_all() -> None:
    recent = LatencyWindow()
    for number in range(KEPT_FRAMES + 100):
        took = 0.030 if number < 100 else 0.005
        recent.add(FrameTiming(due=number / RATE, began=number / RATE, done=number / RATE + took))
    fields = recent.taken().fields()
    assert (fields["frames"], fields["missed"], fields["max_ms"]) == (600, 0, pytest.approx(5))
    assert (fields["total_frames"], fields["total_missed"]) == (700, 100)
    # The slowest since the last word is not among those that percentiles are of.
    assert fields["recent_max_ms"] == pytest.approx(30)
    assert sum(fields["histogram"]) == 600  # type: ignore[call-overload]


def test_skipped_frames_leave_the_window_like_others() -> None:
    recent = LatencyWindow()
    recent.add(FrameTiming(due=0.0, began=0.0, done=0.005))
    recent.add(FrameTiming(due=20.0, began=20.0, done=20.005), skipped=1199)
    felt = recent.taken()
    assert (felt.skipped, felt.missed, felt.total_skipped, len(felt.took_ms)) == (599, 599, 1199, 1)
    for number in range(1, KEPT_FRAMES):
        recent.add(FrameTiming(due=20 + number / RATE, began=20 + number / RATE, done=20.005 + number / RATE))
    felt = recent.taken()
    assert (felt.skipped, felt.missed, felt.total_skipped, len(felt.took_ms)) == (0, 0, 1199, 600)
