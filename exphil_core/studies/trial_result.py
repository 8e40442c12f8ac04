"""A finished run's result, from its events: losses, costs and the learning curve.

`seconds` of a curve point is time trained as the trainer counts it, over resumes and without pauses. Steps that
a resume repeats count once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

import msgspec

from exphil_core.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterLoss:
    """Loss on one character's held-out frames."""

    loss: float
    frames: int
    floor: float | None = None
    """Dojo only."""
    closed: float | None = None
    """Dojo only: gap closed, the share of the way from the best baseline to the floor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluation during training, on the games that such evaluations use."""

    step: int
    frames: int
    seconds: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyMeasured:
    """Measured latency of a frame in play."""

    p50_ms: float
    p99_ms: float
    budget_ms: float
    within_budget: bool
    threads: int
    frames: int
    processor: str = ""

    @property
    def fit(self) -> str:
        """`fits`, `too slow` or `late`.

        `too slow`: p99 exceeds the budget. `late`: frames are fast enough, but on a busy machine more than one
        in a hundred started too late.
        """
        if self.within_budget:
            return "fits"
        return "late" if self.p99_ms < self.budget_ms else "too slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What was measured of a finished run."""

    loss: float
    """The best checkpoint on all held-out games, in nats per frame."""
    baseline: float | None
    """The best of marginal, repeat and markov on the same frames."""
    per_character: dict[str, CharacterLoss]
    steps: int
    frames: int
    """Seen in training, predicted or not."""
    seconds: float
    """Training time, evaluations included."""
    frames_per_s: float | None
    """Median over the `step` events, for training alone."""
    parameters: int
    device: str
    precision: str
    host: str
    beside: bool = False
    """Whether another worker of the study was busy on the same machine."""
    revision: str = ""
    """Commit of exphil at the start of the run."""
    curve: tuple[Point, ...] = ()
    latency: LatencyMeasured | None = None
    cross: dict[str, CharacterLoss] | None = None
    """By character, on the same held-out games for every run of the study."""
    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""

    def plain(self) -> dict[str, Any]:
        """Return the measures as JSON values."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def measures_of(plain: Mapping[str, Any]) -> Measures:
    """Restore what `Measures.plain` returned."""
    return msgspec.convert(plain, Measures, strict=False)


def read_measures(events: Iterable[Mapping[str, Any]], *, host: str, beside: bool, revision: str) -> Measures:
    """Read the measures of a finished run.

    Raises:
        DataError: its events lack the evaluation that a finished run ends with.
    """
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
        per_character=character_losses(final),
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


def character_losses(evaluated: Mapping[str, Any]) -> dict[str, CharacterLoss]:
    """Return each character's result in an `evaluated` event or in what `exphil eval --json` prints."""
    return {
        name: CharacterLoss(
            loss=who["loss"], frames=who["frames"], floor=who.get("floor"), closed=who.get("closed")
        )
        for name, who in evaluated["per_character"].items()
    }


def reached(curve: Iterable[Point], loss: float) -> Point | None:
    """Return the first evaluation with at most this loss; None without one."""
    return next((point for point in curve if point.loss <= loss), None)


def _last(events: list[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((event for event in reversed(events) if event["type"] == kind), None)


def curve_of(events: list[Mapping[str, Any]], *, frames_per_step: float) -> list[Point]:
    """Return the evaluations during training, with the frames and seconds trained at each."""
    points: list[Point] = []
    saved: dict[int, float] = {0: 0.0}
    """Seconds trained at each checkpoint."""
    base, began, paused = 0.0, 0.0, None
    for event in events:
        now = datetime.fromisoformat(event["ts"]).timestamp()
        match event["type"]:
            case "run_started":
                # Seconds and steps since the checkpoint were lost and are repeated.
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
