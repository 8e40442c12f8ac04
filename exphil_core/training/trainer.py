"""Everything that one run trains with: policy, optimizer, batches, counters, events and checkpoints."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.dataset.batches import BatchLoader, first_rows, stream_games
from exphil_core.dataset.plan import BatchPlan, Plan
from exphil_core.dataset.split import Ego
from exphil_core.dataset.stateful_batches import StatefulBatchPlan
from exphil_core.encoding.batch import build_targets, to_tensors
from exphil_core.models.backbone import resolve_kernel
from exphil_core.models.policy import Policy, build_policy
from exphil_core.runs.command_handler import StopTraining
from exphil_core.runs.suspicious_sides import repeat_sentence
from exphil_core.training.baselines import Baselines, fit_baselines
from exphil_core.training.checkpoint import Checkpoint
from exphil_core.training.checkpoint_manager import CheckpointManager, init_weights
from exphil_core.training.data import DataWarning, TrainingData
from exphil_core.training.diagnostics import ButtonTable
from exphil_core.training.duration import RunLimits, limits_of
from exphil_core.training.embedding_neighbors import nearest_characters
from exphil_core.training.evaluate import Evaluation, choose_games, evaluate
from exphil_core.training.loss import Objective
from exphil_core.training.metrics import TrainingMetrics
from exphil_core.training.optim import Optimizer
from exphil_core.training.precision import MOST_FRAMES, autocast_dtype, choose_precision
from exphil_core.training.random_state import StepRandomness, preserved_rng
from exphil_core.training.recurrent_state import RecurrentState
from exphil_core.training.resume import resume
from exphil_core.training.shares import balance_notices, shares_drawn, wanted_characters
from exphil_core.training.step import StepResult, compute_loss
from exphil_core.training.trainer_state import EvaluationSchedule, TrainerState

Emit = Callable[..., None]
"""`emit(type, **fields)` writes one event."""

EVENT_SECONDS = 10.0
"""Seconds of training between two `step` events at most, as far as steps are that short."""

BASELINE_FRAMES = 2_000_000
"""Training frames that the baselines are fitted on at most: their tables have settled long before."""

BASELINE_CHUNK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """How a run ended."""

    status: str
    """done, stopped or preempted."""
    step: int
    evaluation: Evaluation | None
    """The best checkpoint on the whole validation split; None when the run ended before its limit."""
    state: TrainerState
    neighbours: Mapping[str, tuple[tuple[str, float], ...]]
    """Result of `nearest_characters` for the best checkpoint; empty where characters are not embedded."""


class Trainer:
    """Everything that one run trains with, and its steps other than the update itself."""

    def __init__(
        self,
        preset: Preset,
        data: TrainingData,
        checkpoints: CheckpointManager,
        *,
        device: torch.device,
        emit: Emit,
        between_chunks: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """Build the policy, or restore it from the newest whole checkpoint."""
        self.preset, self.data, self.checkpoints, self.device = preset, data, checkpoints, device
        self._emit, self._between_chunks, self._clock = emit, between_chunks, clock
        config = preset.train
        self._kernel = resolve_kernel(preset.backbone, device)
        torch.manual_seed(config.seed)
        self.policy = policy = build_policy(preset)
        self.baselines = checkpoints.baselines(lambda: _fit_baselines(data, policy))
        restored = checkpoints.load_newest()
        if restored is None and config.init_from is not None:
            init_weights(policy, Path(config.init_from))
        elif restored is None:
            policy.head.start_from_tables(self.baselines.tables["markov"])
        self.optimizer = Optimizer(policy.to(device), config)
        self.randomness = StepRandomness(device)
        self.state, self.recurrent_state = TrainerState(), RecurrentState(policy, config)
        self._warnings, dataset = list(data.warnings), data.store.index.fingerprint
        if restored is not None:
            self.state, self.recurrent_state, warnings = resume(
                restored,
                preset,
                policy=policy,
                optimizer=self.optimizer,
                randomness=self.randomness,
                dataset=dataset,
            )
            self._warnings += warnings
        self.state.dataset = dataset
        self.plan = training_plan(preset, data, policy.longest_horizon)
        self.limits: RunLimits = limits_of(
            config, windows_per_epoch=self.plan.pool.ego_frames / preset.chunk_length
        )
        self.objective = Objective(config, ButtonTable.of(policy.codec, device))
        if not self.state.precision:
            self.state.precision = self._choose_precision()
        self.dtype = autocast_dtype(self.state.precision)
        self.meter = TrainingMetrics(tuple(c.name for c in policy.codec.components), device)
        self._resumed_from = self.state.step or None
        self._first_step = self.state.step + 1
        self._schedule = EvaluationSchedule(preset, self.limits, saved_seconds=self.state.seconds)
        self._watched = choose_games(data.store.index, data.validation, preset.evaluation.max_frames)
        self._player = copy.deepcopy(policy)
        self._saved = None if restored is None else copy.copy(self.state)
        self._warned_of: set[tuple[str, int]] = set()
        policy.train()
        # Time trained counts from here, and over all resumes.
        self._base_seconds, self._started = self.state.seconds, clock()

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return self.limits.progress(step=self.state.step, seconds=self.state.seconds)

    def announce(self, run_name: str) -> None:
        """Emit `run_started` and the warnings that are known before the first step."""
        preset, limits = self.preset, self.limits
        batches = None if limits.steps is None else limits.steps * preset.train.grad_accum_steps
        self._emit(
            "run_started",
            run=run_name,
            preset=preset.name,
            backbone=preset.backbone.kind,
            window_size=preset.backbone.window_size,
            parameters=sum(p.numel() for p in self.policy.parameters()),
            device=str(self.device),
            precision=self.state.precision,
            kernel=self._kernel,
            dataset={**self.data.summary(), "shares": shares_drawn(self.plan, self.data, batches)},
            steps=limits.steps,
            resumed_from=self._resumed_from,
        )
        balance = balance_notices(preset, self.data, self.plan.pool)
        for warning in [*self._warnings, *_warmup_warning(preset, limits), *balance]:
            self._emit("warning", code=warning.code, message=warning.message)
        self._started = self._clock()

    @contextmanager
    def loader(self) -> Iterator[BatchLoader]:
        """The batches from the current step on; the threads that read them end with the context."""
        config = self.preset.train
        loader = BatchLoader(
            self.data.store,
            self.plan,
            first_step=self.state.step * config.grad_accum_steps,
            workers=config.loader_workers,
        )
        try:
            yield loader
        finally:
            loader.close()

    @contextmanager
    def stopped_clock(self) -> Iterator[None]:
        """What happens within is not time trained."""
        asked = self._clock()
        yield
        self._started += self._clock() - asked

    @contextmanager
    def timed_step(self) -> Iterator[None]:
        """Count one step and its time."""
        config, state, meter = self.preset.train, self.state, self.meter
        started = self._clock()
        yield
        state.step += 1
        state.frames += config.batch_size * config.grad_accum_steps * self.preset.chunk_length
        meter.steps += 1
        meter.seconds += self._clock() - started
        self._update_seconds()

    def _update_seconds(self) -> None:
        self.state.seconds = self._base_seconds + self._clock() - self._started

    def log(self, result: StepResult) -> None:
        """Emit a `step` event where one is due: every so many steps, and every few seconds where steps are slow."""
        state, meter = self.state, self.meter
        due = (
            self.progress >= 1
            or state.step % self.preset.train.log_every_steps == 0
            or state.step == self._first_step
            or meter.seconds >= EVENT_SECONDS
        )
        if not due:
            return
        seconds_per_step = meter.seconds / meter.steps
        self._emit(
            "step",
            step=state.step,
            epoch=state.step / self.limits.steps_per_epoch,
            **meter.fields(),
            progress=self.progress,
            lr=result.learning_rate,
            grad_norm=result.grad_norm,
            eta_s=self.limits.left(step=state.step, seconds=state.seconds, seconds_per_step=seconds_per_step),
        )
        meter.reset()

    def evaluate_if_due(self) -> None:
        """Evaluate the current weights on the validation games, and save them where they are the best."""
        state = self.state
        if state.evaluated_step == state.step or not self._schedule.evaluation_due(state):
            return
        improved = self._validate()
        self._update_seconds()
        if improved:
            self.save(best=True)

    def _validate(self) -> bool:
        """Evaluate the current weights; returns whether they are the best so far."""
        self._player.load_state_dict(self.optimizer.eval_weights())
        try:
            found = self._evaluate(self._watched, self.dtype)
        except StopTraining:
            self._schedule.retry_evaluation(self.state)
            raise
        self._emit("evaluated", **found.fields(step=self.state.step, split="validation"))
        self._warn_of_repeats(found)
        return self.state.record_evaluation(found.loss, self.preset.evaluation.min_delta)

    def _evaluate(self, egos: tuple[Ego, ...], dtype: torch.dtype | None) -> Evaluation:
        return evaluate(
            self._player,
            self.data.store,
            egos,
            self.baselines,
            rows=self.preset.evaluation.batch_size,
            device=self.device,
            autocast=dtype,
            between_chunks=self._between_chunks,
        )

    def _warn_of_repeats(self, found: Evaluation) -> None:
        sides = [side for side in found.repeat_is_best if (side.content_id, side.port) not in self._warned_of]
        self._warned_of.update((side.content_id, side.port) for side in sides)
        if sides:
            message = repeat_sentence([side.fields() for side in sides])
            self._emit("warning", code="repeat_is_best", message=message)

    def save_if_due(self) -> None:
        if self._schedule.checkpoint_due(self.state):
            self.save()

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint, unless this very state is on disk already."""
        state = self.state
        if state == self._saved and not best and self.checkpoints.newest_step == state.step:
            # Rewriting it could only lose it, were the rewrite interrupted.
            return
        checkpoint = Checkpoint(
            step=state.step,
            model=self.optimizer.eval_weights(),
            config=self.preset.model_dump(mode="json"),
            optimizer=self.optimizer.state_tensors(),
            rng=self.randomness.state,
            trainer=state.fields(),
            carried=self.recurrent_state.tensors(),
        )
        self.checkpoints.save(checkpoint, best_loss=state.best_loss if best else None)
        self._saved = copy.copy(state)
        self._schedule.saved(state)

    def stops_early(self) -> bool:
        """Whether the validation loss has stopped improving; emits the warning that says so."""
        state = self.state
        if not self._schedule.should_stop_early(state):
            return False
        message = (
            f"validation loss has not improved for {state.stale} evaluation{'s' * (state.stale != 1)}; "
            f"stopping at step {state.step} and "
            f"keeping step {state.best_step}"
        )
        self._emit("warning", code="early_stop", message=message)
        return True

    def finish(self) -> TrainResult:
        """Evaluate the best checkpoint on the whole validation split."""
        if self.state.evaluated_step != self.state.step and self._validate():
            self.save(best=True)
        elif self.checkpoints.newest_step != self.state.step:
            self.save()
        best = self.checkpoints.load_best()
        if best.step == 0:
            self._emit("warning", code="start_is_best", message=self._start_is_best())
        self._player.load_state_dict(dict(best.model))
        # In float32, whatever the precision of training: `exphil eval` must give the same number.
        final = self._evaluate(self.data.validation, None)
        self._emit("evaluated", **final.fields(step=best.step, split="validation"), best=True)
        self._warn_of_repeats(final)
        games = self.data.store.index.games
        trained = {
            external_id
            for game in {ego.game for ego in self.data.train}
            for side in games[game].sides
            for external_id in side.frames_by_character
        }
        return TrainResult(
            status="done",
            step=self.state.step,
            evaluation=final,
            state=self.state,
            neighbours=nearest_characters(self._player, trained),
        )

    def _start_is_best(self) -> str:
        start = "the markov baseline" if self.preset.train.init_from is None else "train.init_from"
        return (
            f"no evaluation of the run's {self.state.step:,} steps was better than its start ({start}), so the start "
            "is kept: add more replays of the characters to be imitated"
        )

    def _choose_precision(self) -> str:
        """Settle `train.precision` on frames of the first batch; weights and random state stay as they are."""
        loader = BatchLoader(self.data.store, self.plan, first_step=0, workers=0)
        _, batch = next(loader)
        few = first_rows(batch, max(1, MOST_FRAMES // batch.valid.shape[1]))

        def probe(dtype: torch.dtype | None) -> None:
            compute_loss(self.policy, few, self.preset, objective=self.objective, dtype=dtype).mean.backward()

        with preserved_rng():
            chosen = choose_precision(
                self.preset.train.precision,
                self.device,
                probe,
                say=lambda text: self._emit("preparing", message=text),
            )
        self.policy.zero_grad(set_to_none=True)
        return chosen


def _warmup_warning(preset: Preset, limits: RunLimits) -> Iterator[DataWarning]:
    warmup = preset.train.warmup_steps
    if limits.steps is not None and warmup > limits.steps // 2:
        yield DataWarning(
            "warmup_longer_than_run",
            f"train.warmup_steps is {warmup:,} but the run has {limits.steps:,} steps, so the learning rate "
            f"rises for {min(1.0, warmup / limits.steps):.0%} of it; on few games use a smaller "
            "train.batch_size, train.grad_accum_steps and train.warmup_steps",
        )


def training_plan(preset: Preset, data: TrainingData, horizon: int) -> Plan:
    """Independent windows, or the games of parallel streams where state is carried."""
    config = preset.train
    kind: Callable[..., Plan] = BatchPlan
    if config.carry_state:
        kind = partial(StatefulBatchPlan, grad_accum_steps=config.grad_accum_steps)
    return kind(
        data.train,
        data.store.index,
        seed=config.seed,
        batch_size=config.batch_size,
        chunk_length=preset.chunk_length,
        horizon=horizon,
        balance=config.balance_characters,
        balance_temperature=config.balance_temperature,
        wanted=wanted_characters(preset),
        mirror=config.mirror_prob,
    )


def _fit_baselines(data: TrainingData, policy: Policy) -> Baselines:
    egos = choose_games(data.store.index, data.train, BASELINE_FRAMES)

    def samples() -> Iterator[tuple[Tensor, Tensor]]:
        cpu = torch.device("cpu")
        for batch in stream_games(
            data.store, egos, rows=min(8, len(egos)), chunk_length=BASELINE_CHUNK, horizon=policy.horizon
        ):
            found = build_targets(
                to_tensors(batch, cpu), policy.codec, horizon=policy.horizon, chunk_length=BASELINE_CHUNK
            )
            yield found.tokens_BTK[found.mask_BT], found.previous_BTK[found.mask_BT]

    return fit_baselines(policy.codec, samples())
