"""A predictor: the one place where a frame becomes a record of what a policy says about it.

In: frames of a game, one at a time as they are played (`act`) or a stretch at once (`watch`), and what the human held
`horizon` frames after each. Out: `Seen`, and records as `runs.predictions` keeps them. What a reader gets wrong: what
is *sampled* is drawn token by token given the tokens that were drawn; what is *likeliest*, and every probability and
nat, is given the human's tokens before it, as `exphil eval` counts them. Where no target counts, the human's tokens
are still those that condition, and nats and human are marked as unknown.

`act` is what a player waits for. Everything else about a frame comes later, from what `act` has kept.

Legend: B rows, T frames of a stretch (1 in play), K components, D width, N = B * T records.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.codecs import Codec, ControllerTensors
from exphil_core.inference.runtime import frame_to
from exphil_core.inference.sides import Sides
from exphil_core.melee.controller import BUTTON_BITS, BUTTONS
from exphil_core.models.policy import Policy
from exphil_core.replays.columns import MISSING
from exphil_core.runs.predictions import UNKNOWN, ComponentLayout, Kind, Layout

_AXES = ControllerTensors._fields[:6]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Frames that were observed, and what was drawn."""

    y_BTD: Tensor
    """What the head reads."""
    previous_BTK: Tensor
    sampled_BTK: Tensor

    def controllers(self, codec: Codec) -> ControllerTensors:
        """What was drawn for `horizon` frames after the last one, [B]: what a player's buttons would do."""
        return codec.decode(self.sampled_BTK[:, -1])


class Predictor:
    """A policy with the name that its weights have. It holds no state: a caller passes it in and gets it back."""

    def __init__(self, policy: Policy, *, weights: int, step: int, seed: int = 0) -> None:
        """`weights`: their checksum, which every record carries."""
        assert not policy.training, "a policy plays without dropout: call policy.eval() first"
        self.policy = policy
        self.codec = policy.codec
        self.weights = weights
        self.step = step
        self.seed = seed
        self.layout = layout_of(policy.codec, horizon=policy.horizon)
        self._dtype = self.layout.dtype
        self._held = tuple(table.to(policy.device) for table in _held_buttons(policy.codec))
        self._temperature = torch.ones((), device=policy.device)

    def initial_state(self, rows: int) -> Any:
        return self.policy.initial_state(rows)

    @torch.inference_mode()
    def act(self, frame: TensorBatch, state: Any, chance_BK: Tensor) -> tuple[Seen, Any]:
        """One frame of every row, on the host: encode, step and sample. Rows with `frame.reset` start afresh."""
        seen, state = self._features(frame, state)
        return self._draw(*seen, chance_BK[:, None]), state

    @torch.inference_mode()
    def watch(self, frames: TensorBatch, state: Any, chance_BTK: Tensor) -> tuple[Seen, Any]:
        """`act` on each of the frames in turn, with all that does not depend on the frame before done at once."""
        seen, state = self._features(frames, state)
        return self._draw(*seen, chance_BTK), state

    def _features(self, frames: TensorBatch, state: Any) -> tuple[tuple[Tensor, Tensor], Any]:
        policy = self.policy
        frames = frame_to(policy.device, frames)
        y_BTD, state = policy.unroll_features(frames, state)
        return (y_BTD, policy.previous(frames)), state

    def _draw(self, y_BTD: Tensor, previous_BTK: Tensor, chance_BTK: Tensor) -> Seen:
        sampled = self.policy.head.sample(
            y_BTD.flatten(0, 1),
            previous_BTK.flatten(0, 1),
            chance_BTK.to(y_BTD.device).flatten(0, 1),
            self._temperature,
        )
        return Seen(y_BTD=y_BTD, previous_BTK=previous_BTK, sampled_BTK=sampled.view(previous_BTK.shape))

    @torch.inference_mode()
    def records(self, seen: Seen, sides: Sides, start: int, *, since: int) -> np.ndarray:
        """Records [B, T] of the frames from `start` on. Times are NaN: whoever has measured them fills them in."""
        rows, frames = seen.previous_BTK.shape[:2]
        span = slice(start, start + frames)
        tokens_BTK = sides.tokens_BTK[:, span].to(seen.y_BTD.device)
        log_probs = self.policy.head.log_probs(seen.y_BTD, seen.previous_BTK, tokens_BTK)
        nll_BTK = -torch.stack(
            [
                part.gather(-1, token[..., None])[..., 0]
                for part, token in zip(log_probs, tokens_BTK.unbind(-1), strict=True)
            ],
            dim=-1,
        )
        likeliest_BTK = torch.stack([part.argmax(-1) for part in log_probs], dim=-1)
        probabilities = [part.exp() for part in log_probs]
        presses_BT8 = torch.stack([p @ held for p, held in zip(probabilities, self._held, strict=True)]).sum(
            0
        )

        found = np.zeros((rows, frames), self._dtype)
        game, mask_BT = sides.game, sides.mask_BT[:, span]
        found["frame_index"] = np.arange(start, start + frames)
        found["frame_id"] = game.frame_id[span]
        found["content_id"] = game.content_id.encode()
        found["slot"] = np.array(sides.slots)[:, None]
        found["weights"], found["step"], found["since"] = self.weights, self.step, since
        found["human"] = np.where(mask_BT[..., None], tokens_BTK.cpu().numpy(), UNKNOWN)
        found["likeliest"] = likeliest_BTK.cpu().numpy()
        found["sampled"] = seen.sampled_BTK.cpu().numpy()
        found["nll"] = np.where(mask_BT[..., None], nll_BTK.cpu().numpy(), np.nan)
        # The sum of a rounded softmax may be a little above 1.
        found["presses"] = presses_BT8.clamp(max=1).cpu().numpy()
        found["probabilities"] = torch.cat(probabilities, dim=-1).half().cpu().numpy()
        for who, tokens in (
            ("human", tokens_BTK),
            ("likely", likeliest_BTK),
            ("sampled", seen.sampled_BTK),
        ):
            controllers = self.codec.decode(tokens)
            into = found[f"{who}_controller"]
            into["axes"] = torch.stack(controllers[:6], dim=-1).cpu().numpy()
            into["buttons"] = controllers.buttons.cpu().numpy()
        unknown = found["human_controller"]
        unknown["axes"][~mask_BT] = np.nan
        unknown["buttons"][~mask_BT] = MISSING["u16"]
        found["took_ms"] = found["late_ms"] = np.nan
        return found

    def chance(self, sides: Sides, start: int, stop: int) -> Tensor:
        """What `act` and `watch` draw with [B, T, K], for the frames from `start` to before `stop`."""
        count = len(self.layout.components)
        return torch.from_numpy(
            np.stack(
                [chance(self.seed, sides.game.content_id, slot, start, stop, count) for slot in sides.slots]
            )
        )


