"""`exphil study run|report|list`: run studies that compare settings, and report their results.

Running the same command again resumes a study or joins it as another worker; finished trials are not run again.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from exphil_core.cli.format import console, table
from exphil_core.cli.options import ManyValues, RunsDir
from exphil_core.errors import DataError, ExphilError, UsageError
from exphil_core.paths import expand_user
from exphil_core.runs.commands import DEFAULT_RUNS_DIR
from exphil_core.suggest import suggestion

if TYPE_CHECKING:
    from exphil_core.studies.report import Report
    from exphil_core.studies.study import Study
    from exphil_core.studies.worker import ProgressCallbacks

study_app = typer.Typer(
    help="Compare settings: runs along axes, over seeds, under one budget.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

STUDIES = "studies"
"""Name of the studies' folder in the folder of runs."""

PREEMPTED = 75
STATE_SECONDS = 30.0
"""Seconds between two progress lines where stderr is not a terminal."""


@study_app.command("run", cls=ManyValues)
def run_command(
    study: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A study ('exphil study list').")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Quick mode: minutes on a CPU instead of hours.")
    ] = False,
    replays: Annotated[
        list[str] | None,
        typer.Option(help="Learn from these instead of the dojo's games; several may follow."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="Seeds instead of the study's, such as 0,1,2,3,4; finished runs are kept."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    name: Annotated[
        str | None, typer.Option(help="The study's folder (default: its name, with -quick and -replays).")
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: AsJson = False,
) -> None:
    """Run the unfinished trials of a study, then report. Run the same command again to add a worker."""
    from exphil_core.studies.study import load_study

    found = load_study(
        study,
        quick=quick,
        replays=tuple(replays or ()),
        seeds=_seeds(seeds),
        name=name,
        settings={} if device is None else {"train.device": device},
    )
    # Heavy imports only after the study file has been checked.
    from exphil_core.studies.data import prepare
    from exphil_core.studies.plan import trial_specs
    from exphil_core.studies.storage import StudyStorage
    from exphil_core.studies.worker import Interrupted, StudyWorker, stop_on_signals

    specs = trial_specs(found)
    with _progress() as progress:
        data = prepare(found, say=progress.state)
        storage = StudyStorage(runs_dir / STUDIES / found.name)
        storage.describe(
            about=found.about,
            decides=found.decides,
            quick=found.quick,
            against=found.against,
            references=dict(found.references),
            # The workbench resumes the study from these fields, from any working directory.
            study=found.source,
            replays=[str(expand_user(path).absolute()) for path in found.replays],
            seeds=list(found.seeds),
            data=data.description,
            fingerprint=data.fingerprint,
        )
        added = storage.extend(specs)
        progress.line(f"study {found.name}: {len(specs)} runs, {added} of them new, in {storage.folder}")
        try:
            with stop_on_signals() as stop_flag:
                worker = StudyWorker(
                    study=found,
                    data=data,
                    storage=storage,
                    runs_dir=runs_dir,
                    progress=progress,
                    stop_flag=stop_flag,
                )
                left = worker.work(specs)
        except Interrupted:
            progress.line("stopped; the same command continues from here")
            raise typer.Exit(PREEMPTED) from None
    _report(runs_dir, found.name, as_json=as_json)
    if left:
        each = "\n".join(f"  {run}: {why}" for run, why in left.items())
        raise ExphilError(
            f"study {found.name}: not every run has ended; the same command tries these again:\n{each}"
        )


@study_app.command("report")
def report_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study that was run.")],
    quick: Annotated[bool, typer.Option("--quick", help="Report the quick-mode study.")] = False,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: AsJson = False,
) -> None:
    """Print a study's results so far and write the report with its plots into the study's folder."""
    _report(runs_dir, f"{name}-quick" if quick else name, as_json=as_json)


@study_app.command("list")
def list_command(runs_dir: RunsDir = DEFAULT_RUNS_DIR, as_json: AsJson = False) -> None:
    """List the studies shipped with exphil and those in the runs folder."""
    from exphil_core.studies.storage import StudyStorage
    from exphil_core.studies.study import load_study
    from exphil_core.studies.study_file import study_names

    shipped = [load_study(name) for name in study_names()]
    begun = []
    damaged: list[ExphilError] = []
    for folder in _run_here(runs_dir):
        try:
            trials = StudyStorage(folder).trials()
        except ExphilError as error:
            damaged.append(error)
            continue
        except OSError as error:
            damaged.append(DataError(f"study {folder.name}: {error.filename}: {error.strerror}"))
            continue
        begun.append((folder.name, sum(trial.ended for trial in trials), len(trials)))
    if as_json:
        told: dict[str, object] = {
            "studies": [
                {
                    "name": study.name,
                    "about": study.about,
                    "variants": [variant.name for variant in study.variants],
                    "seeds": list(study.seeds),
                }
                for study in shipped
            ],
            "run": [{"name": name, "ended": ended, "runs": of} for name, ended, of in begun],
            "damaged": [str(error) for error in damaged],
        }
        print(json.dumps(told))
    else:
        _print_list(shipped, begun, runs_dir / STUDIES)
    for problem in damaged:
        print(problem, file=sys.stderr)
    if damaged:
        raise typer.Exit(damaged[0].exit_code)


def _print_list(shipped: Sequence["Study"], begun: Sequence[tuple[str, int, int]], folder: Path) -> None:
    width = max((len(study.name) for study in shipped), default=0)
    for study in shipped:
        runs = f"{len(study.variants)} variants × {len(study.seeds)} seeds"
        print(f"{study.name:<{width}}  {study.about} ({runs})")
    if begun:
        print(f"\nIn {folder}:")
    for name, ended, of in begun:
        print(f"  {name}: {ended} of {of} runs have ended")


def _seeds(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"--seeds {text}: expected numbers, separated by commas, such as 0,1,2") from None


def _run_here(runs_dir: Path) -> list[Path]:
    from exphil_core.studies.storage import StudyStorage

    folder = runs_dir / STUDIES
    return sorted(path for path in folder.glob("*") if StudyStorage.exists(path))


def _report(runs_dir: Path, name: str, *, as_json: bool) -> None:
    from exphil_core.studies.publish import publish
    from exphil_core.studies.storage import StudyStorage

    folder = runs_dir / STUDIES / name
    if not StudyStorage.exists(folder):
        names = [path.name for path in _run_here(runs_dir)]
        hint = suggestion(name, names, otherwise=f"there are: {', '.join(names) or 'none yet'}")
        raise UsageError(f"no study '{name}' was run in {runs_dir}; {hint}")
    published = publish(StudyStorage(folder))
    if as_json:
        print(json.dumps(published.plain, allow_nan=False))
        return
    _print(published.report)
    if published.no_plots:
        print(published.no_plots, file=sys.stderr)
    print(f"\n{published.path}")


def _print(report: "Report") -> None:
    from exphil_core.studies.tables import tables_of

    out = console()
    _lines(out, f"{report.name}: {report.about}", style="bold")
    _lines(out, f"What decides it: {report.decides}")
    _lines(out, f"{report.data}. {report.progress}{' (quick mode)' if report.quick else ''}.")
    tables = tables_of(report)
    for group in report.groups:
        out.print()
        _lines(out, f"{group.title[0].upper()}{group.title[1:]}", style="bold underline")
        for found in tables[group.budget]:
            out.print()
            shown = table((found.headings[0],), right=found.headings[1:], title=found.title)
            for row in found.rows:
                shown.add_row(*(Text(cell) for cell in row))
            out.print(shown)
            if found.note:
                _lines(out, found.note, style="dim")
        out.print()
        for sentence in group.verdict:
            _lines(out, f"• {sentence}")
    for run, why in report.lost.items():
        _lines(out, f"Without a result: {run}, {why}")
    out.print()
    for note in report.notes:
        _lines(out, note, style="dim")


def _lines(out: Console, text: str, style: str = "") -> None:
    out.print(Text(text, style=style))


@contextmanager
def _progress() -> Iterator["ProgressCallbacks"]:
    """Yield callbacks that print progress on stderr: a status line on a terminal, occasional lines elsewhere."""
    from exphil_core.studies.worker import ProgressCallbacks

    if sys.stderr.isatty():
        screen = Console(stderr=True, highlight=False)
        with screen.status(Text("looking at the study")) as status:
            yield ProgressCallbacks(
                line=lambda text: screen.print(Text(text)),
                state=lambda text: status.update(Text(text, overflow="ellipsis", no_wrap=True)),
            )
        return
    due = time.monotonic() + STATE_SECONDS

    def line(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def state(text: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + STATE_SECONDS
            line(text)

    yield ProgressCallbacks(line=line, state=state)
