"""What a run would be before it is one: its size, what its steps cost, the memory it takes, and how fast it is here.

Cost and memory are those of the policy itself, which is built for it; `probed` runs the training loop on the run's
own data and device. Neither leaves a trace in torch's random state, so a run may be described while it trains.
A probe's first steps do not count: they compile, fill caches and choose the precision.

Legend: B batch, T time, K components.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
import torch
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.encoding.codecs import build_codec
from exphil_core.models.policy import Policy, build_policy, prediction_mask
from exphil_core.training.baselines import Baselines, fit_baselines
from exphil_core.training.checkpoint import Checkpoint
from exphil_core.training.data import TrainingData
from exphil_core.training.flops import counted
from exphil_core.training.keeper import Keeper, playable_preset
from exphil_core.training.limits import Limits, limits_of
from exphil_core.training.loop import train
from exphil_core.training.random_state import preserved_rng
from exphil_core.training.throughput import made_up_batch

WARMUP_STEPS = 2
"""Steps of a probe that do not count."""

SMALLEST_STEPS = 3
"""Steps that count are taken at least so many, however short the probe."""

NEVER = 1e9
"""Minutes."""

MOST_RECKONED = 1024
"""Frames of the forward pass that the memory of a micro-batch is reckoned from, at most; else a whole window. Where
there is attention, what a frame keeps grows with what it looks back on."""

_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a probe measured."""

    device: str
    precision: str
    kernel: str | None
    steps: int
    seconds_per_step: float
    frames_per_s: float
    data_wait: float
    """Share of a step spent waiting for data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is known of a run that was not started."""

    parameters: int
    frames_per_step: int
    """Frames of all windows of an optimiser step."""
    flops_per_frame: float
    """Of forward and backward, counted: what the mathematics of a step needs for one frame of its windows."""
    memory: Mapping[str, int]
    """Part → bytes, estimated: weights, gradients, optimizer, averages, evaluation, activations."""
    state_bytes: int
    """What the policy remembers of one game in play."""
    memory_measured: int | None = None
    """Bytes at the peak of the probe, where there was one: on CUDA what torch held there, else by how much the
    process grew."""
    steps: int | None = None
    """Updates in the whole run; None where only time limits it, or without data."""
    steps_per_epoch: float | None = None
    """Updates that one pass over the training frames takes."""
    limit_seconds: float | None = None
    """The run's limit on time."""
    pace: Pace | None = None

    @property
    def flops_per_step(self) -> float:
        return self.flops_per_frame * self.frames_per_step

    @property
    def memory_bytes(self) -> int:
        """Measured where it was, else estimated."""
        return sum(self.memory.values()) if self.memory_measured is None else self.memory_measured

    @property
    def estimated_seconds(self) -> float | None:
        """Of training, evaluations aside; None where neither a probe nor a limit tells."""
        limits = []
        if self.steps is not None and self.pace is not None:
            limits.append(self.steps * self.pace.seconds_per_step)
        if self.limit_seconds is not None:
            # With a limit on updates too and no pace, which of both comes first is not known.
            if self.steps is not None and self.pace is None:
                return None
            limits.append(self.limit_seconds)
        return min(limits, default=None)

    @property
    def estimated_steps(self) -> int | None:
        """Updates in the whole run, whichever limit ends it."""
        seconds = self.estimated_seconds
        if self.pace is None or seconds is None:
            return self.steps
        within = round(seconds / self.pace.seconds_per_step)
        return within if self.steps is None else min(self.steps, within)

    @property
    def estimated_epochs(self) -> float | None:
        steps = self.estimated_steps
        return None if steps is None or not self.steps_per_epoch else steps / self.steps_per_epoch


def outlook(preset: Preset, data: TrainingData | None) -> Outlook:
    """What follows from the preset and the data alone. Nothing is trained, and no random number is used up."""
    # Reckoned on a processor, where the kernel of a run on CUDA may not be.
    fused = getattr(preset.backbone, "kernel", None) == "fused"
    with preserved_rng():
        policy = build_policy(playable_preset(preset) if fused else preset)
        memory = _memory(preset, policy)
        cost = counted(preset, policy)
    config = preset.train
    limits = None if data is None else _limits(preset, data)
    # How many updates an epoch has, only the data tells.
    without_data = config.max_steps if config.epochs is None else None
    return Outlook(
        parameters=sum(p.numel() for p in policy.parameters()),
        frames_per_step=config.batch_size * config.accumulation * preset.chunk_length,
        flops_per_frame=cost,
        memory=memory,
        state_bytes=sum(part.nbytes for part in policy.initial_state(1)),
        steps=without_data if limits is None else limits.steps,
        steps_per_epoch=None if limits is None else limits.steps_per_epoch,
        limit_seconds=None if config.max_minutes is None else 60 * config.max_minutes,
    )


