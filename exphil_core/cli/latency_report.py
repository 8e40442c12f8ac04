"""Tables, gauges and JSON of `exphil bench latency`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from exphil_core.cli.format import counted, table
from exphil_core.cli.gauge import STYLES, WIDEST, GaugeView
from exphil_core.cli.machine import machine
from exphil_core.render.gauge import gauge_lines
from exphil_core.runs import records

if TYPE_CHECKING:
    from exphil_core.inference.latency_benchmark import LatencyResult


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """Latency result of one policy in one runtime."""

    backbone: str
    window_size: int
    size: str
    latency: "LatencyResult"


def latency_report(rows: Sequence[LatencyRow], *, threads: int) -> RenderableType:
    """Render a table and gauges per window and size, the fastest backbone first, and notes on the columns."""
    parts: list[RenderableType] = []
    for window_size, size in sorted({(row.window_size, row.size) for row in rows}):
        group = _ordered([row for row in rows if (row.window_size, row.size) == (window_size, size)])
        parts += [_figures(group, title=f"Window {window_size}, {size}: milliseconds a frame"), Text()]
        told = [_told(row, threads) for row in group]
        parts += [GaugeView(latency=told[0]) if len(rows) == 1 else _Bars(told), Text()]
        if any(row.latency.parts_p50_ms for row in group):
            parts += [_parts(group), Text()]
    return Group(*parts, *(Text(line) for line in _notes(rows, threads)))


def _ordered(rows: Sequence[LatencyRow]) -> list[LatencyRow]:
    """Sort by the p99 of each backbone's fastest runtime, keeping a backbone's runtimes together."""
    fastest: dict[str, float] = {}
    for row in rows:
        fastest[row.backbone] = min(fastest.get(row.backbone, math.inf), row.latency.took.p99_ms)
    return sorted(rows, key=lambda row: (fastest[row.backbone], row.backbone))


def _figures(rows: Sequence[LatencyRow], *, title: str) -> RenderableType:
    found = table(
        ("backbone", "runtime"), right=("p50", "p95", "p99", "max", "missed", "floor", "error"), title=title
    )
    above = ""
    for row in rows:
        latency, took = row.latency, row.latency.took
        late = "" if took.within_budget else "!"
        found.add_row(
            "" if row.backbone == above else row.backbone,
            f"{latency.runtime}{_on_gpu(latency.device, latency.runtime)}",
            f"{took.p50_ms:.2f}",
            f"{took.p95_ms:.2f}",
            Text(f"{late}{took.p99_ms:.2f}", style="bold red" if late else ""),
            f"{took.max_ms:.2f}",
            f"{took.missed}",
            f"{latency.floor_ms:.2f}",
            f"{latency.max_abs_error:.0e}",
        )
        above = row.backbone
    return found


def _told(row: LatencyRow, threads: int) -> records.LatencyEvent:
    """Convert a row to the `latency` record that a pilot would write."""
    from exphil_core.inference.latency import BUDGET_MS

    latency, took = row.latency, row.latency.took
    return records.LatencyEvent(
        seq=0,
        ts="",
        device=latency.device,
        backbone=row.backbone,
        frames=took.frames,
        p50_ms=took.p50_ms,
        p95_ms=took.p95_ms,
        p99_ms=took.p99_ms,
        max_ms=took.max_ms,
        missed=took.missed,
        budget_ms=BUDGET_MS,
        histogram=list(latency.histogram),
        runtime=latency.runtime,
        window_size=row.window_size,
        late_p99_ms=latency.late_p99_ms,
        realtime=latency.realtime,
        threads=threads,
    )


class _Bars:
    """Gauges of several rows on one scale: a bar up to the p95, a notch at the p50, a line at the budget."""

    def __init__(self, rows: Sequence[records.LatencyEvent]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        names = [f"{row.backbone} {row.runtime}{_on_gpu(row.device, row.runtime)}" for row in self._rows]
        left = max(map(len, names))
        width = min(options.max_width, WIDEST) - left
        for place, (name, row) in enumerate(zip(names, self._rows, strict=True)):
            scale, bar = gauge_lines(row, (), width=width, height=2, ascii=options.ascii_only)
            for heading, line in ((" ", scale), (name, bar)) if place == 0 else ((name, bar),):
                parts = [(text, STYLES[look]) for text, look in line]
                yield Text.assemble(heading.ljust(left), *parts, no_wrap=True, overflow="crop")


def _on_gpu(device: str, runtime: str) -> str:
    return " (GPU)" if device != "cpu" and runtime != "cuda_graph" else ""


def _parts(rows: Sequence[LatencyRow]) -> RenderableType:
    found = table(
        ("eager torch, p50 of each part",), right=("encode", "step", "sample", "decode", "parameters")
    )
    for row in rows:
        if row.latency.parts_p50_ms is not None and row.latency.device == "cpu":
            parts = [f"{value:.2f}" for value in row.latency.parts_p50_ms.values()]
            found.add_row(row.backbone, *parts, f"{row.latency.parameters:,}")
    return found


def _notes(rows: Sequence[LatencyRow], threads: int) -> list[str]:
    from exphil_core.inference.latency import BUDGET_MS, RATE

    first = rows[0].latency
    over = [row for row in rows if not row.latency.took.within_budget]
    verdict = f"{len(over)} of {len(rows)} are not (!)" if over else "all are"
    return [
        f"Paced at {RATE:.0f} Hz with {counted(threads, 'thread')}: "
        f"{counted(first.took.frames, 'frame')} per row, after {first.warmup} of warm-up, not counted. "
        f"Where cores can be chosen, the player's threads keep to one each; {_priority(first.realtime)}.",
        f"Within the budget of {BUDGET_MS:.2f} ms: at least 99 of 100 frames take less and meet their "
        f"deadlines; {verdict}.",
        "missed: frames that were done after the next tick. floor: reading the weights once, at the best rate of "
        "this machine's memory.",
        "error: of the step against the forward pass, in nats, over three windows and a half with resets.",
    ]


def _priority(realtime: bool) -> str:
    if realtime:
        return "they had real-time priority, as a player does"
    return "they had normal priority, because this system grants no other ('ulimit -r' is 0)"


def latency_object(rows: Sequence[LatencyRow], *, threads: int, cores: int) -> dict[str, object]:
    from exphil_core.inference.latency import BUDGET_MS, RATE

    return {
        "machine": machine(cores),
        "threads": threads,
        "rate_hz": RATE,
        "budget_ms": BUDGET_MS,
        "results": [_result(row) for row in rows],
    }


def _result(row: LatencyRow) -> dict[str, object]:
    latency, took = row.latency, row.latency.took
    return {
        "backbone": row.backbone,
        "size": row.size,
        "parameters": latency.parameters,
        "window_size": row.window_size,
        "device": latency.device,
        "runtime": latency.runtime,
        "frames": took.frames,
        "warmup": latency.warmup,
        "p50_ms": took.p50_ms,
        "p95_ms": took.p95_ms,
        "p99_ms": took.p99_ms,
        "max_ms": took.max_ms,
        "missed": took.missed,
        "within_budget": took.within_budget,
        "realtime": latency.realtime,
        "histogram": latency.histogram,
        "late_p99_ms": latency.late_p99_ms,
        "parts_p50_ms": latency.parts_p50_ms,
        # JSON has no infinity; the error is infinite where an output is NaN.
        "max_abs_error": latency.max_abs_error if math.isfinite(latency.max_abs_error) else None,
        "floor_ms": latency.floor_ms,
        "bandwidth_gb_per_s": latency.bandwidth_gb_per_s,
    }
