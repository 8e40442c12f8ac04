"""The gauge on the screen of a run: what it shows of a pilot, and the keys that start, end and enlarge it."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.screen import Screen

from exphil_core.lock import hold
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.runs.directory import RunDirectory
from exphil_tui.app import Workbench
from exphil_tui.screens.run.screen import RunScreen
from exphil_tui.services.pilots import PilotProcess
from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.widgets.gauge import Gauge
from exphil_tui.widgets.text_panel import plain
from tests.latencies import KINDS, fields, records

from ..conftest import NOW, MakeRun

SMALL, LARGE = (80, 24), (120, 40)
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["80x24", "120x40"])

Compare = Callable[..., bool]
Open = Callable[..., Workbench]
Plays = Callable[..., PilotDirectory]

STAND_IN = """
import fcntl, json, os, pathlib, signal, sys
run, *rest = sys.argv[1:]
folder = pathlib.Path(run) / "pilot"
lock = open(folder / "lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
with open(folder / "events.jsonl", "w") as events:
    events.write(open(rest[0]).read())
print("playing", flush=True)
sys.stdin.read()
"""
"""Plays nothing: says that it has, and waits for the end of its standard input."""


@pytest.fixture
def workbench(
    runs_dir: Path, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Workbench]:
    monkeypatch.setattr("exphil_tui.screens.run.panels.os.cpu_count", lambda: 8)

    def make(run: RunDirectory, *, glyphs: Glyphs = UNICODE) -> Workbench:
        return Workbench(runs_dir=runs_dir, run=run.name, glyphs=glyphs, clock=clock)

    return make


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plays]:
    """A pilot's files as it leaves them; held by this process where it is to be alive, and then never silent."""
    monkeypatch.setattr("exphil_tui.services.pilots.FRESH_SECONDS", 3600.0)
    with ExitStack() as held:

        def make(run: RunDirectory, kind: str, *, alive: bool = True, ago: float = 0.1) -> PilotDirectory:
            found = PilotDirectory(run)
            found.path.mkdir()
            found.events_path.write_text(lines(kind, ago))
            if alive:
                held.enter_context(hold(found.lock_path, "the pilot"))
            return found

        yield make


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """What the workbench starts in place of a pilot: a process that says what a fast one says, or another program."""
    said = tmp_path / "said.jsonl"
    said.write_text(lines("fast", 0.1))

    def use(program: str) -> None:
        def command(run: RunDirectory, **options: object) -> list[str]:
            assert options == {"until": "stdin"}
            return [sys.executable, "-c", program, str(run.path), str(said)]

        monkeypatch.setattr(PilotProcess.__init__, "__kwdefaults__", {"command": command})

    use(STAND_IN)
    return use


def lines(kind: str, ago: float) -> str:
    """Of an event file, the last of them written that long before `NOW`."""
    found = records(kind)
    text = ""
    for number, record in enumerate(found):
        at = datetime.fromtimestamp(NOW - ago - (len(found) - 1 - number) / 10, UTC)
        said = fields(
            kind,
            recent_max_ms=record.recent_max_ms,
            recent_missed=record.recent_missed,
            total_frames=record.total_frames,
        )
        event = {
            "v": 1,
            "seq": number,
            "ts": at.isoformat(timespec="milliseconds"),
            "type": "latency",
            **said,
        }
        text += json.dumps(event) + "\n"
    return text


async def until(claim: Callable[[], object], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


def screen_of(pilot: Pilot[None]) -> RunScreen:
    [found] = [screen for screen in pilot.app.screen_stack if isinstance(screen, RunScreen)]
    return found


def pressing(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Once all is read that is on disk."""

    async def press(pilot: Pilot[None]) -> None:
        await until(lambda: any(isinstance(screen, RunScreen) for screen in pilot.app.screen_stack))
        screen = screen_of(pilot)
        written = screen.run_directory.events_path.read_bytes().count(b"\n")
        played = PilotDirectory(screen.run_directory).events_path.exists()
        await until(lambda: screen.snapshot is not None and screen.state.events >= written)
        await until(lambda: not played or screen.pilot.snapshot.latency is not None)
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        screen.on_screen_resume()
        await pilot.pause()

    return press


def shown(pilot: Pilot[None]) -> str:
    """What the gauge says."""
    gauge = screen_of(pilot).query_one(Gauge)
    return plain(gauge.picture(gauge.size.width, UNICODE).lines)


def said(pilot: Pilot[None]) -> str:
    messages = [notification.message for notification in pilot.app._notifications]
    return messages[-1].lstrip("⚠ ") if messages else ""


# Pictures.


@SIZES
@pytest.mark.parametrize("whole", [False, True], ids=["panel", "whole"])
@pytest.mark.parametrize("kind", [*KINDS, "stale", "none"])
def test_every_state_looks_as_it_did(
    kind: str,
    whole: bool,
    size: tuple[int, int],
    make_run: MakeRun,
    plays: Plays,
    workbench: Open,
    snap_compare: Compare,
) -> None:
    run = make_run("running")
    if kind == "stale":
        plays(run, "fast", alive=False, ago=12)
    elif kind != "none":
        plays(run, kind)
    keys = ["f"] if whole else ["tab"] if size == SMALL else []
    assert snap_compare(workbench(run), run_before=pressing(*keys), terminal_size=size)


@SIZES
@pytest.mark.parametrize("whole", [False, True], ids=["panel", "whole"])
@pytest.mark.parametrize("how", ["ascii", "no-color"])
def test_without_colour_and_without_its_letters_it_looks_as_it_did(
    how: str,
    whole: bool,
    size: tuple[int, int],
    make_run: MakeRun,
    plays: Plays,
    workbench: Open,
    snap_compare: Compare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if how == "no-color":
        monkeypatch.setenv("NO_COLOR", "1")
    run = make_run("running")
    plays(run, "over")
    keys = ["f"] if whole else ["tab"] if size == SMALL else []
    app = workbench(run, glyphs=ASCII if how == "ascii" else UNICODE)
    assert snap_compare(app, run_before=pressing(*keys), terminal_size=size)


# Keys.


async def test_g_starts_a_pilot_that_says_what_it_costs_and_g_ends_it(
    make_run: MakeRun, workbench: Open, stand_in: Callable[[str], None]
) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=LARGE) as pilot:
        await pressing()(pilot)
        assert "no pilot running: g starts one; it uses about 0.7 of a core" in " ".join(shown(pilot).split())
        await pilot.press("g")
        assert "uses about 0.7 of a core" in said(pilot)
        assert "slows down more" in said(pilot)
        await until(lambda: "✓ in time" in shown(pilot))
        assert PilotDirectory(run).alive()
        await pilot.press("g")
        await until(lambda: "stopped" in shown(pilot))
        await until(lambda: "no pilot running: g starts one" in shown(pilot))
        assert not PilotDirectory(run).alive()
        assert said(pilot) == "The pilot is stopping."


async def test_leaving_the_run_ends_its_pilot(
    make_run: MakeRun, workbench: Open, stand_in: Callable[[str], None]
) -> None:
    run = make_run("running")
    async with workbench(run).run_test(size=LARGE) as pilot:
        await pressing("g")(pilot)
        await until(PilotDirectory(run).alive)
        await pilot.press("escape")
        await until(lambda: not PilotDirectory(run).alive())


async def test_a_pilot_that_refuses_is_a_sentence(
    make_run: MakeRun, workbench: Open, stand_in: Callable[[str], None]
) -> None:
    stand_in("import sys; print('run x has no held-out replay [/]', file=sys.stderr); sys.exit(3)")
    async with workbench(make_run("running")).run_test(size=LARGE) as pilot:
        await pressing("g")(pilot)
        await until(lambda: "exited: run x has no held-out replay [/]" in said(pilot))
        sentence = "exited: run x has no held-out replay [/] (g restarts it)"
        await until(lambda: sentence in " ".join(shown(pilot).split()))


async def test_a_pilot_that_another_started_is_shown_and_can_be_ended(
    make_run: MakeRun, plays: Plays, workbench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PilotDirectory] = []

    def stop(self: PilotDirectory) -> bool:
        asked.append(self)
        return True

    monkeypatch.setattr(PilotDirectory, "stop", stop)
    run = make_run("running")
    plays(run, "borderline")
    async with workbench(run).run_test(size=LARGE) as pilot:
        await pressing()(pilot)
        assert "≈ just in time" in shown(pilot)
        await pilot.press("g")
        await until(lambda: "It was not started here" in said(pilot))
        assert asked


async def test_a_pilot_on_another_machine_is_said_to_be_one(
    make_run: MakeRun, plays: Plays, workbench: Open
) -> None:
    run = make_run("running")
    plays(run, "fast")
    async with workbench(run).run_test(size=LARGE) as pilot:
        await pressing("g")(pilot)
        await until(lambda: said(pilot) == "The pilot runs on another machine: stop it there.")


async def test_what_the_run_passed_on_serves_where_no_pilot_s_file_is(
    make_run: MakeRun, workbench: Open
) -> None:
    run = make_run("running")
    seq = run.events_path.read_bytes().count(b"\n")
    with run.events_path.open("a") as events:
        for event in map(json.loads, lines("over", 2.0).splitlines()):
            events.write(json.dumps(event | {"seq": seq + event["seq"]}) + "\n")
    async with workbench(run).run_test(size=LARGE) as pilot:
        await pressing()(pilot)
        assert "✗ not in time" in shown(pilot)


@SIZES
async def test_f_gives_the_gauge_the_whole_screen_and_back(
    size: tuple[int, int], make_run: MakeRun, plays: Plays, workbench: Open
) -> None:
    run = make_run("running")
    plays(run, "over")
    async with workbench(run).run_test(size=size) as pilot:
        await pressing("f")(pilot)
        gauge = screen_of(pilot).query_one(Gauge)
        assert gauge.has_focus
        assert gauge.size.height >= size[1] - 5
        assert "461 frames in the budget │ 139 over" in shown(pilot)
        await pilot.press("l", "f", "f")
        await pilot.pause()
        assert not gauge.has_focus
        assert gauge.size.height < size[1] - 5


async def test_w_watches_and_starts_a_pilot_where_none_plays(
    make_run: MakeRun, workbench: Open, stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[str] = []
    monkeypatch.setattr(Workbench, "open_watch", lambda self, run: watched.append(run))
    run = make_run("running")
    async with workbench(run).run_test(size=LARGE) as pilot:
        await pressing("w")(pilot)
        assert watched == [run.name]
        await until(PilotDirectory(run).alive)


async def test_in_the_background_the_gauge_is_not_drawn(
    make_run: MakeRun, plays: Plays, workbench: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("running")
    files = plays(run, "fast")
    async with workbench(run).run_test(size=LARGE) as pilot:
        await pressing()(pilot)
        screen = screen_of(pilot)
        pilot.app.push_screen(Screen())
        await pilot.pause()
        drawn: list[int] = []
        monkeypatch.setattr(screen, "_show_gauge", lambda: drawn.append(1))
        before = screen.pilot.snapshot.latency
        files.events_path.write_text(lines("over", 0.0))
        await until(lambda: screen.pilot.snapshot.latency != before)
        await asyncio.sleep(0.3)
        assert not drawn
