"""Header of the run screen: the run and its state; progress and best loss.

Text that does not fit is dropped, least important first. A run limited by time has a progress but no step total.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from exphil_tui.model.run_status import run_status
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, PanelContent, Part, TextPanel, bar, fitted

_TONES = {"good": "good", "warn": "warn", "bad": "bad", "quiet": "dim", "plain": ""}
_BAR = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    name: str = ""
    state: str = ""
    """Empty until the state has been read."""
    doing: str = ""
    """A command in progress, or how much of the history is still to be read."""
    kind: tuple[str, ...] = ()
    """Preset, backbone, window, parameters and device, most important first."""
    step: int | None = None
    steps: int | None = None
    progress: float | None = None
    eta_s: float | None = None
    best_loss: float | None = None
    best_step: int | None = None


class RunHeader(TextPanel, can_focus=False):
    DEFAULT_CSS = """
    RunHeader { height: 2; overflow-y: hidden; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._facts = RunFacts()

    def show(self, facts: RunFacts) -> None:
        if facts != self._facts:
            self._facts = facts
            self.update()

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        return PanelContent(
            lines=(_what(self._facts, width - 2, glyphs), _how_far(self._facts, width - 2, glyphs))
        )


def _what(facts: RunFacts, width: int, glyphs: Glyphs) -> Line:
    status = run_status(facts.state)
    word = f"{status.sign_in(glyphs)} {facts.state}" if facts.state else f"loading{glyphs.ellipsis}"
    doing = f" {glyphs.bullet} {facts.doing}" if facts.doing else ""
    room = max(12, width - cell_len(word) - cell_len(doing) - 4)
    name = fitted(facts.name, min(room, max(24, room // 2)), glyphs)
    used = cell_len(name) + 2 + cell_len(word) + cell_len(doing)
    kind = _joined(facts.kind, width - used - 3, glyphs)
    gap = " " * max(1, width - used - cell_len(kind))
    return (
        (" ", ""),
        (name, "accent"),
        ("  ", ""),
        (word, _TONES[status.tone] if facts.state else "dim"),
        (doing, "warn"),
        (gap, ""),
        (kind, "dim"),
    )


def _how_far(facts: RunFacts, width: int, glyphs: Glyphs) -> Line:
    parts: list[Part] = [(" ", "")]
    facts_shown: list[tuple[Part, ...]] = []
    if facts.step is not None:
        of = f" of {facts.steps:,}" if facts.steps else ""
        facts_shown.append((("step ", "dim"), (f"{facts.step:,}", "strong"), (of, "dim")))
    if facts.eta_s is not None:
        facts_shown.append(((fmt.duration(facts.eta_s, glyphs), ""), (" left", "dim")))
    best: tuple[Part, ...] = ()
    if facts.best_loss is not None:
        at = "" if facts.best_step is None else f" at step {facts.best_step:,}"
        best = (
            ("best validation ", "dim"),
            (fmt.loss(facts.best_loss, glyphs), "strong"),
            (at, "dim"),
        )
    progress = facts.progress
    if progress is None and facts.steps and facts.step is not None:
        progress = facts.step / facts.steps
    words = sum(cell_len(text) for item in (*facts_shown, best) for text, _ in item) + 3 * len(facts_shown)
    room = min(_BAR, width - words - 9)
    if progress is not None and room >= 6:
        full, rest = bar(progress, room, glyphs)
        parts += [(full, "accent"), (rest, "rule"), (f" {100 * min(1.0, progress):3.0f} %", ""), ("  ", "")]
    for index, item in enumerate(facts_shown):
        if index:
            parts.append((f" {glyphs.bullet} ", "rule"))
        parts += item
    if not facts_shown:
        parts.append(("no step yet", "dim"))
    if best:
        used = sum(cell_len(text) for text, _ in parts)
        parts.append((" " * max(2, width + 1 - used - sum(cell_len(text) for text, _ in best)), ""))
        parts += best
    return tuple(parts)


def _joined(words: Sequence[str], width: int, glyphs: Glyphs) -> str:
    """Join as many words as fit."""
    for count in range(len(words), 0, -1):
        text = f" {glyphs.bullet} ".join(words[:count])
        if cell_len(text) <= width:
            return text
    return ""
