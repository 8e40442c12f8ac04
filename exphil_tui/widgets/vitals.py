"""How the run's process fares: throughput, waiting for data, cores, memory, GPU.

In: the curves and the newest events. Out: a panel, or one line where room is short. What a reader gets wrong: data
wait is the share of the time in which a step waited for its batch; a high one means that the data is the bottleneck,
whatever the GPU says.
"""

from dataclasses import dataclass

import numpy as np

from exphil_core.runs.records import Resources
from exphil_tui import figures
from exphil_tui.glyphs import Glyphs
from exphil_tui.state import RunState
from exphil_tui.widgets.sparkline import sparkline
from exphil_tui.widgets.text_panel import Line, Part, Picture, TextPanel, bar, left, right

SLOW_DATA = 0.2
"""Share of waiting from which on it is worth a word."""

_RECENT = 120
"""Points of a sparkline."""

_LABEL, _VALUE = 14, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    speed: float | None = None
    """Frames a second."""
    recent_speed: tuple[float, ...] = ()
    data_wait: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    resources: Resources | None = None
    cores: int = 1
    """Of this machine."""
    over: bool = False
    """The run has ended: nothing of this is of now."""


def vitals(state: RunState, *, cores: int, over: bool) -> Vitals:
    step = state.step
    return Vitals(
        speed=step.frames_per_s if step else None,
        recent_speed=tuple(state.speed.y[-_RECENT:].tolist()),
        data_wait=step.data_wait if step else None,
        learning_rate=step.lr if step else None,
        grad_norm=step.grad_norm if step else None,
        resources=state.resources,
        cores=cores,
        over=over,
    )


class _Vitals(TextPanel):
    """What is shown, in either form."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._vitals = Vitals()

    def show(self, vitals: Vitals) -> None:
        if vitals != self._vitals:
            self._vitals = vitals
            self.update()


class VitalsPanel(_Vitals):
    TITLE = "machine"
    BINDING_GROUP_TITLE = "Machine"

    def picture(self, width: int, glyphs: Glyphs) -> Picture:
        vitals, room = self._vitals, max(0, min(40, width - _LABEL - _VALUE - 3))
        resources = vitals.resources
        wait_look = "warn" if (vitals.data_wait or 0.0) >= SLOW_DATA else ""
        lines: list[Line] = [
            _row(
                "frames/s",
                figures.count(vitals.speed, glyphs),
                glyphs,
                "strong",
                ((sparkline(np.asarray(vitals.recent_speed), room, glyphs), "accent"),),
            ),
            _row(
                "data wait",
                figures.percent(vitals.data_wait, glyphs),
                glyphs,
                wait_look,
                (("the data is slower than the training", "warn"),)
                if wait_look
                else _gauge(vitals.data_wait, room, glyphs),
            ),
            _row("cpu", *_cpu(vitals, glyphs, room)),
            _row("memory", *_memory(resources, glyphs, room)),
            _row("gpu", *_gpu(resources, glyphs, room)),
            _row(
                "learning rate",
                glyphs.dash if vitals.learning_rate is None else f"{vitals.learning_rate:.2g}",
                glyphs,
                "",
                ((f"grad {vitals.grad_norm:.2g}", "dim"),) if vitals.grad_norm is not None else (),
            ),
        ]
        return Picture(lines=tuple(lines), notes=("as it last was",) if vitals.over else ())


class VitalsLine(_Vitals, can_focus=False):
    """The same in one line."""

    DEFAULT_CSS = """
    VitalsLine { height: 1; overflow-y: hidden; }
    """

    def picture(self, width: int, glyphs: Glyphs) -> Picture:
        vitals, resources = self._vitals, self._vitals.resources
        if vitals.speed is None:
            return Picture()
        parts: list[Part] = [
            (" ", ""),
            (right(figures.count(vitals.speed, glyphs), 5), "strong"),
            (" frames/s ", "dim"),
            (sparkline(np.asarray(vitals.recent_speed), 10, glyphs), "accent"),
            ("  data wait ", "dim"),
            (
                figures.percent(vitals.data_wait, glyphs),
                "warn" if (vitals.data_wait or 0.0) >= SLOW_DATA else "",
            ),
        ]
        if resources is not None:
            parts += [
                ("  cpu ", "dim"),
                (glyphs.dash if resources.cpu is None else f"{resources.cpu:.1f}", ""),
                ("  memory ", "dim"),
                (figures.memory(resources.memory_bytes, glyphs), ""),
            ]
            if resources.gpu_memory_bytes is not None:
                parts += [("  gpu ", "dim"), (figures.memory(resources.gpu_memory_bytes, glyphs), "")]
        return Picture(lines=(tuple(parts),))


def _row(label: str, value: str, glyphs: Glyphs, look: str, more: tuple[Part, ...]) -> Line:
    return ((left(f"  {label}", _LABEL + 2, glyphs), "dim"), (left(value, _VALUE, glyphs), look), *more)


def _gauge(share: float | None, room: int, glyphs: Glyphs) -> tuple[Part, ...]:
    if share is None or room < 4:
        return ()
    full, rest = bar(share, room, glyphs)
    return ((full, "accent"), (rest, "rule"))


def _cpu(vitals: Vitals, glyphs: Glyphs, room: int) -> tuple[str, Glyphs, str, tuple[Part, ...]]:
    cpu = vitals.resources.cpu if vitals.resources else None
    if cpu is None:
        return glyphs.dash, glyphs, "dim", ()
    return f"{cpu:.1f} of {vitals.cores}", glyphs, "", _gauge(cpu / max(1, vitals.cores), room, glyphs)


def _memory(
    resources: Resources | None, glyphs: Glyphs, room: int
) -> tuple[str, Glyphs, str, tuple[Part, ...]]:
    if resources is None:
        return glyphs.dash, glyphs, "dim", ()
    share = resources.memory_bytes / max(1, resources.memory_total_bytes)
    return (
        figures.memory(resources.memory_bytes, glyphs),
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
    return figures.memory(used, glyphs), glyphs, "", gauge
