"""The log: what it shows of events and of a process's output, and that no letter of theirs does harm."""

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult

from exphil_tui.model.run_state import LogLine
from exphil_tui.theme.glyphs import ASCII, UNICODE
from exphil_tui.widgets.run_log import RunLog
from exphil_tui.widgets.text_panel import plain, wrapped


def line(text: str, kind: str = "warning", ts: str = "2026-01-15T11:58:00.000Z") -> LogLine:
    return LogLine(ts=ts, kind=kind, text=text)


def shown(*log: LogLine, printed: tuple[str, ...] = (), width: int = 60) -> str:
    panel = RunLog()
    panel._log, panel._printed = log, printed
    return plain(panel.picture(width, UNICODE).lines)


def test_a_line_has_its_time_and_its_sign() -> None:
    assert shown(line("data is slow")) == " 11:58:00 ⚠ data is slow"


def test_a_time_that_is_none_is_left_out() -> None:
    assert shown(line("x", ts="yesterday")).split() == ["⚠", "x"]


@pytest.mark.parametrize("kind", ["start", "warning", "error", "checkpoint", "command", "end", "novel"])
def test_every_kind_has_a_sign_in_ascii_too(kind: str) -> None:
    panel = RunLog()
    panel._log = (line("text", kind=kind),)
    text = plain(panel.picture(60, ASCII).lines)
    assert text.isascii()
    assert len(text.split()[1]) == 1


def test_hostile_text_is_shown_as_letters() -> None:
    text = shown(line("\x1b[2J[/red]\u202eevil" + "x" * 10_000))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[2J[/red]evil" in text
    assert len(text) < 3000


def test_the_output_of_a_process_keeps_its_indent() -> None:
    text = shown(printed=("Traceback (most recent call last):", '  File "worker.py", line 3', "MemoryError"))
    assert '\n    File "worker.py"' in text
    assert text.endswith("MemoryError")


@pytest.mark.parametrize("width", range(1, 40))
@pytest.mark.parametrize(
    "text", ["", "a", "the quick brown fox", "x" * 100, "漢字" * 20, "it took 12 min and 3 s, 4 % of it idle"]
)
def test_wrapped_text_fits_and_loses_no_letter(width: int, text: str) -> None:
    lines = wrapped(text, width)
    assert all(cell_len(found) <= max(width, 2) for found in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_number_stays_with_its_unit() -> None:
    assert wrapped("it was heard of 12 s ago", 17) == ["it was heard of", "12 s ago"]


class LogApp(App[None]):
    glyphs = UNICODE

    def compose(self) -> ComposeResult:
        yield RunLog()


async def test_it_follows_its_end_until_somebody_scrolls_up() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        panel = app.query_one(RunLog)
        entries = [line(f"number {index}") for index in range(30)]
        panel.show(entries[:20])
        await pilot.pause()
        assert panel.scroll_offset.y == panel.max_scroll_y > 0
        panel.show(entries[:21])
        await pilot.pause()
        assert panel.scroll_offset.y == panel.max_scroll_y
        panel.scroll_to(y=2, animate=False)
        await pilot.pause()
        panel.show(entries)
        await pilot.pause()
        assert panel.scroll_offset.y == 2


async def test_only_lines_that_changed_are_drawn_again() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 10)) as pilot:
        panel = app.query_one(RunLog)
        panel.show([line(f"number {index}") for index in range(5)])
        await pilot.pause()
        drawn: list[int] = []
        render = panel.render_line

        def note(y: int) -> object:
            drawn.append(y)
            return render(y)

        panel.render_line = note  # type: ignore[assignment,method-assign]
        panel.show([line(f"number {index}" if index != 3 else "another") for index in range(5)])
        await pilot.pause()
        assert drawn == [4]
        drawn.clear()
        panel.show([line(f"number {index}" if index != 3 else "another") for index in range(5)])
        await pilot.pause()
        assert drawn == []
