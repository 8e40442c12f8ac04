"""`exphil train`: create or resume a run and train it here, in the background, or under the workbench.

`--resume` takes all settings from the run, so other settings beside it are an error. Under the workbench the run is a
background process: quitting the workbench does not stop it.
"""

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exphil_core.cli.new_run import create_run, default_replays, print_dry_run
from exphil_core.cli.options import TYPED, RunsDir
from exphil_core.cli.tensorboard import require_tensorboard
from exphil_core.cli.train_launch import destination, train_longer_hint
from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import parse_assignments, resolve_preset
from exphil_core.config.setting_help import setting_choices, setting_help
from exphil_core.errors import UsageError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR

if TYPE_CHECKING:
    from exphil_core.runs.directory import RunDirectory

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
    "mirror_prob": ("train.mirror_prob", "--mirror-prob"),
    "noise_prob": ("train.noise_prob", "--noise-prob"),
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
"""Parameter → (preset key, option). `--delay` with a range sets `policy.delay_range` instead."""

DEFAULT_PRESET = "base"


def _setting(key: str, more: str = "") -> Any:
    """Return the option of a setting: its help is the setting's, and `more` after it."""
    # Options of limits take numbers only; the word none goes through --set.
    about = setting_help(key).replace("; none turns it off.", ".")
    return typer.Option(help=f"{about} {more}".strip(), metavar="|".join(setting_choices(key)) or None)


def train_command(
    context: typer.Context,
    preset: Annotated[
        str | None,
        typer.Option(help=f"Preset name or file ('exphil presets list'); default: {DEFAULT_PRESET}."),
    ] = None,
    replays: Annotated[list[str] | None, _setting("data.replays", "Several may follow.")] = None,
    character: Annotated[str | None, _setting("data.characters", "Separate names with commas.")] = None,
    size: Annotated[str | None, _setting("size")] = None,
    balance_characters: Annotated[bool | None, _setting("train.balance_characters")] = None,
    character_mode: Annotated[str | None, _setting("encoder.character_mode")] = None,
    backbone: Annotated[
        str | None, typer.Option(help=f"{setting_help('backbone.kind')}: {', '.join(BACKBONE_KINDS)}.")
    ] = None,
    window_size: Annotated[int | None, _setting("backbone.window_size")] = None,
    prediction: Annotated[str | None, _setting("policy.prediction")] = None,
    codec: Annotated[str | None, _setting("policy.codec")] = None,
    delay: Annotated[
        str | None,
        _setting("policy.delay", "A range such as 0-18 sets policy.delay_range: a random delay per window."),
    ] = None,
    action_dropout: Annotated[float | None, _setting("train.action_dropout")] = None,
    scheduled_sampling: Annotated[float | None, _setting("train.scheduled_sampling")] = None,
    mirror_prob: Annotated[float | None, _setting("train.mirror_prob")] = None,
    noise_prob: Annotated[float | None, _setting("train.noise_prob")] = None,
    label_smoothing: Annotated[float | None, _setting("train.label_smoothing")] = None,
    focal_gamma: Annotated[float | None, _setting("train.focal_gamma")] = None,
    press_weight: Annotated[float | None, _setting("train.press_weight")] = None,
    ema_decay: Annotated[float | None, _setting("train.ema_decay")] = None,
    patience: Annotated[int | None, _setting("evaluation.patience")] = None,
    epochs: Annotated[float | None, _setting("train.epochs")] = None,
    max_steps: Annotated[int | None, _setting("train.max_steps")] = None,
    max_minutes: Annotated[float | None, _setting("train.max_minutes")] = None,
    batch_size: Annotated[int | None, _setting("train.batch_size")] = None,
    lr: Annotated[float | None, _setting("train.lr")] = None,
    seed: Annotated[int | None, _setting("train.seed")] = None,
    device: Annotated[str | None, _setting("train.device")] = None,
    pilot: Annotated[str | None, _setting("pilot.device")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other preset key: section.key=value.", metavar="KEY=VALUE"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Run name (default: preset and time).")] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    resume: Annotated[str | None, typer.Option(help="Resume this run from its newest checkpoint.")] = None,
    headless: Annotated[bool, typer.Option(help="Print instead of opening the workbench.")] = False,
    detach: Annotated[
        bool, typer.Option(help="Train in the background; print the run's name and folder.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the run's events, one JSON object a line (--detach: one object)."),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option(help="Also write TensorBoard scalars into the run (extra 'tensorboard').")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Print what would be trained, and stop.")] = False,
    probe: Annotated[
        float | None,
        typer.Option(help="With --dry-run: measure the speed of real steps for this many seconds."),
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
    where = destination(
        headless=headless, detach=detach, as_json=as_json, tensorboard=tensorboard, dry_run=dry_run
    )
    if resume is not None:
        from exphil_core.runs.summary import is_finished

        resumed = _held_run(resume, runs_dir)
        if is_finished(resumed):
            print(f"run {resumed.name} is done. {train_longer_hint(resumed)}", file=sys.stderr)
        raise typer.Exit(where(resumed))
    chosen = preset or DEFAULT_PRESET
    resolved = resolve_preset(chosen, *_overrides(typed, settings or []))
    for note in resolved.notes:
        print(note, file=sys.stderr)
    if dry_run:
        raise typer.Exit(print_dry_run(resolved, probe_seconds=probe, as_json=as_json))
    if not resolved.preset.data.replays:
        resolved = resolved.setting("data.replays", default_replays(chosen, context.meta[TYPED], runs_dir))
    # --detach --json prints one object at the end, so reading replays still shows progress on stderr.
    raise typer.Exit(where(create_run(resolved, runs_dir, name, quiet=as_json and not detach)))


def _overrides(typed: dict[str, object], settings: list[str]) -> tuple[dict[str, object], dict[str, str]]:
    """Return the overrides by preset key, and the option of each for error messages."""
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
    """Return (preset key, value): one delay in frames, or the [least, most] of a range."""
    found = re.fullmatch(r"\s*(-?\d+)\s*(?:-\s*(\d+)\s*)?", typed)
    if found is None:
        raise UsageError(f"--delay {typed}: expected a number of frames such as 18, or a range such as 0-18")
    least, most = found.groups()
    return ("policy.delay", int(least)) if most is None else ("policy.delay_range", [int(least), int(most)])


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
        sentence = f"--resume continues with the run's own settings, {ignored}"
        # No hint where the run does not exist.
        with suppress(UsageError):
            sentence += f". {train_longer_hint(_held_run(resume, runs_dir))}"
        raise UsageError(sentence)


def _held_run(name: str, runs_dir: Path) -> "RunDirectory":
    from exphil_core.runs.directory import RunDirectory

    return RunDirectory.find(runs_dir, name)
