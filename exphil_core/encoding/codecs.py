"""Codecs: controller states ↔ the tokens that a policy predicts, one small class per component.

In: `ControllerTensors` of any shape. Out: int64 tokens [..., K], and back. What one gets wrong: the digital L and R
are buttons of their own, whatever the analogue triggers hold; all 256 combinations of the eight buttons survive both
codecs exactly. Sticks and analogue triggers do not: docs/codecs.md has their error on real play.

Encoding never fails: a missing value (NaN, or 65535 for buttons) becomes neutral, and it is for whoever makes targets
to mask it. Decoding and encoding again gives the same tokens.

Legend: K components; `...` any leading shape.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, assert_never

import torch
from torch import Tensor

from exphil_core.encoding.sticks import STEPS, StickGrid, c_grid, grid_index, main_grid
from exphil_core.melee.controller import BUTTON_BITS, BUTTONS, DEAD_ZONE
from exphil_core.replays.columns import MISSING

CodecName = Literal["clusters", "axes"]


class ControllerTensors(NamedTuple):
    """Controller states, seven tensors of one shape: `Controller`'s fields."""

    main_x: Tensor
    main_y: Tensor
    c_x: Tensor
    c_y: Tensor
    trigger_l: Tensor
    trigger_r: Tensor
    buttons: Tensor
    """Integer bits of `BUTTON_BITS`; other bits are ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One token of a frame."""

    name: str
    """As reports show it."""
    size: int
    """Its tokens are 0 to size - 1."""


class Codec(Protocol):
    @property
    def name(self) -> CodecName: ...

    @property
    def components(self) -> tuple[Component, ...]:
        """In the order in which a head predicts them, and of the last axis of the tokens."""
        ...

    def encode(self, controller: ControllerTensors) -> Tensor:
        """Controller states to int64 tokens [..., K]."""
        ...

    def decode(self, tokens: Tensor) -> ControllerTensors:
        """Tokens [..., K] to the controller states that they stand for: float32, buttons int64."""
        ...


def build_codec(name: CodecName) -> Codec:
    match name:
        case "clusters":
            return ClustersCodec()
        case "axes":
            return AxesCodec()
    assert_never(name)


_BITS = torch.tensor([BUTTON_BITS[name] for name in BUTTONS])
_WEIGHTS = 2 ** torch.arange(len(BUTTONS))


def _pressed(buttons: Tensor) -> Tensor:
    """Bits [...] to bool [..., 8] in the order of `BUTTONS`; none where the buttons are missing."""
    known = (buttons != MISSING["u16"])[..., None]
    return (buttons[..., None].to(torch.int64) & _BITS.to(buttons.device)).ne(0) & known


def _bits(pressed: Tensor) -> Tensor:
    return (pressed.to(torch.int64) * _BITS.to(pressed.device)).sum(dim=-1)


TRIGGER_LEVELS = (0, 49, 80, 110, 140)
"""Analogue levels of one shoulder, in 1/140: released, the light shield of button-box controllers (0.35), two
between, fully pressed."""

TRIGGER_DEAD_ZONE = 43
"""In 1/140: the game shields from 0.3 (rounded up), so what lies below is released and what does not is not."""


def _trigger_lookup() -> Tensor:
    """int64 [141]: the level of each trigger position."""
    positions = torch.arange(141)
    levels = torch.tensor(TRIGGER_LEVELS)
    held = 1 + (positions[:, None] - levels[None, 1:]).abs().argmin(dim=1)
    return torch.where(positions < TRIGGER_DEAD_ZONE, 0, held)


