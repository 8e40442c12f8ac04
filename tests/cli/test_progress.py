"""How far a command is, told to whoever reads its lines."""

from typing import Any

import pytest

from exphil_core.cli.main import run
from exphil_core.cli.progress import progress_lines


def test_off_a_terminal_a_line_comes_by_time_and_not_by_number(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with progress_lines("begins", clock=lambda: now) as say:
        for number in range(50):
            say(f"{number} done")
            now += 0.125
    shown = [*range(0, 50, 8), 49]
    assert capsys.readouterr().err.splitlines() == [f"{number} done" for number in shown]


@pytest.mark.parametrize(("count", "shown"), [(0, []), (1, ["0 done"]), (100, ["0 done", "99 done"])])
def test_fast_work_ends_with_what_was_done_at_last(
    count: int, shown: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_lines("begins", clock=lambda: 0.0) as say:
        for number in range(count):
            say(f"{number} done")
    assert capsys.readouterr().err.splitlines() == shown


def test_demo_replays_are_told_on_stderr_and_counted_on_stdout(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--out", str(tmp_path / "demo"), "--games", "2", "--workers", "1", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == "1 of 2 replays written"
    assert said.err.splitlines()[-1] == "2 of 2 replays written"
    assert '"games": 2' in said.out


def test_a_build_tells_what_became_of_the_files(
    tmp_path: Any, dojo_replays: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "data",
        "build",
        str(dojo_replays),
        "--out",
        str(tmp_path / "dataset"),
        "--workers",
        "1",
        "--json",
    ]
    assert run(words) == 0
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == "1 file read: 1 kept, 0 filtered, 0 refused"
    assert said.err.splitlines()[-1] == "12 files read: 12 kept, 0 filtered, 0 refused"
    assert '"kept": 12' in said.out
