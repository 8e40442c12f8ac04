"""Panels below the chart of the run screen, and which of them are shown."""

import os
from typing import Literal

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from exphil_tui.model.run_snapshot import RunSnapshot
from exphil_tui.model.run_state import TOTAL, RunState
from exphil_tui.screens.run.header import validation_notes
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.theme.palette import SeriesStyle
from exphil_tui.widgets.gauge import Gauge, GaugeReading
from exphil_tui.widgets.run_log import RunLog
from exphil_tui.widgets.system_stats import SystemStats, SystemStatsPanel, system_stats
from exphil_tui.widgets.tables.character_table import ALL_CHARACTERS, CharacterTable, character_rows, title_of
from exphil_tui.widgets.tables.head_table import HeadTable, head_rows
from exphil_tui.widgets.tables.press_rates import PressRates, collapses, press_rates
from exphil_tui.widgets.text_panel import TextPanel

FullScreenPanel = Literal["", "log", "gauge"]


class RunPanels(Horizontal):
    """Two columns of panels; one panel at a time where there is no room for more."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._gauge = Gauge(id="run-gauge")
        self._selected = 0
        """Index of the panel shown in a small terminal."""
        self._compact = False
        self._heads = False
        self._full_screen: FullScreenPanel = ""
        self._state = RunState()
        self._cores = os.cpu_count() or 1

    def compose(self) -> ComposeResult:
        with Vertical(id="run-left"):
            yield CharacterTable(id="run-table")
            yield HeadTable(id="run-heads")
            yield self._gauge
            yield RunLog(id="run-log")
        with Vertical(id="run-right"):
            yield PressRates(id="run-buttons")
            yield SystemStatsPanel(id="run-machine")

    @property
    def panels(self) -> list[TextPanel]:
        """Panels in the order of Tab, with the table of the chart's mode."""
        table: TextPanel = self.query_one(HeadTable) if self._heads else self.query_one(CharacterTable)
        rest = (PressRates, SystemStatsPanel, RunLog)
        return [table, self._gauge, *(self.query_one(kind) for kind in rest)]

    @property
    def full_screen_panel(self) -> TextPanel | None:
        if not self._full_screen:
            return None
        return self.query_one(RunLog) if self._full_screen == "log" else self._gauge

    def toggle_full_screen(self, panel: FullScreenPanel) -> None:
        self._full_screen = "" if self._full_screen == panel else panel
        self._update_display()

    def show_heads(self, heads: bool) -> None:
        self._heads = heads
        self._update_display()

    def set_compact(self, compact: bool) -> None:
        """Show all panels, or only one if there is no room for more."""
        self._compact = compact
        self._update_display()

    def select(self, index: int) -> None:
        """Show and focus the panel of that index in a small terminal."""
        self._selected = index % len(self.panels)
        self._update_display()
        self.panels[self._selected].focus()

    def select_next(self, direction: int) -> None:
        self.select(self._selected + direction)

    def _update_display(self) -> None:
        panels, full_screen = self.panels, self.full_screen_panel
        names = tuple(panel.TITLE for panel in panels)
        single = full_screen or panels[self._selected]
        only_one = self._compact or full_screen is not None
        other: TextPanel = self.query_one(CharacterTable) if self._heads else self.query_one(HeadTable)
        for panel in (*panels, other):
            panel.display = panel in panels and (panel is single or not only_one)
            tabs = names if self._compact and full_screen is None else ()
            if panel.tabs != tabs:
                panel.tabs = tabs
                panel.rebuild()
        for side in ("#run-left", "#run-right"):
            box = self.query_one(side)
            box.display = any(child.display for child in box.children)

    @on(TextPanel.TabChosen)
    def _tab_chosen(self, message: TextPanel.TabChosen) -> None:
        self.select(message.index)

    @on(CharacterTable.CharacterChosen)
    def _character_chosen(self) -> None:
        self._show_buttons()

    # Values.

    def show(
        self,
        state: RunState,
        snapshot: RunSnapshot | None,
        *,
        styles: dict[str, SeriesStyle],
        validation: bool,
        glyphs: Glyphs,
    ) -> SystemStats:
        """Show a run in all panels except the gauge.

        Args:
            styles: Style of each character, or of each controller head if the heads are shown.
            validation: Whether the table is of validation instead of training loss.

        Returns:
            The system statistics shown.
        """
        self._state = state
        notes, note_look = validation_notes(state, glyphs)
        if self._heads:
            self.query_one(HeadTable).show(
                head_rows(state, styles, validation=validation),
                validation=validation,
                notes=notes,
                note_look=note_look,
            )
        else:
            self.query_one(CharacterTable).show(
                character_rows(state, styles, validation=validation),
                validation=validation,
                notes=notes,
                note_look=note_look,
            )
        self._show_buttons()
        stats = system_stats(state, cores=self._cores, over=snapshot is not None and not snapshot.alive)
        self.query_one(SystemStatsPanel).show(stats)
        bad = state.bad_lines
        self.query_one(RunLog).show(
            state.log,
            snapshot.printed if snapshot else (),
            note=f"{bad:,} unreadable line{'s' * (bad != 1)} skipped" if bad else "",
        )
        return stats

    def show_gauge(self, reading: GaugeReading) -> None:
        self._gauge.show(reading)

    def _show_buttons(self) -> None:
        name = self.query_one(CharacterTable).chosen
        evaluated = self._state.evaluated
        who = ALL_CHARACTERS if name == TOTAL else title_of(name)
        self.query_one(PressRates).show(
            press_rates(evaluated, name),
            collapses(evaluated),
            notes=(who,) if evaluated is None else (f"{who}, step {evaluated.step:,}", who),
        )
