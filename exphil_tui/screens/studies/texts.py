"""Texts of the studies screen: its list entries, the line about a study and the page of a shipped study."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from exphil_core.replays.text import sanitise
from exphil_tui.model.study_snapshot import StudySnapshot
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.study_list import StudyEntry
from exphil_tui.widgets.text_panel import fitted

if TYPE_CHECKING:
    from exphil_tui.model.shipped_studies import ShippedStudy
    from exphil_tui.services.study_worker import StartedWorker

STARTED, SHIPPED = "started ", "shipped "
"""Prefixes of list keys."""

LINE_LETTERS = 400

_PREPARING = "The worker has started and is preparing the games."


def list_entries(
    snapshots: Sequence[StudySnapshot],
    shipped: Sequence["ShippedStudy"],
    workers: Mapping[str, "StartedWorker"],
) -> Iterator[StudyEntry]:
    """Yield the started studies, those whose worker still prepares the games, and the shipped ones."""
    for snapshot in snapshots:
        yield StudyEntry(
            key=STARTED + snapshot.name,
            title=snapshot.title,
            state=snapshot.state,
            done=snapshot.count("complete"),
            running=snapshot.count("running"),
            queued=snapshot.count("waiting", "orphaned"),
            failed=snapshot.count("failed"),
            runs=len(snapshot.runs),
            result_or_question=snapshot.problem or snapshot.first_sentence,
        )
    known = {snapshot.name for snapshot in snapshots}
    for name, worker in workers.items():
        if name not in known:
            yield StudyEntry(
                key=STARTED + name,
                title=sanitise(name),
                state="running",
                result_or_question=worker.last_line or _PREPARING,
            )
    for study in shipped:
        yield StudyEntry(
            key=SHIPPED + study.name, title=study.name, state="not started", result_or_question=study.about
        )


def title_line(right: str, width: int, glyphs: Glyphs) -> Content:
    """Render the screen's title, with `right` at the right end."""
    left = "exphil  Studies"
    right = fitted(right, max(0, width - len(left) - 4), glyphs)
    gap = " " * max(2, width - 2 - len(left) - len(right))
    return Content.assemble(("exphil", "bold $primary"), "  Studies", gap, (right, "$foreground-muted"))


def counts_text(snapshots: Sequence[StudySnapshot]) -> str:
    """Return how many studies were started and are running: `3 studies, 1 running`."""
    if not snapshots:
        return "no studies started"
    running = sum(snapshot.state == "running" for snapshot in snapshots)
    studies = f"{len(snapshots)} {'study' if len(snapshots) == 1 else 'studies'}"
    return f"{studies}, {running} running" if running else studies


def empty_text(problem: str, loaded: bool, glyphs: Glyphs) -> Content:
    """Return what the screen shows without any study."""
    if problem:
        return Content(sanitise(problem, limit=LINE_LETTERS))
    if not loaded:
        return Content.styled(f"Reading studies{glyphs.ellipsis}", "$foreground-muted")
    return Content.styled("No studies here, and none are shipped with this exphil.", "$foreground-muted")


def about_line(snapshot: StudySnapshot, width: int, glyphs: Glyphs) -> Content:
    """Render a study's question, with the state of its workers at the right end."""
    if snapshot.problem:
        return Content.styled(
            f"{glyphs.warning} {sanitise(snapshot.problem, limit=LINE_LETTERS)}", "$warning"
        )
    words = "finished" if snapshot.state == "finished" else "no worker: r continues"
    if snapshot.workers:
        words = f"{snapshot.workers} worker{'s' * (snapshot.workers != 1)}"
    elif snapshot.state == "running":
        words = "a run continues without a worker"
    if orphaned := snapshot.count("orphaned"):
        words += f", {orphaned} orphaned"
    question = fitted(snapshot.about, max(0, width - len(words) - 2), glyphs)
    gap = " " * max(2, width - len(question) - len(words))
    return Content.assemble((question, "italic"), gap, (words, "$foreground-muted"))


def preparing_text(worker: "StartedWorker | None") -> Content:
    """Render the page of a study whose worker has not written a journal yet."""
    last_line = worker.last_line if worker is not None else ""
    return Content.assemble((f"{_PREPARING}\n\n", "bold"), (last_line, "$foreground-muted"))


def shipped_study_text(study: "ShippedStudy") -> Content:
    """Render the page of a study that was not started."""
    full, quick = study.full, study.quick
    fewer = f", {quick.variants} variants" if quick.variants != full.variants else ""
    seeds = len(study.seeds)
    parts: list[tuple[str, str]] = [
        (f"{study.about}\n\n", "bold"),
        ("Decided by    ", "$foreground-muted"),
        (f"{study.decides}\n\n", ""),
        ("Runs          ", "$foreground-muted"),
        (
            f"{full.variants * seeds} runs: {full.variants} variants with {seeds} seed{'s' * (seeds != 1)} each\n",
            "",
        ),
        ("  quick mode  ", "$foreground-muted"),
        (f"{quick.budget} per run, {quick.games} dojo games{fewer}\n", ""),
        ("  full        ", "$foreground-muted"),
        (f"{full.budget} per run, {full.games} dojo games\n\n", ""),
        ("r", "bold $primary"),
        ("  starts it, in the mode and on the replays that you choose", ""),
    ]
    return Content.assemble(*parts)


def start_sentence(snapshot: StudySnapshot) -> str:
    """Return what is left to run, for the dialog that continues the study."""
    open_runs = len(snapshot.runs) - snapshot.ended
    if not open_runs:
        return "All runs have ended. More seeds extend the study."
    workers = f"{snapshot.workers} with a worker now" if snapshot.workers else "no worker is running"
    return f"{open_runs} of {len(snapshot.runs)} runs to do, {workers}."


def stopped_sentence(workers: int) -> str:
    if not workers:
        return "No worker on this machine is running it."
    return f"Asked {workers} worker{'s' * (workers != 1)} to save and stop; r continues from there."
