"""The real program in a pseudo-terminal: the bytes it sends, and the screen that `pyte` makes of them.

Escape sequences from file names are checked in the sent bytes, because `pyte` may ignore one that harms another
terminal.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from exphil_core.runs.directory import RunDirectory
from tests.tui.terminal import PATIENCE_S, Terminal

MakeRun = Callable[..., RunDirectory]
Start = Callable[..., Terminal]

_ECHO = termios.ECHO | termios.ICANON | termios.ISIG
"""What a shell's terminal does with what is typed, and a full-screen program does itself."""


def test_in_an_empty_folder_it_says_how_to_begin_and_leaves_nothing_behind(
    start: Start, tmp_path: Path
) -> None:
    terminal = start()
    terminal.until("No runs yet")
    terminal.press("?")
    terminal.until("Help: Runs")
    terminal.press("escape")
    terminal.until("Help: Runs", gone=True)
    terminal.press("down", "up", "q")
    assert terminal.ends() == 0
    assert b"Traceback" not in terminal.sent
    # The second screen is left and the cursor is back.
    assert terminal.sent.rindex(b"\x1b[?1049l") > terminal.sent.rindex(b"\x1b[?1049h")
    assert terminal.sent.rindex(b"\x1b[?25h") > terminal.sent.rindex(b"\x1b[?25l")
    assert list(tmp_path.iterdir()) == []


def test_arrows_enter_and_escape_lead_to_a_run_and_back(start: Start, make_run: MakeRun) -> None:
    make_run("finished")
    make_run("stopped")
    terminal = start()
    terminal.until("quick-stopped")
    terminal.press("down", "up", "enter")
    terminal.until("training loss")
    terminal.press("escape")
    terminal.until("2 runs")
    terminal.press("q")
    assert terminal.ends() == 0
    assert b"Traceback" not in terminal.sent


def test_attach_opens_the_run(start: Start, make_run: MakeRun) -> None:
    make_run("finished")
    terminal = start("attach", "quick-finished")
    terminal.until("training loss")
    terminal.press("escape")
    terminal.until("1 run in checkpoints")
    terminal.press("q")
    assert terminal.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(
    number: signal.Signals, start: Start, make_run: MakeRun, terminal_signals: None
) -> None:
    """Of keyboard, mouse, screen and cursor; and it names the runs still running, as always."""
    make_run("running")
    terminal = start()
    # As the shell had it: a fresh terminal has just these.
    before = [_ECHO & flags for flags in termios.tcgetattr(terminal.process.child_fd)[3:4]]
    terminal.until("1 active")
    assert not termios.tcgetattr(terminal.process.child_fd)[3] & _ECHO
    os.kill(terminal.process.pid, number)
    end = time.monotonic() + PATIENCE_S
    while terminal.process.isalive():
        assert time.monotonic() < end
        terminal.read(0.05)
    terminal.read(0.2)
    assert [_ECHO & flags for flags in termios.tcgetattr(terminal.process.child_fd)[3:4]] == before == [_ECHO]
    assert terminal.ends() == 128 + number
    for entered, left in (
        (b"\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?25l", b"\x1b[?25h"),
        *((b"\x1b[?%dh" % mode, b"\x1b[?%dl" % mode) for mode in (1000, 1003, 1004, 1006, 1015, 2004)),
    ):
        assert terminal.sent.rindex(left) > terminal.sent.rindex(entered), left
    assert b"quick-running is still running" in terminal.sent
    assert b"Traceback" not in terminal.sent


def test_it_ends_with_its_terminal_though_nothing_tells_it(start: Start, make_run: MakeRun) -> None:
    """Under nohup, and where its shell was disowned: no signal comes, and every write fails."""
    make_run("running")
    terminal = start(ignore_hangups=True)
    terminal.until("1 active")
    os.close(terminal.process.child_fd)
    terminal.process.ptyproc.closed = True
    end = time.monotonic() + PATIENCE_S
    while terminal.process.isalive():
        assert time.monotonic() < end, "it goes on without a terminal"
        time.sleep(0.05)
    assert terminal.process.exitstatus == 128 + signal.SIGHUP


def test_a_workbench_that_is_stuck_is_ended_and_its_terminal_put_back(start: Start, tmp_path: Path) -> None:
    """Its event loop is busy for good; the thread that minds the terminal is not."""
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, time\n"
        "def stick():\n"
        "    time.sleep(4)\n"
        "    from exphil_tui.app import Workbench\n"
        "    Workbench._exit_with_message = lambda self, code: [time.sleep(0.1) for _ in iter(int, 1)]\n"
        "threading.Thread(target=stick, daemon=True).start()\n"
    )
    terminal = start(environment={"PYTHONPATH": str(tmp_path)})
    terminal.until("No runs yet")
    terminal.read(5.0)
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.ends() == 128 + signal.SIGTERM
    assert terminal.sent.rindex(b"\x1b[?1049l") > terminal.sent.rindex(b"\x1b[?1049h")
    assert terminal.sent.rindex(b"\x1b[?1003l") > terminal.sent.rindex(b"\x1b[?1003h")


