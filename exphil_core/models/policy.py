"""The policy: encoder, backbone and head, and the codec that says what the head's tokens mean.

In: batches of observed frames (already mirrored and noised, where they are to be). Out: nats per frame and
component of the controllers that came `1 + delay` frames later, or sampled tokens for play. What a reader
gets wrong: `nll` takes batches `horizon` frames longer than what is observed, `step` exactly one frame.

Legend: B batch, L = T + horizon frames, T observed frames, D width, K components.
"""

from dataclasses import replace
from typing import Any, Literal, assert_never

import torch
from torch import Tensor, nn

from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import Targets, TensorBatch, controller_at, targets
from exphil_core.encoding.codecs import Codec, build_codec
from exphil_core.encoding.observation import ObservationEncoder
from exphil_core.models.backbone import Backbone, build_backbone
from exphil_core.models.heads import ControllerHead

Prediction = Literal["dense", "last"]


class Policy(nn.Module):
    def __init__(
        self,
        *,
        encoder: ObservationEncoder,
        backbone: Backbone[Any],
        head: ControllerHead,
        codec: Codec,
        delay: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.backbone = backbone
        self.head = head
        self.codec = codec
        self.delay = delay

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

    def forward(self, batch: TensorBatch, state: Any = None) -> tuple[Tensor, Targets, Any]:
        """The same as `nll`: what a wrapper of the module (distributed training) calls."""
        return self.nll(batch, state)

    def nll(self, batch: TensorBatch, state: Any = None) -> tuple[Tensor, Targets, Any]:
        """Plain nats [B, T, K] in float32, what was predicted, and the state to go on with.

        The first L - horizon frames are observed. `Targets.mask_BT` says which count; the others hold nats of
        tokens that stand for nothing.
        """
        length = batch.frame_id.shape[1] - self.horizon
        aimed = targets(batch, self.codec, horizon=self.horizon, chunk_length=length)
        y_BTD, state = self.forward_features(slice_frames(batch, 0, length), state)
        return self.head.nll(y_BTD, aimed.previous_BTK, aimed.tokens_BTK), aimed, state

    def forward_features(self, observed: TensorBatch, state: Any = None) -> tuple[Tensor, Any]:
        """What the head reads at every frame of the batch, y_BTD, and the state to go on with."""
        return self.backbone.forward(self._encode(observed), observed.reset, state)

    def distributions(
        self, observed: TensorBatch, tokens_BTK: Tensor, state: Any = None
    ) -> tuple[list[Tensor], Any]:
        """Per component log-probabilities [B, T, size] given the tokens before it, and the state to go on with."""
        y_BTD, state = self.forward_features(observed, state)
        return self.head.log_probs(y_BTD, self._previous(observed), tokens_BTK), state

    def step(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Any]:
        """Observes one frame (L = 1): tokens [B, K] for `horizon` frames later, and the state.

        `uniform_BK` in [0, 1) and `temperature` are those of `ControllerHead.sample`.
        """
        y_BD, state = self.step_features(frame, reset_B, state)
        previous_BK = self._previous(frame)[:, 0]
        return self.head.sample(y_BD, previous_BK, uniform_BK, temperature), state

    def step_features(self, frame: TensorBatch, reset_B: Tensor, state: Any) -> tuple[Tensor, Any]:
        """What the head reads after one more frame, y_BD, and the state to go on with."""
        return self.backbone.step(self._encode(frame)[:, 0], reset_B, state)

    def describe(self) -> dict[str, int]:
        """Parameters of each part."""
        return {
            name: sum(parameter.numel() for parameter in part.parameters())
            for name, part in self.named_children()
        }

    def _encode(self, observed: TensorBatch) -> Tensor:
        x_BTD: Tensor = self.encoder(
            observed.columns, observed.frame_id, observed.stage, observed.ego_slot, observed.mirror
        )
        return x_BTD

    def _previous(self, observed: TensorBatch) -> Tensor:
        return self.codec.encode(controller_at(observed.columns))


def build_policy(preset: Preset) -> Policy:
    """A policy with fresh weights, drawn from torch's global generator: seed it first."""
    codec = build_codec(preset.policy.codec)
    head = ControllerHead(
        codec, preset.backbone.width, preset.policy.head_width, dropout=preset.policy.head_dropout
    )
    return Policy(
        encoder=ObservationEncoder(preset.encoder),
        backbone=build_backbone(preset.backbone),
        head=head,
        codec=codec,
        delay=preset.policy.delay,
    )


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
        case "dense":
            return aimed.mask_BT
        case "last":
            mask_BT = torch.zeros_like(aimed.mask_BT)
            mask_BT[:, -1] = aimed.mask_BT[:, -1]
            return mask_BT
        case _:
            assert_never(prediction)
