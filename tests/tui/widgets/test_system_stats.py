"""Throughput, waiting, memory: what is said, and what is worth a word."""

import pytest

from exphil_core.runs.records import Resources
from exphil_tui.theme.glyphs import ASCII, UNICODE
from exphil_tui.widgets.system_stats import SystemStats, SystemStatsLine, SystemStatsPanel
from exphil_tui.widgets.text_panel import plain

GIGA = 2**30


def shown(stats: SystemStats, width: int = 37) -> str:
    panel = SystemStatsPanel()
    panel._stats = stats
    return plain(panel.picture(width, UNICODE).lines)


def resources(**values: float) -> Resources:
    base = {"cpu": 1.7, "memory_bytes": 2 * GIGA, "memory_total_bytes": 16 * GIGA}
    return Resources(seq=0, ts="", **{**base, **values})  # type: ignore[arg-type]


def test_without_a_gpu_it_says_none_and_without_a_measurement_a_dash() -> None:
    assert ["gpu", "none"] in [
        line.split() for line in shown(SystemStats(resources=resources())).splitlines()
    ]
    assert ["gpu", "–"] in [line.split() for line in shown(SystemStats()).splitlines()]


def test_a_gpu_shows_its_memory_and_how_busy_it_is() -> None:
    found = resources(gpu_memory_bytes=8 * GIGA, gpu_memory_total_bytes=80 * GIGA, gpu_utilization=0.93)
    text = shown(SystemStats(resources=found), width=60)
    assert "8.0 GB" in text
    assert "93 % busy" in text


@pytest.mark.parametrize(("share", "warned"), [(0.02, False), (0.19, False), (0.2, True), (0.9, True)])
def test_slow_data_is_worth_a_word(share: float, warned: bool) -> None:
    assert ("data loading is the bottleneck" in shown(SystemStats(data_wait=share), width=80)) is warned


def test_cores_in_use_are_of_those_there_are() -> None:
    assert "1.7 of 8" in shown(SystemStats(resources=resources(), cores=8))


def test_memory_that_runs_out_is_marked() -> None:
    panel = SystemStatsPanel()
    panel._stats = SystemStats(resources=resources(memory_bytes=15.5 * GIGA))
    [line] = [line for line in panel.picture(40, UNICODE).lines if "memory" in line[0][0]]
    assert line[1][1] == "warn"


@pytest.mark.parametrize("width", range(20, 120, 7))
def test_no_line_is_wider_than_the_panel_or_ends_in_half_a_gauge(width: int) -> None:
    full = resources(gpu_memory_bytes=8 * GIGA, gpu_memory_total_bytes=80 * GIGA, gpu_utilization=0.93)
    stats = SystemStats(
        speed=35_123.0, recent_speed=tuple(range(100)), data_wait=0.01, resources=full, cores=64
    )
    rows = shown(stats, width).splitlines()
    assert max(map(len, rows)) <= max(width, 39)


def test_the_line_is_empty_until_there_is_a_step() -> None:
    line = SystemStatsLine()
    assert not line.picture(80, UNICODE).lines
    line._stats = SystemStats(speed=35_123.0, recent_speed=(1.0, 2.0), data_wait=0.004, resources=resources())
    text = plain(line.picture(80, ASCII).lines)
    assert text.startswith(" 35.1k frames/s")
    assert "data wait 0.40 %" in text
    assert "memory 2.0 GB" in text
    assert len(text) <= 80
