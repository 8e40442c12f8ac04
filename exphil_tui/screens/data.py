"""The data of this machine: datasets, Slippi's folders, what each holds, and building one from here.

In: the cache, Slippi's folders, a path that is typed. Out: counts, and datasets that a child process builds. What a
reader gets wrong: opening this screen parses nothing. Folders are only counted; what their games hold is known once
they were read into a dataset, and looking into that is done in a thread, for it needs pyarrow.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker, WorkerState, get_current_worker

from exphil_core.dataset.catalog import cache_root
from exphil_core.errors import ExphilError
from exphil_core.melee import characters, stages
from exphil_core.replays.folders import Counted, count_replays
from exphil_core.replays.text import sanitise
from exphil_tui import figures
from exphil_tui.child import Ended
from exphil_tui.places import Place, expanded, known_places, place_of, shown, what_it_is
from exphil_tui.screens.steady import SteadyScreen

if TYPE_CHECKING:
    from exphil_core.dataset.contents import Contents
    from exphil_tui.app import Workbench

_GROUPS = {"dataset": "Datasets", "demo": "Demo", "folder": "Replays not read yet"}
_READ = re.compile(r"(?P<done>[\d,]+) (?:of (?P<of>[\d,]+) )?(?:files|replays)")
_BAR = 24


class DataScreen(SteadyScreen[None]):
    CSS_PATH = "data.tcss"
    BINDING_GROUP_TITLE = "Data"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 (declared so by Screen)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "build", "Build"),
        Binding("n", "new_run", "New run on this"),
        Binding("o", "open_replay", "Replay", tooltip="Look into a replay, frame by frame"),
        Binding("slash", "type", "Type a path", key_display="/"),
        Binding("x", "break_off", "Break off", show=False),
        Binding("r", "look", "Look again", show=False),
        Binding("escape", "leave", "Back, or break off a build", show=False),
    ]
    HELP = """\
