"""Table of button press rates, policy against human, with a warning for each collapsed button.

The rates come from the validation games, where the policy sees the human's past inputs. A matching rate does not
mean that the button is pressed at the right time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from exphil_core.melee.characters import low_tier_first
from exphil_core.replays.text import sanitise
from exphil_core.runs.records import Evaluated
from exphil_tui.model.run_state import TOTAL
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.tables.character_table import title_of
from exphil_tui.widgets.text_panel import Line, PanelContent, TextPanel, left, right, wrapped

COLLAPSE = 0.25
"""Share of the human's rate below which a button counts as collapsed."""

_WARNINGS = 2
"""Maximum number of warnings shown; the rest are counted."""

_BAR = 12
"""Cells of the bar; the full bar is twice the human's rate."""

_WIDTH = 37
"""Width of a button's row in cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ButtonRate:
    button: str
    policy: float | None
    human: float | None
    """Shares of frames in which the button is held, 0 to 1."""

    @property
    def collapsed(self) -> bool:
        known = self.policy is not None and self.human is not None and self.human > 0
        return known and (self.policy or 0.0) < COLLAPSE * (self.human or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """A button that the policy rarely presses for one character."""

    title: str
    rate: ButtonRate


def press_rates(evaluated: Evaluated | None, name: str) -> tuple[ButtonRate, ...]:
    """Return the rates of one character, or of all characters weighted by frames."""
    if evaluated is None:
        return ()
    parts = (
        list(evaluated.per_character.values())
        if name == TOTAL
        else [part for key, part in evaluated.per_character.items() if key == name]
    )
    buttons = dict.fromkeys(button for part in parts for button in part.press_rates)
    rates = []
    for button in buttons:
        sums, frames = [0.0, 0.0], 0
        for part in parts:
            rate = part.press_rates.get(button)
            if rate is not None and rate.policy is not None and rate.human is not None:
                sums[0] += rate.policy * part.frames
                sums[1] += rate.human * part.frames
                frames += part.frames
        rates.append(
            ButtonRate(
                button=sanitise(button, limit=8),
                policy=sums[0] / frames if frames else None,
                human=sums[1] / frames if frames else None,
            )
        )
    return tuple(rates)


def collapses(evaluated: Evaluated | None) -> tuple[Collapse, ...]:
    """Return every collapsed button, low-tier characters first, then by the human's rate."""
    if evaluated is None:
        return ()
    found = []
    for name in sorted(evaluated.per_character, key=low_tier_first):
        lost = [rate for rate in press_rates(evaluated, name) if rate.collapsed]
        lost.sort(key=lambda rate: -(rate.human or 0.0))
        found += [Collapse(title=title_of(name), rate=rate) for rate in lost]
    return tuple(found)


class PressRates(TextPanel):
    TITLE = "buttons"
    BINDING_GROUP_TITLE = "Buttons"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rates: tuple[ButtonRate, ...] = ()
        self._collapses: tuple[Collapse, ...] = ()
        self._notes: tuple[str, ...] = ()

    def show(
        self, rates: Sequence[ButtonRate], collapsed: Sequence[Collapse], *, notes: tuple[str, ...] = ()
    ) -> None:
        self._rates, self._collapses, self._notes = tuple(rates), tuple(collapsed), notes
        self.update()

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        if not self._rates:
            return PanelContent(lines=((("   no validation yet", "dim"),),), notes=self._notes)
        warnings = [line for found in self._collapses[:_WARNINGS] for line in _warning(found, width, glyphs)]
        if (more := len(self._collapses) - _WARNINGS) > 0:
            warnings.append(((f"   and {more} more; see each character", "warn"),))
        rows = [_heading(glyphs), *(self._line(rate, glyphs) for rate in self._rates)]
        if width >= 2 * _WIDTH:
            # Two columns, so that all buttons fit into few rows.
            half = (len(self._rates) + 1) // 2
            between = (" " * (width // 2 - _WIDTH), "")
            second: list[Line] = [rows[0], *rows[half + 1 :], ()]
            rows = [(*one, between, *other) for one, other in zip(rows[: half + 1], second, strict=False)]
        return PanelContent(lines=(*warnings, *rows), notes=self._notes)

    def _line(self, rate: ButtonRate, glyphs: Glyphs) -> Line:
        policy, human = fmt.percent(rate.policy, glyphs), fmt.percent(rate.human, glyphs)
        head: Line = (
            (f" {glyphs.warning} " if rate.collapsed else "   ", "warn"),
            (left(rate.button, 5, glyphs), ""),
            (right(policy, 7), "warn" if rate.collapsed else ""),
            (right(human, 8), "dim"),
            ("  ", ""),
        )
        if not rate.human or rate.policy is None:
            return (*head, (left("never" if rate.human == 0 else glyphs.dash, _BAR, glyphs), "dim"))
        full = min(_BAR, round(rate.policy / rate.human * _BAR / 2))
        filled = ("#" if glyphs.ascii else "━") * full
        rest = ("." if glyphs.ascii else "─") * (_BAR - full)
        return (*head, (filled, "warn" if rate.collapsed else "accent"), (rest, "rule"))


def _heading(glyphs: Glyphs) -> Line:
    once, twice = ("1x", "2x") if glyphs.ascii else ("1×", "2×")
    return (
        (right("policy", 15), "dim"),
        (right("human", 8), "dim"),
        (f"  0{once:^{_BAR - 3}}{twice}", "dim"),
    )


def _warning(found: Collapse, width: int, glyphs: Glyphs) -> list[Line]:
    """Render `⚠ Mewtwo rarely presses B: 0.01 %, human 0.06 %`, wrapped."""
    policy, human = fmt.percent(found.rate.policy, glyphs), fmt.percent(found.rate.human, glyphs)
    sentence = f"{found.title} rarely presses {found.rate.button}: {policy} of frames, human {human}"
    return [
        ((f" {glyphs.warning} " if index == 0 else "   ", "warn"), (line, "warn"))
        for index, line in enumerate(wrapped(sentence, max(10, width - 4)))
    ]
