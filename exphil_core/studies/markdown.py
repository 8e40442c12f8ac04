"""Render a report as Markdown."""

from collections.abc import Iterator, Sequence

from exphil_core.studies.report import Report
from exphil_core.studies.tables import Table, tables_of


def markdown(report: Report, plots: Sequence[str], *, no_plots: str = "") -> str:
    """Render a report.

    Args:
        plots: names of the SVG files beside it.
        no_plots: why there are none.
    """
    return "\n".join(_lines(report, plots, no_plots)) + "\n"


def _lines(report: Report, plots: Sequence[str], no_plots: str) -> Iterator[str]:
    yield f"# {report.name}"
    yield from ("", report.about, "", f"*Decided by:* {report.decides}", "")
    yield f"{report.data}. {report.progress}{' (quick mode)' if report.quick else ''}."
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
    if no_plots:
        yield from ("", no_plots)
    if report.lost:
        yield from ("", "## Failed runs", "")
        yield from (f"- {run}: {why}" for run, why in report.lost.items())
    yield from ("", "## Notes", "")
    yield from (f"- {note}" for note in report.notes)


def _table(table: Table) -> Iterator[str]:
    yield _row(table.headings)
    yield _row(["---", *["---:"] * (len(table.headings) - 1)])
    yield from (_row(row) for row in table.rows)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
