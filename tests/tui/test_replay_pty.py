"""`exphil replay` in a real pseudo-terminal: it plays, leaves nothing behind, and sends what a terminal can show."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tui.terminal import Terminal

Start = Callable[..., Terminal]
HOSTILE = "a\x1b[2Jb\x9b2Jc[/]d[bold]e\u202ef\u200bg\x07h\x1b]0;title\x07"


@pytest.fixture
def dojo(dojo_replays: Path, tmp_path: Path) -> Path:
    found = tmp_path / f"{HOSTILE.replace('/', '')}.slp"
    shutil.copy(sorted(dojo_replays.glob("*.slp"))[0], found)
    return found


def test_it_opens_plays_and_leaves_the_terminal_as_it_was(start: Start, dojo: Path) -> None:
    terminal = start("replay", str(dojo))
    terminal.until("frame -123 of")
    terminal.press("space")
    terminal.until("frame -123 of", gone=True)
    terminal.press("space", "g", *"600", "enter")
    terminal.until("frame 600 of")
    terminal.press("escape")
    terminal.until("No runs yet")
    terminal.press("q")
    assert terminal.ends() == 0
    assert b"Traceback" not in terminal.sent
    assert terminal.sent.rindex(b"\x1b[?25h") > terminal.sent.rindex(b"\x1b[?25l")
    sent = re.sub(r"\x1b\]22;[a-z-]*\x07", "", terminal.sent.decode("utf-8", "surrogateescape"))
    assert "\x1b[2J" not in sent.split("\x1b[?1049h", 1)[1].split("\x1b[?1049l", 1)[0]
    assert "\x1b]0;title" not in sent
    assert not set("\x9b\u202e\u200b\x07") & set(sent)


def test_an_ascii_terminal_is_sent_ascii_alone_and_no_colour_where_none_is_wanted(
    start: Start, dojo: Path
) -> None:
    terminal = start("replay", str(dojo), environment={"EXPHIL_ASCII": "1", "NO_COLOR": "1"})
    terminal.until("frame -123 of")
    terminal.press("s", "space")
    terminal.read(1.0)
    terminal.press("q")
    assert terminal.ends() == 0
    assert terminal.sent.isascii()
    for parameters in re.findall(rb"\x1b\[([0-9;]*)m", terminal.sent):
        assert not {b"38", b"48"} & set(parameters.split(b";"))


def test_leaving_while_a_replay_is_read_ends_its_reader(start: Start, dojo: Path) -> None:
    terminal = start("replay", str(dojo))
    terminal.until("exphil")
    terminal.press("q")
    assert terminal.ends() == 0
    assert b"Traceback" not in terminal.sent
    left = [path for path in Path("/proc").glob("[0-9]*") if _is_reader_of(path, dojo)]
    assert not left


def _is_reader_of(process: Path, replay: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"exphil_core.replays.isolation.sandbox" in words and os.fsencode(replay) in words