def probed(
    expected: Outlook,
    preset: Preset,
    data: TrainingData,
    *,
    device: torch.device,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Outlook:
    """`expected` with what real steps take, measured for `seconds` after the first ones.

    Raises what training raises: UsageError where the device, kernel or precision is not there, DivergedError.
    """
    watch = _Stopwatch(seconds=seconds, clock=clock)
    with preserved_rng(), _peak_memory(device) as peak, suppress(_Enough):
        train(
            _endless(preset),
            data,
            _Nothing(preset),
            device=device,
            run_name="probe",
            emit=watch.hear,
            clock=clock,
        )
    return replace(expected, pace=watch.pace(expected.frames_per_step), memory_measured=peak())


class _Enough(Exception):
    """The probe has seen what it wanted."""


@dataclass(slots=True, kw_only=True)
class _Stopwatch:
    """Hears the events of the loop, and ends it when the time is over."""

    seconds: float
    clock: Callable[[], float]
    _started: Mapping[str, Any] = field(default_factory=dict)
    _steps: int = 0
    _began: float = 0.0
    _ended: float = 0.0
    _waited: float = 0.0

    def hear(self, kind: str, **fields: Any) -> None:
        if kind == "run_started":
            self._started = fields
        if kind != "step":
            return
        self._steps += 1
        self._ended = self.clock()
        if self._steps <= WARMUP_STEPS:
            self._began = self._ended
            return
        self._waited += fields["data_wait"]
        if self._counted >= SMALLEST_STEPS and self._ended - self._began >= self.seconds:
            raise _Enough

    @property
    def _counted(self) -> int:
        return self._steps - WARMUP_STEPS

    def pace(self, frames_per_step: int) -> Pace:
        each = (self._ended - self._began) / self._counted
        return Pace(
            device=str(self._started["device"]),
            precision=str(self._started["precision"]),
            kernel=self._started["kernel"],
            steps=self._counted,
            seconds_per_step=each,
            frames_per_s=frames_per_step / each,
            data_wait=self._waited / self._counted,
        )


class _Nothing(Keeper):
    """Keeps nothing, and has nothing to begin from."""

    def __init__(self, preset: Preset) -> None:
        self._preset = preset

    @property
    def newest_step(self) -> int | None:
        return None

    def save(self, checkpoint: Checkpoint, *, best_loss: float | None = None) -> None:
        pass

    def load_newest(self) -> Checkpoint | None:
        return None

    def baselines(self, fit: Callable[[], Baselines]) -> Baselines:
        # Of one made-up frame: a probe measures no loss, and fitting them takes long.
        codec = build_codec(self._preset.policy.codec)
        nothing = torch.zeros(1, len(codec.components), dtype=torch.int64)
        return fit_baselines(codec, [(nothing, nothing)])


def _endless(preset: Preset) -> Preset:
    """The preset without an end, an evaluation or a checkpoint, and with an event for every step."""
    never = {
        "epochs": None,
        "max_steps": None,
        "max_minutes": NEVER,
        "checkpoint_minutes": NEVER,
        "log_steps": 1,
    }
    return preset.model_copy(
        update={
            "train": preset.train.model_copy(update=never),
            "evaluation": preset.evaluation.model_copy(update={"every_steps": None, "every_minutes": NEVER}),
        }
    )


def _limits(preset: Preset, data: TrainingData) -> Limits:
    frames = sum(data.store.index.games[ego.game].frames for ego in data.train)
    return limits_of(preset.train, windows_per_epoch=frames / preset.chunk_length)


def _memory(preset: Preset, policy: Policy) -> dict[str, int]:
    """Bytes by what holds them, at the widest point of a step."""
    config = preset.train
    weights = sum(p.numel() * p.element_size() for p in policy.parameters())
    return {
        "weights": weights,
        "gradients": weights,
        # AdamW's two moments.
        "optimizer": 2 * weights,
        "averages": weights if config.ema_decay else 0,
        # The copy that is evaluated.
        "evaluation": weights,
        "activations": config.batch_size * preset.chunk_length * _kept_per_frame(preset, policy),
    }


def _kept_per_frame(preset: Preset, policy: Policy) -> int:
    """Bytes that a forward pass keeps for the way back, per frame of one window, in float32 on a CPU."""
    frames = min(preset.chunk_length, MOST_RECKONED)
    own = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    policy.train()
    # Held until all is counted, so that no two tensors have one address.
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        nll_BTK, aimed, _ = policy.nll(made_up_batch(1, frames + policy.horizon, torch.device("cpu")))
        mask_BT = prediction_mask(aimed, preset.policy.prediction)
        (nll_BTK.float().sum(-1) * mask_BT).sum()
    return round(sum(kept.values()) / frames)


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """By how many bytes memory grew at most since the start."""
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
        return
    process, over = psutil.Process(), threading.Event()
    before = peak = _private(process)

    def sample() -> None:
        nonlocal peak
        while not over.wait(_SAMPLE_SECONDS):
            peak = max(peak, _private(process))

    sampler = threading.Thread(target=sample, name="memory", daemon=True)
    sampler.start()
    try:
        yield lambda: max(peak, _private(process)) - before
    finally:
        over.set()
        sampler.join()


def _private(process: psutil.Process) -> int:
    """Bytes of the process without the mapped files, where the system tells them apart."""
    info = process.memory_info()
    return int(info.rss) - int(getattr(info, "shared", 0))