def test_quitting_names_the_runs_still_running(start: Start, make_run: MakeRun) -> None:
    make_run("running")
    terminal = start()
    terminal.until("1 active")
    terminal.press("q")
    assert terminal.ends() == 0
    assert b"quick-running is still running" in terminal.sent


def test_a_terminal_made_small_is_told_so_and_gets_its_screen_back(start: Start, make_run: MakeRun) -> None:
    make_run("finished")
    terminal = start()
    terminal.until("quick-finished")
    terminal.resize(30, 10)
    terminal.until("30 columns")
    terminal.resize(80, 24)
    terminal.until("quick-finished")
    terminal.press("q")
    assert terminal.ends() == 0


def test_two_workbenches_on_one_run_show_the_same_and_one_leaves_the_other_be(
    start: Start, make_run: MakeRun
) -> None:
    run = make_run("running")
    one, other = start("attach", run.name), start("attach", run.name)
    for terminal in (one, other):
        terminal.until("training loss")
    os.kill(one.process.pid, signal.SIGKILL)
    other.read(0.5)
    other.press("escape")
    other.until("1 active")
    other.press("q")
    assert other.ends() == 0
    assert b"Traceback" not in other.sent


def test_a_run_deleted_underneath_is_a_sentence(start: Start, make_run: MakeRun) -> None:
    run = make_run("finished")
    make_run("stopped")
    terminal = start("attach", run.name)
    terminal.until("training loss")
    shutil.rmtree(run.path)
    terminal.until("gone")
    terminal.press("escape")
    terminal.until("1 run in checkpoints")
    terminal.press("q")
    assert terminal.ends() == 0
    assert b"Traceback" not in terminal.sent


HOSTILE = "a\x1b[2Jb\x9b2Jc[/]d[bold]e\u202ef\u2066g\u200bh\x07i\x1b]0;title\x07"


def test_hostile_names_never_reach_the_terminal(start: Start, make_run: MakeRun, runs_dir: Path) -> None:
    """Of runs, presets, events and paths, on each screen: not one byte of an escape that was not Textual's own."""
    run = make_run("finished", name="quick-plain")
    events = [json.loads(line) for line in run.events_path.read_text(encoding="utf-8").splitlines()]
    for event in events:
        if event["type"] == "run_started":
            event["preset"] = event["device"] = event["backbone"] = HOSTILE
        for key in ("per_character", "heads"):
            if isinstance(event.get(key), dict):
                event[key] = {
                    HOSTILE if name == "link" else name: value for name, value in event[key].items()
                }
    events.append({**events[-1], "type": "warning", "code": HOSTILE, "message": HOSTILE + "9" * 10_000})
    run.events_path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    odd = runs_dir / (HOSTILE.replace("/", "") + "x" * 120)
    shutil.copytree(run.path, odd)
    terminal = start()
    terminal.until("2 runs")
    terminal.press("down", "enter")
    terminal.read(1.0)
    terminal.press("l")
    terminal.read(0.5)
    terminal.press("escape", "ctrl+p", *"open run")
    terminal.read(0.5)
    terminal.press("escape", "space", "down", "space", "up", "space")
    terminal.press("c")
    terminal.read(1.0)
    terminal.press("escape", "x")
    terminal.read(0.3)
    terminal.press("escape", "q")
    terminal.ends()
    assert_harmless(terminal)
    assert b"9" * 2_000 not in terminal.sent


def test_hostile_replays_never_reach_the_terminal(start: Start, tmp_path: Path, dojo_replays: Path) -> None:
    """Of folders and files: one that is learned from, one that is refused, and the dataset made of them."""
    folder = tmp_path / HOSTILE.replace("/", "")
    folder.mkdir()
    for number, replay in enumerate(sorted(dojo_replays.glob("*.slp"))[:3]):
        shutil.copy(replay, folder / f"{folder.name}{number}.slp")
    (folder / f"{folder.name}9.slp").write_bytes(b"\x1b[2J" * 100)
    cache = {"EXPHIL_CACHE": str(tmp_path / "cache")}
    build = [sys.executable, "-m", "exphil_tui", "data", "build", str(folder)]
    subprocess.run(build, env={**os.environ, **cache}, check=True, capture_output=True)
    terminal = start(size=(120, 40), environment=cache)
    terminal.until("No runs yet")
    terminal.press("d")
    terminal.until("3 games")
    terminal.until("Slippi versions")
    terminal.press("n")
    terminal.until("Equivalent command")
    terminal.until("parameters")
    terminal.press("escape", "escape", "q")
    terminal.ends()
    assert_harmless(terminal)


