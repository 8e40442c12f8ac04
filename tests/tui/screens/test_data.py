"""The data of a machine: what is found, what it holds, and what becomes of a build."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from exphil_tui.app import Workbench
from exphil_tui.screens.data.screen import DataScreen
from exphil_tui.screens.new_run.screen import NewRunScreen
from exphil_tui.theme.glyphs import ASCII, UNICODE, Glyphs
from tests.tui.machine import Machine, StandIn, answer, refusal

SIZES = [(80, 24), (120, 40)]

REPORT = {
    "path": "cache/datasets/read",
    "kept": 2,
    "filtered": {"too_short": 1},
    "refused": {"corrupt": 1},
    "duplicates": 0,
    "unverified": 0,
    "games": 2,
    "frames": 9000,
    "seconds": 12.0,
}

Open = Callable[..., Workbench]


@pytest.fixture
def opened(machine: Machine, stand_in: StandIn, clock: Callable[[], float]) -> Open:
    def open(**options: Any) -> Workbench:
        return Workbench(
            runs_dir=Path("checkpoints"), clock=clock, monotonic=clock, launch=stand_in, **options
        )

    return open


async def until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 5.0) -> None:
    for _ in range(round(seconds / 0.02)):
        if holds():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not come to hold in time")


async def ready(pilot: Pilot[None]) -> DataScreen:
    """The screen, opened by its key, with all that it looks for found."""
    await pilot.pause(0.1)
    await pilot.press("d")
    await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
    screen = pilot.app.screen
    assert isinstance(screen, DataScreen)
    await until(pilot, lambda: screen.loaded and not waits(screen))
    await pilot.pause()
    return screen


def waits(screen: DataScreen) -> bool:
    return any(worker.group in ("sources", "stats") and not worker.is_finished for worker in screen.workers)


def about(screen: DataScreen) -> str:
    return str(screen.query_one("#data-details-text", Static).render())


def build(screen: DataScreen) -> str:
    found = screen.query_one("#data-build", Static)
    return str(found.render()) if found.display else ""


def listed(screen: DataScreen) -> list[str]:
    found = screen.query_one(OptionList)
    return [str(found.get_option_at_index(index).prompt) for index in range(found.option_count)]


async def go_to(pilot: Pilot[None], screen: DataScreen, word: str) -> None:
    """With the cursor on what has that word in its title."""
    await pilot.press("home")
    for _ in range(20):
        if screen.current is not None and word in screen.current.title:
            break
        await pilot.press("down")
    assert screen.current is not None
    assert word in screen.current.title
    await until(pilot, lambda: not waits(screen))
    await pilot.pause()


def told(pilot: Pilot[None]) -> str:
    return " ".join(found.message for found in pilot.app._notifications)


async def test_a_bare_machine_offers_the_demo_replays_and_a_path(opened: Open, machine: Machine) -> None:
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        assert len(listed(screen)) == 2
        assert "demo replays (dojo bots)" in listed(screen)[1]
        assert "not written yet" in listed(screen)[1]
        assert screen.query_one("#data-path").region.height == 1


async def test_datasets_come_first_the_newest_before_the_older_then_folders(
    opened: Open, machine: Machine
) -> None:
    machine.listed("a", ["/games/older"], age=90_000)
    machine.listed("b", ["/games/newer"], age=60)
    machine.slippi(3)
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        lines = listed(screen)
        order = [
            next(i for i, line in enumerate(lines) if word in line) for word in ("newer", "older", "~/Slippi")
        ]
        assert order == sorted(order)
        assert "8 games" in lines[order[0]]
        assert "1 d 1 h old" in lines[order[1]] or "1 d old" in lines[order[1]]
        assert "3 replays" in lines[order[2]]


async def test_a_dataset_lists_characters_stages_versions_and_excluded_files(
    opened: Open, machine: Machine, dojo_dataset: Path
) -> None:
    filtered, refused = {"too_short": 4}, {"corrupt": 2}
    machine.built("dojo", dojo_dataset, filtered=filtered, refused=refused, duplicates=1)
    async with opened().run_test(size=SIZES[1]) as pilot:
        screen = await ready(pilot)
        await until(pilot, lambda: "playtime" in about(screen))
        words = about(screen)
        assert "12 games" in words
        rows = [
            line for line in words.splitlines() if line.startswith(("Mewtwo", "Ganondorf", "Link", "Zelda"))
        ]
        assert [row.split()[0] for row in rows] == ["Mewtwo", "Ganondorf", "Link", "Zelda"]
        assert all("⚠" in row for row in rows)
        assert "little to train on" in words
        for sentence in (
            "1 duplicate\n",
            "4 filtered: too_short",
            "it has fewer frames than the minimum",
            "2 refused: corrupt",
            "the parser could not make sense of its bytes",
            "Battlefield",
            "3.16.0 (12)",
        ):
            assert sentence in words


async def test_replays_in_a_folder_are_counted_but_not_read(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    machine.slippi(3)
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await go_to(pilot, screen, "~/Slippi")
        assert "folder: 3 replays" in about(screen)
        assert "the newest is 2 h old" in about(screen)
        assert not stand_in.calls


async def test_an_unusable_dataset_shows_why_and_can_be_rebuilt(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    path = machine.listed("old", ["/games/a", "/games/b"], schema_version=0)
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        screen = await ready(pilot)
        assert "schema version 0" in about(screen)
        await pilot.press("n")
        await pilot.pause()
        assert pilot.app.screen is screen
        assert "schema version 0" in told(pilot)
        await pilot.press("b")
        await until(pilot, lambda: bool(stand_in.calls))
    assert stand_in.calls[0] == (
        "data",
        "build",
        "/games/a",
        "/games/b",
        "--out",
        str(path.absolute()),
        "--json",
    )


async def test_a_path_is_typed_found_and_read(opened: Open, machine: Machine, stand_in: StandIn) -> None:
    folder = machine.slippi(4, name="Elsewhere")
    stand_in.said = {"build": ("1 files read: 1 kept, 0 filtered, 0 refused",)}
    stand_in.answers = {"build": answer(REPORT)}
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        screen = await ready(pilot)
        await pilot.press("slash", *"~/Nowhere", "enter")
        await pilot.pause()
        assert "no such file or folder" in told(pilot)
        screen.query_one("#data-path", Input).value = "~/Elsewhere"
        await pilot.press("enter")
        await until(pilot, lambda: screen.current is not None and screen.current.path == folder)
        await until(pilot, lambda: "4 replays" in about(screen))
        await pilot.press("b")
        await until(pilot, lambda: "2 games, 9,000 frames" in build(screen))
        assert "1 filtered, 1 refused" in build(screen)
    assert stand_in.calls == [("data", "build", str(folder), "--json")]


async def test_a_build_shows_its_progress_and_escape_cancels_it_before_closing_the_screen(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    machine.slippi(4)
    stand_in.waits = {"build"}
    stand_in.said = {"build": ("1 files read: 1 kept, 0 filtered, 0 refused",)}
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        screen = await ready(pilot)
        await go_to(pilot, screen, "~/Slippi")
        await pilot.press("b")
        await until(pilot, lambda: "1 files read" in build(screen))
        full, rest = build(screen).count("━"), build(screen).count("─")
        assert full * 3 == rest
        await pilot.press("b")
        await pilot.pause()
        assert "running already" in told(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: "replays that were read are kept" in build(screen))
        assert len(stand_in.broken_off) == 1
        assert pilot.app.screen is screen
        await pilot.press("escape")
        await pilot.pause()
        assert pilot.app.screen is not screen


async def test_a_failed_build_shows_its_error(opened: Open, machine: Machine, stand_in: StandIn) -> None:
    machine.slippi(2)
    stand_in.answers = {"build": refusal("no room left on the disk", 6)}
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await go_to(pilot, screen, "~/Slippi")
        await pilot.press("b")
        await until(pilot, lambda: "no room left on the disk" in build(screen))
        await pilot.press("b")
        await until(pilot, lambda: len(stand_in.calls) == 2)


async def test_demo_replays_are_written_before_they_are_read(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    stand_in.answers = {"build": answer(REPORT)}
    async with opened().run_test(size=SIZES[0]) as pilot:
        await ready(pilot)
        await pilot.press("b")
        await until(pilot, lambda: len(stand_in.calls) == 2)
    path = str(Path("cache/demo").absolute())
    assert stand_in.calls == [("demo", "--out", path, "--json"), ("data", "build", path, "--json")]


@pytest.mark.parametrize("key", ["n", "enter"])
async def test_a_new_run_opens_on_the_data_under_the_cursor(opened: Open, machine: Machine, key: str) -> None:
    machine.listed("a", ["/games/older"], age=90_000)
    machine.listed("b", ["/games/newer"], age=60)
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await go_to(pilot, screen, "older")
        await pilot.press(key)
        await until(pilot, lambda: isinstance(pilot.app.screen, NewRunScreen))
        opened_on = pilot.app.screen
        assert isinstance(opened_on, NewRunScreen)
        await until(pilot, lambda: opened_on.source is not None)
        assert opened_on.form.replays == "cache/datasets/a"


async def test_an_open_new_run_form_takes_the_data_and_keeps_its_overrides(
    opened: Open, machine: Machine
) -> None:
    machine.listed("a", ["/games/older"], age=90_000)
    machine.listed("b", ["/games/newer"], age=60)
    async with opened().run_test(size=SIZES[0]) as pilot:
        await pilot.pause(0.1)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, NewRunScreen))
        draft = pilot.app.screen
        assert isinstance(draft, NewRunScreen)
        await until(pilot, lambda: draft.source is not None)
        draft.query_one("#delay", Input).value = "9"
        await pilot.pause()
        screen = await ready(pilot)
        await go_to(pilot, screen, "older")
        await pilot.press("n")
        await until(pilot, lambda: pilot.app.screen is draft)
        assert draft.form.replays == "cache/datasets/a"
        assert draft.form.overrides["delay"] == "9"


async def test_an_empty_folder_can_neither_be_built_nor_trained_on(
    opened: Open, machine: Machine, stand_in: StandIn
) -> None:
    machine.slippi(0)
    async with opened().run_test(size=SIZES[0], notifications=True) as pilot:
        screen = await ready(pilot)
        await go_to(pilot, screen, "~/Slippi")
        assert "no replay (.slp)" in about(screen)
        await pilot.press("b", "n")
        await pilot.pause()
        assert pilot.app.screen is screen
    assert not stand_in.calls


async def test_a_damaged_index_is_an_error_sentence(
    opened: Open, machine: Machine, dojo_dataset: Path
) -> None:
    path = machine.built("dojo", dojo_dataset)
    (path / "index.parquet").write_bytes(b"PAR1")
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await until(pilot, lambda: "the index is damaged" in about(screen))


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J[/red]\u202egpj", "[bold", "y" * 10_000, "\n\r\t"],
    ids=["escape", "markup", "long", "blank"],
)
async def test_hostile_names_are_shown_as_plain_text(
    opened: Open, machine: Machine, dojo_dataset: Path, hostile: str
) -> None:
    path = machine.built("dojo", dojo_dataset, source=f"/games/{hostile}", filtered={hostile: 2})
    said = json.loads((path / "dataset.json").read_bytes())
    assert hostile in said["counts"]["filtered"]
    machine.slippi(1, name=f"Slippi/{hostile[:100]}x")
    async with opened().run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        await until(pilot, lambda: "playtime" in about(screen))
        await pilot.press("slash", "x")
        screen.query_one("#data-path", Input).value = f"~/Slippi/{hostile[:100]}x"
        await pilot.press("enter")
        await pilot.pause(0.2)
        for strip in screen._compositor.render_strips(pilot.app.size):
            assert strip.text.isprintable()


@pytest.mark.parametrize("size", SIZES)
async def test_all_that_matters_is_on_the_screen_at_every_size(
    opened: Open, machine: Machine, dojo_dataset: Path, size: tuple[int, int]
) -> None:
    machine.built("dojo", dojo_dataset)
    async with opened().run_test(size=size) as pilot:
        screen = await ready(pilot)
        await until(pilot, lambda: "playtime" in about(screen))
        for part in ("#data-sources", "#data-path", "#data-details"):
            assert screen.query_one(part).region.bottom <= size[1] - 1
        room = screen.query_one("#data-details-text").size.width
        assert all(len(line) <= room for line in about(screen).splitlines() if line.startswith("Mr. Game"))
        shown = [found for found in screen.active_bindings.values() if found.binding.show]
        assert len({found.binding.action for found in shown}) <= 7


@pytest.mark.slow
async def test_real_replays_are_read_from_here(machine: Machine, dojo_replays: Path) -> None:
    async with Workbench(runs_dir=Path("checkpoints")).run_test(size=SIZES[0]) as pilot:
        screen = await ready(pilot)
        screen.query_one("#data-path", Input).value = str(dojo_replays)
        await pilot.press("slash", "enter")
        await until(pilot, lambda: screen.current is not None and screen.current.path == dojo_replays)
        await pilot.press("b")
        await until(pilot, lambda: "12 games" in build(screen), seconds=60)
        await until(pilot, lambda: screen.current is not None and screen.current.usable)
        await until(pilot, lambda: "playtime" in about(screen), seconds=20)
        assert len([line for line in listed(screen) if dojo_replays.name[-8:] in line]) == 1


async def _found(pilot: Pilot[None]) -> None:
    screen = await ready(pilot)
    await until(pilot, lambda: "playtime" in about(screen))
    await pilot.pause(0.1)


async def _folder(pilot: Pilot[None]) -> None:
    screen = await ready(pilot)
    await go_to(pilot, screen, "~/Slippi")
    await pilot.pause(0.1)


async def _building(pilot: Pilot[None]) -> None:
    screen = await ready(pilot)
    await go_to(pilot, screen, "~/Slippi")
    await pilot.press("b")
    await until(pilot, lambda: "files read" in build(screen))
    await pilot.pause(0.1)


async def _refused(pilot: Pilot[None]) -> None:
    screen = await ready(pilot)
    await go_to(pilot, screen, "~/Slippi")
    await pilot.press("b")
    await until(pilot, lambda: "another process" in build(screen))
    await pilot.pause(0.1)


async def _bare(pilot: Pilot[None]) -> None:
    await ready(pilot)
    await pilot.pause(0.1)


Picture = Callable[[Pilot[None]], Awaitable[None]]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "state", [_bare, _found, _folder, _building, _refused], ids=lambda state: state.__name__.strip("_")
)
def test_picture(
    opened: Open,
    machine: Machine,
    stand_in: StandIn,
    dojo_dataset: Path,
    snap_compare: Any,
    size: tuple[int, int],
    state: Picture,
) -> None:
    if state is not _bare:
        machine.slippi(4)
        machine.built("dojo", dojo_dataset, filtered={"too_short": 4}, refused={"corrupt": 2})
        machine.listed("old", ["/games/2019"], age=9e6, schema_version=0)
    stand_in.said = {"build": ("3 files read: 2 kept, 1 filtered, 0 refused",)}
    if state is _building:
        stand_in.waits = {"build"}
    stand_in.answers = {"build": refusal("dataset cache/datasets/Slippi: another process builds there", 2)}
    assert snap_compare(opened(), terminal_size=size, run_before=state)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_picture_without_colour(
    opened: Open,
    machine: Machine,
    dojo_dataset: Path,
    snap_compare: Any,
    monkeypatch: pytest.MonkeyPatch,
    glyphs: Glyphs,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    machine.built("dojo", dojo_dataset, filtered={"too_short": 4})
    assert snap_compare(opened(glyphs=glyphs), terminal_size=SIZES[0], run_before=_found)
