"""System statistics of a run: throughput, data wait, CPU, memory, GPU; as a panel or as one line.

Data wait is the share of time in which a step waits for its batch. A high value means that the data is the
bottleneck, whatever the GPU shows.
"""

from dataclasses import dataclass

import numpy as np

from exphil_core.runs.records import Resources
from exphil_tui.model.run_state import RunState
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs
from exphil_tui.widgets.sparkline import sparkline
from exphil_tui.widgets.text_panel import Line, PanelContent, Part, TextPanel, bar, left, right

SLOW_DATA = 0.2
"""Data wait from which a warning is shown."""

_RECENT = 120
"""Points of a sparkline."""

_LABEL, _VALUE = 14, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStats:
    speed: float | None = None
    """Frames per second."""
    recent_speed: tuple[float, ...] = ()
    data_wait: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    resources: Resources | None = None
    cores: int = 1
    """CPU cores of this machine."""
    over: bool = False
    """The run has ended, so the values are not current."""


def system_stats(state: RunState, *, cores: int, over: bool) -> SystemStats:
    step = state.step
    return SystemStats(
        speed=step.frames_per_s if step else None,
        recent_speed=tuple(state.speed.y[-_RECENT:].tolist()),
        data_wait=step.data_wait if step else None,
        learning_rate=step.lr if step else None,
        grad_norm=step.grad_norm if step else None,
        resources=state.resources,
        cores=cores,
        over=over,
    )


class _SystemStatsBase(TextPanel):
    """Base class of the panel and the one-line form."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._stats = SystemStats()

    def show(self, system_stats: SystemStats) -> None:
        if system_stats != self._stats:
            self._stats = system_stats
            self.update()


class SystemStatsPanel(_SystemStatsBase):
    TITLE = "machine"
    BINDING_GROUP_TITLE = "Machine"

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        system_stats, room = self._stats, max(0, min(40, width - _LABEL - _VALUE - 3))
        resources = system_stats.resources
        wait_look = "warn" if (system_stats.data_wait or 0.0) >= SLOW_DATA else ""
        lines: list[Line] = [
            _row(
                "frames/s",
                fmt.count(system_stats.speed, glyphs),
                glyphs,
                "strong",
                ((sparkline(np.asarray(system_stats.recent_speed), room, glyphs), "accent"),),
            ),
            _row(
                "data wait",
                fmt.percent(system_stats.data_wait, glyphs),
                glyphs,
                wait_look,
                (("data loading is the bottleneck", "warn"),)
                if wait_look
                else _gauge(system_stats.data_wait, room, glyphs),
            ),
            _row("cpu", *_cpu(system_stats, glyphs, room)),
            _row("memory", *_memory(resources, glyphs, room)),
            _row("gpu", *_gpu(resources, glyphs, room)),
            _row(
                "learning rate",
                glyphs.dash if system_stats.learning_rate is None else f"{system_stats.learning_rate:.2g}",
                glyphs,
                "",
                ((f"grad {system_stats.grad_norm:.2g}", "dim"),)
                if system_stats.grad_norm is not None
                else (),
            ),
        ]
        return PanelContent(lines=tuple(lines), notes=("last values",) if system_stats.over else ())


class SystemStatsLine(_SystemStatsBase, can_focus=False):
    """System statistics in one line."""

    DEFAULT_CSS = """
    SystemStatsLine { height: 1; overflow-y: hidden; }
    """

    def picture(self, width: int, glyphs: Glyphs) -> PanelContent:
        system_stats, resources = self._stats, self._stats.resources
        if system_stats.speed is None:
            return PanelContent()
        parts: list[Part] = [
            (" ", ""),
            (right(fmt.count(system_stats.speed, glyphs), 5), "strong"),
            (" frames/s ", "dim"),
            (sparkline(np.asarray(system_stats.recent_speed), 10, glyphs), "accent"),
            ("  data wait ", "dim"),
            (
                fmt.percent(system_stats.data_wait, glyphs),
                "warn" if (system_stats.data_wait or 0.0) >= SLOW_DATA else "",
            ),
        ]
        if resources is not None:
            parts += [
                ("  cpu ", "dim"),
                (glyphs.dash if resources.cpu is None else f"{resources.cpu:.1f}", ""),
                ("  memory ", "dim"),
                (fmt.memory(resources.memory_bytes, glyphs), ""),
            ]
            if resources.gpu_memory_bytes is not None:
                parts += [("  gpu ", "dim"), (fmt.memory(resources.gpu_memory_bytes, glyphs), "")]
        return PanelContent(lines=(tuple(parts),))


def _row(label: str, value: str, glyphs: Glyphs, look: str, more: tuple[Part, ...]) -> Line:
    return ((left(f"  {label}", _LABEL + 2, glyphs), "dim"), (left(value, _VALUE, glyphs), look), *more)


def _gauge(share: float | None, room: int, glyphs: Glyphs) -> tuple[Part, ...]:
    if share is None or room < 4:
        return ()
    full, rest = bar(share, room, glyphs)
    return ((full, "accent"), (rest, "rule"))


def _cpu(system_stats: SystemStats, glyphs: Glyphs, room: int) -> tuple[str, Glyphs, str, tuple[Part, ...]]:
    cpu = system_stats.resources.cpu if system_stats.resources else None
    if cpu is None:
        return glyphs.dash, glyphs, "dim", ()
    return (
        f"{cpu:.1f} of {system_stats.cores}",
        glyphs,
        "",
        _gauge(cpu / max(1, system_stats.cores), room, glyphs),
    )


def _memory(
    resources: Resources | None, glyphs: Glyphs, room: int
) -> tuple[str, Glyphs, str, tuple[Part, ...]]:
    if resources is None:
        return glyphs.dash, glyphs, "dim", ()
    share = resources.memory_bytes / max(1, resources.memory_total_bytes)
    return (
        fmt.memory(resources.memory_bytes, glyphs),
        glyphs,
        "warn" if share > 0.9 else "",
        _gauge(share, room, glyphs),
    )


def _gpu(resources: Resources | None, glyphs: Glyphs, room: int) -> tuple[str, Glyphs, str, tuple[Part, ...]]:
    if resources is None or resources.gpu_memory_bytes is None:
        return ("none" if resources is not None else glyphs.dash), glyphs, "dim", ()
    used, total = resources.gpu_memory_bytes, resources.gpu_memory_total_bytes
    busy = resources.gpu_utilization
    gauge = _gauge(used / total, room if busy is None else room - 11, glyphs) if total else ()
    if busy is not None:
        gauge = (*gauge, (f"  {100 * busy:.0f} % busy", ""))
    return fmt.memory(used, glyphs), glyphs, "", gauge
