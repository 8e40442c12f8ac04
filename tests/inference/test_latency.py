"""The paced loop keeps its ticks, and figures are those of frames that really were."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from exphil_core.inference.latency import (
    BUDGET_MS,
    HISTOGRAM_BINS,
    RATE,
    FrameTiming,
    Percentiles,
    gc_disabled,
    histogram,
    percentiles,
    run_at_60_hz,
)


@dataclass
class FakeClock:
    """Time that passes only where it is spent."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def ticks(self, took: Callable[[int], float], frames: int) -> list[FrameTiming]:
        def act(number: int) -> None:
            self.now += took(number)

        return list(run_at_60_hz(act, frames, clock=self, sleep=self.sleep))


def test_frames_begin_on_their_ticks_however_long_the_ones_before_took() -> None:
    clock = FakeClock()
    ticks = clock.ticks(lambda number: 0.001 * (1 + number % 12), 60)
    for number, tick in enumerate(ticks):
        assert tick.due == pytest.approx(100 + number / RATE)
        assert tick.began == pytest.approx(tick.due)
        assert tick.took_ms == pytest.approx(1 + number % 12)
        assert not tick.missed
    assert len(clock.slept) == 59


def test_a_stall_misses_every_deadline_that_it_covers_and_no_frame_is_left_out() -> None:
    ticks = FakeClock().ticks(lambda number: 0.05 if number == 3 else 0.004, 20)
    assert len(ticks) == 20
    assert [number for number, tick in enumerate(ticks) if tick.missed] == [3, 4, 5]
    assert [number for number, tick in enumerate(ticks) if tick.late_ms > 1] == [4, 5, 6]
    assert ticks[-1].late_ms == pytest.approx(0, abs=1e-6)


def test_a_frame_that_takes_exactly_its_budget_meets_its_deadline() -> None:
    tick = FrameTiming(due=0.0, began=0.0, done=1 / RATE)
    assert not tick.missed
    assert tick._replace(done=1 / RATE + 1e-6).missed


def test_a_late_wake_up_counts_against_the_deadline_but_not_as_work() -> None:
    tick = FrameTiming(due=0.0, began=0.015, done=0.018)
    assert tick.took_ms == pytest.approx(3)
    assert tick.late_ms == pytest.approx(15)
    assert tick.missed


def test_percentiles_are_times_that_were_measured() -> None:
    times = [float(number) for number in range(1, 101)]
    found = percentiles(times, missed=2)
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == (50.0, 95.0, 99.0, 100.0)
    assert (found.frames, found.missed) == (100, 2)
    one = percentiles([7.0], missed=0)
    assert (one.p50_ms, one.p99_ms, one.max_ms) == (7.0, 7.0, 7.0)


@pytest.mark.parametrize(
    ("p99", "missed", "within"),
    [(8.0, 0, True), (8.0, 6, True), (8.0, 7, False), (BUDGET_MS, 0, False), (40.0, 0, False)],
)
def test_within_budget_means_99_of_100_by_time_and_by_deadline(p99: float, missed: int, within: bool) -> None:
    found = Percentiles(frames=600, p50_ms=1.0, p95_ms=2.0, p99_ms=p99, max_ms=99.0, missed=missed)
    assert found.within_budget == within


def test_every_frame_is_in_one_bin() -> None:
    counts = histogram([0.0, 0.1, BUDGET_MS / 2, BUDGET_MS * 0.999, BUDGET_MS * 1.01, 500.0])
    assert len(counts) == HISTOGRAM_BINS
    assert sum(counts) == 6
    assert counts[0] == 2
    assert counts[HISTOGRAM_BINS // 4] == 1
    assert sum(counts[: HISTOGRAM_BINS // 2]) == 4
    assert counts[-1] == 1


def test_the_collector_rests_while_frames_are_paced_and_not_after() -> None:
    assert gc.isenabled()
    with gc_disabled():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
