"""Losses of a study's variants by character: on their own held-out games, or on all characters' games.

On their own games, variants that trained on other characters are evaluated on other frames; only the matrix
uses the same games in every row.
"""

from collections.abc import Iterator, Mapping, Sequence

from exphil_core.melee.characters import low_tier_first
from exphil_core.studies.statistics import Spread
from exphil_tui.model.study_budget import BudgetView, VariantView
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.tables.character_table import title_of
from exphil_tui.widgets.tables.study_table import plus_minus
from exphil_tui.widgets.text_panel import Line, PanelContent, Part, TextPanel, left, right, wrapped

_FULL, _SHORT, _SINGLE = 18, 12, 11
"""Widths in cells: a loss with its spread, the same with fewer digits, a loss without a spread."""
_NAME_MOST = 20


class StudyLosses(TextPanel):
    BINDING_GROUP_TITLE = "Losses"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._view: BudgetView | None = None
        self._matrix = False
        self._nothing = ""

    def show(self, view: BudgetView | None, *, matrix: bool, nothing: str) -> None:
        if matrix != self._matrix:
            self.scroll_home(animate=False)
        self._view, self._matrix, self._nothing = view, matrix, nothing
        self.update()

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        variants = self._with_losses()
        if not variants:
            return PanelContent(
                lines=tuple(((f"  {text}", "dim"),) for text in wrapped(self._nothing, max(8, width - 4)))
            )
        return PanelContent(
            lines=(*self._blocks(variants, width, glyphs), (), *self._notes(variants, width, glyphs))
        )

    def _with_losses(self) -> list[VariantView]:
        found = self._view.variants if self._view is not None else ()
        known = [variant for variant in found if self._losses(variant)]
        # Sorting by loss means nothing here; in the study's order the matrix has its diagonal.
        return sorted(known, key=lambda variant: variant.number) if self._matrix else known

    def _losses(self, variant: VariantView) -> Mapping[str, Spread]:
        if variant.row is None:
            return {}
        return variant.row.cross if self._matrix else variant.row.per_character

    def _blocks(self, variants: Sequence[VariantView], width: int, glyphs: Glyphs) -> Iterator[Line]:
        names = sorted({name for variant in variants for name in self._losses(variant)}, key=low_tier_first)
        name = min(_NAME_MOST, max(8, *(len(variant.title) for variant in variants)))
        room = max(_SHORT, width - name - 3)
        spread = any(
            found.deviation is not None for variant in variants for found in self._losses(variant).values()
        )
        cell = _SINGLE if not spread else _FULL if _FULL * len(names) <= room else _SHORT
        most = max(1, room // cell)
        # Blocks of equal width, so that the last one does not hold a single character.
        each = -(-len(names) // -(-len(names) // most))
        for begin in range(0, len(names), each):
            if begin:
                yield ()
            block = names[begin : begin + each]
            heading = "   trained on" if self._matrix else "   variant"
            yield (
                (left(heading, name + 3, glyphs), "dim"),
                *((right(_fitting(title_of(who), cell - 2), cell - 1) + " ", "dim") for who in block),
            )
            for variant in variants:
                yield (
                    (" ", ""),
                    (variant.mark.letter, variant.mark.colour),
                    (left(f" {variant.title}", name + 1, glyphs), "strong"),
                    *(self._cell(variant, who, cell, glyphs) for who in block),
                )

    def _cell(self, variant: VariantView, who: str, width: int, glyphs: Glyphs) -> Part:
        found = self._losses(variant).get(who)
        if found is None:
            return right(glyphs.dash, width - 1) + " ", "dim"
        trained = self._matrix and self._was_trained_on(variant, who)
        digits = 3 if width == _SHORT else 4
        text = f"{found.mean:.{digits}f}"
        if found.deviation is not None:
            deviation = f"{found.deviation:.{digits}f}"
            between = f" {plus_minus(glyphs)} " if width == _FULL else plus_minus(glyphs)
            text += between + (deviation if width == _FULL else deviation.removeprefix("0"))
        return right(text, width - 1) + ("*" if trained else " "), "strong" if trained else ""

    def _was_trained_on(self, variant: VariantView, who: str) -> bool:
        assert variant.row is not None
        return not variant.row.learns or who in variant.row.learns

    def _notes(self, variants: Sequence[VariantView], width: int, glyphs: Glyphs) -> Iterator[Line]:
        seeds = max(len(variant.row.seeds) for variant in variants if variant.row is not None)
        of = f"mean {plus_minus(glyphs)} standard deviation over seeds" if seeds > 1 else "one seed"
        note = f"Nats per frame, {of}."
        if self._matrix:
            note += " The same held-out games in every row. * marks a character that the row's policy was trained on."
        for line in wrapped(note, max(8, width - 4)):
            yield ((f"  {line}", "dim"),)


def _fitting(title: str, width: int) -> str:
    """Return the whole title, or its first letters: `Ganondor`, `Mr. G & W`."""
    return title if len(title) <= width else title.replace("Mr. Game & Watch", "Mr. G & W")[:width]
