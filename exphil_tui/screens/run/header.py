"""Values of the run screen's header, and the note about the newest validation."""

from exphil_core.errors import ExphilError
from exphil_core.replays.text import sanitise
from exphil_core.runs.directory import RunDirectory
from exphil_tui.model.run_state import RunState
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.run_header import RunFacts

_OVERDUE_FACTOR = 1.25
"""A validation is overdue after this multiple of the usual number of steps between two."""


def preset_summary(run: RunDirectory) -> tuple[str, ...]:
    """Return preset, backbone and window; empty if the preset cannot be read."""
    try:
        preset = run.preset()
    except (ExphilError, OSError):
        return ()
    return sanitise(preset.name), preset.backbone.kind, f"window {preset.backbone.window_size}"


def run_facts(
    state: RunState,
    *,
    name: str,
    status: str,
    alive: bool,
    activity: str,
    preset: tuple[str, ...],
    glyphs: Glyphs,
) -> RunFacts:
    """Return the header's values.

    Args:
        name: The run's name.
        status: State of the run, as in `RunSnapshot`; empty until it has been read.
        alive: Whether the run has a process.
        activity: What is in progress now: a command, or reading the events.
        preset: The `preset_summary`, shown until the start event gives more.
    """
    started, step = state.started, state.step
    if started is not None:
        preset = (
            sanitise(started.preset),
            sanitise(started.backbone),
            f"window {started.window_size}",
            f"{fmt.count(started.parameters, glyphs)} parameters",
            " ".join(text for text in (sanitise(started.device), sanitise(started.precision)) if text),
        )
    reached = step.step if step is not None else None
    if state.finished is not None and state.finished.step is not None:
        reached = max(reached or 0, state.finished.step)
    return RunFacts(
        name=sanitise(name, limit=100),
        state=status,
        doing=activity,
        kind=preset,
        step=reached,
        steps=started.steps if started is not None else None,
        progress=1.0 if status == "done" else step.progress if step is not None else None,
        eta_s=step.eta_s if step is not None and alive else None,
        best_loss=state.best_loss,
        best_step=state.best_step,
    )


def validation_notes(state: RunState, glyphs: Glyphs) -> tuple[tuple[str, ...], str]:
    """Return texts, longest first, for the step and age of the newest validation, and their look: a warning if the
    next one is overdue."""
    newest, step, before = state.evaluated, state.step, state.previous_evaluated
    if newest is None:
        return ("no validation yet",), "dim"
    ago = max(0, step.step - newest.step) if step is not None else 0
    then = f"step {newest.step:,}" + (f", {ago:,} step{'s' * (ago != 1)} ago" if ago else "")
    usual = newest.step - before.step if before is not None and before.step < newest.step else newest.step
    if ago > _OVERDUE_FACTOR * usual and usual > 0:
        return (f"{glyphs.warning} validation of {then}", f"{glyphs.warning} {then}"), "warn"
    return (f"validation of {then}", f"validation: {then}", then), "dim"
