"""A policy's prediction for one replay frame in displayable form, and its agreement with the human player.

The prediction *for* frame f was made `horizon` frames earlier; `Predicted.for_frame(f)` returns that one.
"""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from exphil_core.melee.controller import Controller
from exphil_core.melee.frames import FRAMES_PER_SECOND
from exphil_core.runs.prediction_layout import UNKNOWN, ComponentLayout, Layout, controller_of

NEUTRAL_LABEL = "–"
"""Label of the token for a neutral stick or released button."""

MAX_OPTIONS = 4
"""Most probable tokens listed per component."""

_NEUTRAL_LABELS = {
    "stick": "neutral",
    "axis": "neutral",
    "trigger": "released",
    "buttons": "none",
    "button": "released",
}
"""Kind of component → text for its neutral token; a dash would mean unknown."""

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
    """Predictions for one game, complete or growing: from a prediction file or a running pilot."""

    @property
    def layout(self) -> Layout: ...

    def done(self, slot: int) -> int:
        """Return the frame index up to which the policy has observed frames."""
        ...

    def for_frame(self, slot: int, frame_index: int) -> np.void | None: ...

    def agreement(self, slot: int) -> np.ndarray: ...

    def human_probability(self, slot: int) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    label: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentPrediction:
    """Prediction for one controller component."""

    name: str
    human: Option | None
    """The human's token, with the policy's probability for it; None if unknown."""
    likeliest: Option
    sampled: Option
    options: tuple[Option, ...]
    """The `MAX_OPTIONS` most probable tokens, starting with `likeliest`."""
    nats: float | None
    """Loss of this component in nats."""
    agrees: bool | None
    """Whether the most probable token is the human's; None if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionView:
    components: tuple[ComponentPrediction, ...]
    nats: float | None
    """Loss of the frame in nats, summed over components."""
    likeliest: Controller
    sampled: Controller
    presses: tuple[float, ...]
    """Probability of each of `BUTTONS`."""
    step: int
    """Training step of the weights."""
    weights: str
    """First 8 hex digits of the weights' checksum."""
    observed: int
    """Index of the last frame observed when the prediction was made."""


def prediction_view(record: np.void, layout: Layout) -> PredictionView:
    """Convert a prediction record, with the token labels of `layout`."""
    likeliest, sampled = controller_of(record, "likely"), controller_of(record, "sampled")
    assert likeliest is not None
    assert sampled is not None
    components = []
    for k, (component, span) in enumerate(zip(layout.components, layout.spans, strict=True)):
        probabilities = record["probabilities"][span].astype(np.float32)
        human = int(record["human"][k])
        order = np.argsort(-probabilities, kind="stable")[:MAX_OPTIONS]
        option = partial(_option, component, probabilities)
        components.append(
            ComponentPrediction(
                name=_NAMES.get(component.name, component.name),
                human=None if human == UNKNOWN else option(human),
                likeliest=option(int(record["likeliest"][k])),
                sampled=option(int(record["sampled"][k])),
                options=tuple(option(int(token)) for token in order),
                nats=_finite(record["nll"][k]),
                agrees=None if human == UNKNOWN else human == int(record["likeliest"][k]),
            )
        )
    return PredictionView(
        components=tuple(components),
        nats=_finite(record["nll"].sum()),
        likeliest=likeliest,
        sampled=sampled,
        presses=tuple(record["presses"].tolist()),
        step=int(record["step"]),
        weights=f"{int(record['weights']):016x}"[:8],
        observed=int(record["frame_index"]),
    )


def _option(component: ComponentLayout, probabilities: np.ndarray, token: int) -> Option:
    label = component.labels[token]
    if label == NEUTRAL_LABEL:
        label = _NEUTRAL_LABELS[component.kind]
    return Option(label=label, probability=float(probabilities[token]))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def agreement_of_last_second(agreement: np.ndarray, frame_index: int) -> float | None:
    """Return the share of the last 60 frames on which every component's most probable token was the human's.

    Args:
        agreement: [T], share of components that agree per frame; NaN where unknown.
        frame_index: Last frame of the second.

    Returns:
        The share of the known frames, or None if none is known.
    """
    found = agreement[max(0, frame_index + 1 - FRAMES_PER_SECOND) : frame_index + 1]
    known = found[np.isfinite(found)]
    return float((known == 1).mean()) if len(known) else None


def disagreements(agreement: np.ndarray) -> np.ndarray:
    """Return the frame indices, ascending, on which any component's most probable token was not the human's."""
    return np.flatnonzero(agreement < 1).astype(np.int32)


def onsets(frames: np.ndarray) -> np.ndarray:
    """Return the first frame of each run of consecutive frames; `frames` is ascending."""
    return frames[np.diff(frames, prepend=-2) > 1] if len(frames) else frames
