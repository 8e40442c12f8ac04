"""What a run's own process does about its commands: pause, go on, save, end.

In: commands out of an `Inbox`, and signals. Out: what the training loop has to do between two steps, and an answer to
every command. What a reader gets wrong: two threads share it. The heartbeat's thread takes commands in (`look`), so
that they are received at once even during a long evaluation; the training thread alone carries them out, between
two steps, where weights, optimiser and random state belong to one another.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from exphil_core.errors import ExphilError
from exphil_core.runs.control import Command, Inbox

_POLL_SECONDS = 0.1
"""Between two looks of a paused run at what it was asked."""

Save = Callable[[], None]
"""Saves a checkpoint of the step that was taken last."""


class Ending(Exception):
    """The run saves and ends, for now: what a loop raises through."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status
        """stopped, preempted."""


class Helm:
    def __init__(
        self,
        inbox: Inbox,
        *,
        emit: Callable[..., None],
        say: Callable[[str, int], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`say(state, step)` publishes how the run stands."""
        self._inbox = inbox
        self._emit = emit
        self._say = say
        self._sleep = sleep
        self._asked: deque[Command] = deque()
        """Received and not answered."""
        self._paused = False
        self.preempted = False
        """Set by the first SIGTERM or Ctrl-C; a plain attribute, as a signal's handler may take no lock."""
        self.lost = ""
        """Why nothing can be saved any more: a sentence."""

    def look(self) -> None:
        """Takes in what has been sent since the last look."""
        for command in self._inbox.waiting():
            if command.refusal:
                self._answer(command, "refused", command.refusal)
            else:
                self._answer(command, "received", process_identity=self._inbox.identity)
                self._asked.append(command)
            self._inbox.discard(command)

    def between_steps(self, step: int, save: Save) -> None:
        """Carries out what was asked, and returns when the next step may be taken. Raises Ending."""
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
        """Raises Ending where the run was asked to end: what is half done is then not worth its rest."""
        if self.lost:
            raise ExphilError(self.lost)
        if self.preempted:
            raise Ending("preempted")
        if any(command.command == "stop" for command in list(self._asked)):
            raise Ending("stopped")

    def close(self, status: str) -> None:
        """Answers all that is still open, now that the run has ended with `status` (and saved, where it stopped)."""
        with suppress(OSError):
            # What cannot be read now is refused by the next process.
            self.look()
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
