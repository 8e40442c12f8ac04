"""What parts of the workbench tell each other. Nouns and past participles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from exphil_core.runs.summary import RunSummary


class RunsRead(Message):
    """The folder of runs was looked at."""

    def __init__(self, runs: "Sequence[RunSummary]", problem: str = "") -> None:
        super().__init__()
        self.runs = tuple(runs)
        self.problem = problem
        """A sentence where it could not be; `runs` is empty then."""
