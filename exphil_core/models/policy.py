"""The policy: encoder, backbone and head, and the codec that says what the head's tokens mean.

Training, evaluation, prediction and play all go through the methods of `Policy`: nothing outside this package calls
its encoder or its backbone (a test checks it), so that no caller can leave out something that the policy is given.
`nll` takes batches `horizon` frames longer than what is observed, `step` exactly one frame.

Legend: B batch, L = T + horizon frames, T observed frames, D width, K components.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple, assert_never

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import BackboneConfig
from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import Targets, TensorBatch, controller_at, targets
from exphil_core.encoding.codecs import Codec, build_codec
from exphil_core.encoding.interleaved import InterleavedEncoder
from exphil_core.encoding.observation import ObservationEncoder
from exphil_core.models.backbone import Backbone, build_backbone
from exphil_core.models.heads import ControllerHead, nats
from exphil_core.models.interleaved import TOKENS, Interleaved

Prediction = Literal["dense", "last", "interleaved"]


DELAY_SCALE = 0.3
"""Of the first embeddings of the delay."""


class Scores(NamedTuple):
    """A training pass."""

    log_probs: list[Tensor]
    """Per component [B, T, size], given the tokens before it that came."""
    aimed: Targets
    state: Any

    @property
    def nll_BTK(self) -> Tensor:
        """Plain nats of the targets."""
        return nats(self.log_probs, self.aimed.tokens_BTK)


class Policy(nn.Module):
    def __init__(
        self,
        *,
        encoder: ObservationEncoder | InterleavedEncoder,
        backbone: Backbone[Any],
        head: ControllerHead,
        codec: Codec,
        delay: int,
        delays: tuple[int, int] | None = None,
    ) -> None:
        """`delays`: the least and the most that the policy is told of; None where it has one and is not told."""
        super().__init__()
        self.encoder = encoder
        self.backbone = backbone
        self.head = head
        self.codec = codec
        self.delay = delay
        self.delays = delays
        self.delay_table: nn.Embedding | None = None
        if delays is not None:
            low, high = delays
            self.delay_table = nn.Embedding(high - low + 1, encoder.width_out)
            nn.init.normal_(self.delay_table.weight, std=DELAY_SCALE)

    @property
    def longest_horizon(self) -> int:
        """Frames that a training chunk needs after those that are observed."""
        return 1 + (self.delay if self.delays is None else self.delays[1])

    @property
    def horizon(self) -> int:
        """Frames from an observation to the frame whose controller is predicted from it."""
        return 1 + self.delay

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def initial_state(self, batch_size: int) -> Any:
        """The backbone's fresh state, on the policy's device and in its precision."""
        parameter = next(self.parameters())
        return self.backbone.initial_state(batch_size, parameter.device, parameter.dtype)

    def forward(
        self,
        batch: TensorBatch,
        state: Any = None,
        *,
        seen: TensorBatch | None = None,
        delay_B: Tensor | None = None,
    ) -> "Scores":
        """A training pass: the log-probabilities of a batch's targets' components, and the state to go on with.

        All but the last frames of the batch are observed: `longest_horizon` of them where each row has its delay
        (`delay_B`, int64 within `delays`), else `horizon`. Where `seen` is given, that is what is observed, and the
        batch only holds the targets.
        """
        horizon: int | Tensor = self.horizon if delay_B is None else 1 + delay_B
        length = batch.frame_id.shape[1] - (self.horizon if delay_B is None else self.longest_horizon)
        aimed = targets(batch, self.codec, horizon=horizon, chunk_length=length)
        observed = slice_frames(batch if seen is None else seen, 0, length)
        y_BTD, state = self.forward_features(observed, state, delay_B=delay_B)
        log_probs = self.head.log_probs(y_BTD, self.previous(observed), aimed.tokens_BTK)
        return Scores(log_probs=log_probs, aimed=aimed, state=state)

    def nll(self, batch: TensorBatch, state: Any = None) -> tuple[Tensor, Targets, Any]:
        """Plain nats [B, T, K] in float32, what was predicted, and the state to go on with.

        `Targets.mask_BT` says which frames count; the others hold nats of tokens that stand for nothing.
        """
        scores = self.forward(batch, state)
        return scores.nll_BTK, scores.aimed, scores.state

    def forward_features(
        self, observed: TensorBatch, state: Any = None, *, delay_B: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """What the head reads at every frame of the batch, y_BTD, and the state to go on with."""
        return self.backbone.forward(self.encode(observed, delay_B), observed.reset, state)

    def distributions(
        self, observed: TensorBatch, tokens_BTK: Tensor, state: Any = None
    ) -> tuple[list[Tensor], Any]:
        """Per component log-probabilities [B, T, size] given the tokens before it, and the state to go on with."""
        y_BTD, state = self.forward_features(observed, state)
        return self.head.log_probs(y_BTD, self.previous(observed), tokens_BTK), state

    def step(
        self,
        frame: TensorBatch,
        reset_B: Tensor,
        state: Any,
        uniform_BK: Tensor,
        temperature: Tensor,
        *,
        after_part: Callable[[], None] = lambda: None,
    ) -> tuple[Tensor, Any]:
        """Observes one frame (L = 1): tokens [B, K] for `horizon` frames later, and the state.

        `uniform_BK` in [0, 1) and `temperature` are those of `ControllerHead.sample`. `after_part` is called after
        the encoder and after the backbone, for whoever measures them.
        """
        y_BD, state = self.step_features(frame, reset_B, state, after_part=after_part)
        previous_BK = self.previous(frame)[:, 0]
        return self.head.sample(y_BD, previous_BK, uniform_BK, temperature), state

    def step_features(
        self,
        frame: TensorBatch,
        reset_B: Tensor,
        state: Any,
        *,
        after_part: Callable[[], None] = lambda: None,
    ) -> tuple[Tensor, Any]:
        """What the head reads after one more frame, y_BD, and the state to go on with."""
        x_BTD = self.encode(frame)
        after_part()
        y_BD, state = self.backbone.step(x_BTD[:, 0], reset_B, state)
        after_part()
        return y_BD, state

    def unroll_features(self, observed: TensorBatch, state: Any = None) -> tuple[Tensor, Any]:
        """`step_features` of each frame in turn, y_BTD, with the encoder run once over all of them."""
        if state is None:
            state = self.initial_state(observed.frame_id.shape[0])
        features = []
        for x_BD, reset_B in zip(self.encode(observed).unbind(1), observed.reset.unbind(1), strict=True):
            y_BD, state = self.backbone.step(x_BD, reset_B, state)
            features.append(y_BD)
        return torch.stack(features, dim=1), state

    def describe(self) -> dict[str, int]:
        """Parameters of each part."""
        return {
            name: sum(parameter.numel() for parameter in part.parameters())
            for name, part in self.named_children()
        }

    def encode(self, observed: TensorBatch, delay_B: Tensor | None = None) -> Tensor:
        """What the backbone reads, x_BTD."""
        x_BTD: Tensor = self.encoder(
            observed.columns, observed.frame_id, observed.stage, observed.ego_slot, observed.mirror
        )
        if self.delay_table is None or self.delays is None:
            return x_BTD
        least = self.delays[0]
        if delay_B is None:
            return x_BTD + self.delay_table.weight[self.delay - least]
        told_B1D: Tensor = self.delay_table(delay_B - least)[:, None]
        return x_BTD + told_B1D

    def previous(self, observed: TensorBatch) -> Tensor:
        """Tokens [B, T, K] of the controller that the ego held in each frame, which the head reads too."""
        return self.codec.encode(controller_at(observed.columns))


def build_policy(preset: Preset) -> Policy:
    """A policy with fresh weights, drawn from torch's global generator: seed it first."""
    codec = build_codec(preset.policy.codec)
    head = ControllerHead(
        codec, preset.backbone.width, preset.policy.head_width, dropout=preset.policy.head_dropout
    )
    encoder: ObservationEncoder | InterleavedEncoder
    if preset.policy.prediction == "interleaved":
        encoder = InterleavedEncoder(preset.encoder)
        backbone: Backbone[Any] = Interleaved(build_backbone(over_tokens(preset.backbone)))
    else:
        encoder = ObservationEncoder(preset.encoder)
        backbone = build_backbone(preset.backbone)
    return Policy(
        encoder=encoder,
        backbone=backbone,
        head=head,
        codec=codec,
        delay=preset.policy.delay,
        delays=preset.policy.delays,
    )


def over_tokens(config: BackboneConfig) -> BackboneConfig:
    """The backbone that sees as many frames, where each is two tokens."""
    return config.model_copy(update={"window_size": TOKENS * config.window_size})


def slice_frames(batch: TensorBatch, start: int, end: int) -> TensorBatch:
    """The frames from `start` up to, not including, `end`, of every row."""
    return replace(
        batch,
        columns={group: column[:, start:end] for group, column in batch.columns.items()},
        frame_id=batch.frame_id[:, start:end],
        valid=batch.valid[:, start:end],
        reset=batch.reset[:, start:end],
    )


def prediction_mask(aimed: Targets, prediction: Prediction) -> Tensor:
    """bool [B, T]: the targets that training counts. `last` keeps the one of each window's last frame."""
    match prediction:
        case "dense" | "interleaved":
            return aimed.mask_BT
        case "last":
            mask_BT = torch.zeros_like(aimed.mask_BT)
            mask_BT[:, -1] = aimed.mask_BT[:, -1]
            return mask_BT
        case _:
            assert_never(prediction)
