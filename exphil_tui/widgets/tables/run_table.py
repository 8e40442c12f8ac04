"""Table of runs, one row per run, with as many columns as fit.

`show` is called every second and updates only the cells that changed. The cursor stays on its run when rows move.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.widgets import DataTable

from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import UNFINISHED
from exphil_tui.model.run_status import run_status
from exphil_tui.theme.glyphs import Glyphs

if TYPE_CHECKING:
    from exphil_core.runs.summary import RunSummary

Cell = tuple[str, str]
"""Text and the name of a theme colour; "" for the default colour."""

_TONES = {"good": "success", "warn": "warning", "bad": "error", "quiet": "foreground-muted", "plain": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunColumn:
    key: str
    title: str
    width: int
    """Width in cells, without the gap to the next column."""
    right: bool = False


def columns_for(width: int) -> tuple[RunColumn, ...]:
    """Return the columns that fit into `width` cells; the name takes the rest."""
    wide, narrow = width >= 108, width < 76
    fixed = [
        RunColumn(key="state", title="  state", width=12),
        *([RunColumn(key="preset", title="preset", width=16)] if wide else []),
        *([] if narrow else [RunColumn(key="backbone", title="backbone", width=11)]),
        *(
            []
            if narrow
            else [
                RunColumn(key="window", title="window" if wide else "win", width=6 if wide else 4, right=True)
            ]
        ),
        RunColumn(key="step", title="step", width=9 if wide else 7, right=True),
        RunColumn(key="best", title="best", width=7 if wide else 6, right=True),
        RunColumn(key="losses", title="curve", width=16 if wide else 8),
        RunColumn(key="age", title="age", width=6 if wide else 4, right=True),
    ]
    mark = RunColumn(key="mark", title="", width=1)
    left = width - sum(column.width + 1 for column in (mark, *fixed))
    name = RunColumn(key="name", title="run", width=max(8, left - 1))
    return (mark, fixed[0], name, *fixed[1:])


def cells(
    run: "RunSummary", columns: Sequence[RunColumn], *, marked: bool, glyphs: Glyphs
) -> dict[str, Cell]:
    """Return the cells of a row, by column key."""
    from exphil_tui.widgets.sparkline import sparkline

    status = run_status(run.state)
    widths = {column.key: column.width for column in columns}
    unknown = (glyphs.dash, "foreground-muted")
    window = unknown if run.window_size is None else (str(run.window_size), "")
    # Use logarithms and clip at the 90th percentile: a loss falls most at the start, and without the clip the
    # rest would look flat.
    falls = [math.log(loss) for loss in run.recent_losses if 0 < loss < math.inf]
    if falls:
        highest = sorted(falls)[int(0.9 * (len(falls) - 1))]
        falls = [min(fall, highest) for fall in falls]
    curve = sparkline(falls, widths["losses"], glyphs) if len(falls) > 1 else ""
    return {
        "mark": (glyphs.bullet if marked else "", "accent"),
        "state": (f"{status.sign_in(glyphs)} {sanitise(run.state, limit=10)}", _TONES[status.tone]),
        "name": (shortened(sanitise(run.name, limit=400), widths["name"], glyphs), ""),
        "preset": (shortened(sanitise(run.preset, limit=400), widths.get("preset", 0), glyphs), ""),
        "backbone": (shortened(sanitise(run.backbone, limit=400), widths.get("backbone", 0), glyphs), ""),
        "window": window,
        "step": (count(run.step, widths["step"]), "" if run.step else "foreground-muted"),
        "best": unknown if run.best_loss is None else (f"{run.best_loss:.4f}"[: widths["best"]], ""),
        "losses": (curve, "primary"),
        "age": (age_of(run, widths["age"]), "foreground-muted"),
    }


def shortened(text: str, width: int, glyphs: Glyphs) -> str:
    """Cut `text` to `width` characters and keep both ends, since names often share a start or an end."""
    if len(text) <= width:
        return text
    if width < 3:
        return text[:width]
    head = (width - 1) // 2
    return text[:head] + glyphs.ellipsis + text[len(text) - (width - 1 - head) :]


def count(number: int, width: int) -> str:
    """Format a count with separators if it fits, else in thousands, millions or billions."""
    for text in (f"{number:,}", f"{number / 1e3:,.0f}k", f"{number / 1e6:,.1f}M", f"{number / 1e9:,.1f}G"):
        if len(text) <= width:
            return text
    return f"{number:.0e}"


def age_of(run: "RunSummary", width: int) -> str:
    """Format the time since the run's last update in its largest unit; "now" below 10 s for an unfinished run."""
    if run.state in UNFINISHED and run.age_s < 10:
        return "now"
    gap = " " if width >= 6 else ""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min" if gap else "m")):
        if run.age_s >= size:
            return f"{run.age_s / size:.0f}{gap}{unit}"
    return f"{run.age_s:.0f}{gap}s"


