"""Policy: encoder, backbone, controller head and codec.

Training, evaluation, prediction and play all use the methods of `Policy`. Nothing outside this package calls its
encoder or backbone (a test checks it), so no caller can leave out an input.

Legend: B batch, L = T + horizon frames, T observed frames, D width, K components.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple, assert_never

import torch
from torch import Tensor, nn

from exphil_core.config.backbones import BackboneConfig
from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import Targets, TensorBatch, build_targets, controller_at
from exphil_core.encoding.codecs import Codec, build_codec
from exphil_core.encoding.interleaved import InterleavedEncoder
from exphil_core.encoding.observation import ObservationEncoder
from exphil_core.models.backbone import Backbone, build_backbone
from exphil_core.models.heads import ControllerHead, nats
from exphil_core.models.interleaved import TOKENS, InterleavedBackbone

Prediction = Literal["dense", "last", "interleaved"]


DELAY_SCALE = 0.3
"""Initial standard deviation of the delay embeddings."""


class Scores(NamedTuple):
    """Result of a training pass."""

    log_probs: list[Tensor]
    """Per component [B, T, size], given the target tokens of the components before it."""
    targets: Targets
    state: Any

    @property
    def nll_BTK(self) -> Tensor:
        """Negative log-likelihood of the targets in nats, [B, T, K]."""
        return nats(self.log_probs, self.targets.tokens_BTK)


class Policy(nn.Module):
    """Predicts the ego's controller `horizon` frames after each observation."""

    def __init__(
        self,
        *,
        encoder: ObservationEncoder | InterleavedEncoder,
        backbone: Backbone[Any],
        head: ControllerHead,
        codec: Codec,
        delay: int,
        delay_range: tuple[int, int] | None = None,
    ) -> None:
        """Assemble a policy.

        Args:
            encoder: The observation encoder.
            backbone: The sequence model.
            head: The controller head, for the components of `codec`.
            codec: Converts between controllers and tokens.
            delay: Delay in frames for play and for passes without `delay_B`.
            delay_range: Lowest and highest delay of a policy conditioned on its delay; None for a policy that is not.
        """
        super().__init__()
        self.encoder = encoder
        self.backbone = backbone
        self.head = head
        self.codec = codec
        self.delay = delay
        self.delay_range = delay_range
        self.delay_table: nn.Embedding | None = None
        if delay_range is not None:
            low, high = delay_range
            self.delay_table = nn.Embedding(high - low + 1, encoder.width_out)
            nn.init.normal_(self.delay_table.weight, std=DELAY_SCALE)

    @property
    def longest_horizon(self) -> int:
        """Frames that a training batch needs after the observed ones."""
        return 1 + (self.delay if self.delay_range is None else self.delay_range[1])

    @property
    def horizon(self) -> int:
        """Frames from an observation to the controller predicted from it: 1 + delay."""
        return 1 + self.delay

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def initial_state(self, batch_size: int) -> Any:
        """Return the backbone's initial state, on the policy's device and in its dtype."""
        parameter = next(self.parameters())
        return self.backbone.initial_state(batch_size, parameter.device, parameter.dtype)

    def forward(
        self,
        batch: TensorBatch,
        state: Any = None,
        *,
        observed: TensorBatch | None = None,
        delay_B: Tensor | None = None,
    ) -> "Scores":
        """Compute the log-probabilities of a batch's targets.

        Args:
            batch: A batch whose last frames are only targets: `longest_horizon` with `delay_B`, else `horizon`.
            state: The backbone's state before the batch; None starts fresh.
            observed: Batch to observe instead, for corrupted inputs; `batch` then only provides the targets.
            delay_B: Delay of each row, int64 within `delay_range`.

        Returns:
            Log-probabilities, targets and the state after the observed frames.
        """
        horizon: int | Tensor = self.horizon if delay_B is None else 1 + delay_B
        length = batch.frame_id.shape[1] - (self.horizon if delay_B is None else self.longest_horizon)
        targets = build_targets(batch, self.codec, horizon=horizon, chunk_length=length)
        observed = slice_frames(batch if observed is None else observed, 0, length)
        y_BTD, state = self.forward_features(observed, state, delay_B=delay_B)
        log_probs = self.head.log_probs(y_BTD, self.previous(observed), targets.tokens_BTK)
        return Scores(log_probs=log_probs, targets=targets, state=state)

    def nll(self, batch: TensorBatch, state: Any = None) -> tuple[Tensor, Targets, Any]:
        """Compute the negative log-likelihood of a batch that is `horizon` frames longer than what is observed.

        Returns:
            Nats [B, T, K] in float32, without smoothing or weights; the targets; the next state. Frames outside
            `Targets.mask_BT` have meaningless values.
        """
        scores = self.forward(batch, state)
        return scores.nll_BTK, scores.targets, scores.state

    def forward_features(
        self, observed: TensorBatch, state: Any = None, *, delay_B: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Encode a batch and run the backbone over it: y_BTD, the head's input, and the next state."""
        return self.backbone.forward(self.encode(observed, delay_B), observed.reset, state)

    def distributions(
        self, observed: TensorBatch, tokens_BTK: Tensor, state: Any = None
    ) -> tuple[list[Tensor], Any]:
        """Compute log-probabilities [B, T, size] per component, given the tokens before it, and the next state."""
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
        """Observe one frame and sample the controller `horizon` frames later.

        Args:
            frame: A batch of exactly one frame (L = 1).
            reset_B: Rows whose state is cleared before the frame.
            state: The backbone's state.
            uniform_BK: Uniform random numbers in [0, 1).
            temperature: Scalar tensor above 0; 1 samples the learned distribution.
            after_part: Called after the encoder and after the backbone, for timing.

        Returns:
            Tokens [B, K] and the next state.
        """
        tokens_BK, _, state = self.step_and_features(
            frame, reset_B, state, uniform_BK, temperature, after_part=after_part
        )
        return tokens_BK, state

    def step_and_features(
        self,
        frame: TensorBatch,
        reset_B: Tensor,
        state: Any,
        uniform_BK: Tensor,
        temperature: Tensor,
        *,
        after_part: Callable[[], None] = lambda: None,
    ) -> tuple[Tensor, Tensor, Any]:
        """Do the same as `step`, and also return y_BD, the head's input: tokens, y_BD, next state."""
        y_BD, state = self.step_features(frame, reset_B, state, after_part=after_part)
        previous_BK = self.previous(frame)[:, 0]
        return self.head.sample(y_BD, previous_BK, uniform_BK, temperature), y_BD, state

    def step_features(
        self,
        frame: TensorBatch,
        reset_B: Tensor,
        state: Any,
        *,
        after_part: Callable[[], None] = lambda: None,
    ) -> tuple[Tensor, Any]:
        """Encode one frame and run the backbone on it: y_BD, the head's input, and the next state."""
        x_BTD = self.encode(frame)
        after_part()
        y_BD, state = self.backbone.step(x_BTD[:, 0], reset_B, state)
        after_part()
        return y_BD, state

    def unroll_features(self, observed: TensorBatch, state: Any = None) -> tuple[Tensor, Any]:
        """Run the backbone frame by frame as in play, the encoder once over all: y_BTD and the next state."""
        if state is None:
            state = self.initial_state(observed.frame_id.shape[0])
        features = []
        for x_BD, reset_B in zip(self.encode(observed).unbind(1), observed.reset.unbind(1), strict=True):
            y_BD, state = self.backbone.step(x_BD, reset_B, state)
            features.append(y_BD)
        return torch.stack(features, dim=1), state

    def describe(self) -> dict[str, int]:
        """Count the parameters of each part."""
        return {
            name: sum(parameter.numel() for parameter in part.parameters())
            for name, part in self.named_children()
        }

    def encode(self, observed: TensorBatch, delay_B: Tensor | None = None) -> Tensor:
        """Encode observations and the delay: x_BTD, the backbone's input."""
        x_BTD: Tensor = self.encoder(
            observed.columns, observed.frame_id, observed.stage, observed.ego_slot, observed.mirror
        )
        if self.delay_table is None or self.delay_range is None:
            return x_BTD
        least = self.delay_range[0]
        if delay_B is None:
            return x_BTD + self.delay_table.weight[self.delay - least]
        told_B1D: Tensor = self.delay_table(delay_B - least)[:, None]
        return x_BTD + told_B1D

    def previous(self, observed: TensorBatch) -> Tensor:
        """Encode the ego's controller in each frame as tokens [B, T, K], an input of the head."""
        return self.codec.encode(controller_at(observed.columns))


def build_policy(preset: Preset) -> Policy:
    """Build a policy with fresh weights, drawn from torch's global generator: seed it first."""
    codec = build_codec(preset.policy.codec)
    head = ControllerHead(
        codec, preset.backbone.width, preset.policy.head_width, dropout=preset.policy.head_dropout
    )
    encoder: ObservationEncoder | InterleavedEncoder
    if preset.policy.prediction == "interleaved":
        encoder = InterleavedEncoder(preset.encoder)
        backbone: Backbone[Any] = InterleavedBackbone(build_backbone(scale_window_to_tokens(preset.backbone)))
    else:
        encoder = ObservationEncoder(preset.encoder)
        backbone = build_backbone(preset.backbone)
    return Policy(
        encoder=encoder,
        backbone=backbone,
        head=head,
        codec=codec,
        delay=preset.policy.delay,
        delay_range=preset.policy.delay_range,
    )


def scale_window_to_tokens(config: BackboneConfig) -> BackboneConfig:
    """Scale the window size to tokens, so that the backbone covers the same number of frames."""
    return config.model_copy(update={"window_size": TOKENS * config.window_size})


def slice_frames(batch: TensorBatch, start: int, end: int) -> TensorBatch:
    """Select the frames from `start` up to but not including `end` of every row."""
    return replace(
        batch,
        columns={group: column[:, start:end] for group, column in batch.columns.items()},
        frame_id=batch.frame_id[:, start:end],
        valid=batch.valid[:, start:end],
        reset=batch.reset[:, start:end],
    )


def prediction_mask(targets: Targets, prediction: Prediction) -> Tensor:
    """Select the targets that training counts, bool [B, T]; `last` keeps only those of the last frame."""
    match prediction:
        case "dense" | "interleaved":
            return targets.mask_BT
        case "last":
            mask_BT = torch.zeros_like(targets.mask_BT)
            mask_BT[:, -1] = targets.mask_BT[:, -1]
            return mask_BT
        case _:
            assert_never(prediction)
