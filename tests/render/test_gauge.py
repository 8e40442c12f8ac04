"""The gauge as text: its scale stands still, and what it says agrees with what was measured."""

from collections.abc import Sequence

import msgspec
import pytest

from exphil_core.inference.latency import BUDGET_MS, HISTOGRAM_BINS
from exphil_core.inference.latency import MISSED_SHARE as BENCH_MISSED_SHARE
from exphil_core.render.dial import BINS_PER_BUDGET, Line
from exphil_core.render.gauge import (
    FULL,
    KEPT,
    MISSED_SHARE,
    LatencySample,
    gauge_lines,
    samples_after,
    samples_of,
)
from exphil_core.runs.records import LatencyEvent
from tests.latencies import KINDS, missed, moments, record, records, took

WIDTHS = range(24, 200, 7)
HEIGHTS = (1, 5, 7, 8, 15, FULL, 20, 24, 32, 40)

OLD = LatencyEvent(
    seq=0,
    ts="",
    device="cuda:0",
    backbone="gru",
    frames=3600,
    p50_ms=3.2,
    p95_ms=4.1,
    p99_ms=6.4,
    max_ms=18.9,
    missed=2,
    budget_ms=BUDGET_MS,
    histogram=[0, 2, 30, 900],
)
"""As they were before there was a pilot."""


def rows(
    latency: LatencyEvent,
    found: Sequence[LatencySample] = (),
    *,
    width: int = 80,
    height: int = 7,
    ascii: bool = False,
    stale: str = "",
) -> list[str]:
    lines = gauge_lines(latency, found, width=width, height=height, ascii=ascii, stale=stale)
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def drawn(kind: str, **how: object) -> str:
    return "\n".join(rows(record(kind), moments(kind), **how))  # type: ignore[arg-type]


def looks(lines: Sequence[Line]) -> dict[str, str]:
    return {text.strip(): look for line in lines for text, look in line if text.strip()}


# What it agrees with.


def test_its_bins_and_its_verdict_are_those_of_the_measurement() -> None:
    assert 2 * BINS_PER_BUDGET == HISTOGRAM_BINS
    assert MISSED_SHARE == BENCH_MISSED_SHARE


# The dial.


@pytest.mark.parametrize("width", WIDTHS)
def test_the_budget_stands_still_whatever_is_measured(width: int) -> None:
    places = {rows(record(kind), width=width)[1].find("│") for kind in KINDS}
    assert len(places) == 1
    [place] = places
    labels = rows(record("fast"), width=width)[0]
    begin = labels.index("16.67 ms")
    assert begin <= place <= begin + len("16.67 ms")


@pytest.mark.parametrize("p95_ms", [0.0, 0.4, 5.0, 12.5, 16.6, 16.7, 20.0, 24.9, 25.0, 90.0])
def test_the_bar_is_as_long_as_the_p95(p95_ms: float) -> None:
    bar = rows(msgspec.structs.replace(record("fast"), p50_ms=None, p95_ms=p95_ms))[1][2:]
    full = sum(letter in "▏▎▍▌▋▊▉█▶" for letter in bar)
    assert full == pytest.approx(max(0.2, 60 * min(p95_ms, 25) / 25), abs=1)
    assert ("▶" in bar) == (p95_ms > 25)


def test_the_notch_is_at_the_p50() -> None:
    bar = rows(msgspec.structs.replace(record("fast"), p50_ms=10.0, p95_ms=14.0))[1]
    assert bar.index("┃") == 2 + 24


def test_what_is_over_the_budget_is_beyond_the_line() -> None:
    for kind in KINDS:
        bar = rows(record(kind))[1]
        assert ("█" in bar.partition("│")[2]) == (kind == "over")


# The words.


def test_it_gives_the_figures_and_says_what_is_measured() -> None:
    text = drawn("fast", height=12)
    for words in (
        "p50 3.20",
        "p95 3.46",
        "p99 3.50",
        "max 12.6 ms",
        "✓ in time",
        "headroom 13.2 ms",
        "missed 1/600, 60/36,000 in total",
        "encode + step + sample + decode",
        "on cpu, 1 thread",
        "weights of step 1,200",
        "at 60 Hz",
        "wake-up 0.31 ms late (p99), not included",
        "with real-time priority",
        "uses 0.20 of a core",
        "attention, window 180",
        "as Mewtwo",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("p99_ms", "late", "verdict"),
    [
        (8.0, 0, "✓ in time"),
        (14.9, 6, "✓ in time"),
        (15.1, 0, "≈ just in time"),
        (16.6, 6, "≈ just in time"),
        (16.7, 0, "✗ not in time"),
        (3.0, 7, "✗ not in time"),
    ],
)
def test_the_verdict_is_on_the_p99_and_on_the_deadlines(p99_ms: float, late: int, verdict: str) -> None:
    assert verdict in "\n".join(rows(msgspec.structs.replace(record("fast"), p99_ms=p99_ms, missed=late)))


