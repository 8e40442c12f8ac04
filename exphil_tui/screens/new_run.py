"""A new run: what is chosen, what that means before it starts, and the command that does the same.

In: presets, places to learn from, and what a person types. Out: a run, started by the very command that is shown.
What a reader gets wrong: the settings are resolved here, so mistakes stand at their fields at once; parameters,
memory and time come from a child process, because they need torch, and so they come later.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import DescendantFocus
from textual.timer import Timer
from textual.widgets import Button, Footer, Input, Select, Static
from textual.worker import Worker, WorkerState

from exphil_core.config.sizes import AUTO
from exphil_core.errors import DataError, ExphilError
from exphil_core.melee import characters
from exphil_core.replays.text import sanitise
from exphil_tui import figures
from exphil_tui.child import Ended
from exphil_tui.draft import (
    SETTINGS,
    WHOLE,
    Draft,
    Understood,
    Value,
    about,
    advising,
    choices_of,
    command_line,
    offered_presets,
    understand,
)
from exphil_tui.places import Place, first_place, known_places, place_of
from exphil_tui.screens.choose import ChooseOne, ChooseSome, Entry
from exphil_tui.screens.steady import SteadyScreen
from exphil_tui.widgets.form import Choice, FieldRow, Form, Opener

if TYPE_CHECKING:
    from exphil_tui.app import Workbench

WINDOWS = (60, 120, 180, 300)
"""Frames that are offered; others are typed."""
OTHER = "other"

CHOSEN_FIRST = {"pilot": "auto"}
"""What differs from the preset from the start: who looks at a run wants to see whether it could play."""

PROBE_SECONDS = 5
DEBOUNCE_SECONDS = 0.4

_SWITCH = (("no", "no"), ("yes", "yes"))
_NOBODY = "everybody in the data"
_LABELS = {
    "preset": "Preset",
    "replays": "Data",
    "characters": "Characters",
    "balance": "Balance",
    "character_mode": "Char. input",
    "backbone": "Backbone",
    "window": "Window",
    "prediction": "Predict",
    "delay": "Delay",
    "device": "Device",
    "pilot": "Pilot",
    "minutes": "Minutes",
    "steps": "Steps",
    "epochs": "Epochs",
    "name": "Name",
}
_HINTS = {
    "preset": "What all other fields start from. Enter shows what each is for.",
    "replays": "A dataset, replays, or demo replays. Enter shows what there is; d looks into it.",
    "pilot": "The policy plays at 60 FPS meanwhile, so that you see whether it could.",
    "name": "Of the run's folder; empty: the preset's name and the time.",
}


class NewRunScreen(SteadyScreen[None]):
    CSS_PATH = "new_run.tcss"
    BINDING_GROUP_TITLE = "New run"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "Start"),
        Binding("t,f6", "probe", "Time it", key_display="t"),
        Binding("y,f7", "copy", "Copy command", key_display="y"),
        Binding("u", "reset", "As the preset", show=False),
        Binding("a,f8", "advice", "Advice", show=False, key_display="a"),
        Binding("d", "data", "Data", show=False),
        Binding("up", "app.focus_previous", "Row above", show=False),
        Binding("down", "app.focus_next", "Row below", show=False),
        Binding("escape", "leave", "Back, or break off a start", show=False),
    ]
    HELP = """\