@dataclass(frozen=True, slots=True)
class ClustersCodec:
    """Sticks as clusters of the plane, both analogue triggers as one token, the buttons as one of 256."""

    name: CodecName = "clusters"

    @property
    def components(self) -> tuple[Component, ...]:
        return (
            Component(name="main", size=len(_MAIN.points)),
            Component(name="c", size=len(_C.points)),
            Component(name="triggers", size=len(TRIGGER_LEVELS) ** 2),
            Component(name="buttons", size=2 ** len(BUTTONS)),
        )

    def encode(self, controller: ControllerTensors) -> Tensor:
        device = controller.main_x.device
        main = _MAIN.lookup.to(device)[grid_index(controller.main_x, controller.main_y)]
        c = _C.lookup.to(device)[grid_index(controller.c_x, controller.c_y)]
        left = self._trigger(controller.trigger_l)
        right = self._trigger(controller.trigger_r)
        buttons = (_pressed(controller.buttons) * _WEIGHTS.to(device)).sum(dim=-1)
        return torch.stack((main, c, left * len(TRIGGER_LEVELS) + right, buttons), dim=-1)

    def _trigger(self, position: Tensor) -> Tensor:
        steps = (position * 140).nan_to_num(nan=0.0).round().clamp(0, 140).to(torch.int64)
        return _TRIGGERS.to(position.device)[steps]

    def decode(self, tokens: Tensor) -> ControllerTensors:
        device = tokens.device
        main, c, triggers, buttons = tokens.unbind(dim=-1)
        main_xy = _MAIN.points.to(device)[main] / STEPS
        c_xy = _C.points.to(device)[c] / STEPS
        levels = torch.tensor(TRIGGER_LEVELS, device=device) / 140
        return ControllerTensors(
            main_x=main_xy[..., 0],
            main_y=main_xy[..., 1],
            c_x=c_xy[..., 0],
            c_y=c_xy[..., 1],
            trigger_l=levels[triggers // len(TRIGGER_LEVELS)],
            trigger_r=levels[triggers % len(TRIGGER_LEVELS)],
            buttons=_bits((buttons[..., None] & _WEIGHTS.to(device)).ne(0)),
        )


AXIS_BUCKETS = 17
"""Buckets of one axis, 1/8 apart; 8 is neutral."""

SHOULDER_LEVELS = 5
"""Levels of the shoulder, 1/4 apart."""


@dataclass(frozen=True, slots=True)
class AxesCodec:
    """The first ExPhil's targets: each axis on its own, one analogue shoulder, eight buttons.

    The shoulder is the further pressed of the two; it is decoded onto R where R alone is clicked, onto L otherwise.
    What would fall just inside one of the game's dead zones (0.25) is decoded to its edge: sticks 0.2875, shoulder 43/140.
    """

    name: CodecName = "axes"

    @property
    def components(self) -> tuple[Component, ...]:
        axes = tuple(Component(name=name, size=AXIS_BUCKETS) for name in ("main_x", "main_y", "c_x", "c_y"))
        buttons = tuple(Component(name=name, size=2) for name in BUTTONS)
        return (*axes, Component(name="shoulder", size=SHOULDER_LEVELS), *buttons)

    def encode(self, controller: ControllerTensors) -> Tensor:
        axes = torch.stack((controller.main_x, controller.main_y, controller.c_x, controller.c_y), dim=-1)
        half = AXIS_BUCKETS // 2
        # The grid comes first: 25/80 lies between two buckets, and float32 must not choose.
        grid = (axes * STEPS).nan_to_num(nan=0.0).round().clamp(-STEPS, STEPS)
        buckets = (grid / STEPS * half).round().to(torch.int64) + half
        analogue = torch.maximum(controller.trigger_l.nan_to_num(nan=0.0), controller.trigger_r.nan_to_num(nan=0.0))
        shoulder = (analogue.clamp(0, 1) * (SHOULDER_LEVELS - 1)).round().to(torch.int64)
        buttons = _pressed(controller.buttons).to(torch.int64)
        return torch.cat((buckets, shoulder[..., None], buttons), dim=-1)

    def decode(self, tokens: Tensor) -> ControllerTensors:
        half = AXIS_BUCKETS // 2
        axes = (tokens[..., :4] - half) / half
        axes = torch.where(axes.abs() == 0.25, axes.sign() * DEAD_ZONE, axes)
        main_x, main_y, c_x, c_y = axes.unbind(dim=-1)
        shoulder = tokens[..., 4] / (SHOULDER_LEVELS - 1)
        shoulder = torch.where(shoulder == 0.25, TRIGGER_DEAD_ZONE / 140, shoulder)
        pressed = tokens[..., 5:].ne(0)
        onto_r = pressed[..., BUTTONS.index("R")] & ~pressed[..., BUTTONS.index("L")]
        released = torch.zeros_like(shoulder)
        return ControllerTensors(
            main_x=main_x,
            main_y=main_y,
            c_x=c_x,
            c_y=c_y,
            trigger_l=torch.where(onto_r, released, shoulder),
            trigger_r=torch.where(onto_r, shoulder, released),
            buttons=_bits(pressed),
        )


_MAIN: StickGrid = main_grid()
_C: StickGrid = c_grid()
_TRIGGERS = _trigger_lookup()