def test_nothing_measured_is_dashes_and_no_verdict() -> None:
    found = msgspec.structs.replace(
        record("fast"), p50_ms=None, p95_ms=None, p99_ms=None, max_ms=None, frames=0, missed=0
    )
    text = "\n".join(rows(found))
    assert "p50 –" in text
    assert "in time" not in text
    assert "headroom" not in text


def test_an_event_without_what_a_pilot_adds_is_shown_as_far_as_it_goes() -> None:
    text = "\n".join(rows(OLD, height=30))
    assert "missed 2/3,600" in text
    assert "on cuda:0" in text
    for words in ("None", "in total", "wake-up", "priority", "of a core", "weights"):
        assert words not in text, words


def test_a_stranger_s_words_are_made_safe() -> None:
    evil = "\x1b[2J\u202e[/red]"
    found = msgspec.structs.replace(record("fast"), device=evil, backbone=evil, character=evil)
    text = "\n".join(rows(found, height=12))
    assert "\x1b" not in text
    assert "\u202e" not in text


# Stale.


def test_stale_is_dim_and_says_since_when_instead_of_a_verdict() -> None:
    lines = gauge_lines(
        record("over"), moments("over"), width=80, height=30, ascii=False, stale="stopped 12 s ago"
    )
    found = looks(lines)
    assert found.pop("stopped 12 s ago") == "warn"
    assert set(found.values()) == {"dim"}
    assert not any("in time" in text for text in found)


# The strip.


def test_skipped_frames_are_counted_where_there_are_any() -> None:
    text = "\n".join(rows(record("over", skipped=0, total_skipped=0)))
    assert "skipped" not in text
    text = "\n".join(rows(record("over", skipped=12, total_skipped=1240)))
    assert "skipped 12, 1,240 in total" in text
    # Of a benchmark, which knows no total.
    text = "\n".join(rows(record("over", skipped=3, total_skipped=None)))
    assert "skipped 3" in text
    assert "skipped 3," not in text


def test_the_strip_shows_the_slowest_and_marks_the_missed() -> None:
    found = samples_of([3.0] * 40 + [20.0] + [3.0] * 19, [False] * 40 + [True] + [False] * 19)
    marks, strip = rows(record("fast"), found)[4:6]
    [place] = [index for index, letter in enumerate(marks) if letter == "▾"]
    assert strip[place] == "▇"
    assert set(strip[:place] + strip[place + 1 :]) <= {" ", "▁"}


@pytest.mark.parametrize("height", [7, 20, 40])
def test_only_what_took_longer_than_the_budget_is_higher_than_it(height: int) -> None:
    under, over = (
        rows(record("fast"), samples_of([ms] * 600, [False] * 600), width=80, height=height)
        for ms in (BUDGET_MS, BUDGET_MS + 0.01)
    )
    if height < FULL:
        assert set(under[5].strip()) == {"▅"}
        assert set(over[5].strip()) == {"▆"}
        return
    level = next(index for index, row in enumerate(under) if row.startswith("  ┄┄"))
    assert set(under[level - 1].strip()) == set()
    assert set(under[level + 1].strip()) == {"█"}
    assert set(over[level].strip("┄ ")) == {"█"}
    assert set(over[level - 1].strip()) == {"▁"}


def test_a_column_keeps_what_it_covers_while_the_strip_moves() -> None:
    found: tuple[LatencySample, ...] = ()
    seen: set[str] = set()
    for number in range(400):
        slowest = 20.0 if number == 150 else 3.0
        found = samples_after(
            found, record("fast", total_frames=6 * (number + 1), recent_max_ms=slowest, recent_missed=0)
        )
        if 152 < number < 255:
            [strip] = [row for row in rows(record("fast"), found, width=60, height=9) if "▁▁▁" in row]
            seen.add(strip.strip("▁ "))
    assert seen == {"▇"}


