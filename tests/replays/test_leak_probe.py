"""What a number of jump onsets tells of how states and inputs are aligned."""

import pytest
from scipy.stats import binomtest

from exphil_core.replays.leak_probe import leak_interval, leak_sentence


@pytest.mark.parametrize(
    ("leaking", "onsets", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (6, 293, 0.0094, 0.0439),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_wilsons(leaking: int, onsets: int, low: float, high: float) -> None:
    assert leak_interval(leaking, onsets) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("onsets", [1, 2, 7, 50, 293, 10_000])
def test_the_interval_is_scipys(onsets: int) -> None:
    for leaking in {0, 1, onsets // 50, onsets // 2, onsets - 1, onsets}:
        expected = binomtest(leaking, onsets).proportion_ci(method="wilson")
        # `_Z` has seven digits.
        assert leak_interval(leaking, onsets) == pytest.approx(tuple(expected), abs=1e-8)


@pytest.mark.parametrize(
    ("leaking", "onsets", "verdict"),
    [
        (6, 293, "are aligned"),  # 2.05 % on five sides
        (0, 200, "are aligned"),
        (0, 20, "too few jumps"),
        (1, 8, "too few jumps"),
        (8, 90, "too few jumps"),
        (91, 100, "LEAKING"),
        (40, 200, "LEAKING"),
        (0, 0, "too few jumps"),
    ],
)
def test_so_many_onsets_tell_aligned_games_from_leaking_ones_or_say_that_they_cannot(
    leaking: int, onsets: int, verdict: str
) -> None:
    said = leak_sentence(leaking, onsets)
    assert verdict in said
    assert f"{leaking} of {onsets:,} jumps" in said


def test_the_sentence_gives_share_and_interval() -> None:
    assert "(2.0%; 95% interval 0.9% to 4.4%)" in leak_sentence(6, 293)
