"""Messages shared by several screens and widgets, named with nouns and past participles."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from exphil_core.runs.summary import RunSummary


class RunsRead(Message):
    """The runs folder was read."""

    def __init__(self, runs: "Sequence[RunSummary]", problem: str = "") -> None:
        super().__init__()
        self.runs = tuple(runs)
        self.problem = problem
        """Why the folder could not be read, as a sentence; `runs` is then empty."""
