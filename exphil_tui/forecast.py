"""What a policy says of one frame, as a person reads it, and how it fared around that frame.

In: a record of predictions and what its tokens stand for. Out: a `Forecast`. What a reader gets wrong: the record
that belongs beside what the human held in frame f is the one *for* frame f, made `horizon` frames earlier from what
was to be seen then; whoever asks `for_frame` gets that one.
"""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from exphil_core.melee.controller import Controller
from exphil_core.melee.frames import FRAMES_PER_SECOND
from exphil_core.runs.predictions import UNKNOWN, ComponentLayout, Layout, controller_of

HELD_NOTHING = "–"
"""The label of a token that stands for nothing held."""

OPTIONS = 4
"""Of each component, the likeliest tokens that are named."""

_NOTHING = {
    "stick": "neutral",
    "axis": "neutral",
    "trigger": "released",
    "buttons": "none",
    "button": "released",
}
"""By the kind of component, what is shown where nothing is held: a dash stands for what is not known."""

_NAMES = {
    "main": "main stick",
    "c": "C-stick",
    "main_x": "main stick x",
    "main_y": "main stick y",
    "c_x": "C-stick x",
    "c_y": "C-stick y",
    "D_UP": "D-pad up",
}


class Predicted(Protocol):
    """Predictions of one replay, whole or as they come: of a file, or of what the pilot plays."""

    @property
    def layout(self) -> Layout: ...

    def done(self, slot: int) -> int:
        """Frame index up to which frames were observed."""
        ...

    def for_frame(self, slot: int, frame_index: int) -> np.void | None: ...

    def agreement(self, slot: int) -> np.ndarray: ...

    def human_probability(self, slot: int) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    label: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One component."""

    name: str
    human: Option | None
    """What the human did, and how probable the policy held it; None where that is not known."""
    likeliest: Option
    sampled: Option
    options: tuple[Option, ...]
    """The most probable ones, the first of them `likeliest`."""
    nats: float | None
    """Lost on this component."""
    agrees: bool | None
    """Whether the likeliest is what the human did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    parts: tuple[Part, ...]
    nats: float | None
    """Lost on the frame: the sum over its components."""
    likeliest: Controller
    sampled: Controller
    presses: tuple[float, ...]
    """Probability of each of `BUTTONS`."""
    step: int
    """Of the weights that said it."""
    weights: str
    """The beginning of their checksum."""
    observed: int
    """Frame index of what was seen when it was said."""


def forecast_of(record: np.void, layout: Layout) -> Forecast:
    likeliest, sampled = controller_of(record, "likely"), controller_of(record, "sampled")
    assert likeliest is not None
    assert sampled is not None
    parts = []
    for k, (component, span) in enumerate(zip(layout.components, layout.spans, strict=True)):
        chances = record["probabilities"][span].astype(np.float32)
        human = int(record["human"][k])
        order = np.argsort(-chances, kind="stable")[:OPTIONS]
        option = partial(_option, component, chances)
        parts.append(
            Part(
                name=_NAMES.get(component.name, component.name),
                human=None if human == UNKNOWN else option(human),
                likeliest=option(int(record["likeliest"][k])),
                sampled=option(int(record["sampled"][k])),
                options=tuple(option(int(token)) for token in order),
                nats=_known(record["nll"][k]),
                agrees=None if human == UNKNOWN else human == int(record["likeliest"][k]),
            )
        )
    return Forecast(
        parts=tuple(parts),
        nats=_known(record["nll"].sum()),
        likeliest=likeliest,
        sampled=sampled,
        presses=tuple(record["presses"].tolist()),
        step=int(record["step"]),
        weights=f"{int(record['weights']):016x}"[:8],
        observed=int(record["frame_index"]),
    )


def _option(component: ComponentLayout, chances: np.ndarray, token: int) -> Option:
    label = component.labels[token]
    return Option(
        label=_NOTHING[component.kind] if label == HELD_NOTHING else label, probability=float(chances[token])
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def agreement_of_last_second(agreement: np.ndarray, frame_index: int) -> float | None:
    """Share of the sixty frames up to this one on which the policy found the human's whole controller likeliest.

    `agreement` [T] by frame: the share of components that agree, NaN where it is not known. None where none is.
    """
    found = agreement[max(0, frame_index + 1 - FRAMES_PER_SECOND) : frame_index + 1]
    known = found[np.isfinite(found)]
    return float((known == 1).mean()) if len(known) else None


def disagreements(agreement: np.ndarray) -> np.ndarray:
    """Frame indices on which the policy found another controller likeliest, ascending."""
    return np.flatnonzero(agreement < 1).astype(np.int32)


def onsets(frames: np.ndarray) -> np.ndarray:
    """The first frame of each stretch of ascending frames that follow one another."""
    return frames[np.diff(frames, prepend=-2) > 1] if len(frames) else frames
