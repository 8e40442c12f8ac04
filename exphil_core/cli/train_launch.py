"""Where a run trains: in this process, in the background, or in the background under the workbench."""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from exphil_core.cli.attach import open_workbench, workbench_problem
from exphil_core.errors import UsageError
from exphil_core.runs.commands import shell_command

if TYPE_CHECKING:
    from exphil_core.cli.console import Sink
    from exphil_core.runs.directory import RunDirectory


def destination(
    *, headless: bool, detach: bool, as_json: bool, tensorboard: bool, dry_run: bool
) -> Callable[["RunDirectory"], int]:
    """Return the function that trains a run: in this process, in the background, or under the workbench."""
    if detach:
        for option, given in (
            ("--headless", headless),
            ("--dry-run", dry_run),
            ("--tensorboard", tensorboard),
        ):
            if given:
                raise UsageError(
                    f"--detach trains in the background, where {option} would be without effect; give one of them"
                )
        return partial(_detach, as_json=as_json)
    here = partial(_work, as_json=as_json, tensorboard=tensorboard)
    if headless or as_json or dry_run:
        return here
    # TensorBoard scalars are written by the process that prints, so they need training in this process.
    lack = "--tensorboard needs training in this process" if tensorboard else workbench_problem()
    if lack is not None:
        print(f"{lack}: training prints here, as with --headless", file=sys.stderr)
        return here
    return _open


def _detach(run: "RunDirectory", *, as_json: bool) -> int:
    from exphil_core.runs.launcher import start

    pid = start(run)
    if as_json:
        print(json.dumps({"run": run.name, "path": str(run.path), "pid": pid}))
        return 0
    print(f"run {run.name} is training in the background (process {pid}, {run.path})")
    print(f"  watch it   {run.typed('attach')}")
    print(f"  stop it    {run.typed('runs', 'stop')}")
    return 0


def _open(run: "RunDirectory") -> int:
    from exphil_core.runs.launcher import start

    start(run)
    return open_workbench(run)


def _work(run: "RunDirectory", *, as_json: bool, tensorboard: bool) -> int:
    from exphil_core.cli.console import console_sink
    from exphil_core.cli.tensorboard import tensorboard_sink
    from exphil_core.worker import work

    with ExitStack() as stack:
        sinks: list[Sink] = []
        if tensorboard:
            sinks.append(stack.enter_context(tensorboard_sink(run.path / "tensorboard")))
        sinks.append(stack.enter_context(console_sink(as_json=as_json)))
        if not as_json:
            sinks.append(_expense_sink(run))
        code = work(run, sinks=sinks)
    if not as_json:
        print(_next_step(run, code), file=sys.stderr)
    return code


def _expense_sink(run: "RunDirectory") -> "Sink":
    """Return a sink that prints the expected cost and memory on stderr when the run starts."""

    def hear(record: dict[str, Any]) -> None:
        if record["type"] == "run_started":
            from exphil_core.cli.probe import cost_sentences
            from exphil_core.training.estimate import estimate_run

            print("expected: " + "; ".join(cost_sentences(estimate_run(run.preset(), None))), file=sys.stderr)

    return hear


def _next_step(run: "RunDirectory", code: int) -> str:
    if code == 0:
        evaluate = shell_command(run.path.parent, "eval", run.name, "--replays", "PATH")
        return (
            f"Next: '{run.typed('runs', 'show')}', '{evaluate}', or train on your own replays.\n"
            + train_longer_hint(run)
        )
    return f"Resume it: '{run.typed('train', '--headless', '--resume')}'."


def train_longer_hint(run: "RunDirectory") -> str:
    """Return a hint with the command that trains the policy of a finished run for longer."""
    step = run.best_step()
    if step is None:
        return f"To train for longer: '{shell_command(run.path.parent, 'train', '--preset', str(run.toml_path))}'."
    best = run.step_directory(step).absolute()
    words = ("train", "--preset", str(run.toml_path), "--set", f"train.init_from={best}")
    return (
        "To train its policy for longer, start a new run from it, with the same limit or another: "
        f"'{shell_command(run.path.parent, *words)}'."
    )
