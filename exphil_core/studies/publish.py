"""A study's report as files: `report.md`, `report.json` and the plots, in the study's folder.

In: a study's storage. Out: the files, and the report. What a reader gets wrong: the files are made from the journal
alone, so they can be made again at any time, also after the runs themselves were deleted.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from exphil_core.atomic import atomic_write
from exphil_core.studies.markdown import markdown
from exphil_core.studies.outcome import report_of
from exphil_core.studies.plots import LACK, can_plot, draw
from exphil_core.studies.report import Report
from exphil_core.studies.storage import StudyStorage


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    report: Report
    plain: Mapping[str, Any]
    """What `report.json` holds."""
    path: Path
    """Of the Markdown."""
    lack: str
    """Why there are no plots; empty where there are."""


def publish(storage: StudyStorage) -> Published:
    """Writes the report of what has ended so far."""
    report = report_of(storage.folder.name, storage.described(), storage.trials())
    lack = "" if can_plot() else LACK
    plots = draw(report, storage.folder)
    plain = plain_report(report)
    path = storage.folder / "report.md"
    atomic_write(path, markdown(report, plots, lack=lack).encode())
    atomic_write(storage.folder / "report.json", json.dumps(plain, allow_nan=False).encode())
    return Published(report=report, plain=plain, path=path, lack=lack)


def plain_report(report: Report) -> dict[str, Any]:
    """The report as JSON has it, with the sentences of its comparisons."""
    found: dict[str, Any] = msgspec.to_builtins(report, str_keys=True)
    for group, said in zip(report.groups, found["groups"], strict=True):
        said["title"] = group.title
        for key, comparisons in (("comparisons", group.comparisons), ("by_character", group.by_character)):
            for comparison, entry in zip(comparisons, said[key], strict=True):
                entry |= {"tie": comparison.tie, "sentence": comparison.sentence}
    return found
