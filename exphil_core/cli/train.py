"""`exphil train`: from what was typed to a run, and the run to its end, here or in the background.

In: options, each of which is also a preset key. Out: a run directory and an exit code. What a reader gets wrong:
`--resume` takes everything from the run itself, so any other setting beside it is an error and never ignored; and
what the workbench shows is a run in the background, so that leaving the workbench never ends it.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exphil_core.cli.attach import lack_of_workbench, open_workbench
from exphil_core.cli.options import TYPED, RunsDir
from exphil_core.cli.tensorboard import require_tensorboard
from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import Resolved, parse_assignments, resolve_preset
from exphil_core.config.preset import Preset
from exphil_core.cpu import core_count
from exphil_core.errors import UsageError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR, quoted, typed_command

if TYPE_CHECKING:
    from exphil_core.cli.console import Sink
    from exphil_core.runs.directory import RunDirectory
    from exphil_core.training.fit import Fitted

_OPTIONS: dict[str, tuple[str, str]] = {
    "size": ("size", "--size"),
    "replays": ("data.replays", "--replays"),
    "character": ("data.characters", "--character"),
    "balance_characters": ("train.balance_characters", "--balance-characters"),
    "character_mode": ("encoder.character_mode", "--character-mode"),
    "backbone": ("backbone.kind", "--backbone"),
    "window_size": ("backbone.window_size", "--window-size"),
    "prediction": ("policy.prediction", "--prediction"),
    "codec": ("policy.codec", "--codec"),
    "delay": ("policy.delay", "--delay"),
    "action_dropout": ("train.action_dropout", "--action-dropout"),
    "scheduled_sampling": ("train.scheduled_sampling", "--scheduled-sampling"),
    "mirror": ("train.mirror", "--mirror"),
    "noise_share": ("train.noise_share", "--noise-share"),
    "label_smoothing": ("train.label_smoothing", "--label-smoothing"),
    "focal_gamma": ("train.focal_gamma", "--focal-gamma"),
    "press_weight": ("train.press_weight", "--press-weight"),
    "ema_decay": ("train.ema_decay", "--ema-decay"),
    "patience": ("evaluation.patience", "--patience"),
    "epochs": ("train.epochs", "--epochs"),
    "max_steps": ("train.max_steps", "--max-steps"),
    "max_minutes": ("train.max_minutes", "--max-minutes"),
    "batch_size": ("train.batch_size", "--batch-size"),
    "lr": ("train.lr", "--lr"),
    "seed": ("train.seed", "--seed"),
    "device": ("train.device", "--device"),
    "pilot": ("pilot.device", "--pilot"),
}
"""Parameter → preset key and what people type for it. `--delay` with a range is `policy.delays`."""

DEFAULT_PRESET = "base"

DEMO_PRESET = "quick"
"""Trains on the dojo's games where no replays are named."""