_GAMMA = 0x9E3779B97F4A7C15


def chance(seed: int, content_id: str, slot: int, start: int, stop: int, components: int) -> np.ndarray:
    """Float32 [stop - start, K] in [0, 1): a function of what it is given and of each frame's index alone.

    SplitMix64 (Steele, Lea and Flood, 2014), whose n-th number needs none of the numbers before it.
    """
    key = hashlib.blake2b(f"{seed} {content_id} {slot}".encode(), digest_size=8).digest()
    # A frame has the same chance whatever the codec: 64 numbers are more than any codec has components.
    place = np.arange(start, stop, dtype=np.uint64)[:, None] * np.uint64(64) + np.arange(
        1, components + 1, dtype=np.uint64
    )
    mixed = np.frombuffer(key, "<u8")[0] + place * np.uint64(_GAMMA)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    # The 24 bits that a float32 below 1 has.
    return ((mixed >> np.uint64(40)) * 2.0**-24).astype(np.float32)


def layout_of(codec: Codec, *, horizon: int) -> Layout:
    """What each token of the codec stands for, found by decoding it with all others neutral."""
    components = tuple(
        _component(component.name, codec.decode(tokens))
        for component, tokens in zip(codec.components, _alone(codec), strict=True)
    )
    return Layout(codec=codec.name, components=components, horizon=horizon)


def _alone(codec: Codec) -> list[Tensor]:
    """Per component, tokens [size, K]: each of its own, beside neutral ones."""
    zero = torch.zeros(1)
    neutral_1K = codec.encode(ControllerTensors(zero, zero, zero, zero, zero, zero, zero.long()))
    found = []
    for k, component in enumerate(codec.components):
        tokens = neutral_1K.repeat(component.size, 1)
        tokens[:, k] = torch.arange(component.size)
        found.append(tokens)
    return found


def _held_buttons(codec: Codec) -> list[Tensor]:
    """Per component, float32 [size, 8]: which buttons each token holds, in the order of `BUTTON_BITS`."""
    found = []
    for tokens in _alone(codec):
        bits = codec.decode(tokens).buttons
        found.append(torch.stack([(bits & bit) != 0 for bit in BUTTON_BITS.values()], dim=-1).float())
    return found


def _component(name: str, held: ControllerTensors) -> ComponentLayout:
    moves = [axis for axis in _AXES if getattr(held, axis).any()]
    kind: Kind
    points: tuple[tuple[float, float], ...] | None
    if not moves:
        size = len(held.buttons)
        kind, points = ("button" if size == 2 else "buttons"), None
        labels = tuple(_buttons_label(bits) for bits in held.buttons.tolist())
    elif moves[0].startswith("trigger"):
        kind, points = "trigger", _points(held.trigger_l, held.trigger_r)
        # One component for both shoulders alone does not say which it is that is held.
        both = len(moves) == 2
        labels = tuple(_trigger_label(*levels) if both else _number(max(levels)) for levels in points)
    else:
        x, y = (held.main_x, held.main_y) if moves[0].startswith("main") else (held.c_x, held.c_y)
        points = _points(x, y)
        if len(moves) == 2:
            kind, labels = "stick", tuple(_stick_label(x, y) for x, y in points)
        else:
            kind, labels = "axis", tuple(_number(x + y, sign="+") for x, y in points)
    return ComponentLayout(name=name, size=len(labels), kind=kind, labels=labels, points=points)


NOTHING = "–"
"""The label of a token that holds nothing."""


def _points(one: Tensor, two: Tensor) -> tuple[tuple[float, float], ...]:
    return tuple((round(a, 6), round(b, 6)) for a, b in zip(one.tolist(), two.tolist(), strict=True))


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.2f}" if value else NOTHING


def _stick_label(x: float, y: float) -> str:
    return f"{x:+.2f} {y:+.2f}" if x or y else NOTHING


def _trigger_label(left: float, right: float) -> str:
    held = [f"{name} {level:.2f}" for name, level in (("L", left), ("R", right)) if level]
    return " ".join(held) or NOTHING


def _buttons_label(bits: int) -> str:
    return "+".join(name for name in BUTTONS if bits & BUTTON_BITS[name]) or NOTHING
