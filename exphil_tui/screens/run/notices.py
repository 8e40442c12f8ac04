"""Notices above the chart of the run screen: what is wrong with the run, and which key helps."""

from datetime import datetime
from pathlib import Path

from exphil_core.replays.text import sanitise
from exphil_tui.model.run_snapshot import RunSnapshot
from exphil_tui.model.run_state import RunState
from exphil_tui.model.run_status import RESUMABLE, run_status
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.run_notice import RunNotice

_MAX_CHARS = 400


def problem_notice(problem: str, glyphs: Glyphs) -> RunNotice:
    return RunNotice(sign=glyphs.warning, sentence=sanitise(problem, limit=_MAX_CHARS), look="warn")


def status_notice(snapshot: RunSnapshot, state: RunState, *, path: Path, glyphs: Glyphs) -> RunNotice | None:
    """Return the notice for a run that is not training; None if there is nothing to say.

    Args:
        path: The run's directory.
    """
    sign = run_status(snapshot.state).sign_in(glyphs)
    resume = _resume_hint(snapshot)
    match snapshot.state:
        case "gone":
            where = sanitise(str(path), limit=_MAX_CHARS)
            sentence = f"This run was deleted or moved: {where}. The data read before is still shown."
            return RunNotice(sign=sign, sentence=sentence, look="bad")
        case "crashed":
            last = ""
            if snapshot.heartbeat is not None:
                last = f"; its last update was at {datetime.fromtimestamp(snapshot.heartbeat):%H:%M:%S}"
            sentence = f"This run crashed: the worker exited unexpectedly{last}. {resume}"
            return RunNotice(sign=sign, sentence=sentence, look="bad", printed=snapshot.printed)
        case "failed" | "diverged":
            errors = [line.text for line in state.log if line.kind == "error"]
            why = sanitise(errors[-1], limit=_MAX_CHARS) if errors else "no reason given"
            sentence = f"This run {snapshot.state}: {why.rstrip('.')}. {resume}"
            printed = () if errors else snapshot.printed
            return RunNotice(sign=sign, sentence=sentence, look="bad", printed=printed)
        case "stopped":
            return RunNotice(sign=sign, sentence=f"This run was stopped. {resume}", look="")
        case "preempted":
            return RunNotice(sign=sign, sentence=f"This run was preempted by the machine. {resume}", look="")
        case "new":
            return RunNotice(sign=sign, sentence="This run has not started yet: r starts it.", look="")
        case "starting" if state.step is None:
            sentence = "Loading data and initialising the model…"
            if state.log and state.log[-1].kind == "preparing":
                sentence = state.log[-1].text
            return RunNotice(sign=sign, sentence=sentence, look="")
    return None


def _resume_hint(snapshot: RunSnapshot) -> str:
    if snapshot.latest_step is not None:
        return f"r resumes it from step {snapshot.latest_step:,}."
    if snapshot.state in RESUMABLE:
        return "r restarts it from the beginning: there is no checkpoint yet."
    return "r starts it again."
