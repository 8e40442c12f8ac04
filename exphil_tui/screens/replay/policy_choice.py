"""Dialog that asks whose predictions the replay screen shows."""

from collections.abc import Sequence

from exphil_core.replays.text import sanitise
from exphil_core.runs.summary import RunSummary
from exphil_tui.model.data_sources import expanded
from exphil_tui.screens.choose import ChooseOne, ListEntry


def policy_dialog(runs: Sequence[RunSummary], current: str | None) -> ChooseOne:
    """Return a dialog over the runs that have a checkpoint; a path can be typed, too."""
    entries = [
        ListEntry(
            value=run.name, title=sanitise(run.name, limit=80), detail=f"{run.state}, step {run.step:,}"
        )
        for run in runs
        if run.step
    ]
    return ChooseOne("Predictions of which policy?", entries, current=current or "", path="")


def chosen_checkpoint(chosen: str, runs: Sequence[RunSummary]) -> str:
    """Return the name of a run as it is, and anything else as a path relative to the working directory."""
    return chosen if any(run.step and run.name == chosen for run in runs) else str(expanded(chosen))
