"""What a run can be told: one frozen model per table of a preset, and the contradictions between them.

In: plain values, as TOML gives them (`loader` reads the files and says where a mistake stands). Out: a
`Preset` with every value filled in. What a reader gets wrong: a limit that is absent is `None` here and the
word "none" in TOML, and a run may have several limits on its length: the first that is reached ends it.
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
"""How TOML and the command line say that a limit is off, since TOML has no null."""


def _none(value: object) -> object:
    return None if value == NONE else value


def _pair(value: object) -> object:
    # Past a validator of ours, a list is no tuple any more where types are strict.
    return tuple(value) if isinstance(value, list) else _none(value)


def _playable(name: str) -> str:
    character = by_name(name)
    if character.external_id >= PLAYABLE_COUNT:
        raise ValueError(f"'{character.name}' cannot be selected in a game; expected one of the 26 fighters")
    return character.name


CharacterName = Annotated[str, AfterValidator(_playable)]
"""A name or alias on the way in, the character's `name` on the way out."""


def _most_games(value: object) -> object:
    if value is None or value == NONE:
        return None
    if not isinstance(value, Mapping):
        return _count(value, or_else=", or a table of them by character such as { mewtwo = 2 }")
    if not value:
        raise ValueError("an empty table limits nobody: name a character, or leave it out")
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
    """Which games are learned from, and whose inputs."""

    model_config = _FROZEN

    replays: tuple[str, ...] = ()
    """Files, folders, archives or built datasets, from the folder that the command runs in."""
    characters: tuple[CharacterName, ...] = ()
    """Whose inputs are imitated: sides that mostly play one of these; empty means everybody's."""
    train_on_all_characters: bool | Literal["auto"] = "auto"
    """Also train on every other character's sides, for what all characters share; only `characters` are judged.
    auto: where `characters` have few frames."""
    validation_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the games that is held out."""
    split_seed: int = Field(default=0, ge=0)
    """Which games those are."""
    include_cpu: bool = False
    """Imitate computer players too."""
    include_idle: bool = False
    """Imitate sides that hardly move or look scripted too."""
    most_games: Annotated[int | dict[str, int] | None, BeforeValidator(_most_games)] = None
    """Learn from at most so many games of each character, or of those in a table such as { mewtwo = 2 }; to see how
    few are enough."""
    min_frames: int = Field(default=600, ge=1)
    """Games shorter than this are filtered."""

    @model_validator(mode="after")
    def _trains_on_others(self) -> Self:
        if self.train_on_all_characters is True and not self.characters:
            raise ValueError(
                "train_on_all_characters is true but characters is empty, which already means everybody: name "
                "the characters to be judged on, or leave train_on_all_characters out"
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
        if isinstance(self.most_games, dict) and self.characters and self.train_on_all_characters is False:
            strangers = [name for name in self.most_games if name not in self.characters]
            if strangers:
                raise ValueError(
                    f"most_games limits {', '.join(strangers)}, but only {', '.join(self.characters)} are learned "
                    "from: name them in characters too, or leave them out of most_games"
                )
        return self


MOST_DELAY = 120
"""Frames; two seconds."""


class PolicyConfig(BaseModel):
    """What is predicted, and by which head."""

    model_config = _FROZEN

    codec: Literal["clusters", "axes"] = "clusters"
    """How a controller becomes target tokens."""
    delay: int = Field(default=0, ge=0, le=MOST_DELAY)
    """Frames between the observation and the input it causes, beyond the next frame."""
    delays: Annotated[tuple[int, int] | None, BeforeValidator(_pair)] = None
    """Train on every delay from the first to the last of these, drawn anew for each window and told to the policy;
    `delay` is the one that is evaluated and played."""
    prediction: Literal["dense", "last", "interleaved"] = "dense"
    """A prediction at every frame of a window, or only at its last; interleaved is at every frame, with the ego's
    actions as tokens of their own between the states."""
    head_width: int = Field(default=128, ge=1)
    """Hidden width of each component's head."""
    head_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the head's hidden values dropped in training."""

    @model_validator(mode="after")
    def _delay_is_trained(self) -> Self:
        if self.delays is None:
            return self
        least, most = self.delays
        if not 0 <= least < most <= MOST_DELAY:
            raise ValueError(
                f"delays is {least} to {most}: expected two numbers, the smaller first, from 0 to {MOST_DELAY}"
            )
        if not least <= self.delay <= most:
            raise ValueError(
                f"delay is {self.delay}, but delays says that {least} to {most} are trained: set policy.delay, "
                f"the one that is played, to one of those, such as {least}"
            )
        return self