Left is what you choose, right what it means, below the command that does the same.
A field is as the preset has it until you change it; a mark then stands before its name, and u takes all changes back.
Pilot is chosen already: the policy plays beside the run, so that you see whether it could. u takes that back, too.
Up and down go from field to field, left and right through the choices, Enter shows them.
Enter on Start starts the run.
What a run takes is reckoned before it starts; t takes real steps for some seconds and measures it.
Advice is what fits 60 FPS here, for this data and device: a says it where it is off the screen, and 'exphil advise'
says why.
A run is a process of its own: it goes on when you leave."""

    def __init__(self, replays: Path | None = None) -> None:
        """With `replays`, on those."""
        super().__init__()
        self._wanted = replays
        self.draft = Draft(chosen=CHOSEN_FIRST)
        self.place: Place | None = None
        """What `draft.replays` is; None where the preset's own are taken."""
        self._places: list[Place] = []
        self._looked = asyncio.Event()
        self._understood: Understood | None = None
        self._estimate: Mapping[str, Any] | None = None
        self._estimated: tuple[str, ...] = ()
        """The arguments that the estimate is of."""
        self._failure = ""
        """Why there is no estimate."""
        self._doing = ""
        """What is being found out: empty, `reckoning` or `measuring`."""
        self._refused: dict[str, str] = {}
        """What the last start was refused for, by field, until something changes."""
        self._status = ""
        self._debounce: Timer | None = None
        self._advice = ""
        """What to take for this data and device, in a sentence."""
        self._advised: tuple[str, ...] = ()
        """The words that were asked for it."""

    @property
    def workbench(self) -> "Workbench":
        return cast("Workbench", self.app)

    # The form.

    def compose(self) -> ComposeResult:
        yield Static(classes="title", id="new-run-title")
        with Horizontal(id="new-run-body"):
            with Form(id="new-run-form"):
                yield FieldRow("preset", _LABELS["preset"], Opener(id="preset"))
                yield FieldRow("replays", _LABELS["replays"], Opener(id="replays"))
                yield FieldRow("characters", _LABELS["characters"], Opener(id="characters"))
                yield FieldRow("balance", _LABELS["balance"], Choice(_SWITCH, id="balance"))
                for name in ("character_mode", "backbone"):
                    yield FieldRow(name, _LABELS[name], Choice(_options(choices_of(name)), id=name))
                windows = [(f"{frames} frames ({frames // 60} s)", str(frames)) for frames in WINDOWS]
                typed = Input(id="window-typed", compact=True, max_length=9, placeholder="frames")
                yield FieldRow(
                    "window", _LABELS["window"], Choice([*windows, ("other:", OTHER)], id="window"), typed
                )
                yield FieldRow(
                    "prediction",
                    _LABELS["prediction"],
                    Choice(_options(choices_of("prediction")), id="prediction"),
                )
                yield FieldRow("delay", _LABELS["delay"], _input("delay", "frames"))
                for name in ("device", "pilot"):
                    yield FieldRow(name, _LABELS[name], Choice(_options(choices_of(name)), id=name))
                for name in ("minutes", "steps", "epochs"):
                    yield FieldRow(name, _LABELS[name], _input(name, "no limit"))
                yield FieldRow("name", _LABELS["name"], _input("name", "preset and time", letters=100))
            with VerticalScroll(id="new-run-meaning", can_focus=False):
                yield Static(id="new-run-meaning-text")
        with Vertical(id="new-run-below"):
            yield Static(id="new-run-hint", markup=False)
            with VerticalScroll(id="new-run-command-box", can_focus=False):
                yield Static(id="new-run-command", markup=False)
            with Horizontal(id="new-run-end"):
                yield Button("Start", id="new-run-start", compact=True)
                yield Static(id="new-run-status", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.draft = replace(self.draft, runs_dir=self.workbench.runs_dir)
        self.query_one("#new-run-start").focus()
        self._changed(show=True)
        self._look()

    def on_screen_resume(self) -> None:
        # The Data screen may have built something meanwhile.
        if self._looked.is_set():
            self._look()

    @work(thread=True, group="look", exclusive=True, exit_on_error=False)
    def _look(self) -> None:
        places = known_places()
        wanted = place_of(self._wanted) if self._wanted is not None else None
        self.app.call_from_thread(self._take_places, places, wanted)

    def _take_places(self, places: list[Place], wanted: Place | None) -> None:
        if not self.is_attached:
            return
        first = not self._looked.is_set()
        self._places = places
        self._looked.set()
        if first and self.place is None and not self.draft.replays:
            self._choose_place(wanted or first_place(places))
        elif self.place is not None:
            self.place = next((place for place in places if place.path == self.place.path), self.place)
            self._changed(show=False)

    def learn_from(self, path: Path) -> None:
        """Take this dataset or these replays, and leave the rest as it was chosen."""
        self._choose_place(place_of(path))

    def _choose_place(self, place: Place) -> None:
        self.place = place
        self.draft = replace(self.draft, replays=str(place.path))
        self._changed(show=True)

    def _changed(self, *, show: bool) -> None:
        """Something was chosen: what it means now. `show` writes the fields, too."""
        self._refused = {}
        demo_to_come = self.place is not None and not self.place.written
        self._understood = understand(
            self.draft,
            there=(lambda path: True) if demo_to_come else _there,
            name_problem=partial(_name_problem, self.draft.runs_dir),
        )
        if show:
            self._show_values()
        self._show_problems()
        self._paint()
        self._wish_estimate()

    def _show_values(self) -> None:
        assert self._understood is not None
        with self.prevent(Select.Changed, Input.Changed):
            self.query_one("#preset", Opener).show(sanitise(self.draft.preset, limit=200))
            self.query_one("#replays", Opener).show(self._place_title())
            self._input("name").value = self.draft.name
            for name, value in self._understood.values.items():
                self._show_value(name, value)

    def _show_value(self, name: str, value: Value) -> None:
        match name, value:
            case "characters", tuple():
                titles = [_title(found) for found in value]
                self.query_one("#characters", Opener).show(", ".join(titles) or _NOBODY)
            case "window", str():
                known = value in map(str, WINDOWS)
                self.query_one("#window", Choice).show(value if known else OTHER)
                self._input("window-typed").value = value
                self._input("window-typed").display = not known
            case _, bool():
                self.query_one(f"#{name}", Choice).show("yes" if value else "no")
            case _, str():
                editor = self.query_one(f"#{name}")
                if isinstance(editor, Choice):
                    editor.show(value)
                elif isinstance(editor, Input) and editor.value != value:
                    editor.value = value

    def _input(self, name: str) -> Input:
        return self.query_one(f"#{name}", Input)

    def _show_problems(self) -> None:
        assert self._understood is not None
        glyphs = self.workbench.glyphs
        problems = {**self._understood.problems, **self._refused}
        for row in self.query(FieldRow):
            sentence = problems.get(row.field, "")
            row.show_problem(sanitise(sentence, limit=400), glyphs.warning)
            row.show_differs(row.field in self._understood.differs, glyphs.bullet)

    # What a person chooses.

    @on(Opener.Opened, "#preset")
    def _open_presets(self) -> None:
        try:
            offers, broken = offered_presets()
        except ExphilError as error:
            self.workbench.say(str(error), severity="error")
            return
        entries = [
            Entry(
                value=offer.name,
                title=sanitise(offer.name, limit=40),
                detail=sanitise(offer.description, limit=200),
                group=offer.group,
            )
            for offer in offers
        ]
        for sentence in broken:
            self.workbench.say(sentence, severity="warning")
        self.app.push_screen(
            ChooseOne("A preset to start from", entries, current=self.draft.preset), self._take_preset
        )

    def _take_preset(self, name: str | None) -> None:
        if name is not None:
            self.draft = replace(self.draft, preset=name)
            self._changed(show=True)

    @on(Opener.Opened, "#replays")
    def _open_places(self) -> None:
        glyphs = self.workbench.glyphs
        groups = {
            "dataset": "Datasets, the newest first",
            "demo": "Demo",
            "folder": "Replay folders of Slippi",
        }
        entries = []
        for place in self._places:
            title = sanitise(place.title, limit=60)
            entries.append(
                Entry(
                    value=str(place.path),
                    title=title,
                    detail=_place_detail(place, glyphs),
                    group=groups[place.kind],
                    muted=place.dataset is not None and bool(place.dataset.problem),
                )
            )
        self.app.push_screen(
            ChooseOne("What to learn from", entries, current=self.draft.replays, path=""), self._take_place
        )

    def _take_place(self, path: str | None) -> None:
        if path is None:
            return
        known = next((place for place in self._places if str(place.path) == path), None)
        self._choose_place(known or place_of(Path(path).expanduser()))

    @on(Opener.Opened, "#characters")
    def _open_characters(self) -> None:
        assert self._understood is not None
        found = self.place.per_character if self.place is not None else {}
        known = self.place is not None and self.place.usable

        def order(name: str) -> tuple[int, bool, str]:
            tier, same = characters.low_tier_first(name)
            return tier, name not in found, same

        playable = characters.CHARACTERS[: characters.PLAYABLE_COUNT]
        names = sorted((character.name for character in playable), key=order)
        entries = [
            Entry(
                value=name,
                title=_title(name),
                detail=_counted(found.get(name), known=known),
                muted=known and name not in found,
            )
            for name in names
        ]
        current = self._understood.values.get("characters", ())
        self.app.push_screen(
            ChooseSome(
                "Whose inputs are imitated",
                entries,
                current=current if isinstance(current, tuple) else (),
                none=_NOBODY,
            ),
            self._take_characters,
        )

    def _take_characters(self, names: tuple[str, ...] | None) -> None:
        if names is not None:
            self._choose("characters", names)
            self._show_value("characters", names)

    @on(Select.Changed)
    def _selected(self, event: Select.Changed) -> None:
        name, value = str(event.select.id), str(event.value)
        if event.value != event.select.value:
            # What it stood at before the preset was shown.
            return
        if name == "window":
            typed = self._input("window-typed")
            typed.display = value == OTHER
            if value == OTHER:
                typed.focus()
                return
            with self.prevent(Input.Changed):
                typed.value = value
        self._choose(name, value == "yes" if name == "balance" else value)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        name = str(event.input.id)
        if name == "name":
            self.draft = replace(self.draft, name=event.value.strip())
            self._changed(show=False)
        else:
            self._choose("window" if name == "window-typed" else name, event.value)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.focus_next()

    def _choose(self, name: str, value: Value) -> None:
        if self._understood is None or self._understood.values.get(name) != value:
            self.draft = self.draft.choosing(name, value)
            self._changed(show=False)

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        row = next((found for found in event.widget.ancestors_with_self if isinstance(found, FieldRow)), None)
        for found in self.query(FieldRow):
            found.set_class(found is row, "-focused")
        self._show_hint(row.field if row is not None else "")

    def _show_hint(self, name: str) -> None:
        text = _HINTS.get(name) or (about(name, self._backbone()) if name in SETTINGS else "")
        hint = text or "The same as a command:"
        self.query_one("#new-run-hint", Static).update(hint)

    def _backbone(self) -> str:
        return str(self._understood.values.get("backbone", "")) if self._understood is not None else ""

    # What it means.

    def _wish_estimate(self) -> None:
        """Ask again a moment after the last key, and only where the answer may be another."""
        wanted = self._asking()
        if wanted == self._estimated and (self._estimate is not None or self._doing):
            return
        if self._debounce is not None:
            self._debounce.stop()
        self.workers.cancel_group(self, "estimate")
        self._doing = ""
        self._failure = ""
        if wanted and self._looked.is_set():
            self._doing = "reckoning"
            self._debounce = self.set_timer(DEBOUNCE_SECONDS, partial(self._find_out, wanted))
        self._paint()

    def _asking(self) -> tuple[str, ...]:
        """The dry run's words; none where the settings are wrong. Replays that were not read are left out: a dry run
        would read them."""
        if self._understood is None or self._understood.preset is None:
            return ()
        draft = replace(self.draft, name="")
        if self.place is not None and not self.place.usable:
            draft = replace(draft, replays="")
        return understand(draft).arguments

    @work(group="estimate", exclusive=True, exit_on_error=False)
    async def _find_out(self, wanted: tuple[str, ...], probe: int | None = None) -> None:
        self._estimated = wanted
        options = ("--dry-run", *(("--probe", str(probe)) if probe else ()), "--json")
        try:
            ended = await self.workbench.launch([*wanted, *options])
            found = json.loads(ended.output) if ended.code == 0 else None
        except (OSError, ValueError) as error:
            ended, found = Ended(code=1, output="", problems=(sanitise(str(error), limit=400),)), None
        self._doing = ""
        self._estimate = found
        self._failure = "" if found is not None else ended.problem
        self._paint()
        # After the estimate, which people wait for: both take a processor for seconds.
        self._wish_advice()

    def _wish_advice(self) -> None:
        assert self._understood is not None
        read = self.place is None or self.place.usable
        draft = self.draft if read else replace(self.draft, replays="")
        wanted = advising(draft, self._understood.values.get("device", "auto"))
        if wanted != self._advised:
            self._advised, self._advice = wanted, ""
            self._ask_advice(wanted)

    @work(group="advice", exclusive=True, exit_on_error=False)
    async def _ask_advice(self, wanted: tuple[str, ...]) -> None:
        try:
            ended = await self.workbench.launch([*wanted, "--json"])
            self._advice = sanitise(str(json.loads(ended.output)["headline"]), limit=400)
        except (OSError, ValueError, KeyError, TypeError):
            # Nothing depends on it: 'exphil advise' says what is wrong.
            return
        self._paint()

    def action_probe(self) -> None:
        """Measure: real steps for some seconds."""
        wanted = self._asking()
        if not wanted:
            self.workbench.say("First mend what is wrong: the fields say what.", severity="warning")
        elif self.place is None or not self.place.usable:
            self.workbench.say(
                "Real steps need games that were read: press d and build a dataset, or start the run.",
                severity="warning",
            )
        elif self._doing != "measuring":
            if self._debounce is not None:
                self._debounce.stop()
            self._doing = "measuring"
            self._find_out(wanted, PROBE_SECONDS)
            self._paint()

    def _paint(self) -> None:
        if not self.is_mounted or self._understood is None:
            return
        title = Content.assemble(("exphil", "bold $primary"), "  New run")
        self.query_one("#new-run-title", Static).update(title)
        self.query_one("#new-run-command", Static).update(self.command)
        self.query_one("#new-run-meaning-text", Static).update(self._meaning())
        starting = self._busy("start")
        status = self._status or self._readiness()
        self.query_one("#new-run-status", Static).update(status)
        self.query_one("#new-run-start", Button).label = Content("Starting" if starting else "Start")

    def _readiness(self) -> str:
        assert self._understood is not None
        problems = {**self._understood.problems, **self._refused}
        if problems:
            count = len(problems)
            return f"{count} field{'s' * (count > 1)} to mend first: {', '.join(_LABELS[name] for name in problems)}"
        if self.place is None and not self._looked.is_set():
            return "looking for data"
        if self.place is not None and not self.place.written:
            return "Enter writes the demo replays, reads them, and starts the run"
        if self.place is not None and not self.place.usable:
            return "Enter reads the replays first, then starts the run"
        return "Enter starts the run, which goes on whatever happens here"

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """What Start runs, in order."""
        assert self._understood is not None
        before: list[tuple[str, ...]] = []
        if self.place is not None and not self.place.written:
            before.append(("demo", "--out", str(self.place.path)))
        return [*before, self._understood.starting]

    @property
    def command(self) -> str:
        """The same as one line for a shell."""
        return command_line(*self.commands)

    def _meaning(self) -> Content:
        assert self._understood is not None
        glyphs = self.workbench.glyphs
        lines: list[Content] = []
        preset = self._understood.preset
        lines.append(Content.styled(sanitise(self._understood.description, limit=300), "$foreground-muted"))
        lines += [
            Content.styled(sanitise(note, limit=300), "$text-warning") for note in self._understood.notes
        ]
        lines.append(Content(""))
        if preset is None:
            lines.append(
                Content.styled("What it means is said when the fields are right.", "$foreground-muted")
            )
            return Content("\n").join(lines)
        if self._doing:
            what = {
                "reckoning": "reckoning what it takes",
                "measuring": f"taking real steps for {PROBE_SECONDS} s",
            }[self._doing]
            lines.append(Content.styled(what + glyphs.ellipsis, "$text-accent"))
        elif self._failure:
            for sentence in self._failure.splitlines()[-4:]:
                lines.append(Content.styled(f"{glyphs.warning} {sentence}", "$text-error"))
        if self._estimate is not None and not self._failure:
            stale = bool(self._doing == "reckoning")
            lines += [
                Content.assemble(
                    (f"{label:<11}", "$foreground-muted"), (value, "$text-muted" if stale else "")
                )
                for label, value in self._facts(self._estimate)
            ]
            lines += [
                Content.styled(sanitise(str(reason), limit=400), "$foreground-muted")
                for reason in self._estimate.get("reasons") or ()
            ]
            warned = self._estimate.get("warnings") or ()
            lines += [
                Content.styled(f"{glyphs.warning} {sanitise(str(text), limit=300)}", "$text-warning")
                for text in warned
            ]
        lines += self._learned_from()
        if self._advice:
            lines.append(Content.assemble("\n", ("Advice ", "bold"), self._advice))
        return Content("\n").join(lines)

    def _facts(self, told: Mapping[str, Any]) -> list[tuple[str, str]]:
        glyphs = self.workbench.glyphs
        memory = figures.memory(_number(told, "memory_bytes"), glyphs)
        measured = told.get("probe") is not None
        found = [
            ("parameters", figures.whole(int(_number(told, "parameters") or 0), glyphs)),
            ("a step", f"{figures.whole(int(_number(told, 'frames_per_step') or 0), glyphs)} frames"),
            ("cost", f"{figures.count(_number(told, 'flops_per_frame'), glyphs)} FLOPs a frame"),
            ("memory", f"{memory} measured" if told.get("memory_measured") else f"~{memory}, estimated"),
        ]
        if size := told.get("size"):
            found.insert(0, ("size", _size(str(size), told.get("preset"))))
        if measured:
            found.append(
                (
                    "speed",
                    f"{figures.count(_number(told, 'frames_per_s'), glyphs)} frames/s on {told.get('device')}",
                )
            )
        seconds = _number(told, "estimated_seconds")
        if seconds is None:
            found.append(("time", "t measures it"))
        elif measured and seconds != _number(told, "limit_seconds"):
            found.append(("time", f"~{figures.duration(seconds, glyphs)}, by the steps"))
        else:
            found.append(("time", f"{figures.duration(seconds, glyphs)}, its limit"))
        steps, epochs = _number(told, "steps"), _number(told, "epochs")
        if steps is not None:
            passes = "" if epochs is None else f", {epochs:.3g} passes"
            found.append(("updates", f"{'~' * measured}{figures.count(steps, glyphs)}{passes}"))
        return found

    def _learned_from(self) -> list[Content]:
        """Who is in the data: to learn from and held out, as far as that is known."""
        if self.place is None:
            return []
        head = Content.assemble("\n", (sanitise(self.place.title, limit=200), "bold"))
        if not self.place.usable:
            return [
                head,
                Content.styled(_place_detail(self.place, self.workbench.glyphs), "$foreground-muted"),
            ]
        dataset = None if self._estimate is None or self._failure else self._estimate.get("dataset")
        rows: list[tuple[str, str, str, str]]
        if not isinstance(dataset, dict) or self._doing == "reckoning":
            counted = self.place.per_character
            rows = [("in these games", "games", "", "play")]
            rows += [
                (_title(name), f"{counted[name]['games']:,}", "", _minutes(counted[name]["frames"]))
                for name in sorted(counted, key=characters.low_tier_first)
            ]
        else:
            rows = [("learned from", "games", "held", "play")]
            rows += [
                (
                    _title(name),
                    f"{entry['games']:,}",
                    f"+{entry['validation_games']:,}",
                    _minutes(entry["frames"]),
                )
                for name, entry in dataset["per_character"].items()
            ]
        return [
            head,
            *(
                Content.styled(
                    f"{name:<16}{games:>5}{held:>5}{play:>7}", "" if number else "$foreground-muted"
                )
                for number, (name, games, held, play) in enumerate(rows)
            ),
        ]

    def _place_title(self) -> str:
        if self.place is None:
            return "the preset's own" if self._looked.is_set() else "looking" + self.workbench.glyphs.ellipsis
        return self.place.title if self.place.written else f"{self.place.title} (written now)"

    # Starting.

    @on(Button.Pressed, "#new-run-start")
    def action_start(self) -> None:
        if not self._busy("start"):
            self._start()

    @work(group="start", exit_on_error=False)
    async def _start(self) -> None:
        self._status = "looking for data"
        await self._looked.wait()
        if not self._may_start():
            self._status = ""
            self._paint()
            return
        self.workers.cancel_group(self, "estimate")
        self.workers.cancel_group(self, "advice")
        self._doing = ""
        self._say("starting" + self.workbench.glyphs.ellipsis)
        try:
            for words in self.commands:
                ended = await self.workbench.launch([*words, "--json"], told=self._say)
                if ended.code != 0:
                    self._refuse(ended)
                    return
            name = json.loads(ended.output.splitlines()[-1])["run"]
        except asyncio.CancelledError:
            self._say("broken off: no run was started; what was read is kept")
            raise
        except OSError as error:
            self._say(sanitise(str(error), limit=300))
            return
        except (ValueError, KeyError, IndexError, TypeError):
            self._say("the command did not say which run it started: the list of runs shows it")
            return
        self._open(str(name))

    def _may_start(self) -> bool:
        assert self._understood is not None
        problem = next(iter(self._understood.problems), None)
        if problem is None:
            return True
        self._focus_field(problem)
        return False

    def _focus_field(self, name: str) -> None:
        row = self.query_one(f"#row-{name}", FieldRow)
        editors = [widget for widget in row.query("*") if widget.can_focus and widget.display]
        if editors:
            editors[-1].focus()

    def _refuse(self, ended: Ended) -> None:
        """What the command refused, at its field where that is plain."""
        sentence = ended.problem
        at = WHOLE
        if ended.code == DataError.exit_code:
            at = "replays"
        elif sentence.startswith(("run name", "run '")):
            at = "name"
        self._status = ""
        self._refused = {at: "\n".join(sentence.splitlines()[-3:])}
        self._show_problems()
        self._paint()
        self._focus_field(at)

    def _open(self, name: str) -> None:
        self._status = ""
        if self.is_current:
            self.app.pop_screen()
            self.workbench.open_run(name)
        else:
            self.workbench.say(f"Run {name} has started.")
            self._paint()

    def _say(self, text: str) -> None:
        self._status = text
        if self.is_mounted:
            self.query_one("#new-run-status", Static).update(text)

    def _busy(self, group: str) -> bool:
        return any(worker.group == group and not worker.is_finished for worker in self.workers)

    @on(Worker.StateChanged)
    def _worker_changed(self, event: Worker.StateChanged) -> None:
        if event.worker.group == "start":
            self._paint()
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self._say(sanitise(str(event.worker.error), limit=300))

    # The keys.

    def action_advice(self) -> None:
        words = command_line(self._advised) if self._advised else "exphil advise"
        self.workbench.say(f"{self._advice or 'Not known yet.'} Why, and the command: {words}")

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self.command)
        self.workbench.say("The command is copied, if the terminal allows it; it stands below the form, too.")

    def action_reset(self) -> None:
        """Every field as the preset has it; data and name stay."""
        self.draft = replace(self.draft, chosen={})
        self._changed(show=True)

    def action_data(self) -> None:
        self.workbench.open_data()

    def action_leave(self) -> None:
        if self._busy("start"):
            self.workers.cancel_group(self, "start")
            return
        self.app.pop_screen()


