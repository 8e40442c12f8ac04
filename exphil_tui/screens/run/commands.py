"""Commands that the run screen has sent, until an event of the run answers them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from exphil_core.replays.text import sanitise
from exphil_core.runs.records import CommandSeen

_SHOW_WAIT_AFTER_S = 2.0
"""Seconds after which the waiting time of an unanswered command is shown."""

_VERBS = {"pause": "pause", "resume": "continue", "checkpoint": "save a checkpoint", "stop": "stop"}
_LABELS = {"pause": "Pause", "resume": "Continue", "checkpoint": "Checkpoint", "stop": "Stop"}
_DONE = {
    "pause": "The run is paused.",
    "resume": "The run continues.",
    "checkpoint": "A checkpoint is saved.",
    "stop": "The run is stopping.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCommand:
    command: str
    at: float
    """Time sent, in seconds of the workbench's monotonic clock."""
    received: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAnswer:
    sentence: str
    refused: bool


class SentCommands:
    """Commands sent and not answered yet, by id, in order of sending."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sent: dict[str, SentCommand] = {}

    def add(self, id: str, command: str, *, at: float) -> None:
        self._sent[id] = SentCommand(command=command, at=at)

    def clear(self) -> None:
        self._sent.clear()

    def answer(self, record: CommandSeen) -> CommandAnswer | None:
        """Apply an event; return the final answer to a command of this screen, or None."""
        sent = self._sent.get(record.id)
        if sent is None:
            return None
        if record.state == "received":
            self._sent[record.id] = replace(sent, received=True)
            return None
        del self._sent[record.id]
        if record.state == "done":
            return CommandAnswer(sentence=_DONE[sent.command], refused=False)
        reason = record.reason or "no reason given"
        return CommandAnswer(sentence=f"The run refused to {_VERBS[sent.command]}: {reason}", refused=True)

    def will_pause(self, *, paused: bool) -> bool:
        """Return whether the run will be paused after the commands sent so far; `paused` is its state now."""
        waiting = [sent.command for sent in self._sent.values() if sent.command in ("pause", "resume")]
        return waiting[-1] == "pause" if waiting else paused

    def progress(self) -> str:
        """Return the oldest unanswered command and its progress, such as `pause sent`; empty if there is none."""
        for sent in self._sent.values():
            waited = self._clock() - sent.at
            status = "received" if sent.received else "sent"
            since = f", {waited:.0f} s ago" if waited >= _SHOW_WAIT_AFTER_S else ""
            return f"{sent.command} {status}{since}"
        return ""


def sent_sentence(command: str, id: str) -> str:
    """Return the notification after sending; `id` is empty if a signal was sent in place of a command file."""
    if not id:
        return "The stop was sent as a signal, because the run's folder cannot be written."
    return f"{_LABELS[command]} sent: the run answers after the current step."


def refusal_sentence(command: str, state: str) -> str:
    """Return why a command does not apply to a run in `state`."""
    if command != "resume":
        return f"Cannot {_VERBS[command]}: this run has no process ({sanitise(state)})."
    if state == "done":
        return "The run is finished; start a new run to train for longer."
    if state in ("gone", "unreadable"):
        return "Cannot resume: the run was deleted or cannot be read."
    return "The run is already running."
