"""Losses of a study's variants by character: on their own held-out games, or on everybody's.

In: a `BudgetView`. Out: a table with a line for each variant, in as many blocks below each other as the width asks
for. What a reader gets wrong: on their own games, variants that learned other characters were judged on other frames;
only the matrix (`crossed`) has the same games in every line.
"""

from collections.abc import Iterator, Mapping, Sequence

from exphil_core.melee.characters import low_tier_first
from exphil_core.studies.spread import Spread
from exphil_tui.glyphs import Glyphs
from exphil_tui.study_budget import BudgetView, VariantView
from exphil_tui.widgets.character_table import title_of
from exphil_tui.widgets.study_table import plus_minus
from exphil_tui.widgets.text_panel import Line, Part, Picture, TextPanel, left, right, wrapped

_WHOLE, _SHORT, _ALONE = 18, 12, 11
"""Cells of a loss with its spread, at full length and with fewer figures, and of one without a spread."""
_NAME_MOST = 20


class StudyLosses(TextPanel):
    BINDING_GROUP_TITLE = "Losses"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._view: BudgetView | None = None
        self._crossed = False
        self._nothing = ""

    def show(self, view: BudgetView | None, *, crossed: bool, nothing: str) -> None:
        if crossed != self._crossed:
            self.scroll_home(animate=False)
        self._view, self._crossed, self._nothing = view, crossed, nothing
        self.update()

    def picture(self, width: int, glyphs: Glyphs) -> Picture:
        variants = self._with_losses()
        if not variants:
            return Picture(
                lines=tuple(((f"  {text}", "dim"),) for text in wrapped(self._nothing, max(8, width - 4)))
            )
        return Picture(
            lines=(*self._blocks(variants, width, glyphs), (), *self._notes(variants, width, glyphs))
        )

    def _with_losses(self) -> list[VariantView]:
        found = self._view.variants if self._view is not None else ()
        known = [variant for variant in found if self._losses(variant)]
        # By loss they stand in no order that means anything here; as they were begun, a matrix has its diagonal.
        return sorted(known, key=lambda variant: variant.number) if self._crossed else known

    def _losses(self, variant: VariantView) -> Mapping[str, Spread]:
        if variant.row is None:
            return {}
        return variant.row.cross if self._crossed else variant.row.per_character

    def _blocks(self, variants: Sequence[VariantView], width: int, glyphs: Glyphs) -> Iterator[Line]:
        names = sorted({name for variant in variants for name in self._losses(variant)}, key=low_tier_first)
        name = min(_NAME_MOST, max(8, *(len(variant.title) for variant in variants)))
        room = max(_SHORT, width - name - 3)
        spread = any(
            found.deviation is not None for variant in variants for found in self._losses(variant).values()
        )
        cell = _ALONE if not spread else _WHOLE if _WHOLE * len(names) <= room else _SHORT
        most = max(1, room // cell)
        # Blocks of the same width each, so that no character stands alone below the others.
        each = -(-len(names) // -(-len(names) // most))
        for begin in range(0, len(names), each):
            if begin:
                yield ()
            block = names[begin : begin + each]
            heading = "   trained on" if self._crossed else "   variant"
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
        learned = self._crossed and self._has_learned(variant, who)
        digits = 3 if width == _SHORT else 4
        text = f"{found.mean:.{digits}f}"
        if found.deviation is not None:
            deviation = f"{found.deviation:.{digits}f}"
            between = f" {plus_minus(glyphs)} " if width == _WHOLE else plus_minus(glyphs)
            text += between + (deviation if width == _WHOLE else deviation.removeprefix("0"))
        return right(text, width - 1) + ("*" if learned else " "), "strong" if learned else ""

    def _has_learned(self, variant: VariantView, who: str) -> bool:
        assert variant.row is not None
        return not variant.row.learns or who in variant.row.learns

    def _notes(self, variants: Sequence[VariantView], width: int, glyphs: Glyphs) -> Iterator[Line]:
        seeds = max(len(variant.row.seeds) for variant in variants if variant.row is not None)
        of = f"mean {plus_minus(glyphs)} standard deviation over seeds" if seeds > 1 else "one seed"
        said = f"Nats per frame, {of}."
        if self._crossed:
            said += (
                " The same held-out games in every line. * marks a character whose inputs the policy of that line "
                "has learned."
            )
        for line in wrapped(said, max(8, width - 4)):
            yield ((f"  {line}", "dim"),)


def _fitting(title: str, width: int) -> str:
    """The whole title, or its first letters: `Ganondor`, `Mr. G & W`."""
    return title if len(title) <= width else title.replace("Mr. Game & Watch", "Mr. G & W")[:width]
