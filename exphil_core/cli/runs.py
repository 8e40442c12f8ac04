"""`exphil runs list|show`: the runs of a folder, and one of them in full.

In: a folder of runs. Out: tables, or with --json one object. Reads only; it never disturbs a run that goes on.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from exphil_core.cli.format import age, console, nats, table
from exphil_core.cli.report import evaluation_table
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.summary import (
    RunSummary,
    last_events,
    last_of_type,
    last_start,
    list_runs,
    summarise,
)

runs_app = typer.Typer(help="Runs and how they stand.", no_args_is_help=True, rich_markup_mode=None)

RunsDir = Annotated[Path, typer.Option("--runs-dir", help="Where runs are kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

DEFAULT_RUNS_DIR = Path("checkpoints")


@runs_app.command("list")
def list_command(runs_dir: RunsDir = DEFAULT_RUNS_DIR, as_json: AsJson = False) -> None:
    """List the runs, the newest first."""
    runs = list_runs(runs_dir)
    if as_json:
        print(json.dumps({"runs": [_object(run) for run in runs]}))
        return
    if not runs:
        print(f"no run in {runs_dir} yet; 'exphil train' starts one")
        return
    found = table(
        ("run", "state", "preset", "backbone"), right=("window", "step", "best loss", "last heard of")
    )
    for run in runs:
        window = "–" if run.window_size is None else str(run.window_size)
        cells = (run.name, run.state, run.preset, run.backbone, window, f"{run.step:,}", nats(run.best_loss))
        found.add_row(*(Text(cell) for cell in cells), age(run.age_s))
    console().print(found)


@runs_app.command("show")
def show_command(
    name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run (default: the newest).")] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: AsJson = False,
) -> None:
    """Show one run: how it stands, its last validation and its checkpoints."""
    run = RunDirectory.find(runs_dir, name)
    summary = summarise(run)
    events = last_events(run.events_path)
    evaluated = last_of_type(events, "evaluated")
    if as_json:
        print(json.dumps(_full(run, summary, events)))
        return
    out = console()
    _line(out, "run", f"{run.name}, {summary.state}, last heard of {age(summary.age_s)} ago")
    _line(out, "folder", str(run.path))
    if summary.problem:
        _line(out, "problem", summary.problem)
        return
    kernel = _kernel(run)
    scanned = f", {kernel} scan kernel" if kernel else ""
    model = f"preset {summary.preset}, {summary.backbone}, window {summary.window_size}{scanned}"
    _line(out, "model", model)
    _line(out, "step", f"{summary.step:,}")
    if summary.best_loss is not None:
        at = f" at step {summary.best_step:,}" if summary.best_step is not None else ""
        _line(out, "best loss", f"{nats(summary.best_loss)} nats per frame{at}")
    steps = run.steps()
    _line(out, "checkpoints", ", ".join(f"{step:,}" for step in steps) or "none yet")
    error = last_of_type(events, "error")
    if error is not None and summary.state in ("failed", "diverged"):
        _line(out, "error", str(error.get("message", "")))
    if evaluated is not None:
        out.print()
        out.print(evaluation_table(evaluated, title=f"Last validation, step {evaluated['step']:,}"))
    if summary.state in ("interrupted", "preempted", "stopped"):
        out.print(f"\nGo on with it: exphil train --resume {run.name}", markup=False, highlight=False)


def _line(out: Console, label: str, text: str) -> None:
    # Soft wrap: a path or a sentence stays one line for whoever copies it.
    out.print(Text(f"{label:<12} {text}"), soft_wrap=True)


def _kernel(run: RunDirectory) -> str | None:
    """What ran the backbone's scan when the run last started; None where there is no scan."""
    started = last_start(run.events_path)
    return started.get("kernel") if started is not None else None


def _object(run: RunSummary) -> dict[str, object]:
    return {
        "run": run.name,
        "path": str(run.path),
        "state": run.state,
        "preset": run.preset,
        "backbone": run.backbone,
        "window_size": run.window_size,
        "step": run.step,
        "best_loss": run.best_loss,
        "best_step": run.best_step,
        "age_s": round(run.age_s, 3),
        "problem": run.problem or None,
    }


def _full(run: RunDirectory, summary: RunSummary, events: list[dict[str, Any]]) -> dict[str, object]:
    found = _object(summary)
    if not summary.problem:
        found["config"] = run.preset().model_dump(mode="json")
    found["kernel"] = _kernel(run)
    found["checkpoints"] = list(run.steps())
    for type in ("step", "evaluated", "latency", "error", "run_finished"):
        found[f"last_{type}"] = last_of_type(events, type)
    return found
