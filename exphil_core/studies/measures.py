"""What came out of one run: its losses, what it took, and how it learned.

In: the events of a run that is done. Out: `Measures`. What a reader gets wrong: `seconds` of a point of the curve is
time trained as the trainer counts it, over resumes and without pauses; steps that a resume took again count once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

import msgspec

from exphil_core.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One character's held-out frames."""

    loss: float
    frames: int
    floor: float | None = None
    """Dojo only."""
    closed: float | None = None
    """Dojo only: share of the way from the best baseline to the floor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluation during training, on the games that are watched."""

    step: int
    frames: int
    seconds: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyMeasured:
    p50_ms: float
    p99_ms: float
    budget_ms: float
    within_budget: bool
    threads: int
    frames: int
    processor: str = ""

    @property
    def fit(self) -> str:
        """`fits`; `too slow`, where a frame takes longer than the budget; or `late`, where frames are fast enough but
        the machine was so busy that more than one in a hundred was begun too late."""
        if self.within_budget:
            return "fits"
        return "late" if self.p99_ms < self.budget_ms else "too slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    loss: float
    """Of the best checkpoint on all held-out games, in nats per frame."""
    baseline: float | None
    """The best of marginal, repeat and markov on the same frames."""
    per_character: dict[str, Judged]
    steps: int
    frames: int
    """Seen in training, predicted or not."""
    seconds: float
    """Of training, evaluations included."""
    frames_per_s: float | None
    """Median over the `step` events: of training alone."""
    parameters: int
    device: str
    precision: str
    host: str
    beside: bool = False
    """Whether another worker of the study was busy on the same machine, so that seconds were shared."""
    revision: str = ""
    """Commit of exphil that it was begun with."""
    curve: tuple[Point, ...] = ()
    latency: LatencyMeasured | None = None
    cross: dict[str, Judged] | None = None
    """By character, on the same held-out games for every run of the study."""
    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def measures_of(plain: Mapping[str, Any]) -> Measures:
    """What `Measures.plain` gave."""
    return msgspec.convert(plain, Measures, strict=False)


def read_measures(events: Iterable[Mapping[str, Any]], *, host: str, beside: bool, revision: str) -> Measures:
    """The measures of a run that is done. DataError where its events do not say how it ended."""
    events = list(events)
    started = _last(events, "run_started")
    final = _last(events, "evaluated")
    ended = _last(events, "run_finished")
    if started is None or final is None or ended is None or not final.get("best") or final["loss"] is None:
        raise DataError("its events do not hold the evaluation that a finished run ends with")
    summary = ended["summary"]
    frames, steps = int(summary["frames"]), int(ended["step"])
    rates = [event["frames_per_s"] for event in events if event["type"] == "step" and event["frames_per_s"]]
    baselines = [final.get(f"baseline_{name}") for name in ("marginal", "repeat", "markov")]
    return Measures(
        loss=final["loss"],
        baseline=min((value for value in baselines if value is not None), default=None),
        per_character=judged(final),
        steps=steps,
        frames=frames,
        seconds=summary["seconds"],
        frames_per_s=median(rates) if rates else None,
        parameters=started["parameters"],
        device=started["device"],
        precision=started["precision"],
        host=host,
        beside=beside,
        revision=revision,
        curve=tuple(curve_of(events, frames_per_step=frames / max(1, steps))),
    )


def judged(evaluated: Mapping[str, Any]) -> dict[str, Judged]:
    """The characters of an `evaluated` event, or of what `exphil eval --json` prints."""
    return {
        name: Judged(loss=who["loss"], frames=who["frames"], floor=who.get("floor"), closed=who.get("closed"))
        for name, who in evaluated["per_character"].items()
    }


def reached(curve: Iterable[Point], loss: float) -> Point | None:
    """The first evaluation at which the loss was no more than this; None where it never was."""
    return next((point for point in curve if point.loss <= loss), None)


def _last(events: list[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((event for event in reversed(events) if event["type"] == kind), None)


def curve_of(events: list[Mapping[str, Any]], *, frames_per_step: float) -> list[Point]:
    points: list[Point] = []
    saved: dict[int, float] = {0: 0.0}
    """Seconds trained at each checkpoint."""
    base, began, paused = 0.0, 0.0, None
    for event in events:
        now = datetime.fromisoformat(event["ts"]).timestamp()
        match event["type"]:
            case "run_started":
                # Seconds and steps since the checkpoint were lost, and are taken again.
                step = event.get("resumed_from") or 0
                base, began, paused = saved.get(step, 0.0), now, None
                points = [point for point in points if point.step <= step]
            case "command" if event.get("state") == "done" and event.get("command") == "pause":
                paused = now
            case "command" if event.get("state") == "done" and event.get("command") == "resume":
                began += 0.0 if paused is None else now - paused
                paused = None
            case "checkpoint_saved":
                saved[event["step"]] = base + now - began
            case "evaluated" if not event.get("best") and event["loss"] is not None:
                step = event["step"]
                points.append(
                    Point(
                        step=step,
                        frames=round(step * frames_per_step),
                        seconds=base + now - began,
                        loss=event["loss"],
                    )
                )
    return points
