"""The grid of ticks stands still, whatever is played on it."""

from dataclasses import dataclass, field

import pytest

from exphil_core.inference.latency import RATE, Tick
from exphil_core.inference.recent import KEPT_FRAMES, Recent
from exphil_core.inference.ticks import Ticks


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


def played(clock: FakeClock, took: list[float]) -> list[Tick]:
    ticks, found = Ticks(clock=clock, sleep=clock.sleep), []
    for seconds in took:
        due, began = ticks.wait()
        clock.now += seconds
        found.append(Tick(due=due, began=began, done=clock.now))
    return found


def test_an_hour_of_late_wake_ups_and_uneven_frames_drifts_by_nothing() -> None:
    clock = FakeClock(oversleeps=0.0007)
    frames = 3600 * 60
    found = played(clock, [0.001 * (1 + number % 15) for number in range(frames)])
    for number in (1, 59, 60, 100_000, frames - 1):
        assert found[number].due - 1000.0 == pytest.approx(number / RATE, abs=1e-6)
        assert found[number].late_ms == pytest.approx(0.7, abs=1e-3)
        assert found[number].took_ms == pytest.approx(1 + number % 15, abs=1e-3)
    assert not any(tick.missed for tick in found)


def test_a_short_stall_is_caught_up_with_and_a_frame_is_played_on_every_tick() -> None:
    clock = FakeClock()
    found = played(clock, [0.004] * 10 + [0.5] + [0.004] * 60)
    assert [round((tick.due - 1000.0) * RATE) for tick in found] == list(range(71))
    # It has half a second to make up for, of which every frame gives back 12.7 ms.
    late = [number for number, tick in enumerate(found) if tick.late_ms > 0.01]
    assert late == list(range(11, 11 + len(late)))
    assert len(late) == 39
    assert found[-1].late_ms == pytest.approx(0, abs=1e-6)


def test_a_long_stall_skips_what_has_passed_and_the_grid_stays() -> None:
    clock = FakeClock()
    ticks = Ticks(clock=clock, sleep=clock.sleep)
    for _ in range(10):
        ticks.wait()
    clock.now += 90.005
    due, began = ticks.wait()
    assert ticks.skipped == 5399
    assert ticks.count == 10 + 5399 + 1
    # The tick that is played is the last that had come, and all ticks are those of before.
    assert 0 <= began - due < 1 / RATE
    assert (due - 1000.0) * RATE == pytest.approx(10 + 5399)
    due, began = ticks.wait()
    assert began == pytest.approx(due)
    assert ticks.skipped == 5399


def test_a_player_that_is_always_too_slow_never_falls_further_behind_than_a_second() -> None:
    clock = FakeClock()
    ticks, recent = Ticks(clock=clock, sleep=clock.sleep), Recent()
    for _ in range(2000):
        skipped = ticks.skipped
        due, began = ticks.wait()
        assert began - due <= 1.0 + 1e-9
        clock.now += 0.03
        recent.add(Tick(due=due, began=began, done=clock.now), skipped=ticks.skipped - skipped)
    felt = recent.taken()
    assert felt.total_frames == ticks.count == 2000 + ticks.skipped
    assert felt.total_missed == felt.total_frames
    assert ticks.count / RATE == pytest.approx(clock.now - 1000.0, abs=1.1)


def test_what_is_missed_is_counted_once_and_a_skipped_tick_is_a_missed_frame() -> None:
    recent = Recent()
    recent.add(Tick(due=0.0, began=0.0, done=0.010))
    recent.add(Tick(due=1 / RATE, began=1 / RATE, done=1 / RATE + 0.020))
    # The wake-up was late, the work was short.
    recent.add(Tick(due=2 / RATE, began=2 / RATE + 0.015, done=2 / RATE + 0.018), skipped=70)
    felt = recent.taken()
    assert (felt.missed, felt.recent_missed, felt.total_missed) == (2, 72, 72)
    assert (felt.total_frames, felt.skipped, len(felt.took_ms)) == (73, 70, 3)
    assert felt.recent_max_ms == pytest.approx(20)
    fields = felt.fields()
    assert fields["max_ms"] == pytest.approx(20)
    assert fields["late_p99_ms"] == pytest.approx(15)
    assert fields["headroom_ms"] == pytest.approx(1000 / 60 - 20)

    recent.add(Tick(due=3 / RATE, began=3 / RATE, done=3 / RATE + 0.005))
    felt = recent.taken()
    assert (felt.missed, felt.recent_missed, felt.total_missed) == (2, 0, 72)
    assert felt.recent_max_ms == pytest.approx(5)


def test_percentiles_are_of_the_last_ten_seconds_and_totals_of_all() -> None:
    recent = Recent()
    for number in range(KEPT_FRAMES + 100):
        took = 0.030 if number < 100 else 0.005
        recent.add(Tick(due=number / RATE, began=number / RATE, done=number / RATE + took))
    fields = recent.taken().fields()
    assert (fields["frames"], fields["missed"], fields["max_ms"]) == (600, 0, pytest.approx(5))
    assert (fields["total_frames"], fields["total_missed"]) == (700, 100)
    # The slowest since the last word is not among those that percentiles are of.
    assert fields["recent_max_ms"] == pytest.approx(30)
    assert sum(fields["histogram"]) == 600  # type: ignore[call-overload]
