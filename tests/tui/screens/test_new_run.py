"""Putting a run together: what a person sees of it, and that Start does what the shown command says."""

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, Static

from exphil_core.runs.directory import RunDirectory
from exphil_tui.app import Workbench
from exphil_tui.model.new_run_form import SETTINGS
from exphil_tui.screens.choose import ChooseOne, ChooseSome
from exphil_tui.screens.new_run import estimate_panel
from exphil_tui.screens.new_run.screen import NewRunScreen
from exphil_tui.screens.run.screen import RunScreen
from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from exphil_tui.widgets.form import FieldRow, PickerField
from tests.tui.machine import ADVICE, ESTIMATE, Machine, StandIn, answer, refusal

SIZES = [(80, 24), (120, 40)]
FIELDS = ("preset", "replays", *SETTINGS, "name")

Open = Callable[..., Workbench]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_panel, "DEBOUNCE_SECONDS", 0.02)


@pytest.fixture
def opened(machine: Machine, stand_in: StandIn, clock: Callable[[], float]) -> Open:
    def open(**options: Any) -> Workbench:
        return Workbench(runs_dir=Path("checkpoints"), clock=clock, launch=stand_in, **options)

    return open


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of runs that the workbench was told to open."""
    names: list[str] = []
    monkeypatch.setattr(Workbench, "open_run", lambda self, name: names.append(name))
    return names


async def until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 4.0) -> None:
    for _ in range(round(seconds / 0.02)):
        if holds():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not come to hold in time")


async def ready(pilot: Pilot[None], key: str = "n") -> NewRunScreen:
    """The screen, opened by its key, with its estimate."""
    await pilot.pause(0.1)
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, NewRunScreen))
    screen = pilot.app.screen
    assert isinstance(screen, NewRunScreen)
    await until(pilot, lambda: screen.source is not None and not screen.estimate.busy)
    await until(pilot, lambda: not any(worker.group == "advice" for worker in screen.workers))
    await pilot.pause()
    return screen


def text(screen: NewRunScreen, selector: str) -> str:
    return str(screen.query_one(selector, Static).render())


def problem(screen: NewRunScreen, name: str) -> str:
    found = screen.query_one(f"#row-{name} .field-problem", Static)
    return str(found.render()) if found.display else ""


def focus(screen: NewRunScreen, name: str) -> None:
    field = screen.query_one(f"#{name}")
    if isinstance(field, Input):
        field.cursor_blink = False  # a picture that takes half a second would show it or not
    field.focus()


async def test_a_first_run_takes_two_keys_from_an_empty_workbench(
    opened: Open, stand_in: StandIn, started: list[str]
) -> None:
    def write(arguments: tuple[str, ...]) -> None:
        if arguments[0] == "demo":
            Path(arguments[2]).mkdir(parents=True)
            (Path(arguments[2]) / "dojo_0_00000.slp").touch()

    stand_in.then = write
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        assert screen.form.preset == "quick"
        assert screen.source_title == "demo replays (dojo bots) (written at start)"
        assert isinstance(screen.focused, Button)
        await pilot.press("enter")
        await until(pilot, lambda: bool(started))
        assert started == ["first"]
        assert not isinstance(pilot.app.screen, NewRunScreen)
    demo, train = (call for call in stand_in.calls if "--dry-run" not in call and call[0] != "advise")
    assert demo == ("demo", "--out", "cache/demo", "--json")
    assert train == (
        "train",
        "--preset",
        "quick",
        "--replays",
        "cache/demo",
        "--pilot",
        "auto",
        "--detach",
        "--json",
    )


async def test_start_runs_the_command_that_is_shown(
    opened: Open, machine: Machine, stand_in: StandIn, started: list[str]
) -> None:
    machine.listed("mine", ["/games/it's mine"])
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        focus(screen, "window")
        await pilot.press("right")
        focus(screen, "delay")
        await pilot.press("1", "8")
        focus(screen, "name")
        await pilot.press(*"tryout")
        await pilot.pause()
        assert "•" in str(screen.query_one("#row-window .field-label", Static).render())
        shown = shlex.split(text(screen, "#new-run-command"))
        assert shown[:3] == ["exphil", "train", "--preset"]
        for words in (["--window-size", "120"], ["--delay", "18"], ["--name", "tryout"]):
            assert shown[shown.index(words[0]) :][:2] == words
        focus(screen, "new-run-start")
        await pilot.press("enter")
        await until(pilot, lambda: bool(started))
    assert stand_in.of("--detach") == [(*shown[1:], "--json")]


@pytest.mark.parametrize("size", SIZES)
async def test_every_field_the_command_and_start_are_on_the_screen(
    opened: Open, machine: Machine, size: tuple[int, int]
) -> None:
    machine.listed("mine", ["/games/mine"])
    async with opened().run_test(size=size) as pilot:
        screen = await ready(pilot)
        visible = screen.query_one("#new-run-form").region
        rows = {row.field: row for row in screen.query(FieldRow)}
        assert set(rows) == set(FIELDS)
        assert all(visible.contains_region(row.region) for row in rows.values())
        for part in ("#new-run-command", "#new-run-start", "#new-run-estimate-text"):
            assert screen.query_one(part).region.bottom <= size[1] - 1
            assert screen.query_one(part).region.height
        shown = [found for found in screen.active_bindings.values() if found.binding.show]
        assert len({found.binding.action for found in shown}) <= 7


async def test_the_estimate_is_shown_before_the_run_starts(opened: Open, machine: Machine) -> None:
    machine.listed("mine", ["/games/mine"])
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        shown = text(screen, "#new-run-estimate-text")
        for words in (
            "553,685",
            "1,920 frames",
            "3.10M FLOPs/frame",
            "~69 MB, estimated",
            "3 min, time limit",
            "Mewtwo",
        ):
            assert words in shown
        assert "no game in the validation split" in shown
        await pilot.press("t")
        await until(pilot, lambda: "measured" in text(screen, "#new-run-estimate-text"))
        shown = text(screen, "#new-run-estimate-text")
        for words in ("204 MB measured", "40.4k frames/s on cpu", "~3.70k, 33.8 epochs"):
            assert words in shown


async def test_advice_depends_on_data_characters_and_device(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    path = machine.listed("mine", ["/games/mine"])
    async with opened().run_test(size=SIZES[1], notifications=True) as pilot:
        screen = await ready(pilot)
        assert f"Advice {ADVICE}" in text(screen, "#new-run-estimate-text")
        assert stand_in.of("advise") == [("advise", "--replays", str(path), "--json")]
        await pilot.press("a")
        await pilot.pause()
        said = [note.message for note in pilot.app._notifications]
        assert said == [f"{ADVICE} Details: exphil advise --replays {path}"]
        focus(screen, "delay")
        await pilot.press("1")
        await until(pilot, lambda: len(stand_in.of("--dry-run", "--delay")) == 1 and not screen.estimate.busy)
        screen._characters_picked(("zelda",))
        await until(pilot, lambda: len(stand_in.of("advise")) == 2)
        screen._set_value("device", "cpu")
        await until(pilot, lambda: len(stand_in.of("advise")) == 3)
        assert stand_in.of("advise")[-1] == (
            *("advise", "--replays", str(path), "--character", "zelda", "--device", "cpu", "--json"),
        )


@pytest.mark.parametrize("ended", [refusal("no"), answer([]), answer({"headline": "\x1b[2J[/red]"})])
async def test_failed_or_malformed_advice_does_not_block_a_start(
    opened: Open, machine: Machine, stand_in: StandIn, started: list[str], ended: Any
) -> None:
    machine.listed("mine", ["/games/mine"])
    stand_in.answers = {"advise": ended}
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        assert "\x1b" not in text(screen, "#new-run-estimate-text")
        await pilot.press("enter")
        await until(pilot, lambda: bool(started))


async def test_replays_that_were_not_read_are_not_read_for_an_estimate(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    machine.slippi()
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        screen = await ready(pilot)
        focus(screen, "replays")
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, ChooseOne)
        await pilot.press("end", "enter")
        await until(pilot, lambda: screen.source is not None and screen.source.kind == "folder")
        assert "reads the replays first" in text(screen, "#new-run-status")
        await pilot.press("f6")
        await pilot.pause(0.2)
        assert stand_in.of("--dry-run")
        assert not stand_in.of("--dry-run", "--replays")
        assert not stand_in.of("advise", "--replays")
        assert not stand_in.of("--probe")


async def test_typing_is_debounced_and_a_new_estimate_cancels_the_old_one(
    opened: Open, machine: Machine, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.listed("mine", ["/games/mine"])
    monkeypatch.setattr(estimate_panel, "DEBOUNCE_SECONDS", 1.0)
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        before = len(stand_in.calls)
        stand_in.waits = {"--dry-run"}
        focus(screen, "delay")
        await pilot.press("1", "2")
        await until(pilot, lambda: len(stand_in.calls) == before + 1)
        assert "--delay" in stand_in.calls[-1]
        assert "12" in stand_in.calls[-1]
        assert "estimating" in text(screen, "#new-run-estimate-text")
        stand_in.waits = set()
        await pilot.press("backspace")
        await until(pilot, lambda: bool(stand_in.broken_off))
        await until(pilot, lambda: "estimating" not in text(screen, "#new-run-estimate-text"))
        assert stand_in.calls[-1][stand_in.calls[-1].index("--delay") + 1] == "1"


async def test_errors_are_shown_at_their_fields_and_block_a_start(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    machine.listed("mine", ["/games/mine"])
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        focus(screen, "delay")
        await pilot.press(*"500")
        focus(screen, "minutes")
        await pilot.press("backspace")
        focus(screen, "name")
        await pilot.press(*"a/b")
        await pilot.pause()
        assert "less than or equal to 120" in problem(screen, "delay")
        assert "never end" in problem(screen, "minutes")
        assert "letters, digits" in problem(screen, "name")
        assert not problem(screen, "window")
        assert "Delay" in text(screen, "#new-run-status")
        await pilot.press("ctrl+s")
        await pilot.pause(0.1)
        assert not stand_in.of("--detach")
        assert isinstance(screen.focused, Input)
        focus(screen, "new-run-start")
        await pilot.press("u")
        await pilot.pause()
        assert not problem(screen, "delay")
        assert screen.query_one("#delay", Input).value == "0"


async def test_a_taken_name_is_refused_while_it_is_typed(opened: Open, machine: Machine) -> None:
    Path("checkpoints/first").mkdir(parents=True)
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        focus(screen, "name")
        await pilot.press(*"first")
        await pilot.pause()
        assert "exists in checkpoints" in problem(screen, "name")


@pytest.mark.parametrize(
    ("ended", "field"),
    [
        (refusal("/games/mine: no usable game", 3), "replays"),
        (refusal("run 'a' exists in checkpoints: choose another --name", 2), "name"),
        (refusal("the device is 'cuda' but torch finds no CUDA device here", 2), "preset"),
    ],
)
async def test_a_refused_start_is_shown_at_its_field(
    opened: Open, machine: Machine, stand_in: StandIn, started: list[str], ended: Any, field: str
) -> None:
    machine.listed("mine", ["/games/mine"])
    stand_in.answers = {"--detach": ended}
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: bool(problem(screen, field)))
        assert ended.problem.split(":")[0][:30] in problem(screen, field).replace("\n", " ")
        assert pilot.app.screen is screen
        focus(screen, "delay")
        await pilot.press("3")
        await pilot.pause()
        assert not problem(screen, field)
    assert not started


async def test_the_chosen_size_is_shown_with_its_reason(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    machine.listed("mine", ["/games/mine"])
    preset = {"backbone": {"window_size": 60}, "train": {"batch_size": 12}}
    told = {"size": "small", "preset": preset, "reasons": ["size small: medium wants more [/red] frames"]}
    stand_in.answers = {"--dry-run": answer(ESTIMATE | told)}
    async with opened().run_test(size=SIZES[1]) as pilot:
        await ready(pilot)
        shown = text(pilot.app.screen, "#new-run-estimate-text")
        assert "small, window 60, batch 12" in shown
        assert "size small: medium wants more [/red] frames" in shown


async def test_size_auto_without_data_is_chosen_at_start(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    stand_in.answers = {"--dry-run": answer(ESTIMATE | {"size": "auto", "reasons": [], "dataset": None})}
    async with opened().run_test(size=SIZES[1]) as pilot:
        await ready(pilot)
        shown = text(pilot.app.screen, "#new-run-estimate-text")
        assert "auto, chosen when the run starts" in shown


async def test_a_failed_estimate_shows_its_error_and_does_not_block_a_start(
    opened: Open, machine: Machine, stand_in: StandIn, started: list[str]
) -> None:
    machine.listed("mine", ["/games/mine"])
    stand_in.answers = {"--dry-run": refusal("\x1b[2Jno usable side plays mewtwo [/red]", 3)}
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        assert "no usable side plays mewtwo" in text(screen, "#new-run-estimate-text")
        await pilot.press("enter")
        await until(pilot, lambda: bool(started))


async def test_escape_cancels_a_start_before_it_closes_the_screen(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    stand_in.waits = {"demo"}
    stand_in.said = {"demo": ("12 of 100 replays written",)}
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "12 of 100" in text(screen, "#new-run-status"))
        await pilot.press("escape")
        await until(pilot, lambda: "no run was started" in text(screen, "#new-run-status"))
        assert [call[0] for call in stand_in.broken_off] == ["demo"]
        assert pilot.app.screen is screen
        await pilot.press("escape")
        await pilot.pause()
        assert pilot.app.screen is not screen
    assert not stand_in.of("--detach")


async def test_presets_are_listed_with_descriptions_and_overrides_are_kept(
    opened: Open, machine: Machine
) -> None:
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        focus(screen, "delay")
        await pilot.press("7")
        focus(screen, "preset")
        await pilot.press("enter")
        await pilot.pause()
        chooser = pilot.app.screen
        assert isinstance(chooser, ChooseOne)
        while chooser._options()[chooser.query_one("#choose-list").highlighted or 0] != "low_tier_unified":
            await pilot.press("down")
        await pilot.press("enter")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert screen.form.preset == "low_tier_unified"
        assert screen.query_one("#epochs", Input).value == "100"
        # What a person chose stays chosen.
        assert screen.query_one("#delay", Input).value == "7"
        assert "Mewtwo" in str(screen.query_one("#characters", PickerField).render())


async def test_characters_are_listed_with_their_games_low_tiers_first(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    machine.listed("mine", ["/games/mine"])
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        focus(screen, "characters")
        await pilot.press("enter")
        await pilot.pause()
        chooser = pilot.app.screen
        assert isinstance(chooser, ChooseSome)
        names = [entry.value for entry in chooser._entries]
        assert names[:6] == ["mewtwo", "ganondorf", "link", "gameandwatch", "zelda", "fox"]
        assert len(names) == 26
        assert "6 games" in chooser._entries[0].detail
        assert "25,000 frames" in chooser._entries[0].detail
        assert "0 games" in chooser._entries[1].detail
        await pilot.press("space", "end", "up", "space", "space", "home", "enter")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert screen.form.overrides["characters"] == ("mewtwo",)
        assert "--character mewtwo" in text(screen, "#new-run-command")
        await pilot.press("enter", "a", "escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert screen.form.overrides["characters"] == ("mewtwo",)


async def test_a_path_can_be_typed_and_a_missing_one_is_an_error(opened: Open, machine: Machine) -> None:
    folder = machine.slippi(name="Elsewhere")
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        for words, wrong in (("~/Nowhere", True), ("~/Elsewhere", False)):
            focus(screen, "replays")
            await pilot.press("enter")
            await pilot.pause()
            await pilot.press("slash", *words, "enter")
            await until(pilot, lambda: pilot.app.screen is screen)
            await pilot.pause()
            assert bool(problem(screen, "replays")) == wrong
        assert screen.form.replays == str(folder)


async def test_a_window_of_any_length_can_be_typed(opened: Open, machine: Machine) -> None:
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        focus(screen, "window")
        await pilot.press(*["right"] * 4)
        await pilot.pause()
        assert screen.focused is screen.query_one("#window-typed")
        await pilot.press(*"45")
        await pilot.pause()
        assert "--window-size 45" in text(screen, "#new-run-command")


async def test_the_command_is_copied_as_it_is_shown(opened: Open, machine: Machine) -> None:
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await pilot.press("y")
        await pilot.pause()
        assert pilot.app.clipboard == text(screen, "#new-run-command") == screen.command


async def test_every_focused_field_shows_its_own_hint(opened: Open, machine: Machine) -> None:
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        hints = {text(screen, "#new-run-hint")}
        for name in FIELDS:
            focus(screen, name)
            await until(pilot, lambda: text(screen, "#new-run-hint") not in hints)
            hints.add(text(screen, "#new-run-hint"))


async def test_arrows_go_from_row_to_row(opened: Open, machine: Machine) -> None:
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        focus(screen, "preset")
        await pilot.pause()
        seen = []
        for _ in FIELDS:
            assert screen.focused is not None
            seen.append(screen.focused.id)
            await pilot.press("down")
        assert seen == list(FIELDS[: len(seen)])
        assert isinstance(screen.focused, Button)
        await pilot.press("up")
        assert screen.focused is screen.query_one("#name")


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J[/red]\u202egpj", "[bold", "$x " + "y" * 10_000, "\udce9\n\r\t"],
    ids=["escape", "markup", "long", "bytes"],
)
async def test_hostile_names_are_shown_as_plain_text(
    opened: Open, machine: Machine, started: list[str], stand_in: StandIn, hostile: str
) -> None:
    machine.listed("mine", [f"/games/{hostile.encode('utf-8', 'replace').decode()}"])
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        focus(screen, "replays")
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("escape")
        screen._source_picked(f"/games/{hostile}")
        await pilot.pause(0.1)
        assert screen.command.isprintable()
        for strip in screen._compositor.render_strips(pilot.app.size):
            assert strip.text.isprintable()


async def test_the_screen_is_opened_on_named_replays(opened: Open, machine: Machine) -> None:
    machine.listed("newer", ["/games/newer"], age=60)
    older = machine.listed("older", ["/games/older"], age=6000)
    async with opened().run_test(size=SIZES[0]) as pilot:
        app = pilot.app
        assert isinstance(app, Workbench)
        await pilot.pause(0.1)
        app.open_new_run(replays=older)
        await pilot.pause()
        screen = app.screen
        assert isinstance(screen, NewRunScreen)
        await until(pilot, lambda: screen.source is not None)
        assert screen.form.replays == str(older)


QUICK = """
extends = "base"
description = "Small"
[encoder]
width = 32
[backbone]
width = 32
layers = 1
heads = 2
window_size = 16
[policy]
head_width = 32
[train]
epochs = "none"
max_steps = 3
batch_size = 4
precision = "fp32"
device = "cpu"
warmup_steps = 2
[evaluation]
max_frames = 2000
"""


@pytest.mark.slow
async def test_a_real_run_is_started_by_two_keys_and_outlives_the_workbench(
    machine: Machine, dojo_replays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    presets = machine.folder / "presets"
    presets.mkdir()
    (presets / "quick.toml").write_text(QUICK)
    own = Path(estimate_panel.__file__).resolve().parents[3] / "presets" / "base.toml"
    (presets / "base.toml").write_text(own.read_text())
    monkeypatch.setenv("EXPHIL_PRESETS", str(presets))
    monkeypatch.setenv("PYTHONPATH", str(own.parents[1]))
    machine.demo(dojo_replays)
    async with Workbench(runs_dir=Path("checkpoints")).run_test(size=SIZES[0]) as pilot:
        await pilot.pause(0.2)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, NewRunScreen))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen), seconds=90)
        await pilot.pause(0.5)
    run = RunDirectory.find(Path("checkpoints"), None)
    for _ in range(600):
        status = run.status()
        if status is not None and status.state not in ("new", "starting", "running"):
            break
        await asyncio.sleep(0.1)
    assert status is not None
    assert (status.state, status.step) == ("done", 3)
    assert run.described()["preset"]["name"] == "quick"
    for _ in range(100):
        if not run.alive():
            break
        await asyncio.sleep(0.1)
    assert not run.alive()


async def _filled(pilot: Pilot[None]) -> None:
    screen = await ready(pilot)
    focus(screen, "window")
    await pilot.press("right")
    focus(screen, "delay")
    await pilot.press("6")
    await until(pilot, lambda: not screen.estimate.busy)
    await pilot.press("f6")
    await until(pilot, lambda: "measured" in text(screen, "#new-run-estimate-text"))
    await pilot.pause()


async def _wrong(pilot: Pilot[None]) -> None:
    screen = await ready(pilot)
    focus(screen, "name")
    await pilot.press(*"a/b")
    focus(screen, "window")
    await pilot.press(*["right"] * 4)
    await until(pilot, lambda: screen.focused is screen.query_one("#window-typed"))
    await pilot.press("1")
    focus(screen, "delay")
    await pilot.press(*"500")
    await pilot.pause(0.1)


async def _presets(pilot: Pilot[None]) -> None:
    screen = await ready(pilot)
    focus(screen, "preset")
    await pilot.press("enter")
    await pilot.pause(0.1)


async def _characters(pilot: Pilot[None]) -> None:
    screen = await ready(pilot)
    focus(screen, "characters")
    await pilot.press("enter")
    await pilot.pause()
    await pilot.press("space", "down", "down")
    await pilot.pause(0.1)


async def _first(pilot: Pilot[None]) -> None:
    await ready(pilot)


Picture = Callable[[Pilot[None]], Awaitable[None]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "state", [_first, _filled, _wrong, _presets, _characters], ids=lambda state: state.__name__
)
def test_picture(
    opened: Open, machine: Machine, snap_compare: Any, size: tuple[int, int], state: Picture
) -> None:
    if state is not _first:
        machine.listed("mine", ["/games/2024"])
    assert snap_compare(opened(), terminal_size=size, run_before=state)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_picture_without_colour(
    opened: Open, machine: Machine, snap_compare: Any, monkeypatch: pytest.MonkeyPatch, glyphs: Glyphs
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    machine.listed("mine", ["/games/2024"])
    assert snap_compare(opened(glyphs=glyphs), terminal_size=SIZES[0], run_before=_wrong)
