"""Write a study's report files: `report.md`, `report.json` and the plots, in the study's folder.

They are made from the journal alone, so they can be made again at any time, even after the runs were deleted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from exphil_core.atomic import atomic_write
from exphil_core.studies.aggregate import report_of
from exphil_core.studies.markdown import markdown
from exphil_core.studies.plots import NO_PLOTS, can_plot, draw
from exphil_core.studies.report import Report
from exphil_core.studies.storage import StudyStorage


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A report and its files."""

    report: Report
    plain: Mapping[str, Any]
    """Contents of `report.json`."""
    path: Path
    """Path of `report.md`."""
    no_plots: str
    """Why there are no plots; empty where there are."""


def publish(storage: StudyStorage) -> Published:
    """Write the report of the trials that have ended so far."""
    report = report_of(storage.folder.name, storage.described(), storage.trials())
    no_plots = "" if can_plot() else NO_PLOTS
    plots = draw(report, storage.folder)
    plain = plain_report(report)
    path = storage.folder / "report.md"
    atomic_write(path, markdown(report, plots, no_plots=no_plots).encode())
    atomic_write(storage.folder / "report.json", json.dumps(plain, allow_nan=False).encode())
    return Published(report=report, plain=plain, path=path, no_plots=no_plots)


def plain_report(report: Report) -> dict[str, Any]:
    """Return the report as JSON values, with the sentences of its comparisons."""
    found: dict[str, Any] = msgspec.to_builtins(report, str_keys=True)
    for group, plain_group in zip(report.groups, found["groups"], strict=True):
        plain_group["title"] = group.title
        for key, comparisons in (("comparisons", group.comparisons), ("by_character", group.by_character)):
            for comparison, entry in zip(comparisons, plain_group[key], strict=True):
                entry |= {"tie": comparison.tie, "sentence": comparison.sentence}
    return found
