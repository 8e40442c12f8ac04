"""Predictor: computes prediction records, what a policy predicts and samples for a frame, from its observation.

`act` is the part that a player waits for; `records` computes the rest afterwards. Tokens are *sampled* one by one
given the sampled tokens before them; the *likeliest* tokens, all probabilities and nats are given the human's
previous tokens, as in `exphil eval`. Where no target counts, the human's tokens still condition the rest, but nats
and human are marked as unknown.

Legend: B rows, T frames of a stretch (1 in play), K components, D width.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exphil_core.encoding.batch import TensorBatch
from exphil_core.encoding.codecs import Codec, ControllerTensors
from exphil_core.inference.ego_frames import EgoFrames
from exphil_core.inference.runtime import EagerRuntime, Runtime, frame_to
from exphil_core.melee.controller import BUTTON_BITS, BUTTONS
from exphil_core.models.policy import Policy
from exphil_core.replays.columns import MISSING
from exphil_core.runs.prediction_layout import UNKNOWN, ComponentLayout, Kind, Layout

_AXES = ControllerTensors._fields[:6]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedFrames:
    """Observed frames: the head's input and the sampled tokens."""

    y_BTD: Tensor
    """The head's input."""
    sampled_BTK: Tensor

    def controllers(self, codec: Codec) -> ControllerTensors:
        """Decode the tokens sampled for `horizon` frames after the last frame, [B]."""
        return codec.decode(self.sampled_BTK[:, -1])


class Predictor:
    """A policy with its step and weight checksum. Stateless: the caller passes the state in and gets it back."""

    def __init__(
        self, policy: Policy, *, weights: int, step: int, seed: int = 0, runtime: Runtime | None = None
    ) -> None:
        """Wrap a policy in eval mode.

        Args:
            weights: The checksum that every record carries.
            runtime: What `act` plays with, a runtime of this policy; None means eager torch.
        """
        assert not policy.training, "a policy plays without dropout: call policy.eval() first"
        self.policy = policy
        self.runtime = EagerRuntime(policy) if runtime is None else runtime
        self.codec = policy.codec
        self.weights = weights
        self.step = step
        self.seed = seed
        self.layout = layout_of(policy.codec, horizon=policy.horizon)
        self._dtype = self.layout.dtype
        self._held = tuple(table.to(policy.device) for table in _held_buttons(policy.codec))
        self._temperature = torch.ones(())

    def initial_state(self, rows: int) -> Any:
        """Return the state for `act` at the start of a game."""
        return self.runtime.initial_state(rows)

    @torch.inference_mode()
    def act(self, frame: TensorBatch, state: Any, uniform_BK: Tensor) -> tuple[ObservedFrames, Any]:
        """Encode, step and sample one frame of every row, given on the CPU. Rows with `frame.reset` restart.

        Args:
            uniform_BK: Uniform random numbers in [0, 1).
        """
        tokens_BK, y_BD, state = self.runtime.step_and_features(
            frame, frame.reset[:, 0], state, uniform_BK, self._temperature
        )
        return ObservedFrames(y_BTD=y_BD[:, None], sampled_BTK=tokens_BK[:, None]), state

    @torch.inference_mode()
    def watch(self, frames: TensorBatch, state: Any, uniform_BTK: Tensor) -> tuple[ObservedFrames, Any]:
        """Do the same as `act` on each frame in turn, batching all that does not depend on the previous frame.

        Runs in eager torch, whatever the runtime; `state` is the policy's own, None at the start.
        """
        policy = self.policy
        frames = frame_to(policy.device, frames)
        y_BTD, state = policy.unroll_features(frames, state)
        sampled = policy.head.sample(
            y_BTD.flatten(0, 1),
            policy.previous(frames).flatten(0, 1),
            uniform_BTK.to(y_BTD.device).flatten(0, 1),
            self._temperature.to(y_BTD.device),
        )
        return ObservedFrames(y_BTD=y_BTD, sampled_BTK=sampled.view(*y_BTD.shape[:2], -1)), state

    @torch.inference_mode()
    def records(self, seen: ObservedFrames, sides: EgoFrames, start: int, *, since: int) -> np.ndarray:
        """Return records [B, T] of the frames from `start` on.

        Args:
            since: Frame index of the first observed frame.

        Returns:
            Records in the layout's dtype. `took_ms` and `late_ms` are NaN, for the caller to fill in.
        """
        rows, frames = seen.sampled_BTK.shape[:2]
        span = slice(start, start + frames)
        device = seen.y_BTD.device
        tokens_BTK = sides.tokens_BTK[:, span].to(device)
        log_probs = self.policy.head.log_probs(seen.y_BTD, sides.previous_BTK[:, span].to(device), tokens_BTK)
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
        # The sum of a rounded softmax may slightly exceed 1.
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

    def uniform(self, sides: EgoFrames, start: int, stop: int) -> Tensor:
        """Return the uniform random numbers [B, T, K] for `act` and `watch`, for frames `start` to `stop` - 1."""
        count = len(self.layout.components)
        return torch.from_numpy(
            np.stack(
                [uniform(self.seed, sides.game.content_id, slot, start, stop, count) for slot in sides.slots]
            )
        )


_GAMMA = 0x9E3779B97F4A7C15


def uniform(seed: int, content_id: str, slot: int, start: int, stop: int, components: int) -> np.ndarray:
    """Return float32 [stop - start, K] in [0, 1), a function of the arguments and each frame's index alone.

    SplitMix64 (Steele, Lea and Flood, 2014), whose n-th number does not depend on the numbers before it.
    """
    key = hashlib.blake2b(f"{seed} {content_id} {slot}".encode(), digest_size=8).digest()
    # 64 numbers per frame, more than any codec has components: a frame's numbers do not depend on the codec.
    place = np.arange(start, stop, dtype=np.uint64)[:, None] * np.uint64(64) + np.arange(
        1, components + 1, dtype=np.uint64
    )
    mixed = np.frombuffer(key, "<u8")[0] + place * np.uint64(_GAMMA)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    # A float32 below 1 has 24 bits.
    uniform: np.ndarray = ((mixed >> np.uint64(40)) * 2.0**-24).astype(np.float32)
    return uniform


def layout_of(codec: Codec, *, horizon: int) -> Layout:
    """Describe each token of the codec: decode it with all other tokens neutral."""
    components = tuple(
        _component(component.name, codec.decode(tokens))
        for component, tokens in zip(codec.components, _alone(codec), strict=True)
    )
    return Layout(codec=codec.name, components=components, horizon=horizon)


def _alone(codec: Codec) -> list[Tensor]:
    """Return tokens [size, K] per component: each of its tokens beside neutral ones."""
    zero = torch.zeros(1)
    neutral_1K = codec.encode(ControllerTensors(zero, zero, zero, zero, zero, zero, zero.long()))
    found = []
    for k, component in enumerate(codec.components):
        tokens = neutral_1K.repeat(component.size, 1)
        tokens[:, k] = torch.arange(component.size)
        found.append(tokens)
    return found


def _held_buttons(codec: Codec) -> list[Tensor]:
    """Return float32 [size, 8] per component: the buttons that each token holds, in the order of `BUTTON_BITS`."""
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
        # A single component for both triggers does not say which one is held.
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
"""Label of a token that holds nothing."""


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
