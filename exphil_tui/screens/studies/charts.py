"""Convert a budget's variants to the lines of the learning curves and the points of the Pareto plot."""

from exphil_tui.model.study_budget import BudgetView, curve_of
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.theme.palette import GOOD
from exphil_tui.widgets.canvas.chart import HLine, Line
from exphil_tui.widgets.canvas.pareto import ParetoPoint
from exphil_tui.widgets.text_panel import fitted

_NAME_LETTERS = 20


def learning_curves(
    view: BudgetView | None, *, by_minutes: bool, glyphs: Glyphs
) -> tuple[list[Line], list[HLine]]:
    """Return one line per variant with an evaluation, and the lowest loss that every run reached."""
    lines = []
    for variant in view.variants if view is not None else ():
        curve = curve_of(variant, by_minutes=by_minutes)
        if curve is not None:
            lines.append(
                Line(
                    name=fitted(variant.title, _NAME_LETTERS, glyphs),
                    x=curve.x,
                    y=curve.losses,
                    smooth=None if len(variant.runs) == 1 else curve.mean,
                    colour=variant.mark.colour,
                    mark=variant.mark.letter,
                )
            )
    target = view.group.target if view is not None and view.group is not None else None
    hlines = [] if target is None else [HLine(name="reached by every run", y=target, colour=GOOD)]
    return lines, hlines


def pareto_points(view: BudgetView | None) -> tuple[list[ParetoPoint], float]:
    """Return a point per variant with a measured latency, and the frame budget in milliseconds.

    Without a Pareto front the losses are of different frames, so there are no points.
    """
    points = []
    budget_ms = 0.0
    comparable = view is not None and view.group is not None and bool(view.group.front)
    for variant in view.variants if view is not None and comparable else ():
        if variant.row is not None and variant.row.latency is not None:
            budget_ms = variant.row.latency.budget_ms
            points.append(
                ParetoPoint(
                    name=variant.title,
                    mark=variant.mark,
                    p99_ms=variant.row.latency.p99_ms,
                    loss=variant.row.loss.mean,
                    deviation=variant.row.loss.deviation,
                    on_pareto_front=variant.on_pareto_front,
                )
            )
    return points, budget_ms


def why_no_points(view: BudgetView | None) -> str:
    """Return the sentence that is shown instead of an empty Pareto plot."""
    group = view.group if view is not None else None
    if group is not None and not group.front and any(row.latency is not None for row in group.rows):
        return (
            "These variants were trained and evaluated on different characters, so their losses cannot share an "
            "axis."
        )
    return "No latency measured yet. A variant's latency is measured when its first seed has ended."