def _options(values: Sequence[str]) -> list[tuple[str, str]]:
    return [(value, value) for value in values]


def _input(name: str, placeholder: str, letters: int = 12) -> Input:
    return Input(id=name, placeholder=placeholder, compact=True, max_length=letters)


def _title(name: str) -> str:
    try:
        return characters.by_name(name).title
    except ValueError:
        return sanitise(name, limit=20)


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _name_problem(runs_dir: Path, name: str) -> str | None:
    from exphil_core.runs.directory import name_problem

    return name_problem(runs_dir, name)


def _size(name: str, preset: object) -> str:
    """A size with the window and the batch that it brings; `auto` where it is picked when the run starts."""
    if name == AUTO or not isinstance(preset, Mapping):
        return f"{name}, picked when the run starts" if name == AUTO else name
    window, batch = preset["backbone"]["window_size"], preset["train"]["batch_size"]
    return f"{name}, window {window}, {batch} windows a pass"


def _number(told: Mapping[str, Any], key: str) -> float | None:
    value = told.get(key)
    return float(value) if isinstance(value, int | float) else None


def _minutes(frames: int) -> str:
    minutes = frames / 3600
    if minutes >= 99.5:
        return f"{minutes / 60:,.1f} h"
    return f"{minutes:.0f} min" if minutes >= 1 or not frames else "<1 min"


def _counted(counts: Mapping[str, int] | None, *, known: bool) -> str:
    if counts is not None:
        return f"{counts['games']:>6,} games  {counts['frames']:>11,} frames"
    return "     0 games" if known else ""


def _place_detail(place: Place, glyphs: Any) -> str:
    if not place.written:
        return "100 games of bots, written when the run starts"
    if place.dataset is None:
        return "not read yet"
    if place.dataset.problem:
        return place.dataset.problem
    return f"{place.dataset.games:,} games, {_minutes(place.dataset.frames)}"
