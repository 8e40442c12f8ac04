"""Body of the studies screen: the table or losses of a study, with learning curves and Pareto plot beside them."""

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from exphil_tui.model.study_budget import BudgetView
from exphil_tui.model.study_snapshot import StudySnapshot
from exphil_tui.screens.studies.charts import learning_curves, pareto_points, why_no_points
from exphil_tui.theme.glyphs import UNICODE
from exphil_tui.widgets.canvas.chart import Chart
from exphil_tui.widgets.canvas.pareto import Pareto
from exphil_tui.widgets.tables.study_losses import StudyLosses
from exphil_tui.widgets.tables.study_table import StudyTable

RESULTS, CHARACTERS, MATRIX, CURVES, LATENCY = "results", "characters", "matrix", "curves", "latency"
_CHARTS = (CURVES, LATENCY)


class StudyBody(Horizontal):
    def compose(self) -> ComposeResult:
        with Vertical(id="studies-left"):
            yield StudyTable(id="studies-table")
            yield StudyLosses(id="studies-losses")
        with Vertical(id="studies-right"):
            yield Chart(id="studies-chart")
            yield Pareto(id="studies-pareto")

    def on_mount(self) -> None:
        # A log axis: on a linear one the late, slowly falling part, where variants differ, looks flat.
        self.query_one(Chart).action_toggle_log("y")

    @staticmethod
    def pages(view: BudgetView | None, *, wide: bool) -> list[str]:
        """Return the pages there are; a wide body shows the charts beside the results."""
        pages = [RESULTS, CHARACTERS]
        if view is not None and view.has_matrix:
            pages.append(MATRIX)
        return pages if wide else [*pages, *_CHARTS]

    def show(
        self, snapshot: StudySnapshot, view: BudgetView | None, page: str, *, by_minutes: bool, wide: bool
    ) -> None:
        beside = wide and page == RESULTS
        charts = beside or page in _CHARTS
        self.query_one("#studies-left").display = beside or not charts
        self.query_one("#studies-right").display = charts
        self.query_one("#studies-right").styles.width = None if wide else "1fr"
        table, losses = self.query_one(StudyTable), self.query_one(StudyLosses)
        chart, pareto = self.query_one(Chart), self.query_one(Pareto)
        table.display, losses.display = page == RESULTS, page in (CHARACTERS, MATRIX)
        chart.display, pareto.display = beside or page == CURVES, beside or page == LATENCY
        report = snapshot.report
        table.show(
            view,
            notes=report.notes if report is not None else (),
            failures=tuple(report.lost.items()) if report is not None else (),
            nothing=snapshot.problem or "This study has no runs yet.",
        )
        losses.show(
            view, matrix=page == MATRIX, nothing="No losses yet. They appear when the first run has ended."
        )
        if chart.display:
            self._show_curves(view, by_minutes=by_minutes)
        if pareto.display:
            points, budget_ms = pareto_points(view)
            pareto.show(points, budget_ms=budget_ms, nothing=why_no_points(view))

    def _show_curves(self, view: BudgetView | None, *, by_minutes: bool) -> None:
        glyphs = getattr(self.app, "glyphs", UNICODE)
        lines, hlines = learning_curves(view, by_minutes=by_minutes, glyphs=glyphs)
        x_title = "minutes" if by_minutes else "frames"
        self.query_one(Chart).show(
            lines, hlines, title="learning curves", x_title=x_title, y_title=f"nats per frame over {x_title}"
        )
