"""Strangers' text."""

import pytest

from exphil_core.replays.text import sanitise


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Mango", "Mango"),
        ("\x1b[2J\x1b]0;title\x07x", "[2J]0;titlex"),
        ("a\u202eb\u2066c\u200fd", "abcd"),
        ("z\u200be\u200dr\ufeffo\u2060", "zero"),
        ("[bold]x[/]", "[bold]x[/]"),
        ("two\nlines\tand\u2028more", "two lines and more"),
        ("  spaced   out  ", "spaced out"),
        ("e\u0301" + "\u0300" * 20, "e\u0301\u0300"),
        ("\u3164\u2800\uffa0", ""),
        ("カービィ", "カービィ"),
        ("\ud800\ue000x", "x"),
    ],
)
def test_what_could_harm_is_gone_and_the_rest_stays(raw: str, clean: str) -> None:
    assert sanitise(raw) == clean


def test_length_is_capped() -> None:
    assert sanitise("x" * 10_000) == "x" * 32
    assert len(sanitise("ab " * 100, limit=10)) <= 10


@pytest.mark.parametrize("value", [None, 7, ["x"], {"a": 1}])
def test_what_is_no_text_is_empty(value: object) -> None:
    assert sanitise(value) == ""
