"""Header of the replay screen: the game and its players; playback state and position.

Text that does not fit is dropped, least important first. Frames are shown as frame ids, from -123; the clock
starts at frame id 0.
"""

from dataclasses import dataclass

from rich.cells import cell_len

from exphil_tui.model.playback import speed_name, time_of
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.text_panel import Line, PanelContent, Part, TextPanel, fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFacts:
    title: str = ""
    """The players."""
    about: tuple[str, ...] = ()
    """Version, length and file, most important first."""
    playing: bool = False
    live: bool = False
    """True while the view follows the pilot's newest frame."""
    speed: float = 1.0
    frame_id: int | None = None
    last_frame_id: int = 0
    policy: str = ""
    """Policy whose predictions are shown."""
    policy_look: str = "accent"


class ReplayHeader(TextPanel, can_focus=False):
    DEFAULT_CSS = """
    ReplayHeader { height: 2; overflow-y: hidden; background: $surface; padding: 0 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._facts = ReplayFacts()

    def show(self, facts: ReplayFacts) -> None:
        if facts != self._facts:
            self._facts = facts
            self.update()

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        return PanelContent(lines=(_which(self._facts, width, glyphs), _where(self._facts, width, glyphs)))


def _which(facts: ReplayFacts, width: int, glyphs: Glyphs) -> Line:
    brand: Part = ("exphil", "accent")
    title = fitted(facts.title, width - 8, glyphs)
    return _spread([brand, ("  ", ""), (title, "strong")], facts.about, width, glyphs)


def _where(facts: ReplayFacts, width: int, glyphs: Glyphs) -> Line:
    """Render `▶ ×1  1:23.5  frame 5,010 of 7,521`, with the policy at the right."""
    if facts.frame_id is None:
        return ((" ", ""),)
    times = "x" if glyphs.ascii else "×"
    if facts.live:
        sign = (f"{'(o)' if glyphs.ascii else '●'} live", "good")
    elif facts.playing:
        sign = (
            f"{'>' if glyphs.ascii else '▶'} {times}{speed_name(facts.speed, ascii=glyphs.ascii)}",
            "good",
        )
    else:
        sign = (
            f"{'||' if glyphs.ascii else '‖'} {times}{speed_name(facts.speed, ascii=glyphs.ascii)}",
            "strong",
        )
    parts: list[Part] = [
        (f"{sign[0]:<8}", sign[1]),
        (f"{time_of(facts.frame_id, tenths=True):>7}", "strong"),
        (f" of {time_of(facts.last_frame_id)}", "dim"),
        ("  frame ", "dim"),
        (f"{facts.frame_id:,}", "strong"),
        (f" of {facts.last_frame_id:,}", "dim"),
    ]
    return _spread(parts, (facts.policy,), width, glyphs, look=facts.policy_look, cut=True)


def _spread(
    parts: list[Part],
    notes: tuple[str, ...],
    width: int,
    glyphs: Glyphs,
    *,
    look: str = "dim",
    cut: bool = False,
) -> Line:
    """Put the parts at the left, and as many notes as fit at the right."""
    room = width - sum(cell_len(text) for text, _ in parts) - 2
    shown = ""
    for note in notes:
        longer = f"{shown}  {note}" if shown else note
        if note and cell_len(longer) <= room:
            shown = longer
    if cut and not shown and notes and room >= 8:
        shown = fitted(notes[0], room, glyphs)
    gap = " " * max(0, room + 2 - cell_len(shown))
    return (*parts, (gap, ""), (shown, look))