def train_command(
    context: typer.Context,
    preset: Annotated[
        str | None, typer.Option(help="A preset's name or file ('exphil presets list').")
    ] = None,
    replays: Annotated[
        list[str] | None,
        typer.Option(help="Files, folders, archives, or one built dataset; several may follow."),
    ] = None,
    character: Annotated[
        str | None,
        typer.Option(help="Whose inputs are imitated: mewtwo,link,… (default: the preset's, or all)."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="small, medium, production, or auto: by the training frames, this machine and the time."
        ),
    ] = None,
    balance_characters: Annotated[
        bool | None, typer.Option(help="Draw rare characters more often than their share of the frames.")
    ] = None,
    character_mode: Annotated[str | None, typer.Option(help="one_hot or learned.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help=f"The sequence model: {', '.join(BACKBONE_KINDS)}.")
    ] = None,
    window_size: Annotated[
        int | None,
        typer.Option(
            help="Frames it looks back on, or is trained on: 60, 120, 180, 300 or any other; --dry-run says what "
            "they cost."
        ),
    ] = None,
    prediction: Annotated[
        str | None,
        typer.Option(
            help="dense (at every frame), last (at a window's last) or interleaved (at every frame, with the ego's "
            "actions as tokens of their own)."
        ),
    ] = None,
    codec: Annotated[str | None, typer.Option(help="clusters or axes.")] = None,
    delay: Annotated[
        str | None,
        typer.Option(
            help="Frames between an observation and the input it causes. A range such as 0-18 is drawn from and told "
            "to the policy; policy.delay is the one it plays with."
        ),
    ] = None,
    action_dropout: Annotated[
        float | None, typer.Option(help="Share of the frames on which it is not shown what the ego did.")
    ] = None,
    scheduled_sampling: Annotated[
        float | None,
        typer.Option(help="Share of the frames on which it is shown what it would have done itself instead."),
    ] = None,
    mirror: Annotated[
        float | None, typer.Option(help="Share of the windows that are reflected left to right.")
    ] = None,
    noise_share: Annotated[
        float | None, typer.Option(help="Share of the windows whose numeric inputs get noise.")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Of sticks and triggers, never of buttons nor of a reported loss.")
    ] = None,
    focal_gamma: Annotated[
        float | None, typer.Option(help="How much less counts what is predicted well already.")
    ] = None,
    press_weight: Annotated[
        float | None, typer.Option(help="How many times as much the buttons of a frame with a press count.")
    ] = None,
    ema_decay: Annotated[
        float | None, typer.Option(help="Of the averaged weights that are evaluated and kept; 0: none.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="End early after as many evaluations without a better loss; 0: never.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="End after as many passes over the data.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="End after as many updates.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="End after as many minutes of training.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows a forward pass.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate after the warm-up.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides weights, batches and augmentation.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    pilot: Annotated[
        str | None,
        typer.Option(
            help="Where the policy plays at 60 FPS meanwhile: off, auto, cpu (leaves it a core) or cuda."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other preset key: section.key=value.", metavar="KEY=VALUE"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run's name (default: preset and time).")] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    resume: Annotated[
        str | None, typer.Option(help="Go on with this run from its newest checkpoint.")
    ] = None,
    headless: Annotated[bool, typer.Option(help="Print instead of opening the workbench.")] = False,
    detach: Annotated[bool, typer.Option(help="Train in the background, and say where.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the run's events, one JSON object a line (--detach: one object)."),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option(help="Write TensorBoard scalars into the run too (extra 'tensorboard').")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Print what would be trained on what, and stop.")] = False,
    probe: Annotated[
        float | None,
        typer.Option(help="With --dry-run: take real steps for so many seconds and say how fast they are."),
    ] = None,
) -> None:
    """Train a policy on replays."""
    typed = {key: value for key, value in locals().items() if key in _OPTIONS and value is not None}
    if probe is not None and not dry_run and resume is None:
        raise UsageError("--probe belongs to --dry-run: it measures how fast steps are, and trains nothing")
    if resume is not None:
        _refuse_beside_resume(resume, runs_dir, typed, preset, settings, name, dry_run=dry_run, probe=probe)
    if tensorboard:
        require_tensorboard()
    where = _where(
        headless=headless, detach=detach, as_json=as_json, tensorboard=tensorboard, dry_run=dry_run
    )
    if resume is not None:
        from exphil_core.runs.summary import has_said_done

        resumed = _held_run(resume, runs_dir)
        if has_said_done(resumed):
            print(f"run {resumed.name} is done. {_longer(resumed)}", file=sys.stderr)
        raise typer.Exit(where(resumed))
    chosen = preset or DEFAULT_PRESET
    resolved = resolve_preset(chosen, *_overrides(typed, settings or []))
    for note in resolved.notes:
        print(note, file=sys.stderr)
    if dry_run:
        raise typer.Exit(_dry_run(resolved, probe_seconds=probe, as_json=as_json))
    if not resolved.preset.data.replays:
        resolved = resolved.setting("data.replays", _default_replays(chosen, context.meta[TYPED], runs_dir))
    # Whoever reads the one object of a detached run hears of replays being read on stderr.
    raise typer.Exit(where(_new_run(resolved, runs_dir, name, quiet=as_json and not detach)))


def _where(
    *, headless: bool, detach: bool, as_json: bool, tensorboard: bool, dry_run: bool
) -> Callable[["RunDirectory"], int]:
    """What trains a run: this process, one in the background, or one in the background under the workbench."""
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
    # TensorBoard's scalars are written by whoever prints.
    lack = "--tensorboard is written from here" if tensorboard else lack_of_workbench()
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
    print(f"run {run.name} goes on in the background (process {pid}, {run.path})")
    print(f"  watch it   {run.typed('attach')}")
    print(f"  stop it    {run.typed('runs', 'stop')}")
    return 0


def _open(run: "RunDirectory") -> int:
    from exphil_core.runs.launcher import start

    start(run)
    return open_workbench(run)


def _overrides(typed: dict[str, object], settings: list[str]) -> tuple[dict[str, object], dict[str, str]]:
    """Overrides by preset key, and the option that each came from."""
    overrides, names = parse_assignments(settings), {}
    for parameter, value in typed.items():
        key, option = _OPTIONS[parameter]
        if parameter == "character":
            assert isinstance(value, str)
            value = [part.strip() for part in value.split(",") if part.strip()]
            if not value:
                raise UsageError(
                    f"{option} '{typed[parameter]}' names no character: expected names such as mewtwo,link; for all "
                    f"characters leave {option} out, or --set data.characters=[] where the preset names some"
                )
        if parameter == "delay":
            assert isinstance(value, str)
            key, value = _delay(value)
        if key in overrides:
            raise UsageError(f"{option} and --set {key} both set {key}; give one of them")
        overrides[key], names[key] = value, option
    return overrides, names


def _delay(typed: str) -> tuple[str, object]:
    """A key and its value: one delay, or the least and the most of a range."""
    found = re.fullmatch(r"\s*(-?\d+)\s*(?:-\s*(\d+)\s*)?", typed)
    if found is None:
        raise UsageError(f"--delay {typed}: expected a number of frames such as 18, or a range such as 0-18")
    least, most = found.groups()
    return ("policy.delay", int(least)) if most is None else ("policy.delays", [int(least), int(most)])


def _refuse_beside_resume(
    resume: str,
    runs_dir: Path,
    typed: dict[str, object],
    preset: str | None,
    settings: list[str] | None,
    name: str | None,
    *,
    dry_run: bool,
    probe: float | None,
) -> None:
    beside = [_OPTIONS[key][1] for key in typed]
    beside += [
        option
        for option, value in (
            ("--preset", preset),
            ("--set", settings),
            ("--name", name),
            ("--dry-run", dry_run),
            ("--probe", probe),
        )
        if value
    ]
    if beside:
        ignored = f"so {', '.join(beside)} would be ignored; leave it out"
        sentence = f"--resume goes on with the run's own settings, {ignored}"
        # Without such a run there is nothing to train for longer.
        with suppress(UsageError):
            sentence += f". {_longer(_held_run(resume, runs_dir))}"
        raise UsageError(sentence)


def _dataset(preset: Preset, *, quiet: bool) -> Path:
    from exphil_core.cli.options import dataset_of

    return dataset_of(
        preset.data.replays, min_frames=preset.data.min_frames, workers=core_count(), quiet=quiet
    ).resolve()


def _default_replays(preset: str, typed: Sequence[str], runs_dir: Path) -> tuple[str, ...]:
    """What is trained on where no replays are named: the dojo's games for `quick`. UsageError for the others."""
    if preset == DEMO_PRESET:
        return (str(_demo_replays()),)
    from exphil_core.replays.folders import count_replays, usual_folders

    found = [
        folder for folder in usual_folders() if (counted := count_replays(folder)).replays or counted.archives
    ]
    if found:
        command = " ".join(map(quoted, ("exphil", "train", *typed)))
        commands = "".join(f"\n  {command} --replays {quoted(str(folder))}" for folder in found)
        raise UsageError(f"no replays were named; Slippi keeps some on this machine, so type:{commands}")
    raise UsageError(
        "no replays to train on: name a folder, an archive or a dataset with --replays PATH, record some with "
        f"Slippi, or train on the dojo's games with '{typed_command(runs_dir, 'train', '--preset', DEMO_PRESET)}'"
    )


def _demo_replays() -> Path:
    """The folder of the dojo's games, written where they are missing."""
    from exphil_core.cli.progress import told
    from exphil_core.dataset.catalog import demo_folder
    from exphil_core.dojo.demo import DEFAULT_GAMES, iterate_demo

    folder = demo_folder()
    print(f"no replays were named: training on the dojo's demo games in {folder}", file=sys.stderr)
    if len(list(folder.glob("dojo_*.slp"))) < DEFAULT_GAMES:
        with told(f"writing {DEFAULT_GAMES} demo games") as say:
            written = iterate_demo(folder, games=DEFAULT_GAMES, seed=0, workers=core_count())
            for number, _ in enumerate(written, start=1):
                say(f"{number} of {DEFAULT_GAMES} demo games written")
    return folder


def _new_run(resolved: Resolved, runs_dir: Path, name: str | None, *, quiet: bool) -> "RunDirectory":
    # Torch takes seconds to import, so mistakes in what was typed are found before it.
    from exphil_core.dataset.catalog import listed_dataset
    from exphil_core.dataset.index import DatasetIndex
    from exphil_core.runs.directory import RunDirectory, name_problem

    if name is not None and (problem := name_problem(runs_dir, name)) is not None:
        raise UsageError(problem)
    # A folder that cannot be made is found before replays are read, which can take hours.
    runs_dir.mkdir(parents=True, exist_ok=True)
    dataset = _dataset(resolved.preset, quiet=quiet)
    fingerprint = DatasetIndex.open(dataset).fingerprint
    fitted = _fitted(resolved, dataset)
    return RunDirectory.create(
        runs_dir,
        fitted.preset,
        name=name,
        dataset=dataset,
        fingerprint=fingerprint,
        sources=listed_dataset(dataset).sources,
        reasons=fitted.reasons,
    )


def _fitted(resolved: Resolved, dataset: Path) -> "Fitted":
    """The preset with nothing left to pick; what is picked, why, and how long training takes go to stderr."""
    if resolved.preset.size is not None:
        print("fitting the preset to the data and this machine…", file=sys.stderr)
    from exphil_core.cli.probe import duration
    from exphil_core.training.fit import fit

    fitted = fit(resolved, dataset)
    for reason in fitted.reasons:
        print(reason, file=sys.stderr)
    if fitted.seconds is not None:
        early = ", less where the held-out loss stops falling" if fitted.preset.evaluation.patience else ""
        print(f"training takes about {duration(fitted.seconds)} at most{early}", file=sys.stderr)
    return fitted


def _held_run(name: str, runs_dir: Path) -> "RunDirectory":
    from exphil_core.runs.directory import RunDirectory

    return RunDirectory.find(runs_dir, name)


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
    """Says on stderr what the steps will take, once the run has begun and before the first of them."""

    def hear(record: dict[str, Any]) -> None:
        if record["type"] == "run_started":
            from exphil_core.cli.probe import expense
            from exphil_core.training.probe import outlook

            print("expected: " + "; ".join(expense(outlook(run.preset(), None))), file=sys.stderr)

    return hear


def _next_step(run: "RunDirectory", code: int) -> str:
    if code == 0:
        evaluate = typed_command(run.path.parent, "eval", run.name, "--replays", "PATH")
        return f"Next: '{run.typed('runs', 'show')}', '{evaluate}', or train on your own replays.\n{_longer(run)}"
    return f"Go on with it: '{run.typed('train', '--headless', '--resume')}'."


def _longer(run: "RunDirectory") -> str:
    """How to train the policy of a run that has reached its limit for longer."""
    step = run.best_step()
    if step is None:
        return f"To train for longer: '{typed_command(run.path.parent, 'train', '--preset', str(run.toml_path))}'."
    best = run.step_directory(step).absolute()
    words = ("train", "--preset", str(run.toml_path), "--set", f"train.start_from={best}")
    return (
        "To train its policy for longer, start a new run from it, with the same limit or another: "
        f"'{typed_command(run.path.parent, *words)}'."
    )


def _dry_run(resolved: Resolved, *, probe_seconds: float | None, as_json: bool) -> int:
    from exphil_core.cli.probe import dry_run

    preset = resolved.preset
    reasons: Sequence[str] = ()
    dataset = _dataset(preset, quiet=as_json) if preset.data.replays else None
    if dataset is not None:
        fitted = _fitted(resolved, dataset)
        preset, reasons = fitted.preset, fitted.reasons
    return dry_run(preset, dataset, probe_seconds=probe_seconds, as_json=as_json, reasons=reasons)
