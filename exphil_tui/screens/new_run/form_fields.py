"""Fields of the new-run form: their labels, hints and editors, and the values and errors shown in them."""

from collections.abc import Collection, Mapping, Sequence

from textual.app import ComposeResult
from textual.widgets import Input, Select

from exphil_core.melee import characters
from exphil_core.replays.text import sanitise
from exphil_tui.model.new_run_form import SETTINGS, NewRunForm, ResolvedForm, Value, choices_of, field_help
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.form import ChoiceField, FieldRow, Form, PickerField

WINDOWS = (60, 120, 180, 300)
"""Window sizes in the list, in frames; others are typed."""
OTHER = "other"
"""List entry for a typed window size."""

ALL_CHARACTERS = "all characters"

LABELS = {
    "preset": "Preset",
    "replays": "Data",
    "characters": "Characters",
    "balance": "Balance",
    "character_mode": "Char. mode",
    "backbone": "Backbone",
    "window": "Window",
    "prediction": "Prediction",
    "delay": "Delay",
    "device": "Device",
    "pilot": "Pilot",
    "minutes": "Minutes",
    "steps": "Steps",
    "epochs": "Epochs",
    "name": "Name",
}
_HINTS = {
    "preset": "Default of all other fields. Enter lists the presets.",
    "replays": "Dataset or replays to train on. Enter lists those found; d opens the Data screen.",
    "pilot": "Plays at 60 FPS beside training, to show whether the policy is fast enough.",
    "name": "Name of the run and its folder. Empty: preset name and time.",
}
_YES_NO = (("no", "no"), ("yes", "yes"))
_ERROR_LIMIT = 400


class NewRunFields(Form, can_focus=False):
    """One row per field. The screen handles the messages of the editors and keeps the values."""

    def compose(self) -> ComposeResult:
        yield _row("preset", PickerField(id="preset"))
        yield _row("replays", PickerField(id="replays"))
        yield _row("characters", PickerField(id="characters"))
        yield _row("balance", ChoiceField(_YES_NO, id="balance"))
        for name in ("character_mode", "backbone"):
            yield _row(name, _choice(name))
        windows = [(f"{frames} frames ({frames // 60} s)", str(frames)) for frames in WINDOWS]
        yield _row(
            "window",
            ChoiceField([*windows, ("other:", OTHER)], id="window"),
            Input(id="window-typed", compact=True, max_length=9, placeholder="frames"),
        )
        yield _row("prediction", _choice("prediction"))
        yield _row("delay", _input("delay", "frames"))
        for name in ("device", "pilot"):
            yield _row(name, _choice(name))
        for name in ("minutes", "steps", "epochs"):
            yield _row(name, _input(name, "no limit"))
        yield _row("name", _input("name", "preset and time", max_length=100))

    def input_of(self, name: str) -> Input:
        return self.query_one(f"#{name}", Input)

    def show_values(self, form: NewRunForm, values: Mapping[str, Value], source_title: str) -> None:
        """Write all values into the editors, without messages from them."""
        with self.prevent(Select.Changed, Input.Changed):
            self.query_one("#preset", PickerField).show(sanitise(form.preset, limit=200))
            self.query_one("#replays", PickerField).show(source_title)
            self.input_of("name").value = form.name
            for name, value in values.items():
                self.show_value(name, value)

    def show_value(self, name: str, value: Value) -> None:
        match name, value:
            case "characters", tuple():
                titles = [character_title(found) for found in value]
                self.query_one("#characters", PickerField).show(", ".join(titles) or ALL_CHARACTERS)
            case "window", str():
                listed = value in map(str, WINDOWS)
                self.query_one("#window", ChoiceField).show(value if listed else OTHER)
                self.input_of("window-typed").value = value
                self.input_of("window-typed").display = not listed
            case _, bool():
                self.query_one(f"#{name}", ChoiceField).show("yes" if value else "no")
            case _, str():
                editor = self.query_one(f"#{name}")
                if isinstance(editor, ChoiceField):
                    editor.show(value)
                elif isinstance(editor, Input) and editor.value != value:
                    editor.value = value

    def show_problems(self, problems: Mapping[str, str], differs: Collection[str], glyphs: Glyphs) -> None:
        """Show the error of each field, and mark the fields that differ from the preset."""
        for row in self.query(FieldRow):
            row.show_problem(sanitise(problems.get(row.field, ""), limit=_ERROR_LIMIT), glyphs.warning)
            row.show_differs(row.field in differs, glyphs.bullet)

    def focus_field(self, name: str) -> None:
        row = self.query_one(f"#row-{name}", FieldRow)
        editors = [widget for widget in row.query("*") if widget.can_focus and widget.display]
        if editors:
            editors[-1].focus()


def hint_of(name: str, resolved: ResolvedForm) -> str:
    """Return the help line of a field; the setting's own text depends on the backbone. Empty if there is none."""
    if name in _HINTS:
        return _HINTS[name]
    return field_help(name, str(resolved.values.get("backbone", ""))) if name in SETTINGS else ""


def character_title(name: str) -> str:
    try:
        return characters.by_name(name).title
    except ValueError:
        return sanitise(name, limit=20)


def _row(name: str, *editors: PickerField | ChoiceField | Input) -> FieldRow:
    return FieldRow(name, LABELS[name], *editors)


def _choice(name: str) -> ChoiceField:
    return ChoiceField(_options(choices_of(name)), id=name)


def _options(values: Sequence[str]) -> list[tuple[str, str]]:
    return [(value, value) for value in values]


def _input(name: str, placeholder: str, max_length: int = 12) -> Input:
    return Input(id=name, placeholder=placeholder, compact=True, max_length=max_length)
