"""The preset: all settings of a run, one frozen pydantic model per table, with checks between them.

A limit that is off is `None` here and the word "none" in TOML. A run may have several limits on its length; the first
one reached ends it. `loader` reads the files.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from exphil_core.config.backbones import BackboneConfig
from exphil_core.config.encoder import EncoderConfig
from exphil_core.config.sizes import SizeChoice
from exphil_core.melee.characters import PLAYABLE_COUNT, by_name

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

NONE = "none"
"""The word for a limit that is off, in TOML (which has no null) and on the command line."""


def _none(value: object) -> object:
    return None if value == NONE else value


def _pair(value: object) -> object:
    # After a BeforeValidator, strict mode does not accept a list as a tuple.
    return tuple(value) if isinstance(value, list) else _none(value)


def _playable(name: str) -> str:
    character = by_name(name)
    if character.external_id >= PLAYABLE_COUNT:
        raise ValueError(f"'{character.name}' cannot be selected in a game; expected one of the 26 fighters")
    return character.name


CharacterName = Annotated[str, AfterValidator(_playable)]
"""Accepts a name or alias; validates to the character's `name`."""


def _games_limit(value: object) -> object:
    if value is None or value == NONE:
        return None
    if not isinstance(value, Mapping):
        return _count(value, or_else=", or a table of them by character such as { mewtwo = 2 }")
    if not value:
        raise ValueError("an empty table limits no character: name one, or leave it out")
    found: dict[str, object] = {}
    for given, count in value.items():
        name = _playable(str(given))
        if name in found:
            raise ValueError(f"names {name} more than once")
        found[name] = _count(count, of=f" for {name}")
    return found


def _count(value: object, *, of: str = "", or_else: str = "") -> object:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        shown = json.dumps(value, default=str)
        raise ValueError(f"expected a whole number of games from 1 up{of}{or_else}, found {shown}")
    return value


class DataConfig(BaseModel):
    """Which games and which sides are learned from."""

    model_config = _FROZEN

    replays: tuple[str, ...] = ()
    """Files, folders, archives or built datasets; relative to the current folder."""
    characters: tuple[CharacterName, ...] = ()
    """Imitate the sides that mostly play one of these characters; empty means all characters."""
    train_on_all_characters: bool | Literal["auto"] = "auto"
    """Also train on the sides of all other characters; only `characters` are evaluated. auto: if `characters` have
    few frames."""
    validation_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the games held out for validation."""
    split_seed: int = Field(default=0, ge=0)
    """Seed that selects the held-out games."""
    include_cpu: bool = False
    """Also imitate computer players."""
    include_idle: bool = False
    """Also imitate sides that hardly move or look scripted."""
    max_games_per_character: Annotated[int | dict[str, int] | None, BeforeValidator(_games_limit)] = None
    """Train on at most this many games of each character, or of those in a table such as { mewtwo = 2 }; none turns
    it off. For measuring how few games are enough."""
    min_frames: int = Field(default=600, ge=1)
    """Games with fewer frames are filtered."""

    @model_validator(mode="after")
    def _trains_on_others(self) -> Self:
        if self.train_on_all_characters is True and not self.characters:
            raise ValueError(
                "train_on_all_characters is true but characters is empty, which already means all characters: name "
                "the characters to evaluate, or leave train_on_all_characters out"
            )
        return self

    @model_validator(mode="after")
    def _each_character_once(self) -> Self:
        twice = sorted({name for name in self.characters if self.characters.count(name) > 1})
        if twice:
            raise ValueError(f"characters names {', '.join(twice)} more than once")
        return self

    @model_validator(mode="after")
    def _limits_who_is_learned_from(self) -> Self:
        if (
            isinstance(self.max_games_per_character, dict)
            and self.characters
            and self.train_on_all_characters is False
        ):
            strangers = [name for name in self.max_games_per_character if name not in self.characters]
            if strangers:
                raise ValueError(
                    f"max_games_per_character limits {', '.join(strangers)}, but only {', '.join(self.characters)} "
                    "are trained on: name them in characters too, or leave them out of max_games_per_character"
                )
        return self


MOST_DELAY = 120
"""Maximum delay in frames: two seconds."""


class PolicyConfig(BaseModel):
    """Target tokens, delay and output heads of the policy."""

    model_config = _FROZEN

    codec: Literal["clusters", "axes"] = "clusters"
    """How controller states are encoded as target tokens."""
    delay: int = Field(default=0, ge=0, le=MOST_DELAY)
    """Frames between an observation and the predicted input, beyond the next frame."""
    delay_range: Annotated[tuple[int, int] | None, BeforeValidator(_pair)] = None
    """Train on a random delay in this range for each window, as an input of the policy; evaluation and play use
    `delay`."""
    prediction: Literal["dense", "last", "interleaved"] = "dense"
    """dense: a prediction at every frame of a window; last: only at its last; interleaved: at every frame, with the
    ego's actions as separate tokens between the states."""
    head_width: int = Field(default=128, ge=1)
    """Hidden width of each component's head."""
    head_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout probability on the head's hidden values."""

    @model_validator(mode="after")
    def _delay_is_trained(self) -> Self:
        if self.delay_range is None:
            return self
        least, most = self.delay_range
        if not 0 <= least < most <= MOST_DELAY:
            raise ValueError(
                f"delay_range is {least} to {most}: expected two numbers, the smaller first, from 0 to {MOST_DELAY}"
            )
        if not least <= self.delay <= most:
            raise ValueError(
                f"delay is {self.delay}, but delay_range says that {least} to {most} are trained: set policy.delay, "
                f"which is used in play, to one of those, such as {least}"
            )
        return self