Left are the datasets in the cache (the newest first), the demo replays, and Slippi's folders that were not read yet.
Right is what the one under the cursor holds. Play counts sides that are imitated: a person plays them, and moves.
A mark stands at characters with less than an hour of it: there is little to learn from.
b reads replays into a dataset, by a process of its own; what was read before and has not changed is not read again.
A build that is broken off keeps what it has read. n puts a new run together on what is under the cursor.
o lists the replays of what is under the cursor, the newest first, to look into one frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self._places: list[Place] = []
        self._typed: list[Path] = []
        self._lines: list[Place | None] = []
        """What every line of the list stands for; None for a heading."""
        self._looked_once = False
        self._counted: dict[Path, Counted] = {}
        self._contents: dict[tuple[Path, float], Contents | str] = {}
        """By dataset and when it was built; a sentence where it cannot be read."""
        self._building: Place | None = None
        self._progress = ""
        self._began = 0.0
        self._result: tuple[str, str] | None = None
        """What became of the last build, and the colour of it."""
        self._wanted: Path | None = None
        """Which place the cursor goes to when the list is there."""

    @property
    def workbench(self) -> "Workbench":
        return cast("Workbench", self.app)

    def compose(self) -> ComposeResult:
        yield Static(classes="title", id="data-title")
        with Horizontal(id="data-body"):
            with Vertical(id="data-left"):
                yield OptionList(id="data-places", compact=True)
                with Horizontal(id="data-path-line"):
                    yield Static("Path", id="data-path-label")
                    yield Input(id="data-path", placeholder="press /", compact=True)
            with VerticalScroll(id="data-about", can_focus=True):
                yield Static(id="data-about-text")
        yield Static(id="data-build")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        self.set_interval(1.0, self._tick)
        self._paint()
        self._look()

    # What there is.

    def action_look(self) -> None:
        self._counted = {}
        self._contents = {}
        self._look()

    @work(thread=True, group="look", exclusive=True, exit_on_error=False)
    def _look(self) -> None:
        places = known_places()
        # A folder that was typed and then read is listed once: as what it was read into.
        known = {place.path for place in places} | {place.dataset.path for place in places if place.dataset}
        for place in map(place_of, self._typed):
            if place.path not in known and (place.dataset is None or place.dataset.path not in known):
                places.append(place)
        worker = get_current_worker()
        self.app.call_from_thread(self._take_places, places)
        for place in places:
            if place.dataset is None and place.path not in self._counted and place.written:
                counted = count_replays(place.path, stopped=lambda: worker.is_cancelled)
                if worker.is_cancelled:
                    return
                self.app.call_from_thread(self._take_count, place.path, counted)

    def _take_places(self, places: list[Place]) -> None:
        if not self.is_attached:
            return
        current = self._wanted or (self.current.path if self.current is not None else None)
        self._places, self._looked_once = places, True
        self._list(current)

    def _take_count(self, path: Path, counted: Counted) -> None:
        if not self.is_attached:
            return
        self._counted[path] = counted
        self._list(self.current.path if self.current is not None else None)

    def _list(self, current: Path | None) -> None:
        found = self.query_one(OptionList)
        options: list[Option] = []
        self._lines = []
        group = ""
        for place in sorted(self._places, key=lambda place: list(_GROUPS).index(place.kind)):
            if _GROUPS[place.kind] != group:
                group = _GROUPS[place.kind]
                options.append(Option(Content.styled(group, "$foreground-muted"), disabled=True))
                self._lines.append(None)
            options.append(Option(self._line(place)))
            self._lines.append(place)
        with self.prevent(OptionList.OptionHighlighted):
            found.clear_options()
            found.add_options(options)
            at = [index for index, place in enumerate(self._lines) if place is not None]
            wanted = [index for index in at if _is_at(self._lines[index], current)]
            found.highlighted = next(iter((*wanted, *at)), None)
        if wanted:
            self._wanted = None
        self._moved()

    def _line(self, place: Place) -> Content:
        width = (self.query_one(OptionList).size.width or 32) - 3
        title = place.title if len(place.title) <= width else "…" + place.title[-(width - 1) :]
        return Content.assemble((f" {title}\n", ""), (f"   {self._in_short(place)}", "$text-muted"))

    def _in_short(self, place: Place) -> str:
        glyphs = self.workbench.glyphs
        if not place.written:
            return "not written yet"
        if place.dataset is not None and not place.dataset.problem:
            age = figures.duration(max(0.0, self.workbench.clock() - place.dataset.built), glyphs)
            age = " ".join(age.split()[:2])
            return f"{place.dataset.games:,} games, {_play(place.dataset.frames)}, {age} old"
        if place.dataset is not None:
            return f"{glyphs.warning} cannot be used as it is"
        counted = self._counted.get(place.path)
        if counted is None:
            return "counting" + glyphs.ellipsis
        return _counted_as(counted)

    @property
    def current(self) -> Place | None:
        """What the cursor is on."""
        at = self.query_one(OptionList).highlighted
        return self._lines[at] if at is not None and at < len(self._lines) else None

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        place = self.current
        if place is not None and place.usable and self._key(place) not in self._contents:
            self._open_dataset(place)
        self.query_one("#data-about").scroll_home(animate=False)
        self._paint()

    def _key(self, place: Place) -> tuple[Path, float]:
        assert place.dataset is not None
        return place.dataset.path, place.dataset.built

    @work(thread=True, group="contents", exclusive=True, exit_on_error=False)
    def _open_dataset(self, place: Place) -> None:
        assert place.dataset is not None
        found: Contents | str
        try:
            from exphil_core.dataset.contents import contents_of

            found = contents_of(place.dataset.path)
        except (ExphilError, OSError) as error:
            found = str(error)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._take_contents, self._key(place), found)

    def _take_contents(self, key: tuple[Path, float], found: "Contents | str") -> None:
        self._contents[key] = found
        if self.is_attached:
            self._paint()

    # Drawing.

    def _paint(self) -> None:
        if not self.is_mounted:
            return
        self.query_one("#data-title", Static).update(self._title())
        self.query_one("#data-about-text", Static).update(Content("\n").join(self._about()))
        build = self.query_one("#data-build", Static)
        lines = list(self._build_lines())
        build.display = bool(lines)
        build.update(Content("\n").join(lines))
        self.refresh_bindings()

    def _title(self) -> Content:
        count = sum(place.dataset is not None for place in self._places)
        left, right = (
            "exphil  Data",
            f"{count} dataset{'s' * (count != 1)} in {shown(cache_root(), limit=60)}",
        )
        gap = " " * max(2, self.size.width - 2 - len(left) - len(right))
        return Content.assemble(("exphil", "bold $primary"), "  Data", gap, (right, "$foreground-muted"))

    def _about(self) -> Iterator[Content]:
        place = self.current
        glyphs = self.workbench.glyphs
        if place is None:
            yield Content.styled(
                "" if self._looked_once else "looking" + glyphs.ellipsis, "$foreground-muted"
            )
            return
        yield Content.styled(place.title, "bold")
        if not place.written:
            yield Content("")
            yield Content(
                "Games of exphil's own bots with five characters. How well they can be learned is known."
            )
            yield Content("")
            yield _key("b", "writes them and reads them into a dataset")
            yield _key("n", "puts a first run on them together")
            return
        if not place.usable:
            yield from self._about_unread(place)
            return
        found = self._contents.get(self._key(place))
        if found is None:
            yield Content.styled("looking into it" + glyphs.ellipsis, "$foreground-muted")
        elif isinstance(found, str):
            yield Content.styled(f"{glyphs.warning} {sanitise(found, limit=400)}", "$text-error")
        else:
            yield from self._about_contents(found)

    def _about_unread(self, place: Place) -> Iterator[Content]:
        glyphs = self.workbench.glyphs
        if place.dataset is not None:
            yield Content.styled(f"{glyphs.warning} {place.dataset.problem}", "$text-warning")
            yield Content("")
            yield _key("b", "builds it again")
            return
        counted = self._counted.get(place.path)
        if counted is None:
            yield Content.styled("counting its replays" + glyphs.ellipsis, "$foreground-muted")
            return
        if not _there(place.path):
            yield Content.styled(f"{glyphs.warning} there is no such file or folder", "$text-error")
            return
        words = f"a {what_it_is(place.path)}: {_counted_as(counted)}"
        yield Content(
            words + (f", {figures.memory(counted.bytes, glyphs)}" if counted.bytes >= 2**20 else "")
        )
        if not counted.replays and not counted.archives:
            yield Content.styled(
                f"{glyphs.warning} no replay (.slp) and no archive is in there", "$text-warning"
            )
            return
        if counted.newest is not None:
            age = figures.duration(max(0.0, self.workbench.clock() - counted.newest), glyphs)
            yield Content.styled(f"the newest is {age} old", "$foreground-muted")
        yield Content("")
        yield Content("Which characters they hold is known once they were read.")
        yield Content("")
        yield _key("b", "reads them into a dataset")
        yield _key("n", "a run on them, which reads them first")

    def _about_contents(self, found: "Contents") -> Iterator[Content]:
        from exphil_core.dataset.contents import WHY_UNUSABLE, CharacterCounts, why_not_taken

        glyphs = self.workbench.glyphs
        where = shown(found.path)
        yield Content.styled(where, "$foreground-muted")
        salvaged = f", {found.salvaged:,} salvaged" if found.salvaged else ""
        yield Content(f"{found.games:,} games, {found.frames:,} frames ({_play(found.frames)}){salvaged}")
        yield Content("")
        yield Content.styled(f"{'characters':<16}{'games':>6}{'frames':>11}{'play':>9}", "$foreground-muted")
        low = {name: found.per_character.get(name, CharacterCounts()) for name in characters.LOW_TIER}
        for name, counts in {**low, **found.per_character}.items():
            title = characters.by_name(name).title
            mark = f" {glyphs.warning}" if counts.little else ""
            row = f"{title:<16}{counts.games:>6,}{counts.frames:>11,}{_play(counts.usable_frames):>9}"
            yield Content.assemble((row, ""), (mark, "$text-warning"))
        if any(counts.little for counts in (*low.values(), *found.per_character.values())):
            words = f"{glyphs.warning} under an hour to imitate: little to learn from"
            yield Content.styled(words, "$text-warning")
        unusable = [f"{count:,}: {WHY_UNUSABLE[why]}" for why, count in found.unusable.items() if count]
        if unusable:
            yield Content("")
            yield Content.styled(f"sides not imitated, of {2 * found.games:,}", "$foreground-muted")
            for text in unusable:
                yield Content(f"  {text}")
        yield Content("")
        yield Content.styled("stages", "$foreground-muted")
        for name, games in sorted(found.stages.items(), key=lambda item: -item[1]):
            yield Content(f"{stages.by_name(name).title:<20}{games:>6,} games")
        yield Content("")
        yield Content.styled("Slippi versions", "$foreground-muted")
        yield Content(", ".join(f"{sanitise(name, limit=20)} ({n:,})" for name, n in found.versions.items()))
        left_out = {
            "duplicates of another": {"": found.duplicates},
            "filtered": found.filtered,
            "refused": found.refused,
        }
        if any(any(reasons.values()) for reasons in left_out.values()):
            yield Content("")
            yield Content.styled("files that are not in it", "$foreground-muted")
            for what, reasons in left_out.items():
                for reason, count in reasons.items():
                    if count:
                        name = f": {sanitise(reason, limit=40)}" if reason else ""
                        yield Content(f"{count:>6,} {what}{name}")
                    if count and reason:
                        why = sanitise(why_not_taken(reason), limit=200)
                        yield Content.styled(f"       {why}", "$foreground-muted")

    def _build_lines(self) -> Iterator[Content]:
        glyphs = self.workbench.glyphs
        if self._building is not None:
            seconds = self.workbench.monotonic() - self._began
            yield Content.assemble(
                ("reading ", "bold"),
                (self._building.title, "bold"),
                (f"  {figures.duration(seconds, glyphs)}  Esc breaks off", "$foreground-muted"),
            )
            yield Content.assemble(*self._bar(self._building), self._progress or "looking for replays")
        elif self._result is not None:
            text, colour = self._result
            for line in text.splitlines()[-5:]:
                yield Content.styled(line, colour)

    def _bar(self, place: Place) -> tuple[tuple[str, str], ...]:
        """How far, where it is known how many there are."""
        match = _READ.search(self._progress)
        counted = self._counted.get(place.path)
        if match is None:
            return ()
        total = int(match["of"].replace(",", "")) if match["of"] else 0
        if not total and counted is not None and counted.whole and not counted.archives:
            total = counted.replays
        if not total:
            return ()
        full = round(_BAR * min(1.0, int(match["done"].replace(",", "")) / total))
        glyphs = self.workbench.glyphs
        done, rest = ("#", ".") if glyphs.ascii else ("━", "─")
        return ((done * full, "$primary"), (rest * (_BAR - full) + "  ", "$foreground-muted"))

    def _tick(self) -> None:
        if self._building is not None:
            self._paint()

    # What a person does.

    @on(OptionList.OptionSelected)
    def action_new_run(self) -> None:
        place = self.current
        if place is None:
            return
        if place.dataset is not None and place.dataset.problem:
            self.workbench.say(
                f"It cannot be learned from as it is: {place.dataset.problem}.", severity="warning"
            )
        elif not self._is_empty(place):
            self._learn_from(place.path)

    def _learn_from(self, path: Path) -> None:
        """A new run; the one that is being put together, where this screen was opened from there."""
        from exphil_tui.screens.new_run import NewRunScreen

        below = self.app.screen_stack[-2]
        if isinstance(below, NewRunScreen):
            self.app.pop_screen()
            below.learn_from(path)
        else:
            self.workbench.open_new_run(replays=path)

    def _is_empty(self, place: Place) -> bool:
        counted = self._counted.get(place.path)
        nothing = place.written and place.dataset is None and counted is not None
        if nothing and counted is not None and not counted.replays and not counted.archives:
            self.workbench.say("There is no replay in it to learn from.", severity="warning")
            return True
        return False

    def action_open_replay(self) -> None:
        place = self.current
        if place is None or not place.written:
            folders: list[Path] = []
        elif place.dataset is not None:
            folders = [Path(source) for source in place.dataset.sources]
        else:
            folders = [place.path]
        self.workbench.choose_replay(folders)

    def action_type(self) -> None:
        self.query_one("#data-path").focus()

    @on(Input.Submitted)
    def _path_typed(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if not text:
            return
        path = expanded(text)
        if not _there(path):
            self.workbench.say(f"{shown(path)}: there is no such file or folder.", severity="warning")
            return
        event.input.clear()
        self._typed = [path, *(known for known in self._typed if known != path)]
        self._wanted = path
        self.query_one(OptionList).focus()
        self._look()

    def action_build(self) -> None:
        place = self.current
        if self._building is not None:
            self.workbench.say("One build at a time: Esc breaks off the one that runs.", severity="warning")
        elif place is not None and not self._is_empty(place):
            self._build(place)

    @work(group="build", exit_on_error=False)
    async def _build(self, place: Place) -> None:
        self._building, self._progress, self._result = place, "", None
        self._began = self.workbench.monotonic()
        self._paint()
        try:
            ended = Ended(code=0, output="", problems=())
            for words in _commands(place):
                ended = await self.workbench.launch([*words, "--json"], told=self._hear)
                if ended.code != 0:
                    break
            self._result = self._outcome(ended)
        except asyncio.CancelledError:
            self._result = ("broken off: what was read is kept, and not read again", "$text-warning")
            raise
        except OSError as error:
            self._result = (sanitise(str(error), limit=400), "$text-error")
        finally:
            self._building = None
            self._wanted = self._wanted or place.path
            if self.is_mounted:
                self._look()
                self._paint()

    def _hear(self, line: str) -> None:
        self._progress = line
        self._paint()

    def _outcome(self, ended: Ended) -> tuple[str, str]:
        glyphs = self.workbench.glyphs
        if ended.code != 0:
            return f"{glyphs.warning} " + "\n".join(ended.problem.splitlines()[-3:]), "$text-error"
        try:
            report: Mapping[str, Any] = json.loads(ended.output.splitlines()[-1])
            self._wanted = Path(report["path"])
            filtered, refused = sum(report["filtered"].values()), sum(report["refused"].values())
            text = (
                f"read in {figures.duration(report['seconds'], glyphs)}: {report['games']:,} games, "
                f"{report['frames']:,} frames\n{report['kept']:,} files kept, {report['duplicates']:,} duplicates, "
                f"{filtered:,} filtered, {refused:,} refused; n puts a run on them together"
            )
            if report["unverified"]:
                text += f"\n{report['unverified']:,} files could not be looked at and stay as they were read before"
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return f"{glyphs.warning} the build said nothing that could be read", "$text-warning"
        return text, "$text-success" if report["games"] else "$text-warning"

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.workbench.say(str(event.worker.error), severity="error")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "break_off":
            return self._building is not None
        return True

    def action_break_off(self) -> None:
        self.workers.cancel_group(self, "build")

    def action_leave(self) -> None:
        if self._building is not None:
            self.action_break_off()
        elif self.query_one("#data-path").has_focus:
            self.query_one(OptionList).focus()
        else:
            self.app.pop_screen()


def _commands(place: Place) -> list[tuple[str, ...]]:
    """What builds a dataset of the place, in order."""
    if place.kind == "dataset" and place.dataset is not None and place.dataset.sources:
        return [("data", "build", *place.dataset.sources, "--out", str(place.dataset.path.absolute()))]
    path = str(place.path.absolute())
    before = [] if place.written else [("demo", "--out", path)]
    return [*before, ("data", "build", path)]


def _is_at(place: Place | None, path: Path | None) -> bool:
    """Whether the place is the path, or what the path was read into."""
    if place is None or path is None:
        return False
    if place.path == path or (place.dataset is not None and place.dataset.path == path):
        return True
    return place.dataset is not None and str(path.absolute()) in place.dataset.sources


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _counted_as(counted: Counted) -> str:
    parts = []
    if counted.replays or not counted.archives:
        parts.append(
            f"{counted.replays:,}{'' if counted.whole else '+'} replay{'s' * (counted.replays != 1)}"
        )
    if counted.archives:
        parts.append(f"{counted.archives:,} archive{'s' * (counted.archives != 1)}")
    return ", ".join(parts)


def _play(frames: int) -> str:
    minutes = frames / 3600
    if minutes >= 100:
        return f"{minutes / 60:,.1f} h"
    return f"{minutes:.0f} min" if minutes >= 10 or not frames else f"{minutes:.1f} min"


def _key(key: str, does: str) -> Content:
    return Content.assemble((f"{key:>3}", "bold $primary"), f"  {does}")
