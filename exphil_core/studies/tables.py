"""A report's tables as text, for Markdown and the console.

A mean without ± is of one seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exphil_core.melee.characters import by_name, low_tier_first
from exphil_core.studies.report import Group, Report, ReportRow
from exphil_core.studies.statistics import Spread

NOTHING = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text."""

    title: str
    headings: tuple[str, ...]
    """The first column has words, the others numbers."""
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def tables_of(report: Report) -> dict[str, list[Table]]:
    """Return the tables of each group, by its budget."""
    return {group.budget: list(_tables(group)) for group in report.groups}


def loss(found: Spread | None) -> str:
    """Format a loss: `0.4321 ± 0.0012`, or one number for one seed."""
    if found is None:
        return NOTHING
    if found.deviation is None:
        return f"{found.mean:.4f}"
    return f"{found.mean:.4f} ± {found.deviation:.4f}"


def short(count: float) -> str:
    """Format a count: `1.23 M`, `456 k`."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"


def _tables(group: Group) -> Iterator[Table]:
    yield _results(group)
    yield _costs(group)
    yield _by_character("Loss per character", {row.name: row.per_character for row in group.rows})
    if all(row.cross for row in group.rows):
        trained_on = {row.name: row.learns for row in group.rows}
        yield _by_character(
            "Trained on … (rows), evaluated on … (columns)",
            {row.name: row.cross for row in group.rows},
            trained_on=trained_on,
            note="The same held-out games in every row. *: a character that the row's policy was trained on.",
        )


def _results(group: Group) -> Table:
    dojo = any(row.closed is not None for row in group.rows)
    headings = [
        "variant",
        "seeds",
        "loss",
        *(["gap closed"] if dojo else []),
        "frames",
        "minutes",
        "frames to target",
        "time to target",
    ]
    notes = ["Nats per frame, mean ± standard deviation over seeds."]
    if dojo:
        notes.append("gap closed: share of the way from the best baseline to the floor.")
    if group.target is not None:
        notes.append(
            f"target: a validation loss of {group.target:.4f} during training, the lowest that every run reached."
        )
    for name in sorted({row.starts_from for row in group.rows if row.starts_from is not None}):
        after = ", ".join(row.name for row in group.rows if row.starts_from == name)
        notes.append(f"{after}: started from the best weights of {name}; frames and minutes are their own.")
    return Table(
        title="Held-out loss, best checkpoint",
        headings=tuple(headings),
        rows=tuple(_result(row, dojo=dojo) for row in group.rows),
        note=" ".join(notes),
    )


def _result(row: ReportRow, *, dojo: bool) -> tuple[str, ...]:
    share = [] if not dojo else [NOTHING if row.closed is None else f"{row.closed:.0%}"]
    frames, seconds = row.reached_frames, row.reached_seconds
    return (
        row.name,
        str(len(row.seeds)),
        loss(row.loss),
        *share,
        short(row.frames),
        f"{row.seconds / 60:.1f}",
        NOTHING if frames is None else short(frames.mean),
        NOTHING if seconds is None else f"{seconds.mean / 60:.1f} min",
    )


def _costs(group: Group) -> Table:
    return Table(
        title="Cost",
        headings=("variant", "parameters", "updates", "frames/s", "p50 ms", "p99 ms", "60 FPS"),
        rows=tuple(_cost(row) for row in group.rows),
        note="frames/s: of training. p50, p99: encode + step + sample + decode of a frame at 60 Hz, in eager torch.",
    )


def _cost(row: ReportRow) -> tuple[str, ...]:
    rate = NOTHING if row.frames_per_s is None else f"{row.frames_per_s:,.0f}"
    found = row.latency
    if found is None:
        played: Sequence[str] = (NOTHING, NOTHING, NOTHING)
    else:
        played = (f"{found.p50_ms:.2f}", f"{found.p99_ms:.2f}", found.fit)
    return (row.name, f"{row.parameters:,}", f"{row.steps:,.0f}", rate, *played)


def _by_character(
    title: str,
    losses: Mapping[str, Mapping[str, Spread]],
    *,
    trained_on: Mapping[str, Sequence[str]] | None = None,
    note: str = "",
) -> Table:
    characters = sorted({name for found in losses.values() for name in found}, key=low_tier_first)

    def cell(row: str, character: str) -> str:
        text = loss(losses[row].get(character))
        trained = trained_on is not None and (not trained_on[row] or character in trained_on[row])
        return f"{text} *" if trained and text != NOTHING else text

    return Table(
        title=title,
        headings=("variant", *(by_name(name).title for name in characters)),
        rows=tuple((row, *(cell(row, character) for character in characters)) for row in losses),
        note=note,
    )
