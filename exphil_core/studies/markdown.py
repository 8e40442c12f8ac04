"""A report as Markdown, to be read beside its plots.

In: a `Report` and the plots that were drawn. Out: text.
"""

from collections.abc import Iterator, Sequence

from exphil_core.studies.report import Report
from exphil_core.studies.tables import Table, tables_of


def markdown(report: Report, plots: Sequence[str], *, lack: str = "") -> str:
    """`plots` are names of SVG files beside it; `lack` says why there are none."""
    return "\n".join(_lines(report, plots, lack)) + "\n"


def _lines(report: Report, plots: Sequence[str], lack: str) -> Iterator[str]:
    yield f"# {report.name}"
    yield from ("", report.about, "", f"*What decides it:* {report.decides}", "")
    yield f"{report.data}. {report.progress}{' (quick form)' if report.quick else ''}."
    tables = tables_of(report)
    for group in report.groups:
        yield from ("", f"## {group.title[0].upper()}{group.title[1:]}", "", "### Verdict", "")
        yield from (f"- {sentence}" for sentence in group.verdict)
        for table in tables[group.budget]:
            yield from ("", f"### {table.title}", "", *_table(table))
            if table.note:
                yield from ("", table.note)
        for plot in plots:
            if plot.endswith(f"-{group.budget}.svg"):
                yield from ("", f"![{plot.removesuffix('.svg').replace('-', ' ')}]({plot})")
    if lack:
        yield from ("", lack)
    if report.lost:
        yield from ("", "## Without a result", "")
        yield from (f"- {run}: {why}" for run, why in report.lost.items())
    yield from ("", "## To keep in mind", "")
    yield from (f"- {note}" for note in report.notes)


def _table(table: Table) -> Iterator[str]:
    yield _row(table.headings)
    yield _row(["---", *["---:"] * (len(table.headings) - 1)])
    yield from (_row(row) for row in table.rows)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