class TrainConfig(BaseModel):
    """Optimisation, batches, augmentation and limits of a run."""

    model_config = _FROZEN

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the initial weights, all batches and all augmentation."""
    init_from: Annotated[str | None, BeforeValidator(_none)] = None
    """Initialise the weights from this checkpoint directory; the policy's parts must have equal shapes. none: random
    weights."""
    epochs: Annotated[float | None, BeforeValidator(_none)] = Field(default=None, gt=0)
    """End after this many passes over the training frames; none turns it off."""
    max_steps: Annotated[int | None, BeforeValidator(_none)] = Field(default=None, ge=1)
    """End after this many optimiser steps; none turns it off."""
    max_minutes: Annotated[float | None, BeforeValidator(_none)] = Field(default=None, gt=0)
    """End after this many minutes of training, summed over resumes; none turns it off."""
    batch_size: int = Field(default=32, ge=1)
    """Windows per forward pass."""
    grad_accum_steps: int = Field(default=1, ge=1)
    """Forward passes per optimiser step (gradient accumulation)."""
    chunk_length: Annotated[int | None, BeforeValidator(_none)] = Field(default=None, ge=2)
    """Frames per training window; default: backbone.window_size, twice that with attention."""
    carry_state: bool = False
    """Each row of the batch plays whole games, window after window, and the backbone's state is carried from step to
    step (without gradients); off: every window starts from an empty state."""
    lr: float = Field(default=3e-4, gt=0, le=1.0)
    """Learning rate after the warm-up."""
    lr_final_ratio: float = Field(default=0.1, ge=0.0, le=1.0)
    """Learning rate at the end of the cosine schedule, as a ratio of `lr`."""
    warmup_steps: int = Field(default=100, ge=0)
    """Optimiser steps over which the learning rate rises from 0; 0 turns it off."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """AdamW's weight decay, on weight matrices."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Maximum gradient norm; larger gradients are scaled down."""
    ema_decay: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of the averaged (EMA) weights, which are evaluated and saved; 0 turns them off."""
    mirror_prob: float = Field(default=0.5, ge=0.0, le=1.0)
    """Probability that a window is mirrored left to right."""
    action_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the frames on which the ego's action is hidden from the policy, so that it cannot only repeat it."""
    scheduled_sampling: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the frames on which the policy's own action replaces the ego's in the input, as in play; costs a
    second forward pass."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Label smoothing of sticks and triggers in the training objective; not of buttons, not in a reported loss."""
    focal_gamma: float = Field(default=0.0, ge=0.0, le=5.0)
    """Focal loss gamma in the training objective: how much less well-predicted frames count; 0 turns it off."""
    press_weight: float = Field(default=1.0, gt=0.0, le=100.0)
    """Factor on the button loss of frames with a held button, in the training objective; 1 turns it off."""
    noise_prob: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability that a window's numeric inputs get noise."""
    noise_std: float = Field(default=0.01, ge=0.0)
    """Standard deviation of that noise, in normalised units."""
    balance_characters: bool = False
    """Sample rare characters more often than their share of the frames."""
    balance_temperature: float = Field(default=1.0, gt=0.0, le=1.0)
    """Strength of the balance: 1 gives every wanted character the same share, near 0 the share of its frames."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Torch device; auto: CUDA if available."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the matrix products; the loss is always computed in float32."""
    loader_workers: int = Field(default=1, ge=0, le=64)
    """Threads that prepare batches; 0 uses the training thread. The batches do not depend on it."""
    log_every_steps: int = Field(default=10, ge=1)
    """Optimiser steps between `step` events; slow steps are logged more often."""
    checkpoint_minutes: float = Field(default=2.0, gt=0)
    """Minutes between checkpoints."""
    keep_checkpoints: int = Field(default=3, ge=1)
    """Checkpoints kept besides the best."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.epochs is None and self.max_steps is None and self.max_minutes is None:
            raise ValueError("the run would never end: set at least one of epochs, max_steps and max_minutes")
        return self

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.noise_prob > 0 and self.noise_std == 0:
            raise ValueError(
                f"noise_prob is {self.noise_prob} but noise_std is 0, so no noise would be added"
            )
        if not self.balance_characters and self.balance_temperature != 1.0:
            raise ValueError(
                f"balance_temperature is {self.balance_temperature} but balance_characters is off, "
                "so it would have no effect: turn balance_characters on or leave the temperature out"
            )
        return self


class EvaluationConfig(BaseModel):
    """Evaluation on the held-out games during training."""

    model_config = _FROZEN

    every_steps: Annotated[int | None, BeforeValidator(_none)] = Field(default=None, ge=1)
    """Optimiser steps between evaluations; none turns it off."""
    every_minutes: Annotated[float | None, BeforeValidator(_none)] = Field(default=None, gt=0)
    """Minutes between evaluations; with `every_steps`, the one due first counts; none turns it off."""
    max_frames: Annotated[int | None, BeforeValidator(_none)] = Field(default=None, ge=1)
    """Maximum frames of an evaluation during training, in whole games; none: all."""
    batch_size: int = Field(default=16, ge=1)
    """Games evaluated in parallel (batch size)."""
    patience: int = Field(default=0, ge=0)
    """Evaluations without a better validation loss before early stopping; 0 turns it off."""
    min_delta: float = Field(default=0.001, ge=0.0)
    """Minimum improvement of the validation loss, in nats, to count as better."""


class PilotConfig(BaseModel):
    """The pilot: plays a held-out replay in real time beside a run, to show whether the policy could play."""

    model_config = _FROZEN

    device: Literal["off", "auto", "cpu", "cuda"] = "off"
    """Device of a pilot that plays beside the run at 60 frames per second; auto: the GPU that trains, else a CPU with
    three cores or more."""
    threads: int = Field(default=1, ge=1, le=64)
    """CPU threads of the pilot; a run on the CPU leaves it as many cores."""
    save_seconds: float = Field(default=20.0, ge=1)
    """Seconds between saves of the weights for the pilot, also for one that is started by hand."""

    @model_validator(mode="after")
    def _threads_play(self) -> Self:
        if self.threads != 1 and self.device == "off":
            raise ValueError(
                f"threads is {self.threads} but device is 'off', so no pilot would play with them: set device to "
                "'auto', 'cpu' or 'cuda', or leave threads out"
            )
        if self.threads != 1 and self.device == "cuda":
            raise ValueError(
                f"threads is {self.threads} but device is 'cuda', where one thread does all: leave threads out, or "
                "set device to 'cpu'"
            )
        return self


class Preset(BaseModel):
    """All settings of a run."""

    model_config = _FROZEN

    name: str = Field(min_length=1)
    """Preset name; the run is named after it."""
    description: str = ""
    """One sentence for `exphil presets list`."""
    size: Annotated[SizeChoice | None, BeforeValidator(_none)] = None
    """Named dimensions, batch, learning rate and limits: small, medium or production; auto picks by the training
    frames, this machine's speed and the run's time. Values of a preset file or the command line win."""
    data: DataConfig = DataConfig()
    """Data settings."""
    encoder: EncoderConfig = EncoderConfig()
    """Encoder settings."""
    backbone: BackboneConfig
    """Settings of the sequence model."""
    policy: PolicyConfig = PolicyConfig()
    """Prediction settings."""
    train: TrainConfig
    """Training settings."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation settings."""
    pilot: PilotConfig = PilotConfig()
    """Pilot settings."""

    @property
    def chunk_length(self) -> int:
        """Frames per training window, with the default resolved."""
        if self.train.chunk_length is not None:
            return self.train.chunk_length
        return self.backbone.chunk_length

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.encoder.width != self.backbone.width:
            raise ValueError(
                f"encoder.width is {self.encoder.width} but backbone.width is {self.backbone.width}: "
                "the backbone takes the encoder's output unchanged, so give both the same width"
            )
        if self.chunk_length < self.backbone.window_size:
            raise ValueError(
                f"train.chunk_length is {self.chunk_length} but backbone.window_size is "
                f"{self.backbone.window_size}: a training window must be at least as long as the "
                "backbone's window"
            )
        return self

    @model_validator(mode="after")
    def _actions_can_be_remembered(self) -> Self:
        if self.policy.prediction == "interleaved" and self.backbone.kind == "mlp":
            raise ValueError(
                "policy.prediction is 'interleaved' but backbone.kind is 'mlp', which sees one token at a time and "
                "so would never see an action: choose another backbone, or policy.prediction 'dense'"
            )
        return self

    @model_validator(mode="after")
    def _one_delay_a_game(self) -> Self:
        if self.train.carry_state and self.policy.delay_range is not None:
            raise ValueError(
                f"policy.delay_range is {self.policy.delay_range} but train.carry_state is on: the delay would "
                "change within a game. Leave train.carry_state out, or train with one policy.delay"
            )
        return self

    @model_validator(mode="after")
    def _state_can_be_carried(self) -> Self:
        if self.train.carry_state and self.backbone.kind == "mlp":
            raise ValueError(
                "train.carry_state is on but backbone.kind is 'mlp', which has no state to carry: leave "
                "train.carry_state out, or choose another backbone"
            )
        if self.train.carry_state and self.policy.prediction == "last":
            raise ValueError(
                "train.carry_state is on but policy.prediction is 'last': of games that are played window after "
                f"window, only one frame in {self.chunk_length} would be trained on. Set policy.prediction to "
                "'dense', or leave train.carry_state out"
            )
        return self


def plain_values(preset: Preset) -> Mapping[str, object]:
    """Return the preset as tables of plain values for TOML, without None."""
    return preset.model_dump(mode="json", exclude_none=True)
