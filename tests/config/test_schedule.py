"""The schedule follows from the data and the run's length."""

import pytest

from exphil_core.config.schedule import (
    FEW_FRAMES,
    FULL_RATE_FRAMES,
    batch_without_repeats,
    dropout,
    ema_decay,
    epochs,
    evaluation_minutes,
    learning_rate,
    pick_size,
    trains_on_all_characters,
    warmup_steps,
    weight_decay,
)
from exphil_core.config.sizes import SizeName


@pytest.mark.parametrize("steps", [1, 19, 100, 600, 4_000, 100_000])
def test_the_warm_up_is_a_twentieth_of_the_run_at_most(steps: int) -> None:
    assert warmup_steps(2000, steps) <= steps / 20
    assert warmup_steps(50, steps) <= 50
    assert warmup_steps(2000, 100_000) == 2000


@pytest.mark.parametrize("batch_size", [1, 16, 256])
@pytest.mark.parametrize("grad_accum_steps", [1, 4])
@pytest.mark.parametrize("games", [1, 5, 22, 134, 5_000])
def test_a_step_has_as_many_windows_as_asked_but_no_game_twice(
    batch_size: int, grad_accum_steps: int, games: int
) -> None:
    rows, passes = batch_without_repeats(batch_size, grad_accum_steps, games)
    assert rows * passes <= games
    assert rows <= batch_size
    assert rows * passes > min(batch_size * grad_accum_steps, games) - passes
    if games >= batch_size * grad_accum_steps:
        assert (rows, passes) == (batch_size, grad_accum_steps)


@pytest.mark.parametrize("steps", [1, 100, 600, 3_000, 10**6])
def test_the_averages_look_back_on_a_twentieth_of_the_run_at_most(steps: int) -> None:
    decay = ema_decay(0.9995, steps)
    assert 0 <= decay <= 0.9995
    assert 1 / (1 - decay) <= max(1.0, steps / 20) + 0.5


def test_the_more_often_frames_come_again_the_more_is_dropped_and_less_of_more_frames() -> None:
    of_few = [dropout(0.0, 100_000, passes * 1e5) for passes in (1, 8, 16, 32, 1000)]
    assert of_few == [0.0, 0.0, 0.1, 0.2, 0.3]
    assert dropout(0.0, 10**7, 1e10) == 0.2
    assert dropout(0.1, 10**6, 1e6) == 0.1
    decays = [weight_decay(0.01, 100_000, passes * 1e5) for passes in (1, 8, 16, 1000)]
    assert decays == [0.01, 0.01, 0.02, 0.1]


def test_evaluations_take_a_twentieth_of_the_run_but_are_four_at_least() -> None:
    assert evaluation_minutes(3.0, 0.1) == pytest.approx(3 / 20)
    assert evaluation_minutes(3.0, 1.5) == pytest.approx(0.5)
    assert evaluation_minutes(3.0, 60.0) == pytest.approx(0.75)


def test_all_characters_are_trained_on_where_the_wanted_ones_have_few_frames() -> None:
    assert trains_on_all_characters("auto", FEW_FRAMES - 1)
    assert not trains_on_all_characters("auto", FEW_FRAMES)
    assert trains_on_all_characters(True, 10**9)
    assert not trains_on_all_characters(False, 1)


@pytest.mark.parametrize(
    ("frames", "minutes", "pace", "size"),
    [
        (50_000, None, 1e6, "small"),
        (2_000_000, 3.0, 100, "small"),
        (2_000_000, 3.0, 2_000, "medium"),
        (2_000_000, None, 100, "medium"),
        (10**8, None, 100, "production"),
        (10**8, 3.0, 100, "small"),
        (10**8, 60.0, 70, "medium"),
    ],
)
def test_the_largest_size_is_picked_that_frames_and_time_carry(
    frames: int, minutes: float | None, pace: float, size: SizeName
) -> None:
    def steps_per_minute(name: SizeName) -> float:
        return {"small": 10 * pace, "medium": pace, "production": pace / 10}[name]

    picked = pick_size(frames=frames, minutes=minutes, steps_per_minute=steps_per_minute)
    assert picked.size == size
    assert picked.reason.startswith(f"size {size}: ")


def test_few_frames_get_few_passes() -> None:
    assert epochs(10, FULL_RATE_FRAMES) == epochs(10, 10**9) == 10
    passes = [epochs(10, frames) for frames in (1, 70_000, 100_000, FULL_RATE_FRAMES)]
    assert passes == sorted(passes)
    assert (passes[0], epochs(10, FULL_RATE_FRAMES // 2)) == (2, 2.5)


def test_the_learning_rate_is_lower_for_few_frames() -> None:
    assert learning_rate(2e-3, FULL_RATE_FRAMES) == learning_rate(2e-3, 10**9) == 2e-3
    rates = [learning_rate(2e-3, frames) for frames in (1, 50_000, 80_000, 120_000, FULL_RATE_FRAMES)]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(2e-4)
    # A quarter at half the frames.
    assert learning_rate(2e-3, FULL_RATE_FRAMES // 2) == pytest.approx(5e-4)
