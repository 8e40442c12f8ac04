"""Prediction panel: the policy's prediction for a frame beside the human's input, by component.

Each component's probabilities are conditioned on the *human's* values of the components before it: "buttons"
shows what the policy would press with the stick where the human's is.
"""

from exphil_tui.model.prediction_view import ComponentPrediction, Option, PredictionView
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import (
    Line,
    PanelContent,
    Part,
    TextPanel,
    bar,
    fitted,
    left,
    right,
    wrapped,
)

_BAR, _LABEL = 8, 26
_ONE_LINE = 72
"""Width from which loss and agreement share a line."""
_MOST_ROWS = 8
"""Maximum rows of a component: its title, the human's value, two of the policy, three others, a blank."""
_TABLE_NAME, _TABLE_LABEL, _SHARE = 12, 12, 6
_NATS = 8
_WITH_NATS = 2 + _TABLE_NAME + 2 * (_TABLE_LABEL + _SHARE) + _NATS
_WITH_SAMPLED = _WITH_NATS + _TABLE_LABEL + _SHARE


class PredictionPanel(TextPanel, can_focus=False):
    TITLE = "prediction"
    DEFAULT_CSS = """
    PredictionPanel { overflow-y: hidden; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._prediction: PredictionView | None = None
        self._agreement: float | None = None
        self._why = ""

    def show(self, prediction: PredictionView | None, *, agreement: float | None, why: str = "") -> None:
        """Show a prediction.

        Args:
            prediction: The prediction; None if there is none.
            agreement: Share of the last second's frames in which policy and human agree.
            why: Why there is no prediction.
        """
        shown = (prediction, agreement, why)
        if shown != (self._prediction, self._agreement, self._why):
            self._prediction, self._agreement, self._why = shown
            self.update()

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        found = self._prediction
        loss = fmt.loss(None if found is None else found.nats, glyphs)
        agreement = fmt.percent(self._agreement, glyphs)
        head: list[Line] = [
            (("  loss of this frame ", "dim"), (loss, "strong"), (" nats", "dim")),
            (("  agreement ", "dim"), (agreement, "strong"), (" over the last second", "dim")),
        ]
        if width >= _ONE_LINE:
            head = [(*head[0], *head[1])]
        if found is None:
            words = wrapped(self._why, max(10, width - 4)) if self._why else []
            return PanelContent(head=tuple(head), lines=tuple(((f"  {text}", "dim"),) for text in words))
        room = self.size.height - 1 - len(head)
        rows = min(_MOST_ROWS, room // len(found.components))
        lines: list[Line] = []
        if rows < 3:
            lines.append(_table_head(width))
            lines += [_table_row(part, width, glyphs) for part in found.components]
        else:
            for part in found.components:
                lines += _block(part, rows, width, glyphs)
        notes = (f"step {found.step:,} {glyphs.bullet} weights {found.weights}", f"step {found.step:,}")
        return PanelContent(head=tuple(head), lines=tuple(lines[:room]), notes=notes)


def _table_head(width: int) -> Line:
    words = ["human", "policy", *(["sampled"] if width >= _WITH_SAMPLED else [])]
    columns = "".join(right(word, _TABLE_LABEL) + " " * _SHARE for word in words)
    nats = right("nats", _NATS) if width >= _WITH_NATS else ""
    return ((" " * (2 + _TABLE_NAME) + columns + nats, "dim"),)


def _table_row(part: ComponentPrediction, width: int, glyphs: Glyphs) -> Line:
    sign, look = _agreement(part.agrees, glyphs)
    found: list[Part] = [(f"{sign} ", look), (left(part.name, _TABLE_NAME, glyphs), "strong")]
    options = [(part.human, ""), (part.likeliest, look if part.agrees is False else "")]
    if width >= _WITH_SAMPLED:
        options.append((part.sampled, ""))
    for option, look in options:
        label, share = (glyphs.dash, "") if option is None else (option.label, _share(option.probability))
        found.append((right(fitted(label, _TABLE_LABEL - 1, glyphs), _TABLE_LABEL), look))
        found.append((right(share, _SHARE), "dim"))
    if width >= _WITH_NATS:
        found.append((right(fmt.loss(part.nats, glyphs), _NATS), ""))
    return tuple(found)


def _block(part: ComponentPrediction, rows: int, width: int, glyphs: Glyphs) -> list[Line]:
    """Render a component as `rows` lines: title, human's value, policy's value, alternatives."""
    sign, look = _agreement(part.agrees, glyphs)
    word = {None: "", True: "agrees", False: "differs"}[part.agrees]
    nats = f"{fmt.loss(part.nats, glyphs)} nats"
    gap = min(width - 2, 12 + _LABEL + 1 + _BAR + _SHARE) - 4 - len(part.name) - len(word) - len(nats)
    lines: list[Line] = [
        (
            (f"{sign} ", look),
            (part.name, "strong"),
            (f"  {word}", look),
            (" " * max(1, gap), ""),
            (nats, "dim"),
        ),
        _option("human", part.human, width, glyphs, look=""),
        _option("policy", part.likeliest, width, glyphs, look=look if part.agrees is False else ""),
    ]
    if rows >= 5:
        lines.append(_option("sampled", part.sampled, width, glyphs, look=""))
    others = [option for option in part.options if option not in (part.human, part.likeliest)]
    for option in others[: max(0, rows - len(lines) - (rows >= 6))]:
        lines.append(_option("or", option, width, glyphs, look="dim"))
    return [*lines, *[((" ", ""),)] * (rows - len(lines))]


def _option(who: str, option: Option | None, width: int, glyphs: Glyphs, *, look: str) -> Line:
    """Render `    human  +0.95 -0.29  ━━━━━─── 62 %`."""
    if option is None:
        return ((f"    {who:<8}", "dim"), (glyphs.dash, "dim"))
    room = min(_LABEL, max(4, width - 12 - _BAR - _SHARE - 3))
    full, rest = bar(option.probability, _BAR, glyphs)
    return (
        (f"    {who:<8}", "dim"),
        (left(option.label, room, glyphs), look),
        (" ", ""),
        (full, "accent"),
        (rest, "rule"),
        (right(_share(option.probability), _SHARE), look or ""),
    )


def _agreement(agrees: bool | None, glyphs: Glyphs) -> tuple[str, str]:
    """Return a sign and its look."""
    if agrees is None:
        return " ", ""
    return ("=", "good") if agrees else ("x" if glyphs.ascii else "≠", "warn")


def _share(share: float) -> str:
    """Format `62 %` without decimals, because it changes every frame."""
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"