def test_the_strip_covers_the_last_ten_seconds_at_least() -> None:
    for width in (40, 60, 80, 120):
        words = next(
            row for row in rows(record("fast"), moments("fast"), width=width, height=30) if "last" in row
        )
        assert "last 10 s" in words
    single = samples_of(took("over"), missed("over"))
    assert "last 10 s • each column the slowest of 8 frames" in "\n".join(
        rows(record("over"), single, height=30)
    )


# Moments.


def test_a_moment_is_what_came_since_the_record_before() -> None:
    found = moments("over")
    assert len(found) == 100
    assert [moment.number for moment in found] == list(range(100))
    assert found[-1].until == 36_000
    times = took("over")
    assert [moment.slowest_ms for moment in found[1:]] == [max(times[i : i + 6]) for i in range(6, 600, 6)]


def test_a_record_that_is_passed_on_now_and_then_speaks_for_all_frames_since() -> None:
    first = samples_after((), record("over", total_frames=600))
    found = samples_after(first, record("over", total_frames=1200, recent_max_ms=1.0, recent_missed=0))
    assert found[-1].slowest_ms == record("over").max_ms
    assert found[-1].missed


def test_the_same_record_twice_is_one_moment() -> None:
    found = moments("fast")
    assert samples_after(found, records("fast")[-1]) == found


def test_without_frames_there_is_no_moment() -> None:
    assert samples_after((), record("fast", total_frames=0, frames=0, missed=0)) == ()


def test_a_count_that_fell_is_another_pilot_s() -> None:
    assert [moment.until for moment in samples_after(moments("fast"), record("fast", total_frames=6))] == [6]


def test_only_so_many_moments_are_kept() -> None:
    found: tuple[LatencySample, ...] = ()
    for number in range(KEPT + 50):
        found = samples_after(found, record("fast", total_frames=6 * (number + 1)))
    assert len(found) == KEPT
    assert found[-1].number == KEPT + 49


# The histogram.


@pytest.mark.parametrize("kind", KINDS)
def test_the_histogram_is_split_at_the_budget(kind: str) -> None:
    over = sum(ms >= BUDGET_MS for ms in took(kind))
    text = rows(record(kind), moments(kind), width=120, height=36)
    assert f"{600 - over} frames in the budget │ {over} over" in text[0]
    columns = [row for row in text[1:16] if "█" in row]
    assert any("█" in row.partition("│")[2] for row in columns) == (over > 60)


def test_one_frame_of_many_can_be_seen() -> None:
    counts = [0] * HISTOGRAM_BINS
    counts[4], counts[25] = 599, 1
    found = msgspec.structs.replace(record("fast"), histogram=counts)
    text = rows(found, width=80, height=20)
    axis = next(index for index, row in enumerate(text) if "16.67 ms" in row)
    assert "▁" in text[axis - 1].partition("│")[2]


def test_what_is_beyond_the_scale_is_counted() -> None:
    counts = [0] * HISTOGRAM_BINS
    counts[4], counts[39] = 590, 10
    found = msgspec.structs.replace(record("fast"), histogram=counts)
    assert "10 over, 10 of them beyond 25 ms" in rows(found, width=80, height=20)[0]


@pytest.mark.parametrize("counts", [[], [0] * HISTOGRAM_BINS, [1, 2, 3], [5] * 4096])
def test_a_histogram_of_other_bins_is_left_out(counts: list[int]) -> None:
    assert "16.67 ms" in rows(msgspec.structs.replace(record("fast"), histogram=counts), height=40)[0]


# Room.


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_never_takes_more_lines_than_it_is_given(kind: str, height: int) -> None:
    latency, samples = record(kind), moments(kind)
    for width in WIDTHS:
        assert len(rows(latency, samples, width=width, height=height)) <= height


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("height", [7, 20, 40])
def test_no_line_is_wider_than_it_may_be(kind: str, height: int) -> None:
    for width in range(76, 200, 5):
        assert max(map(len, rows(record(kind), moments(kind), width=width, height=height))) <= width


@pytest.mark.parametrize("height", HEIGHTS)
def test_in_ascii_every_letter_is(height: int) -> None:
    for kind in KINDS:
        assert drawn(kind, height=height, ascii=True).isascii()


@pytest.mark.parametrize("height", [7, 20, 36])
def test_without_colour_the_states_differ_in_letters(height: int) -> None:
    for ascii in (False, True):
        assert len({drawn(kind, height=height, ascii=ascii) for kind in KINDS}) == len(KINDS)
    assert drawn("over", height=height).count("▾") > drawn("fast", height=height).count("▾")