class TrainConfig(BaseModel):
    """How long, how fast and on what a run learns."""

    model_config = _FROZEN

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Decides the first weights, every batch and every augmentation."""
    start_from: Annotated[str | None, BeforeValidator(_none)] = None
    """Begin with the weights of this checkpoint directory instead of drawn ones; the policy's parts must be as
    large."""
    epochs: Annotated[float | None, BeforeValidator(_none)] = Field(default=None, gt=0)
    """End after as many passes over the training frames."""
    max_steps: Annotated[int | None, BeforeValidator(_none)] = Field(default=None, ge=1)
    """End after as many optimiser steps."""
    max_minutes: Annotated[float | None, BeforeValidator(_none)] = Field(default=None, gt=0)
    """End after as many minutes of training, counted over resumes."""
    batch_size: int = Field(default=32, ge=1)
    """Windows a forward pass."""
    accumulation: int = Field(default=1, ge=1)
    """Forward passes an optimiser step."""
    chunk_length: Annotated[int | None, BeforeValidator(_none)] = Field(default=None, ge=2)
    """Frames a training window; by default the window, twice that where there is attention."""
    carry_state: bool = False
    """Each row of the batch plays whole games, window after window, and what the backbone remembers is carried
    from one step to the next (without gradients); else every window starts from nothing."""
    lr: float = Field(default=3e-4, gt=0, le=1.0)
    """Learning rate after the warm-up."""
    lr_final: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of `lr` that is left at the end of the cosine."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rate rises from nothing."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """AdamW's decay of the weight matrices."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to at most this norm."""
    ema_decay: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Of the averaged weights that are evaluated and kept; 0 turns them off."""
    mirror: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the windows that are reflected left to right."""
    action_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the frames on which the policy is not shown what the ego did, so that it cannot only repeat it."""
    scheduled_sampling: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the frames on which the policy is shown what it would have done itself instead of what the ego did,
    as in play; costs a second forward pass."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Of sticks and triggers, in what is minimised; never of buttons, and never in a reported loss."""
    focal_gamma: float = Field(default=0.0, ge=0.0, le=5.0)
    """How much less what is predicted well already counts in what is minimised; 0 turns that off."""
    press_weight: float = Field(default=1.0, gt=0.0, le=100.0)
    """How many times as much the buttons of a frame count where one is held, in what is minimised."""
    noise_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the windows whose numeric inputs get noise."""
    noise_scale: float = Field(default=0.01, ge=0.0)
    """Standard deviation of that noise, after normalisation."""
    balance_characters: bool = False
    """Draw rare characters more often than their share of the frames."""
    balance_temperature: float = Field(default=1.0, gt=0.0, le=1.0)
    """How far: 1 asks for the same share for every wanted character, near 0 for the share of its frames."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model lives; auto takes CUDA where there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the matrix products; the loss is always computed in float32."""
    loader_workers: int = Field(default=1, ge=0, le=64)
    """Threads that prepare batches; 0 prepares them in line. Batches are the same for any number."""
    log_steps: int = Field(default=10, ge=1)
    """Optimiser steps between `step` events; slow steps are reported more often."""
    checkpoint_minutes: float = Field(default=2.0, gt=0)
    """Minutes between checkpoints."""
    keep_checkpoints: int = Field(default=3, ge=1)
    """Checkpoints kept besides the best."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.epochs is None and self.max_steps is None and self.max_minutes is None:
            raise ValueError(
                "the run would never end: give at least one of epochs, max_steps and max_minutes"
            )
        return self

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> Self:
        if self.noise_share > 0 and self.noise_scale == 0:
            raise ValueError(
                f"noise_share is {self.noise_share} but noise_scale is 0, so no noise would be added"
            )
        if not self.balance_characters and self.balance_temperature != 1.0:
            raise ValueError(
                f"balance_temperature is {self.balance_temperature} but balance_characters is off, "
                "so it would have no effect: turn balance_characters on or leave the temperature out"
            )
        return self


class EvaluationConfig(BaseModel):
    """When and on how much the held-out games are looked at during training."""

    model_config = _FROZEN

    every_steps: Annotated[int | None, BeforeValidator(_none)] = Field(default=None, ge=1)
    """Optimiser steps between evaluations."""
    every_minutes: Annotated[float | None, BeforeValidator(_none)] = Field(default=None, gt=0)
    """Minutes between evaluations; with `every_steps` too, whichever is due first."""
    max_frames: Annotated[int | None, BeforeValidator(_none)] = Field(default=None, ge=1)
    """Cap on the frames of an evaluation during training, in whole games; none means all of them."""
    rows: int = Field(default=16, ge=1)
    """Games evaluated side by side."""
    patience: int = Field(default=0, ge=0)
    """Evaluations without a better validation loss before the run stops early; 0 turns that off."""
    min_delta: float = Field(default=0.001, ge=0.0)
    """By how many nats a loss must be lower to count as better."""


class PilotConfig(BaseModel):
    """Who plays a held-out replay in real time beside a run, to show whether the policy could play."""

    model_config = _FROZEN

    device: Literal["off", "auto", "cpu", "cuda"] = "off"
    """Where a pilot plays beside the run, at 60 frames a second; auto: on the GPU that trains, else on a processor
    with three cores or more."""
    threads: int = Field(default=1, ge=1, le=64)
    """Processor threads that it plays with; a run on the processor leaves it as many cores."""
    save_seconds: float = Field(default=20.0, ge=1)
    """Seconds between two savings of the weights for it, also for a pilot that is started by hand."""

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
    """Everything that decides a run, but the data that it finds."""

    model_config = _FROZEN

    name: str = Field(min_length=1)
    """What the run is named after."""
    description: str = ""
    """One sentence for `exphil presets list`."""
    size: Annotated[SizeChoice | None, BeforeValidator(_none)] = None
    """small, medium or production: dimensions, batch, learning rate and limits by name; auto picks by the training
    frames, this machine's speed and the run's time. What a preset file or the command line sets wins."""
    data: DataConfig = DataConfig()
    """Which games are learned from."""
    encoder: EncoderConfig = EncoderConfig()
    """How columns become the model's input."""
    backbone: BackboneConfig
    """The sequence model."""
    policy: PolicyConfig = PolicyConfig()
    """What is predicted."""
    train: TrainConfig
    """How it is learned."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """When it is measured."""
    pilot: PilotConfig = PilotConfig()
    """Who plays beside it."""

    @property
    def chunk_length(self) -> int:
        """Frames of a training window, with the default resolved."""
        if self.train.chunk_length is not None:
            return self.train.chunk_length
        return self.backbone.chunk_length

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.encoder.width != self.backbone.width:
            raise ValueError(
                f"encoder.width is {self.encoder.width} but backbone.width is {self.backbone.width}: "
                "the backbone takes the encoder's output as it is, so give both the same width"
            )
        if self.chunk_length < self.backbone.window_size:
            raise ValueError(
                f"train.chunk_length is {self.chunk_length} but backbone.window_size is "
                f"{self.backbone.window_size}: a training window must be at least as long as what the "
                "backbone looks back on"
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
        if self.train.carry_state and self.policy.delays is not None:
            raise ValueError(
                f"policy.delays is {self.policy.delays} but train.carry_state is on: the delay would change within a "
                "game that is remembered. Leave train.carry_state out, or train with one policy.delay"
            )
        return self

    @model_validator(mode="after")
    def _state_can_be_carried(self) -> Self:
        if self.train.carry_state and self.backbone.kind == "mlp":
            raise ValueError(
                "train.carry_state is on but backbone.kind is 'mlp', which remembers nothing to carry: leave "
                "train.carry_state out, or choose another backbone"
            )
        if self.train.carry_state and self.policy.prediction == "last":
            raise ValueError(
                "train.carry_state is on but policy.prediction is 'last': of games that are played window after "
                f"window, only one frame in {self.chunk_length} would be learned from. Set policy.prediction to "
                "'dense', or leave train.carry_state out"
            )
        return self


def plain_values(preset: Preset) -> Mapping[str, object]:
    """The preset as tables of plain values, without what is None: what TOML can hold."""
    return preset.model_dump(mode="json", exclude_none=True)
