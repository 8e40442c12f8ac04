"""Estimate a run before it starts: parameters, FLOPs, memory and speed.

FLOPs and memory come from the policy itself, which is built for it; `with_measured_speed` runs the training loop on
the run's own data and device. Both preserve torch's random state, so a run may be estimated while another trains. The
first measured steps do not count: they compile, fill caches and choose the precision.

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
from exphil_core.training.checkpoint_manager import CheckpointManager, playable_preset
from exphil_core.training.data import TrainingData
from exphil_core.training.duration import RunLimits, limits_of
from exphil_core.training.flops import training_flops
from exphil_core.training.loop import train
from exphil_core.training.random_state import preserved_rng
from exphil_core.training.synthetic_batch import synthetic_batch

WARMUP_STEPS = 2
"""Steps of a probe that are not counted."""

SMALLEST_STEPS = 3
"""Fewest counted steps, however short the probe."""

NEVER = 1e9
"""Minutes; longer than any probe."""

MOST_RECKONED = 1024
"""Longest window, in frames, from which activation memory is estimated. With attention, a frame keeps more the
more frames it attends to."""

_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSpeed:
    """Training speed measured by a probe."""

    device: str
    precision: str
    kernel: str | None
    steps: int
    seconds_per_step: float
    frames_per_s: float
    data_wait: float
    """Share of a step spent waiting for data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """Size, cost, memory and, where probed, speed of a run that was not started."""

    parameters: int
    frames_per_step: int
    """Frames of all windows of an optimiser step."""
    flops_per_frame: float
    """Model FLOPs of forward and backward, per frame of the windows."""
    memory: Mapping[str, int]
    """Estimated bytes by part: weights, gradients, optimizer, averages, evaluation, activations."""
    state_bytes: int
    """Size of the policy's recurrent state for one game."""
    memory_measured: int | None = None
    """Peak bytes during the probe, where there was one: on CUDA what torch allocated, else the growth of the
    process."""
    steps: int | None = None
    """Updates in the whole run; None where only time limits it, or without data."""
    steps_per_epoch: float | None = None
    """Updates per pass over the training frames."""
    limit_seconds: float | None = None
    """The run's time limit."""
    pace: MeasuredSpeed | None = None

    @property
    def flops_per_step(self) -> float:
        return self.flops_per_frame * self.frames_per_step

    @property
    def memory_bytes(self) -> int:
        """Measured memory where there is a measurement, else the estimate."""
        return sum(self.memory.values()) if self.memory_measured is None else self.memory_measured

    @property
    def estimated_seconds(self) -> float | None:
        """Training time without evaluations; None where neither a probe nor a limit gives one."""
        limits = []
        if self.steps is not None and self.pace is not None:
            limits.append(self.steps * self.pace.seconds_per_step)
        if self.limit_seconds is not None:
            # Without a measured speed it is unknown which of the two limits comes first.
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


def estimate_run(preset: Preset, data: TrainingData | None) -> RunEstimate:
    """Estimate a run from its preset and data alone, without training.

    Random state is preserved.

    Args:
        data: None leaves out what depends on the data.
    """
    # Estimated on the CPU, where the fused kernel of a CUDA run may not be available.
    fused = getattr(preset.backbone, "kernel", None) == "fused"
    with preserved_rng():
        policy = build_policy(playable_preset(preset) if fused else preset)
        memory = _memory(preset, policy)
        cost = training_flops(preset, policy)
    config = preset.train
    limits = None if data is None else _limits(preset, data)
    # Only the data tells how many updates an epoch has.
    without_data = config.max_steps if config.epochs is None else None
    return RunEstimate(
        parameters=sum(p.numel() for p in policy.parameters()),
        frames_per_step=config.batch_size * config.grad_accum_steps * preset.chunk_length,
        flops_per_frame=cost,
        memory=memory,
        state_bytes=sum(part.nbytes for part in policy.initial_state(1)),
        steps=without_data if limits is None else limits.steps,
        steps_per_epoch=None if limits is None else limits.steps_per_epoch,
        limit_seconds=None if config.max_minutes is None else 60 * config.max_minutes,
    )


def with_measured_speed(
    expected: RunEstimate,
    preset: Preset,
    data: TrainingData,
    *,
    device: torch.device,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> RunEstimate:
    """Time real training steps and add the results to `expected`.

    Args:
        seconds: measuring time after the warm-up steps.

    Raises:
        UsageError: the device, kernel or precision is not available.
        DivergedError: the loss is not finite.
    """
    watch = _Stopwatch(seconds=seconds, clock=clock)
    with preserved_rng(), _peak_memory(device) as peak, suppress(_Enough):
        train(
            _endless(preset),
            data,
            _NullCheckpointManager(preset),
            device=device,
            run_name="probe",
            emit=watch.hear,
            clock=clock,
        )
    return replace(expected, pace=watch.pace(expected.frames_per_step), memory_measured=peak())


class _Enough(Exception):
    """End a probe that has measured enough."""


@dataclass(slots=True, kw_only=True)
class _Stopwatch:
    """Receive the loop's events, time its steps and end it when the time is up."""

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

    def pace(self, frames_per_step: int) -> MeasuredSpeed:
        each = (self._ended - self._began) / self._counted
        return MeasuredSpeed(
            device=str(self._started["device"]),
            precision=str(self._started["precision"]),
            kernel=self._started["kernel"],
            steps=self._counted,
            seconds_per_step=each,
            frames_per_s=frames_per_step / each,
            data_wait=self._waited / self._counted,
        )


class _NullCheckpointManager(CheckpointManager):
    """A checkpoint manager that saves nothing and has nothing to restore."""

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
        # Fitted on one synthetic frame: a probe reports no loss, and real baselines take long to fit.
        codec = build_codec(self._preset.policy.codec)
        nothing = torch.zeros(1, len(codec.components), dtype=torch.int64)
        return fit_baselines(codec, [(nothing, nothing)])


def _endless(preset: Preset) -> Preset:
    """Return the preset without an end, evaluations or checkpoints, and with an event for every step."""
    never = {
        "epochs": None,
        "max_steps": None,
        "max_minutes": NEVER,
        "checkpoint_minutes": NEVER,
        "log_every_steps": 1,
    }
    return preset.model_copy(
        update={
            "train": preset.train.model_copy(update=never),
            "evaluation": preset.evaluation.model_copy(update={"every_steps": None, "every_minutes": NEVER}),
        }
    )


def _limits(preset: Preset, data: TrainingData) -> RunLimits:
    frames = sum(data.store.index.games[ego.game].frames for ego in data.train)
    return limits_of(preset.train, windows_per_epoch=frames / preset.chunk_length)


def _memory(preset: Preset, policy: Policy) -> dict[str, int]:
    """Return the estimated bytes of each part, at the peak of a step."""
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
    """Return the bytes kept for the backward pass, per frame of one window, in float32 on a CPU."""
    frames = min(preset.chunk_length, MOST_RECKONED)
    own = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    policy.train()
    # Every saved tensor stays alive until all are counted, so that no two share an address.
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        nll_BTK, targets, _ = policy.nll(synthetic_batch(1, frames + policy.horizon, torch.device("cpu")))
        mask_BT = prediction_mask(targets, preset.policy.prediction)
        (nll_BTK.float().sum(-1) * mask_BT).sum()
    return round(sum(kept.values()) / frames)


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the peak growth of memory since the start, in bytes."""
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
    """Return the process's bytes without shared and mapped memory, where the system reports it."""
    info = process.memory_info()
    return int(info.rss) - int(getattr(info, "shared", 0))