class RunTable(DataTable[Text]):
    BINDING_GROUP_TITLE = "Table of runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open"),
        Binding("up", "cursor_up", "One run up", show=False),
        Binding("down", "cursor_down", "One run down", show=False),
        Binding("home,ctrl+home", "scroll_top", "The newest run", show=False),
        Binding("end,ctrl+end", "scroll_bottom", "The oldest run", show=False),
    ]

    def __init__(self, glyphs: Glyphs, *, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", cell_padding=0, zebra_stripes=False)
        self._glyphs = glyphs
        self._columns: tuple[RunColumn, ...] = ()
        self._names: list[str] = []
        self._shown: dict[tuple[str, str], Cell] = {}
        self._read: dict[str, tuple[RunSummary, str, bool]] = {}
        """What each row was last rendered from."""

    @property
    def name_under_cursor(self) -> str | None:
        return self._names[self.cursor_row] if 0 <= self.cursor_row < len(self._names) else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable Enter while the table is empty."""
        return bool(self._names) or action != "select_cursor"

    def show(self, runs: "Sequence[RunSummary]", marked: frozenset[str], *, width: int) -> None:
        """Show these runs in this order, in `width` cells."""
        columns = columns_for(width)
        names = [run.name for run in runs]
        if columns != self._columns or names != self._names:
            self._lay_out(columns, names)
        colour = self._colours()
        age_width = next(column.width for column in columns if column.key == "age")
        for run in runs:
            # Most rows are unchanged since the last second; skip rendering their cells.
            reads = (replace(run, age_s=0.0), age_of(run, age_width), run.name in marked)
            if self._read.get(run.name) == reads:
                continue
            self._read[run.name] = reads
            made = cells(run, columns, marked=run.name in marked, glyphs=self._glyphs)
            for column in columns:
                cell = made[column.key]
                if self._shown.get((run.name, column.key)) != cell:
                    self._shown[run.name, column.key] = cell
                    self.update_cell(run.name, column.key, _text(cell, column, colour))

    def forget_colours(self) -> None:
        """Redraw every cell at the next `show`, after a theme change."""
        self._shown.clear()
        self._read.clear()

    def _lay_out(self, columns: tuple[RunColumn, ...], names: list[str]) -> None:
        """Rebuild columns and empty rows. The cursor stays on its run and keeps its position on the screen."""
        kept, before, scroll = self.name_under_cursor, self.cursor_row, self.scroll_y
        self.clear(columns=True)
        self._columns, self._names = columns, names
        self.forget_colours()
        for column in columns:
            title = column.title.rjust(column.width) if column.right else column.title
            self.add_column(Text(title, no_wrap=True), width=column.width + 1, key=column.key)
        for name in names:
            self.add_row(*(Text("") for _ in columns), key=name)
        if kept in names:
            now = names.index(kept)
            self.move_cursor(row=now, animate=False, scroll=False)
            # At the top, new runs scroll into view; further down, the view stays where it is.
            self.scroll_to(y=scroll + now - before if scroll else 0, animate=False, force=True)

    def _colours(self) -> Callable[[str], str]:
        """Return a function from a theme colour's name to a hex colour without alpha, which rich requires."""
        variables = self.app.theme_variables
        background = Color.parse(variables["background"])
        return lambda name: (background + Color.parse(variables[name])).hex6


def _text(cell: Cell, column: RunColumn, colour: Callable[[str], str]) -> Text:
    text, tone = cell
    return Text(
        text.rjust(column.width) if column.right else text,
        style=colour(tone) if tone else "",
        no_wrap=True,
        overflow="crop",
    )
