"""Text of the runs screen: the title line, the details of the selected run, and what to do when there are no runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import UNFINISHED
from exphil_tui.model.run_status import run_status
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.tables.run_table import age_of, shortened

if TYPE_CHECKING:
    from exphil_core.runs.summary import RunSummary

LINE_LIMIT = 300
"""Maximum characters of a line from a file."""


def title_line(counts: Sequence[str], runs_dir: Path, width: int, glyphs: Glyphs) -> Content:
    """Format the title line: counts and folder at the right, cut to `width` cells."""
    folder = sanitise(str(runs_dir), limit=400)
    right = ", ".join(counts) + f" in {folder}" if counts else folder
    left = "exphil  Runs"
    room = width - len(left) - 4
    if len(right) > room > 0:
        right = right[: room - 1] + glyphs.ellipsis
    gap = max(2, width - 2 - len(left) - len(right))
    return Content.assemble(("exphil", "bold $primary"), "  Runs", " " * gap, (right, "$foreground-muted"))


def counts_of(runs: Sequence["RunSummary"], selected: int) -> list[str]:
    """Return the counts in the title: `5 runs`, `2 active`, `1 selected`."""
    unfinished = sum(run.state in UNFINISHED for run in runs)
    counts = [f"{len(runs)} run{'s' * (len(runs) != 1)}"]
    if unfinished:
        counts.append(f"{unfinished} active")
    if selected:
        counts.append(f"{selected} selected")
    return counts


def no_runs(runs_dir: Path) -> Content:
    folder = sanitise(str(runs_dir), limit=60)
    return Content.assemble(
        ("No runs yet", "bold"),
        (f" in {folder}\n\n", "$foreground-muted"),
        "Train a first policy in a few minutes:\n\n",
        _key("n", "new run: the preset quick on demo replays"),
        _key("Enter", "start it and open it"),
        "\nOr look around first:\n\n",
        _key("w", "write demo replays, played by bots"),
        _key("d", "find your own Slippi replays"),
        _key("t", "studies: compare settings over several seeds"),
        _key("?", "keys and help"),
    )


def run_details(run: "RunSummary", log: Sequence[str], width: int, glyphs: Glyphs) -> Content:
    """Describe a run: name, state and last update, settings and loss, what can be done, the end of its log."""
    status = run_status(run.state)
    age = age_of(run, 6)
    updated = "last update just now" if age == "now" else f"last update {age} ago"
    name = shortened(
        sanitise(run.name, limit=400), max(10, width - len(run.state) - len(updated) - 8), glyphs
    )
    lines = [
        Content.assemble(
            (f"{status.sign_in(glyphs)} {name}", "bold"),
            (f"  {sanitise(run.state, limit=20)}, {updated}", "$foreground-muted"),
        )
    ]
    if not run.problem:
        facts = f" {glyphs.bullet} ".join(fact for fact in _facts(run) if fact)
        lines.append(Content.styled(facts, "$foreground-muted"))
    lines.append(Content(sanitise(run.problem, limit=LINE_LIMIT) or status.sentence))
    lines += [Content.styled(line, "$foreground-muted") for line in log]
    return Content("\n").join(lines)


def _facts(run: "RunSummary") -> list[str]:
    at_step = "" if run.best_step is None else f" at step {run.best_step:,}"
    return [
        sanitise(run.preset, limit=40),
        sanitise(run.backbone, limit=20),
        "" if run.window_size is None else f"window {run.window_size}",
        f"step {run.step:,}",
        "" if run.best_loss is None else f"best {run.best_loss:.4f}{at_step}",
    ]


def _key(key: str, does: str) -> Content:
    return Content.assemble((f"{key:>7}", "bold $primary"), f"  {does}\n")
