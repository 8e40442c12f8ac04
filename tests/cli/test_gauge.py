"""The gauge on the command line: in the letters and the width of the console that it goes to."""

import io

from rich.console import Console

from exphil_core.cli.gauge import STYLES, WIDEST, GaugeView
from exphil_core.render.gauge import gauge_lines
from tests.latencies import KINDS, moments, record


def printed(view: GaugeView, *, encoding: str = "utf-8", width: int = 90) -> str:
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding=encoding)
    Console(file=file, width=width).print(view)
    file.flush()
    return written.getvalue().decode(encoding)


def view(kind: str, **how: object) -> GaugeView:
    return GaugeView(latency=record(kind), moments=moments(kind), **how)  # type: ignore[arg-type]


def test_it_is_the_same_picture_as_in_the_workbench() -> None:
    lines = gauge_lines(record("over"), moments("over"), width=90, height=20, ascii=False)
    shown = [line.rstrip() for line in printed(view("over")).splitlines()]
    assert shown == ["".join(text for text, _ in line).rstrip() for line in lines]


def test_a_console_without_unicode_gets_ascii() -> None:
    for kind in KINDS:
        assert "in time" in printed(view(kind), encoding="ascii")


def test_it_is_as_wide_as_the_console_but_not_wider_than_can_be_read() -> None:
    for width in (80, 90, 300):
        assert max(map(len, printed(view("fast"), width=width).splitlines())) <= min(width, WIDEST)


def test_a_small_one_has_no_histogram() -> None:
    assert "frames in the budget" not in printed(view("fast", height=7))
    assert len(printed(view("fast", height=7)).splitlines()) == 7


def test_every_look_has_a_style() -> None:
    for kind in KINDS:
        for height in (7, 30):
            lines = gauge_lines(record(kind), moments(kind), width=90, height=height, ascii=False)
            assert {look for line in lines for _, look in line} <= STYLES.keys()


def test_colour_tells_what_is_over_the_budget() -> None:
    file = io.StringIO()
    Console(file=file, width=90, force_terminal=True, color_system="standard").print(view("over", height=7))
    assert "\x1b[1;31m✗ not in time" in file.getvalue()
