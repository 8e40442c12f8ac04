"""Command palette provider: the actions of the current screen, all screens, all runs.

Actions come from key bindings: binding a key to an action adds it to the palette and to the help. Only the screens
are listed by hand.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from textual.actions import parse
from textual.app import App
from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

if TYPE_CHECKING:
    from exphil_tui.app import Workbench

_PACKAGE = "exphil_tui."


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedAction:
    """An action with its key bindings."""

    node: DOMNode
    """Screen, widget or app that the action runs on."""
    keys: tuple[Binding, ...]
    """All bindings of the same action, in order."""
    possible: bool
    """Whether the action is enabled now."""

    @property
    def action(self) -> str:
        return self.keys[0].action

    @property
    def description(self) -> str:
        """Short label."""
        return self.keys[0].description

    @property
    def sentence(self) -> str:
        """Long description: the tooltip, or the short label if there is none."""
        return self.keys[0].tooltip or self.keys[0].description


def keyed_actions(screen: Screen[object]) -> list[tuple[DOMNode, list[KeyedAction]]]:
    """Collect actions by node, in the order of help: the screen, exphil's own widgets on it, the workbench."""
    nodes: list[DOMNode] = [screen]
    kinds = set()
    # Of several widgets of one class, the focused one is meant.
    widgets: list[Widget] = [screen.focused] if screen.focused is not None else []
    for widget in (*widgets, *screen.query("*").results(Widget)):
        if type(widget).__module__.startswith(_PACKAGE) and type(widget) not in kinds:
            kinds.add(type(widget))
            nodes.append(widget)
    if not screen.is_modal:
        nodes.append(screen.app)
    taken: set[str] = set()
    found = []
    for node in nodes:
        actions = list(_actions_of(node, taken))
        if actions:
            found.append((node, actions))
    return found


def _actions_of(node: DOMNode, taken: set[str]) -> Iterator[KeyedAction]:
    by_action: dict[str, list[Binding]] = {}
    for binding in _own_bindings(node):
        if binding.description and binding.action.removeprefix("app.") not in taken:
            by_action.setdefault(binding.action, []).append(binding)
    taken.update(action.removeprefix("app.") for action in by_action)
    for action, bindings in by_action.items():
        yield KeyedAction(node=node, keys=tuple(bindings), possible=_can(node, action))


def _own_bindings(node: DOMNode) -> list[Binding]:
    """Return the bindings of exphil's own classes, without those Textual defines, such as scrolling."""
    found: dict[tuple[str, str], Binding] = {}
    for kind in type(node).__mro__:
        if not kind.__module__.startswith(_PACKAGE):
            continue
        for written in vars(kind).get("BINDINGS", ()):
            for binding in Binding.make_bindings([written]):
                found.setdefault((binding.key, binding.action), binding)
    return list(found.values())


def _can(node: DOMNode, action: str) -> bool:
    namespace, name, parameters = parse(action)
    # A namespaced action such as "app.help" is checked by the node it names.
    return bool(namespace) or node.check_action(name, parameters) is not False


class WorkbenchCommands(Provider):
    async def discover(self) -> Hits:
        for name, help, run in self._commands():
            yield DiscoveryHit(Content(name), run, text=name, help=help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for name, help, run in (*self._commands(), *self._runs()):
            if (score := matcher.match(name)) > 0:
                yield Hit(score, _highlighted(matcher.highlight(name), name), run, text=name, help=help)

    def _commands(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """Yield (name, help, callback) of every command."""
        app = self._workbench
        # Actions of the screen and the app come before those of widgets, such as moving in a table.
        groups = sorted(keyed_actions(self.screen), key=lambda group: not isinstance(group[0], Screen | App))
        for node, actions in groups:
            where = heading(node)
            for found in actions:
                if found.action != "command_palette" and found.possible:
                    keys = " or ".join(dict.fromkeys(app.get_key_display(key) for key in found.keys))
                    yield (
                        found.description,
                        f"{where}, key {keys}",
                        partial(app.run_action, found.action, node),
                    )
        yield "Runs: all runs", "Open the screen", app.open_runs
        yield "New run: configure and start one", "Open the screen", app.open_new_run
        yield "Data: replays and datasets", "Open the screen", app.open_data
        yield "Studies: compare settings over several seeds", "Open the screen", app.open_studies
        yield "Replay: view one frame by frame", "Open the screen", app.choose_replay
        yield "Screenshot", "Save the screen as an SVG picture", partial(app.deliver_screenshot)

    def _runs(self) -> Iterator[tuple[str, str, Callable[[], object]]]:
        app = self._workbench
        for run in app.known_runs:
            yield f"Open run {run.name}", f"{run.state}, step {run.step:,}", partial(app.open_run, run.name)
            yield f"Watch run {run.name}", "Live view of its pilot", partial(app.open_watch, run.name)

    @property
    def _workbench(self) -> "Workbench":
        from exphil_tui.app import Workbench

        assert isinstance(self.app, Workbench)
        return self.app


def heading(node: DOMNode) -> str:
    """Return the heading for the actions of a node, in help and in the palette."""
    if node.BINDING_GROUP_TITLE:
        return node.BINDING_GROUP_TITLE
    name = type(node).__name__
    return name.removesuffix("Screen") or name


def _highlighted(found: object, name: str) -> Content:
    return found if isinstance(found, Content) else Content(name)
