"""Executes a run's commands between training steps: pause, resume, checkpoint, stop; also SIGTERM and Ctrl-C.

Two threads share it. The heartbeat thread receives commands (`look`), so that they are acknowledged at once even
during a long evaluation. Only the training thread executes them, between two steps, when weights, optimiser and
random state are consistent.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from exphil_core.errors import ExphilError
from exphil_core.runs.control import Command, CommandInbox

_POLL_SECONDS = 0.1
"""Interval at which a paused run checks for commands."""

Save = Callable[[], None]
"""Saves a checkpoint of the last step taken."""


class StopTraining(Exception):
    """Unwinds the training loop: the run saves and ends, and can be resumed."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status
        """stopped or preempted."""


class CommandHandler:
    """Receives a run's commands, executes them between steps and answers each with an event."""

    def __init__(
        self,
        inbox: CommandInbox,
        *,
        emit: Callable[..., None],
        say: Callable[[str, int], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`say(state, step)` publishes the run's state."""
        self._inbox = inbox
        self._emit = emit
        self._say = say
        self._sleep = sleep
        self._asked: deque[Command] = deque()
        """Received commands without a final answer."""
        self._paused = False
        self.preempted = False
        """Set by the first SIGTERM or Ctrl-C; a plain attribute, since a signal handler may not take a lock."""
        self.lost = ""
        """Sentence saying why nothing can be saved any more; empty otherwise."""

    def poll(self) -> None:
        """Receive the commands sent since the last call."""
        for command in self._inbox.waiting():
            if command.refusal:
                self._answer(command, "refused", command.refusal)
            else:
                self._answer(command, "received", process_identity=self._inbox.identity)
                self._asked.append(command)
            self._inbox.discard(command)

    def between_steps(self, step: int, save: Save) -> None:
        """Execute the received commands, waiting while paused. Raises StopTraining if the run should end."""
        self._say("paused" if self._paused else "running", step)
        while True:
            self.between_chunks()
            while self._asked:
                self._obey(self._asked[0], step, save)
                self._asked.popleft()
                self.between_chunks()
            if not self._paused:
                return
            self._sleep(_POLL_SECONDS)

    def between_chunks(self) -> None:
        """Raise StopTraining if the run should end; unfinished work between two steps is abandoned."""
        if self.lost:
            raise ExphilError(self.lost)
        if self.preempted:
            raise StopTraining("preempted")
        if any(command.command == "stop" for command in list(self._asked)):
            raise StopTraining("stopped")

    def close(self, status: str) -> None:
        """Answer all open commands after the run has ended with `status` (and saved, if stopped or preempted)."""
        with suppress(OSError):
            # The next process refuses what cannot be read now.
            self.poll()
        while self._asked:
            command = self._asked.popleft()
            saved = status in ("stopped", "preempted") and command.command in ("checkpoint", "stop")
            if saved:
                self._answer(command, "done")
            else:
                self._answer(command, "refused", f"the run has ended ({status})")

    def _obey(self, command: Command, step: int, save: Save) -> None:
        match command.command:
            case "pause" if self._paused:
                self._answer(command, "refused", "the run is paused already")
            case "resume" if not self._paused:
                self._answer(command, "refused", "the run is not paused")
            case "pause" | "resume":
                self._paused = command.command == "pause"
                self._say("paused" if self._paused else "running", step)
                self._answer(command, "done")
            case "checkpoint":
                save()
                self._answer(command, "done")
            case _:
                raise AssertionError(f"{command.command} ends the loop before it comes here")

    def _answer(self, command: Command, state: str, reason: str = "", **said: str) -> None:
        if reason:
            said["reason"] = reason
        self._emit("command", command=command.command, id=command.id, state=state, **said)
