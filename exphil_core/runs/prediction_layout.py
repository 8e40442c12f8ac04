"""Layout of a prediction record: the components of a codec, and the numpy dtype of a record.

Legend: K components, V the sizes of all components together.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from exphil_core.melee.controller import BUTTON_BITS, Controller
from exphil_core.replays.columns import MISSING

UNKNOWN = -1
"""The human's token where no target counts."""

Kind = Literal["stick", "trigger", "buttons", "button", "axis"]

Who = Literal["human", "likely", "sampled"]

_CONTROLLER = np.dtype([("axes", "<f4", (6,)), ("buttons", "<u2")])

_AXES = ("main_x", "main_y", "c_x", "c_y", "trigger_l", "trigger_r")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentLayout:
    """One component of a codec, and what each of its tokens means."""

    name: str
    size: int
    kind: Kind
    labels: tuple[str, ...]
    """One per token, for display: `A+B`, `+0.95 -0.29`, `L 0.35`; `–` for nothing held."""
    points: tuple[tuple[float, float], ...] | None
    """One per token: (x, y) for a stick or one of its axes, levels (left, right) for triggers. None for buttons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a record holds of each component. Records of two files with the same layout have the same meaning."""

    codec: str
    components: tuple[ComponentLayout, ...]
    horizon: int
    """Frames from the observed frame to the predicted one."""

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(component.size for component in self.components)

    @property
    def spans(self) -> tuple[slice, ...]:
        """Slices of each component in `probabilities`."""
        ends = tuple(accumulate(self.sizes))
        return tuple(slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True))

    @property
    def dtype(self) -> np.dtype:
        count = len(self.components)
        return np.dtype(
            [
                ("number", "<u8"),
                ("frame_index", "<i4"),
                ("frame_id", "<i4"),
                ("content_id", "S32"),
                ("slot", "u1"),
                ("weights", "<u8"),
                ("step", "<i8"),
                ("since", "<i4"),
                ("human", "<i2", (count,)),
                ("likeliest", "<i2", (count,)),
                ("sampled", "<i2", (count,)),
                ("nll", "<f4", (count,)),
                ("presses", "<f4", (len(BUTTON_BITS),)),
                ("probabilities", "<f2", (sum(self.sizes),)),
                ("human_controller", _CONTROLLER),
                ("likely_controller", _CONTROLLER),
                ("sampled_controller", _CONTROLLER),
                ("took_ms", "<f4"),
                ("late_ms", "<f4"),
                ("missed", "u1"),
                ("crc", "<u4"),
            ]
        )


def controller_of(record: np.void, who: Who) -> Controller | None:
    """Return the human's or the policy's controller; None if the human's is not a target."""
    found = record[f"{who}_controller"]
    buttons = int(found["buttons"])
    if buttons == MISSING["u16"]:
        return None
    return Controller(**dict(zip(_AXES, found["axes"].tolist(), strict=True)), buttons=buttons)
