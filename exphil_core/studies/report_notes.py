"""Notes on reading a study's numbers: what they measure, how even the budget was, what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exphil_core.studies.report import Group, group_by_characters
from exphil_core.studies.statistics import LEVEL
from exphil_core.studies.trial_result import Measures
from exphil_core.studies.trials import Trial

Done = tuple[Trial, Measures]
"""A complete trial and its measures."""

NLL_SENTENCE = (
    "A lower loss does not rank play: the loss (nats per frame, plain) measures how well inputs are predicted, and "
    "ranks by loss have reversed in games. Let policies that differ here play each other before calling one better."
)

SPREAD_SENTENCE = (
    f"Differences are paired by seed, with Student's t intervals at {LEVEL:.0%} for all comparisons made together "
    "(Bonferroni). A tie means that the interval includes zero: no difference was shown, which does not mean that "
    "there is none."
)


def report_notes(
    described: Mapping[str, Any], trials: Sequence[Trial], done: Sequence[Done], groups: Sequence[Group]
) -> Iterator[str]:
    """Yield the report's notes, those that hold for every study first."""
    yield NLL_SENTENCE
    yield SPREAD_SENTENCE
    yield (
        "A run's loss is that of its best checkpoint on the held-out games; the same games selected that checkpoint."
    )
    if described.get("quick"):
        yield "This is quick mode, minutes on a CPU: the full mode may separate what is a tie here."
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
        yield from _starts(group)
        yield from _evenness(group)
    if any(len(group_by_characters(group.rows)) > 1 for group in groups):
        yield (
            "Variants trained on different characters are evaluated on different frames: their total losses are in "
            "the table, but only losses on the same character are compared."
        )
    shared = [trial.run for trial, found in done if found.beside]
    if shared:
        yield (
            f"{len(shared)} of {len(done)} runs shared their machine with another worker of the study: they took "
            "longer than they would alone, and their latencies may be longer."
        )
    if len(hosts := {found.host for _, found in done}) > 1:
        yield f"The runs are from {len(hosts)} machines: their times, speeds and latencies are not comparable."
    if len(revisions := {found.revision for _, found in done if found.revision}) > 1:
        yield f"The runs used {len(revisions)} revisions of exphil, which may train differently."
    for trial, found in done:
        for note in found.notes:
            yield f"{trial.run}, not measured: {note}"
    if sum(trial.ended for trial in trials) < len(trials):
        yield "Not every run has ended: these results are preliminary."


def _starts(group: Group) -> Iterator[str]:
    """Yield a note for each variant whose best weights others start from."""
    before = {row.name: row for row in group.rows}
    for name in sorted({row.starts_from for row in group.rows if row.starts_from is not None}):
        after = ", ".join(sorted(row.name for row in group.rows if row.starts_from == name))
        seen = f", trained for {before[name].frames:,.0f} frames" if name in before else ""
        yield (
            f"{after}: started from the best weights of {name} with the same seed{seen}. Their frames, minutes and "
            "time to a loss count only their own training."
        )


def _evenness(group: Group) -> Iterator[str]:
    """Yield a note on how evenly the budget was met."""
    if len(group.rows) < 2:
        return
    taken = [(row.seconds if group.budget == "minutes" else row.frames) / row.multiple for row in group.rows]
    if group.budget != "flops":
        what = "Training times" if group.budget == "minutes" else "Training frames"
        yield f"{what} agree to within {max(taken) / min(taken) - 1:.1%} over the variants."
