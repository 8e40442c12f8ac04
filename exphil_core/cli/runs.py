"""`exphil runs`: list, show, pause, resume, checkpoint, stop and delete runs.

A run's own process executes a command between two of its steps; here it is only sent and briefly waited for.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from exphil_core.cli.format import age, console, nats, table
from exphil_core.cli.options import RunsDir
from exphil_core.cli.report import evaluation_table
from exphil_core.errors import UsageError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR, shell_command
from exphil_core.runs.control import Answer, answer, send
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.summary import (
    RunSummary,
    last_events,
    last_of_type,
    last_start,
    list_runs,
    summarise,
)

runs_app = typer.Typer(help="List, inspect and control runs.", no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

Name = Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run (default: the newest).")]

ANSWER_SECONDS = 10.0
"""Seconds to wait for an answer; the command still takes effect at the next step."""
END_SECONDS = 30.0
"""Seconds to wait for a stopping process to exit after it has saved."""


@runs_app.command("list")
def list_command(runs_dir: RunsDir = DEFAULT_RUNS_DIR, as_json: AsJson = False) -> None:
    """List the runs, newest first."""
    runs = list_runs(runs_dir)
    if as_json:
        print(json.dumps({"runs": [_object(run) for run in runs]}))
        return
    if not runs:
        print(f"no run in {runs_dir} yet; '{shell_command(runs_dir, 'train')}' starts one")
        return
    found = table(
        ("run", "state", "preset", "backbone"), right=("window", "step", "best loss", "last update")
    )
    for run in runs:
        window = "–" if run.window_size is None else str(run.window_size)
        cells = (run.name, run.state, run.preset, run.backbone, window, f"{run.step:,}", nats(run.best_loss))
        found.add_row(*(Text(cell) for cell in cells), age(run.age_s))
    console().print(found)


@runs_app.command("show")
def show_command(
    name: Name = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: AsJson = False,
) -> None:
    """Show one run: its state, last validation and checkpoints."""
    run = RunDirectory.find(runs_dir, name)
    summary = summarise(run)
    events = last_events(run.events_path)
    evaluated = last_of_type(events, "evaluated")
    if as_json:
        print(json.dumps(_full(run, summary, events)))
        return
    out = console()
    _line(out, "run", f"{run.name}, {summary.state}, last update {age(summary.age_s)} ago")
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
    if summary.state in ("crashed", "preempted", "stopped"):
        out.print(f"\nResume it: {run.typed('train', '--resume')}", markup=False, highlight=False)


@runs_app.command("pause")
def pause_command(name: Name = None, runs_dir: RunsDir = DEFAULT_RUNS_DIR, as_json: AsJson = False) -> None:
    """Pause a run between two steps. Its process stays alive and keeps its memory."""
    _steer(name, runs_dir, "pause", as_json=as_json)


@runs_app.command("resume")
def resume_command(name: Name = None, runs_dir: RunsDir = DEFAULT_RUNS_DIR, as_json: AsJson = False) -> None:
    """Resume a paused run. For a run without a process, use exphil train --resume."""
    _steer(name, runs_dir, "resume", as_json=as_json)


@runs_app.command("checkpoint")
def checkpoint_command(
    name: Name = None, runs_dir: RunsDir = DEFAULT_RUNS_DIR, as_json: AsJson = False
) -> None:
    """Save a checkpoint of a run now."""
    _steer(name, runs_dir, "checkpoint", as_json=as_json)


@runs_app.command("stop")
def stop_command(name: Name = None, runs_dir: RunsDir = DEFAULT_RUNS_DIR, as_json: AsJson = False) -> None:
    """Save and stop a run. It can be resumed."""
    _steer(name, runs_dir, "stop", as_json=as_json)


@runs_app.command("delete")
def delete_command(
    name: Annotated[str, typer.Argument(metavar="RUN", help="A run.")],
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a run with its history and checkpoints. A running run is refused."""
    run = RunDirectory.find(runs_dir, name)
    if run.alive():
        raise UsageError(f"run {run.name} is running: '{run.typed('runs', 'stop')}' first, then delete it")
    target = run.path.resolve() if run.path.is_symlink() else None
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise UsageError(
                f"deleting run {run.name} cannot be undone: confirm with --yes where there is no terminal"
            )
        question = f"Delete run {run.name} with its history and its checkpoints ({len(run.steps())})?"
        if target is not None:
            question = f"Remove the link {run.path}? The run itself stays in {target}."
        if not typer.confirm(question, err=True):
            raise typer.Exit(1)
    run.delete()
    if as_json:
        stays = None if target is None else str(target)
        print(json.dumps({"run": run.name, "path": str(run.path), "deleted": True, "stays": stays}))
    elif target is not None:
        print(f"run {run.name} was a link, and the link is removed; the run itself stays in {target}")
    else:
        print(f"run {run.name} is deleted")


def _steer(name: str | None, runs_dir: Path, command: str, *, as_json: bool) -> None:
    run = RunDirectory.find(runs_dir, name)
    id = send(run, command)
    found = answer(run, id, seconds=ANSWER_SECONDS)
    if command == "stop" and found.state == "done":
        # Wait for the process to exit, so that the run can be resumed, deleted or copied right after.
        answer(run, "", seconds=END_SECONDS)
    if found.state == "refused":
        raise UsageError(f"run {run.name} refused to {command}: {found.reason}")
    status = run.status()
    step = status.step if status is not None else 0
    if as_json:
        print(json.dumps({"run": run.name, "command": command, "state": found.state, "step": step}))
    else:
        print(_became(run, command, found, step))
    if found.state == "ended" and command != "stop":
        raise typer.Exit(1)


def _became(run: RunDirectory, command: str, found: Answer, step: int) -> str:
    if found.state == "ended":
        return f"run {run.name} has ended at step {step:,}, before it could {command}"
    if found.state != "done":
        return f"run {run.name} will {command} at its next step"
    match command:
        case "pause":
            return f"run {run.name} is paused at step {step:,}; '{run.typed('runs', 'resume')}' resumes it"
        case "resume":
            return f"run {run.name} continues from step {step:,}"
        case "checkpoint":
            return f"run {run.name} has a checkpoint of step {run.latest_step() or 0:,}"
    return (
        f"run {run.name} has saved step {step:,} and stopped; '{run.typed('train', '--resume')}' resumes it"
    )


def _line(out: Console, label: str, text: str) -> None:
    # Soft wrap: a path or a sentence stays one line when copied.
    out.print(Text(f"{label:<12} {text}"), soft_wrap=True)


def _kernel(run: RunDirectory) -> str | None:
    """Return the scan kernel of the run's last start, or None where the backbone has no scan."""
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
