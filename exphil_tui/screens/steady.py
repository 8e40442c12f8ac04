"""A screen that is laid out for the terminal as it is now, whatever size it is told of late.

What a reader gets wrong: this changes nothing but the order in which sizes are believed. Screens that lie on
each other hear of a new size from the workbench and from one another; where a terminal is resized twice in a
moment they were seen (Textual 8.2.8) to lay each other out for the one size and the other in turn, for ever,
and to draw nothing meanwhile.
"""

from typing import TypeVar

from textual.geometry import Size
from textual.screen import ModalScreen, Screen

Result = TypeVar("Result")


class SteadyScreen(Screen[Result]):
    def _screen_resized(self, size: Size) -> None:
        super()._screen_resized(self.app.size)


class SteadyModalScreen(ModalScreen[Result]):
    """The same over another screen."""

    def _screen_resized(self, size: Size) -> None:
        super()._screen_resized(self.app.size)
