"""Commands that run beside the workbench: real processes."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from exphil_tui.services import subprocess
from exphil_tui.services.subprocess import run_exphil


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What runs in place of exphil, under its name."""
    package = tmp_path / "exphil_tui"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    return package / "__main__.py"


async def test_the_command_line_answers_as_on_a_terminal() -> None:
    ended = await run_exphil(["presets", "show", "quick", "--json"])
    assert ended.code == 0
    assert '"name": "quick"' in ended.output


async def test_a_mistake_is_its_sentence() -> None:
    ended = await run_exphil(["presets", "show", "quik"])
    assert ended.code == 2
    assert "did you mean 'quick'" in ended.problem


async def test_lines_are_told_as_they_come_and_cannot_steer_a_terminal(script: Path) -> None:
    script.write_text(
        "import sys, time\n"
        "print('\\x1b[2Jfirst', file=sys.stderr, flush=True)\n"
        "time.sleep(0.3)\n"
        "print('x' * 200_000, file=sys.stderr)\n"
        "sys.stderr.write('no end')\n"
        "print('{}')\n"
        "sys.exit(3)\n"
    )
    heard: list[tuple[float, str]] = []
    ended = await run_exphil([], told=lambda line: heard.append((time.monotonic(), line)))
    assert [line[:8] for _, line in heard] == ["[2Jfirst", "xxxxxxxx", "no end"]
    assert heard[1][0] - heard[0][0] > 0.15
    assert (ended.code, ended.output) == (3, "{}\n")
    assert len(ended.problems[1]) == subprocess.LINE_LETTERS


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_cancelled_command_ends_with_all_that_it_started(
    stubborn: bool, script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "PATIENCE_SECONDS", 1.0)
    handler = "signal.SIG_IGN" if stubborn else "signal.default_int_handler"
    script.write_text(
        "import pathlib, signal, subprocess, sys, time\n"
        f"signal.signal(signal.SIGINT, {handler})\n"
        "own = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "try:\n    print(own.pid, file=sys.stderr, flush=True)\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    own.kill()\n    pathlib.Path('saved').touch()\n"
    )
    said: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(run_exphil([], told=said.put_nowait))
    below = int(await said.get())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "saved").exists() != stubborn
    for _ in range(50):
        if not psutil.pid_exists(below) or psutil.Process(below).status() == psutil.STATUS_ZOMBIE:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("what the command started is still there")


def test_the_command_is_run_by_the_same_python(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Sequence[str]] = []

    async def refuse(*words: str, **options: object) -> None:
        called.append(words)
        raise OSError("no process to be had")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    with pytest.raises(OSError, match="no process"):
        asyncio.run(run_exphil(["demo"]))
    assert called == [(sys.executable, "-m", "exphil_tui", "demo")]