def assert_harmless(terminal: Terminal) -> None:
    """Nothing of `HOSTILE` was sent that a terminal would obey."""
    # Textual's own: the shape of the pointer over a key.
    sent = re.sub(r"\x1b\]22;[a-z-]*\x07", "", terminal.sent.decode("utf-8", "surrogateescape"))
    assert "\x1b[2J" not in sent.split("\x1b[?1049h", 1)[1].split("\x1b[?1049l", 1)[0]
    assert "\x1b]0;title" not in sent
    for letter in "\x9b\u202e\u2066\u200b\x07":
        assert letter not in sent
    assert "Traceback" not in sent


def test_without_colour_no_colour_is_sent(start: Start, make_run: MakeRun) -> None:
    make_run("finished")
    terminal = start(environment={"NO_COLOR": "1"})
    terminal.until("quick-finished")
    terminal.press("enter")
    terminal.until("training loss")
    terminal.press("escape", "q")
    terminal.ends()
    for parameters in re.findall(rb"\x1b\[([0-9;]*)m", terminal.sent):
        codes = parameters.split(b";")
        assert not {b"38", b"48"} & set(codes)
        assert not any(30 <= int(code or 0) <= 37 or 40 <= int(code or 0) <= 47 for code in codes)
        assert not any(90 <= int(code or 0) <= 107 for code in codes)


def test_an_ascii_terminal_is_sent_ascii_alone(start: Start, make_run: MakeRun) -> None:
    make_run("finished")
    terminal = start(environment={"EXPHIL_ASCII": "1"})
    terminal.until("quick-finished")
    terminal.press("enter")
    terminal.until("training loss")
    terminal.press("?")
    terminal.until("Help: ")
    terminal.press("escape", "escape", "q")
    terminal.ends()
    assert terminal.sent.isascii()


@pytest.mark.slow
def test_from_an_empty_folder_a_first_run_is_started_steered_and_left_in_a_few_keys(
    start: Start, tmp_path: Path
) -> None:
    """`n` and Enter start it; it is paused, goes on, stops, is resumed, and goes on when the workbench is left."""
    terminal = start(environment={"EXPHIL_CACHE": str(tmp_path / "cache")})
    terminal.until("No runs yet")
    terminal.press("n")
    terminal.until("Enter writes the demo replays")
    terminal.press("enter")
    terminal.until("training loss", patience_s=120)
    terminal.until("frames/s", patience_s=120)
    terminal.press("p")
    terminal.until("‖ paused", patience_s=60)
    terminal.press("p")
    terminal.until("● running", patience_s=60)
    terminal.press("s")
    terminal.until("Stop and save")
    terminal.press("s")
    terminal.until("■ stopped", patience_s=60)
    terminal.press("escape")
    terminal.until("1 run in checkpoints")
    terminal.press("r")
    terminal.until("1 active", patience_s=60)
    terminal.press("q")
    assert terminal.ends() == 0
    assert b"Traceback" not in terminal.sent
    assert b"is still running" in terminal.sent
    (path,) = (tmp_path / "checkpoints").iterdir()
    run = RunDirectory(path)
    assert run.alive()
    os.kill(int(str(_status(run)["pid"])), signal.SIGTERM)
    until = time.monotonic() + 60
    while run.alive():
        assert time.monotonic() < until
        time.sleep(0.1)
    assert _status(run)["state"] == "preempted"


def test_a_worker_that_is_killed_is_seen_to_have_crashed(start: Start, make_run: MakeRun) -> None:
    """Here the process behind the run is the one that holds its lock; it is killed as nothing else kills."""
    run = make_run("crashed")
    hold = f"import fcntl, time; f = open({str(run.path / 'lock')!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX)"
    holder = pexpect.spawn(sys.executable, ["-c", f"{hold}; print('held'); time.sleep(99)"])
    try:
        holder.expect("held")
        terminal = start("attach", run.name)
        terminal.until("running")
        holder.kill(signal.SIGKILL)
        began = time.monotonic()
        terminal.until("crashed")
        # Five seconds are promised; the rest is this test's own looking.
        assert time.monotonic() - began < 5 + 2
        terminal.until("OutOfMemoryError")
        terminal.press("escape")
        terminal.until("! crashed")
        terminal.press("q")
        assert terminal.ends() == 0
    finally:
        holder.close(force=True)


def _status(run: RunDirectory) -> dict[str, object]:
    return dict(json.loads((run.path / "status.json").read_bytes()))
