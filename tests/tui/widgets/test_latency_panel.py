"""The time that a policy takes against the time that it has."""

from exphil_core.runs.records import Latency
from exphil_tui.glyphs import UNICODE
from exphil_tui.widgets.latency_panel import LatencyPanel
from exphil_tui.widgets.text_panel import plain


def latency(**values: object) -> Latency:
    base: dict[str, object] = {
        "device": "cuda:0",
        "backbone": "gru",
        "frames": 3600,
        "p50_ms": 3.214,
        "p95_ms": 4.1,
        "p99_ms": 6.42,
        "max_ms": 18.93,
        "missed": 2,
        "budget_ms": 1000 / 60,
    }
    return Latency(seq=0, ts="", **{**base, **values})  # type: ignore[arg-type]


def panel_of(found: Latency | None) -> LatencyPanel:
    panel = LatencyPanel()
    panel._latency = found
    return panel


def test_without_a_measurement_it_says_so_and_what_there_will_be() -> None:
    text = " ".join(plain(panel_of(None).picture(37, UNICODE).lines).split())
    assert text.startswith("no measurement yet: ")
    assert "16.67 ms a frame" in text


def test_it_shows_the_slow_frames_and_the_budget() -> None:
    text = plain(panel_of(latency()).picture(37, UNICODE).lines)
    for words in (
        "p50",
        "p95",
        "p99",
        "max",
        "3.21",
        "4.10",
        "6.42",
        "18.9 ms",
        "missed 2 of 3,600",
        "16.67 ms",
    ):
        assert words in text, words
    assert "39 %" in text


def test_what_is_late_is_marked_beside_its_colour() -> None:
    looks = {
        text.strip(): look for text, look in panel_of(latency()).picture(37, UNICODE).lines[1] if text.strip()
    }
    assert looks["18.9"] == "warn"
    assert looks["6.42"] == "strong"
    assert "118 %" in plain(panel_of(latency(p99_ms=19.6)).picture(37, UNICODE).lines)


def test_a_measurement_without_numbers_is_dashes() -> None:
    text = plain(panel_of(latency(p50_ms=None, p99_ms=None, budget_ms=0.0)).picture(37, UNICODE).lines)
    assert "–" in text


def test_every_line_fits_the_narrow_column() -> None:
    found = latency(histogram=[0, 2, 30, 900, 1900, 600, 120, 40, 6, 2])
    lines = plain(panel_of(found).picture(37, UNICODE).lines).splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) <= 37
