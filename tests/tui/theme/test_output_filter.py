"""The last gate: whatever a widget draws, only letters that the terminal can show leave it, as wide as before."""

import unicodedata

import pytest
from rich.cells import cell_len
from rich.segment import ControlType, Segment
from rich.style import Style
from textual.color import Color

from exphil_tui.theme.output_filter import AsciiOnly, PrintableOnly

BLACK = Color(0, 0, 0)

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07",
    "a\x9b31mred",
    "left\u202eright\u2066\u2069",
    "zero\u200bwidth\ufeff",
    "line\u2028break\r\n\t",
    "[/][bold]markup",
    "\ue000private",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_letter_that_could_steer_a_terminal_passes(text: str) -> None:
    for gate in (PrintableOnly(), AsciiOnly()):
        (passed,) = gate.apply([Segment(text)], BLACK)
        assert passed.text.isprintable()
        assert not {unicodedata.category(letter) for letter in passed.text} & {"Cc", "Cf", "Co", "Zl", "Zp"}
        assert cell_len(passed.text) == cell_len(text)


def test_letters_that_print_pass_as_they_are() -> None:
    segments = [Segment("⣿▁ Ganondorf é 音", Style(bold=True)), Segment("", None)]
    assert PrintableOnly().apply(segments, BLACK) == segments


def test_what_steers_on_purpose_passes() -> None:
    segments = [Segment("\x1b[1A", None, [(ControlType.CURSOR_UP, 1)])]
    assert PrintableOnly().apply(segments, BLACK) == segments
    assert AsciiOnly().apply(segments, BLACK) == segments


def test_ascii_stands_for_every_frame_and_sign_as_wide_as_it_was() -> None:
    text = "╭──╮│é…音🔎▁█⣿▶“x”"
    (passed,) = AsciiOnly().apply([Segment(text)], BLACK)
    assert passed.text.isascii()
    assert cell_len(passed.text) == cell_len(text)
    assert passed.text == '+--+|e~??>>-#?>"x"'
