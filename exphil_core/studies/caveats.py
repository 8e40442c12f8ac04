"""What to keep in mind of a study's numbers: what they are of, how even the budget was, and what is missing.

In: trials and the groups made of them. Out: sentences. What a reader gets wrong: that a lower loss is a better
player.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exphil_core.studies.cells import Trial
from exphil_core.studies.measures import Measures
from exphil_core.studies.report import Group, judged_alike
from exphil_core.studies.spread import LEVEL

Done = tuple[Trial, Measures]
"""A trial that is complete, and what was measured of it."""

NLL_SENTENCE = (
    "A lower loss does not rank play: the loss (nats per frame, plain) says how well inputs are foreseen, and "
    "rankings by it have turned round in games. Let policies that differ here play before one is called better."
)

SPREAD_SENTENCE = (
    f"Differences are taken seed by seed, and their intervals are Student's t at {LEVEL:.0%} for all comparisons "
    "that stand together (Bonferroni). What an interval does not tell from zero is called a tie: no difference was "
    "shown, which is not the same as none."
)


def caveats(
    described: Mapping[str, Any], trials: Sequence[Trial], done: Sequence[Done], groups: Sequence[Group]
) -> Iterator[str]:
    """Sentences that a reader of the report needs, those first that hold for every study."""
    yield NLL_SENTENCE
    yield SPREAD_SENTENCE
    yield (
        "A run's loss is that of its best checkpoint on the held-out games, which are also the games by which that "
        "checkpoint was chosen."
    )
    if described.get("quick"):
        yield "This is the quick form, minutes on a CPU: what it calls a tie, the full form may tell apart."
    multiples = sorted(
        {
            (row.name, row.multiple)
            for group in groups
            for row in group.rows
            if row.multiple != 1 and len(group.rows) > 1
        }
    )
    for name, multiple in multiples:
        yield f"{name} gets {multiple:g} times the budget of the others."
    for group in groups:
        yield from _begun_elsewhere(group)
        yield from _evenness(group)
    if any(len(judged_alike(group.rows)) > 1 for group in groups):
        yield (
            "Variants that learned other characters are judged on other frames: their total losses stand in the "
            "table, and only losses on the same character are compared."
        )
    shared = [trial.run for trial, found in done if found.beside]
    if shared:
        yield (
            f"{len(shared)} of {len(done)} runs shared their machine with another worker of the study: they took "
            "longer than a run alone, and their latencies may be longer, too."
        )
    if len(hosts := {found.host for _, found in done}) > 1:
        yield f"The runs are of {len(hosts)} machines: their seconds, speeds and latencies are not of one kind."
    if len(revisions := {found.revision for _, found in done if found.revision}) > 1:
        yield f"The runs were begun with {len(revisions)} revisions of exphil, which may have learned differently."
    for trial, found in done:
        for note in found.notes:
            yield f"{trial.run}, not measured: {note}"
    if sum(trial.ended for trial in trials) < len(trials):
        yield "Not every run has ended: what stands here is what is known so far."


def _begun_elsewhere(group: Group) -> Iterator[str]:
    """What some variants knew before their first frame."""
    before = {row.name: row for row in group.rows}
    for name in sorted({row.starts_from for row in group.rows if row.starts_from is not None}):
        after = ", ".join(sorted(row.name for row in group.rows if row.starts_from == name))
        seen = f", which had seen {before[name].frames:,.0f} frames in its own" if name in before else ""
        yield (
            f"{after}: begun with the best weights of {name} of the same seed{seen}. Their frames, minutes and what "
            "they took to a loss are of their own training alone."
        )


def _evenness(group: Group) -> Iterator[str]:
    """How well the budget was kept."""
    if len(group.rows) < 2:
        return
    taken = [(row.seconds if group.budget == "minutes" else row.frames) / row.multiple for row in group.rows]
    if group.budget != "flops":
        what = "Times trained" if group.budget == "minutes" else "Frames seen"
        yield f"{what} agree to within {max(taken) / min(taken) - 1:.1%} over the variants."
