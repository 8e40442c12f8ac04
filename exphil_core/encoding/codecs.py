"""Controller codecs: controller states to the int64 tokens [..., K] that a policy predicts, and back.

Buttons are lossless: digital L and R are separate from the analogue triggers, and all 256 combinations survive.
Sticks and analogue triggers are quantised; docs/codecs.md has the error on real play. Missing values (NaN, or 65535
for buttons) encode as neutral, so targets must mask them. Decoding and re-encoding gives the same tokens.

Legend: K components; `...` any leading shape.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, Protocol, assert_never

import torch
from torch import Tensor

from exphil_core.encoding.sticks import STEPS, StickGrid, c_grid, grid_index, main_grid
from exphil_core.melee.controller import BUTTON_BITS, BUTTONS, DEAD_ZONE
from exphil_core.replays.columns import MISSING

CodecName = Literal["clusters", "axes"]


class ControllerTensors(NamedTuple):
    """Controller states as seven tensors of the same shape, one per field of `Controller`."""

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
    """One of the categorical variables that make up a controller state."""

    name: str
    """Name shown in reports."""
    size: int
    """Number of tokens; they are 0 to size - 1."""


class Codec(Protocol):
    """Convert between controller states and tokens."""

    @property
    def name(self) -> CodecName: ...

    @property
    def components(self) -> tuple[Component, ...]:
        """Components in prediction order, which is also the order of the tokens' last axis."""
        ...

    def encode(self, controller: ControllerTensors) -> Tensor:
        """Convert controller states to int64 tokens [..., K]."""
        ...

    def decode(self, tokens: Tensor) -> ControllerTensors:
        """Convert tokens [..., K] to controller states: float32, buttons int64."""
        ...


def build_codec(name: CodecName) -> Codec:
    match name:
        case "clusters":
            return ClustersCodec()
        case "axes":
            return AxesCodec()
    assert_never(name)


TRIGGER_LEVELS = (0, 49, 80, 110, 140)
"""Analogue levels of one trigger, in 1/140: released, the light shield of button-box controllers (0.35), two in
between, fully pressed."""

TRIGGER_DEAD_ZONE = 43
"""In 1/140: the game shields from 0.3 (rounded up), so only positions below this count as released."""


def _trigger_lookup() -> Tensor:
    """Level of each trigger position, int64 [141]."""
    positions = torch.arange(141)
    levels = torch.tensor(TRIGGER_LEVELS)
    held = 1 + (positions[:, None] - levels[None, 1:]).abs().argmin(dim=1)
    return torch.where(positions < TRIGGER_DEAD_ZONE, 0, held)


class _Tables(NamedTuple):
    main: Tensor
    """float32 [79, 2]."""
    main_lookup: Tensor
    c: Tensor
    """float32 [9, 2]."""
    c_lookup: Tensor
    trigger: Tensor
    """float32 [5]."""
    trigger_lookup: Tensor
    bits: Tensor
    """int64 [8]: bit of each button."""
    weights: Tensor
    """int64 [8]: weight of each button in the joint token."""


@cache
def _tables(device: torch.device) -> _Tables:
    """Lookup tables, cached per device: copying them from the host would cost more than the rest of a step."""
    with torch.inference_mode(False):
        return _Tables(
            main=(_MAIN.points / STEPS).to(device),
            main_lookup=_MAIN.lookup.to(device),
            c=(_C.points / STEPS).to(device),
            c_lookup=_C.lookup.to(device),
            trigger=(torch.tensor(TRIGGER_LEVELS) / 140).to(device),
            trigger_lookup=_trigger_lookup().to(device),
            bits=torch.tensor([BUTTON_BITS[name] for name in BUTTONS]).to(device),
            weights=(2 ** torch.arange(len(BUTTONS))).to(device),
        )


_MAIN: StickGrid = main_grid()
_C: StickGrid = c_grid()


def _pressed(buttons: Tensor) -> Tensor:
    """Unpack bits [...] to bool [..., 8] in the order of `BUTTONS`; all False where the buttons are missing."""
    known = (buttons != MISSING["u16"])[..., None]
    return (buttons[..., None].to(torch.int64) & _tables(buttons.device).bits).ne(0) & known


def _bits(pressed: Tensor) -> Tensor:
    return (pressed * _tables(pressed.device).bits).sum(dim=-1)


@dataclass(frozen=True, slots=True)
class ClustersCodec:
    """One token per stick (a cluster of the plane), one for both analogue triggers, one of 256 for the buttons."""

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
        tables = _tables(controller.main_x.device)
        index = grid_index(
            torch.stack((controller.main_x, controller.c_x), dim=-1),
            torch.stack((controller.main_y, controller.c_y), dim=-1),
        )
        main, c = tables.main_lookup[index[..., 0]], tables.c_lookup[index[..., 1]]
        position = torch.stack((controller.trigger_l, controller.trigger_r), dim=-1) * 140
        held = position.nan_to_num(nan=0.0).round().clamp(0, 140).to(torch.int64)
        left, right = tables.trigger_lookup[held].unbind(-1)
        buttons = (_pressed(controller.buttons) * tables.weights).sum(dim=-1)
        return torch.stack((main, c, left * len(TRIGGER_LEVELS) + right, buttons), dim=-1)

    def decode(self, tokens: Tensor) -> ControllerTensors:
        tables = _tables(tokens.device)
        main, c, triggers, buttons = tokens.unbind(dim=-1)
        main_x, main_y = tables.main[main].unbind(dim=-1)
        c_x, c_y = tables.c[c].unbind(dim=-1)
        return ControllerTensors(
            main_x=main_x,
            main_y=main_y,
            c_x=c_x,
            c_y=c_y,
            trigger_l=tables.trigger[triggers // len(TRIGGER_LEVELS)],
            trigger_r=tables.trigger[triggers % len(TRIGGER_LEVELS)],
            buttons=_bits((buttons[..., None] & tables.weights).ne(0)),
        )


AXIS_BUCKETS = 17
"""Buckets of one axis, 1/8 apart; 8 is neutral."""

SHOULDER_LEVELS = 5
"""Levels of the analogue shoulder, 1/4 apart."""


@dataclass(frozen=True, slots=True)
class AxesCodec:
    """The targets of the original ExPhil: four independent stick axes, one analogue shoulder, eight buttons.

    The shoulder is the maximum of both triggers; it is decoded to R where only R is clicked, otherwise to L. A value
    of 0.25, just inside the game's dead zones, is decoded to their edge: sticks 0.2875, shoulder 43/140.
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
        # Round to the 1/80 grid first: 25/80 lies between two buckets, and float32 error must not decide.
        grid = (axes * STEPS).nan_to_num(nan=0.0).round().clamp(-STEPS, STEPS)
        buckets = (grid / STEPS * half).round().to(torch.int64) + half
        analogue = torch.maximum(
            controller.trigger_l.nan_to_num(nan=0.0), controller.trigger_r.nan_to_num(nan=0.0)
        )
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
