"""Training: draw a batch, take a step, say what happened, keep what was learned.

In: a run directory whose run.toml names the preset and the dataset. Out: events, checkpoints, and how it ended.
What a reader gets wrong: everything that decides the weights is a function of (preset, dataset, step) and of the
saved state, so a run that was killed and resumed is the run that was not. Evaluations and the clock only decide
when something is saved (and, where a run is limited by minutes, how fast the learning rate falls).
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset
from exphil_core.dataset.batches import Batch, BatchLoader, first_rows, stream_games
from exphil_core.dataset.lanes import LanePlan
from exphil_core.dataset.plan import BatchPlan, Plan
from exphil_core.dataset.split import Ego
from exphil_core.dataset.store import ColumnStore
from exphil_core.encoding.batch import characters_on_stage, targets, to_tensors
from exphil_core.encoding.mirror import apply_mirror
from exphil_core.encoding.noise import apply_noise
from exphil_core.errors import CheckpointError, DivergedError
from exphil_core.models.backbone import resolve_kernel
from exphil_core.models.policy import Policy, build_policy, prediction_mask
from exphil_core.runs.helm import Ending, Save
from exphil_core.runs.suspicious_sides import repeat_sentence
from exphil_core.training.baselines import Baselines, fit_baselines
from exphil_core.training.carried import CarriedState
from exphil_core.training.checkpoint import Checkpoint
from exphil_core.training.data import Notice, TrainingData
from exphil_core.training.evaluate import Evaluation, choose_games, evaluate
from exphil_core.training.keeper import Keeper, start_from
from exphil_core.training.limits import Limits, limits_of
from exphil_core.training.meter import Meter
from exphil_core.training.neighbours import nearest_characters
from exphil_core.training.objective import Objective
from exphil_core.training.optim import Optimizer
from exphil_core.training.precision import MOST_FRAMES, autocast_dtype, choose_precision
from exphil_core.training.probes import Presses
from exphil_core.training.random_state import StepRandomness, preserved_rng
from exphil_core.training.shares import balance_notices, shares_drawn, wanted_characters
from exphil_core.training.shown import draw_delays, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loss:
    """One forward pass: the mean that is minimised, what it is the mean of, and what the backbone remembers."""

    mean: Tensor
    nll_BTK: Tensor
    mask_BT: Tensor
    external_id_BT: Tensor
    """The ego's character in each observed frame."""
    state: Any


Emit = Callable[..., None]
"""`emit(type, **fields)`: one event."""

PlayingWeights = Callable[[], Mapping[str, Tensor]]
"""Gives those of now: they change with the next step."""

EVALUATIONS = 20
"""Evaluations over a run whose preset sets no interval."""

EVENT_SECONDS = 10.0
"""Of training between two `step` events at most, as far as steps are that short."""

BASELINE_FRAMES = 2_000_000
"""Training frames that the baselines are fitted on at most: their tables are long settled by then."""

BASELINE_CHUNK = 1024

_CLEARED = Notice(
    "carried_state_cleared",
    "the games to learn from are not those that the carried state is of: every row goes on with a game from a "
    "cleared state",
)


@dataclass(slots=True, kw_only=True)
class TrainerState:
    """The loop's counters, all of which a checkpoint carries."""

    step: int = 0
    seconds: float = 0.0
    """Time trained, over all resumes."""
    frames: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    stale: int = 0
    """Evaluations since the last improvement by `min_delta`."""
    patience_loss: float | None = None
    evaluated_step: int | None = None
    evaluation_tick: int = 0
    """Intervals between evaluations that have passed."""
    precision: str = ""
    dataset: str = ""
    """Fingerprint of the dataset that the lanes play, for a carried state is of its games."""

    def fields(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "step"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    status: str
    """done, stopped, preempted."""
    step: int
    evaluation: Evaluation | None
    """Of the best checkpoint on the whole validation split; None when the run ended before its limit."""
    state: TrainerState
    neighbours: Mapping[str, tuple[tuple[str, float], ...]]
    """What `nearest_characters` says of the best checkpoint; empty where characters are not embedded."""


def train(
    preset: Preset,
    data: TrainingData,
    keeper: Keeper,
    *,
    device: torch.device,
    run_name: str,
    emit: Emit,
    between_steps: Callable[[int, Save], None] = lambda step, save: None,
    between_chunks: Callable[[], None] = lambda: None,
    publish: Callable[[int, PlayingWeights], None] = lambda step, weights: None,
    clock: Callable[[], float] = time.monotonic,
) -> Finished:
    """Train from the newest whole checkpoint in `keeper` (or from the start) to the run's limit.

    `between_steps` may save, and may take its time: what it takes is not time trained. `between_chunks` is called
    during evaluations. Where either raises Ending, the run saves a checkpoint and ends with that status. `publish`
    comes between steps, too, and may copy the weights that are played after so many.
    Raises DivergedError before a step with a loss or gradient that is not finite.
    """
    config = preset.train
    prediction = preset.policy.prediction
    kernel = resolve_kernel(preset.backbone, device)
    torch.manual_seed(config.seed)
    policy = build_policy(preset)
    baselines = keeper.baselines(lambda: _fit_baselines(data, policy))
    restored = keeper.load_newest()
    if restored is None and config.start_from is not None:
        start_from(policy, Path(config.start_from))
    elif restored is None:
        policy.head.start_from_tables(baselines.tables["markov"])
    optimizer = Optimizer(policy.to(device), config)
    randomness = StepRandomness(device)
    state = TrainerState()
    carried = CarriedState(policy, config)
    fingerprint = data.store.index.fingerprint
    notices = list(data.warnings)
    if restored is not None:
        state = _restore(restored, preset, optimizer, randomness)
        carried.load(restored.carried, where=f"the checkpoint of step {state.step:,}")
        if config.carry_state and state.dataset != fingerprint:
            carried = CarriedState(policy, config)
            notices.append(_CLEARED)
    state.dataset = fingerprint

    chunk = preset.chunk_length
    plan = _plan(preset, data, policy.longest_horizon)
    limits = limits_of(config, windows_per_epoch=plan.pool.ego_frames / chunk)
    loader = BatchLoader(
        data.store, plan, first_step=state.step * config.accumulation, workers=config.loader_workers
    )
    batches = iter(loader)

    objective = Objective(config, Presses.of(policy.codec, device))

    def loss_of(drawn: int, batch: Batch, dtype: torch.dtype | None, memory: Any = None) -> _Loss:
        whole = apply_mirror(to_tensors(batch, device))
        if config.noise_share:
            whole = apply_noise(whole, seed=drawn, share=config.noise_share, scale=config.noise_scale)
        delay_B = draw_delays(policy, whole, seed=drawn)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            seen = shown(policy, whole, memory, config, seed=drawn, delay_B=delay_B)
            scores = policy(whole, memory, seen=seen, delay_B=delay_B)
        nll_BTK, mask_BT = scores.nll_BTK, prediction_mask(scores.aimed, prediction)
        return _Loss(
            mean=objective.mean(scores.log_probs, nll_BTK, scores.aimed.tokens_BTK, mask_BT),
            nll_BTK=nll_BTK,
            mask_BT=mask_BT,
            external_id_BT=characters_on_stage(whole.columns, whole.external_id)[:, : mask_BT.shape[1]],
            state=scores.state,
        )

    if not state.precision:
        state.precision = _settle_precision(
            preset,
            plan,
            data.store,
            device,
            policy,
            loss_of,
            say=lambda text: emit("preparing", message=text),
        )
    dtype = autocast_dtype(state.precision)
    batches_in_run = None if limits.steps is None else limits.steps * config.accumulation
    emit(
        "run_started",
        run=run_name,
        preset=preset.name,
        backbone=preset.backbone.kind,
        window_size=preset.backbone.window_size,
        parameters=sum(p.numel() for p in policy.parameters()),
        device=str(device),
        precision=state.precision,
        kernel=kernel,
        dataset={**data.summary(), "shares": shares_drawn(plan, data, batches_in_run)},
        steps=limits.steps,
        resumed_from=state.step or None,
    )
    notices += [*_warmup_notice(preset, limits), *balance_notices(preset, data, plan.pool)]
    for notice in notices:
        emit("warning", code=notice.code, message=notice.message)
    meter = Meter(tuple(c.name for c in policy.codec.components), device)
    watched = choose_games(data.store.index, data.validation, preset.evaluation.max_frames)
    player = copy.deepcopy(policy)
    schedule = _Schedule(preset, limits, saved_seconds=state.seconds)
    first_step = state.step + 1
    saved = None if restored is None else copy.copy(state)
    base_seconds, started = state.seconds, clock()
    policy.train()
    warned_of: set[tuple[str, int]] = set()

    def warn_of_repeats(found: Evaluation) -> None:
        sides = [side for side in found.repeat_is_best if (side.content_id, side.port) not in warned_of]
        warned_of.update((side.content_id, side.port) for side in sides)
        if sides:
            emit("warning", code="repeat_is_best", message=repeat_sentence([side.fields() for side in sides]))

    def validate(egos: tuple[Ego, ...]) -> Evaluation:
        player.load_state_dict(optimizer.playing_weights())
        try:
            found = evaluate(
                player,
                data.store,
                egos,
                baselines,
                rows=preset.evaluation.rows,
                device=device,
                autocast=dtype,
                between_chunks=between_chunks,
            )
        except Ending:
            schedule.owe_evaluation(state)
            raise
        emit("evaluated", **found.fields(step=state.step, split="validation"))
        warn_of_repeats(found)
        return found

    def save(*, best: bool = False) -> None:
        nonlocal saved
        if state == saved and not best and keeper.newest_step == state.step:
            # It is there already: an interrupted rewrite could only lose it.
            return
        keeper.save(
            _checkpoint(preset, optimizer, state, carried, randomness),
            best_loss=state.best_loss if best else None,
        )
        saved = copy.copy(state)
        schedule.saved(state)

    def finish() -> Finished:
        if state.evaluated_step != state.step and _note(
            state, validate(watched).loss, preset.evaluation.min_delta
        ):
            save(best=True)
        elif keeper.newest_step != state.step:
            save()
        best = keeper.load_best()
        player.load_state_dict(dict(best.model))
        # In float32 whatever the run trained in: the number that stays is the one that `exphil eval` gives again.
        final = evaluate(
            player,
            data.store,
            data.validation,
            baselines,
            rows=preset.evaluation.rows,
            device=device,
            between_chunks=between_chunks,
        )
        emit("evaluated", **final.fields(step=best.step, split="validation"), best=True)
        warn_of_repeats(final)
        met = {
            external_id
            for game in {ego.game for ego in data.train}
            for side in data.store.index.games[game].sides
            for external_id in side.frames_by_character
        }
        return Finished(
            status="done",
            step=state.step,
            evaluation=final,
            state=state,
            neighbours=nearest_characters(player, met),
        )

    try:
        with _closing(loader):
            while True:
                # First, so that an evaluation which a run ended in is made up for before anything else.
                if state.evaluated_step != state.step and schedule.evaluation_due(state):
                    improved = _note(state, validate(watched).loss, preset.evaluation.min_delta)
                    state.seconds = base_seconds + clock() - started
                    if improved:
                        save(best=True)
                if schedule.checkpoint_due(state):
                    save()
                if limits.progress(step=state.step, seconds=state.seconds) >= 1:
                    break
                if _has_stopped_improving(state, preset):
                    emit("warning", code="early_stop", message=_early_stop(state))
                    break
                asked = clock()
                between_steps(state.step, save)
                publish(state.step, optimizer.playing_weights)
                started += clock() - asked

                step_started = clock()
                mean = torch.zeros((), device=device)
                with randomness.in_place():
                    for _ in range(config.accumulation):
                        waiting = clock()
                        drawn, batch = next(batches)
                        meter.waited += clock() - waiting
                        loss = loss_of(drawn, batch, dtype, carried.before(drawn))
                        carried.after(drawn, loss.state)
                        (loss.mean / config.accumulation).backward()
                        meter.add(loss.nll_BTK, loss.mask_BT, loss.external_id_BT)
                        mean += loss.mean.detach() / config.accumulation
                norm = optimizer.clip()
                if not bool(torch.isfinite(mean) & torch.isfinite(norm)):
                    raise _diverged(state.step, float(mean), float(norm), batch, data.store)
                progress = limits.progress(step=state.step, seconds=state.seconds)
                rate = optimizer.step(step=state.step, progress=progress)

                state.step += 1
                state.frames += config.batch_size * config.accumulation * chunk
                meter.steps += 1
                meter.seconds += clock() - step_started
                state.seconds = base_seconds + clock() - started
                done = limits.progress(step=state.step, seconds=state.seconds)
                if done >= 1 or _event_due(state, meter, first_step=first_step, every=config.log_steps):
                    emit(
                        "step",
                        step=state.step,
                        epoch=state.step / limits.steps_per_epoch,
                        **meter.fields(),
                        progress=done,
                        lr=rate,
                        grad_norm=float(norm),
                        eta_s=limits.left(
                            step=state.step,
                            seconds=state.seconds,
                            seconds_per_step=meter.seconds / meter.steps,
                        ),
                    )
                    meter.reset()
        return finish()
    except Ending as ending:
        save()
        return Finished(status=ending.status, step=state.step, evaluation=None, state=state, neighbours={})


@dataclass(slots=True)
class _Schedule:
    """When to evaluate and when to save."""

    preset: Preset
    limits: Limits
    saved_seconds: float

    def evaluation_due(self, state: TrainerState) -> bool:
        config = self.preset.evaluation
        tick = 0
        if config.every_steps is not None:
            tick += state.step // config.every_steps
        if config.every_minutes is not None:
            tick += int(state.seconds / (60 * config.every_minutes))
        if config.every_steps is None and config.every_minutes is None:
            tick = int(EVALUATIONS * self.limits.progress(step=state.step, seconds=state.seconds))
        due = tick > state.evaluation_tick
        state.evaluation_tick = tick
        return due

    def owe_evaluation(self, state: TrainerState) -> None:
        """The one that was due was given up: it is due again."""
        state.evaluation_tick -= 1

    def checkpoint_due(self, state: TrainerState) -> bool:
        return state.seconds - self.saved_seconds >= 60 * self.preset.train.checkpoint_minutes

    def saved(self, state: TrainerState) -> None:
        self.saved_seconds = state.seconds


def _warmup_notice(preset: Preset, limits: Limits) -> Iterator[Notice]:
    warmup = preset.train.warmup_steps
    if limits.steps is not None and warmup > limits.steps // 2:
        yield Notice(
            "warmup_longer_than_run",
            f"train.warmup_steps is {warmup:,} but the run has {limits.steps:,} steps, so the learning rate "
            f"rises for {min(1.0, warmup / limits.steps):.0%} of it; on few games use a smaller "
            "train.batch_size, train.accumulation and train.warmup_steps",
        )


def _event_due(state: TrainerState, meter: Meter, *, first_step: int, every: int) -> bool:
    """Every so many steps; and at once, and every few seconds where steps are slow, so that silence means trouble."""
    return state.step % every == 0 or state.step == first_step or meter.seconds >= EVENT_SECONDS


def _has_stopped_improving(state: TrainerState, preset: Preset) -> bool:
    return 0 < preset.evaluation.patience <= state.stale


def _early_stop(state: TrainerState) -> str:
    return (
        f"validation loss has not improved for {state.stale} evaluations; stopping at step {state.step} and keeping "
        f"step {state.best_step}"
    )


def _note(state: TrainerState, loss: float, min_delta: float) -> bool:
    """Write an evaluation into the state; True when it is the best so far."""
    state.evaluated_step = state.step
    if state.patience_loss is None or loss < state.patience_loss - min_delta:
        state.patience_loss, state.stale = loss, 0
    else:
        state.stale += 1
    if state.best_loss is not None and loss >= state.best_loss:
        return False
    state.best_loss, state.best_step = loss, state.step
    return True


def _plan(preset: Preset, data: TrainingData, horizon: int) -> Plan:
    """Windows on their own, or the games of lanes where state is carried."""
    config = preset.train
    kind: Callable[..., Plan] = BatchPlan
    if config.carry_state:
        kind = partial(LanePlan, accumulation=config.accumulation)
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
        mirror=config.mirror,
    )


def _checkpoint(
    preset: Preset,
    optimizer: Optimizer,
    state: TrainerState,
    carried: CarriedState,
    randomness: StepRandomness,
) -> Checkpoint:
    return Checkpoint(
        step=state.step,
        model=optimizer.playing_weights(),
        config=preset.model_dump(mode="json"),
        optimizer=optimizer.state_tensors(),
        rng=randomness.state,
        trainer=state.fields(),
        carried=carried.tensors(),
    )


def _restore(
    checkpoint: Checkpoint, preset: Preset, optimizer: Optimizer, randomness: StepRandomness
) -> TrainerState:
    _refuse_another_model(checkpoint, preset)
    optimizer.load_state_tensors(checkpoint.optimizer, checkpoint.model)
    randomness.state = checkpoint.rng
    # What an earlier exphil did not write yet stands as at the start.
    known = {name: checkpoint.trainer.get(name, value) for name, value in TrainerState().fields().items()}
    return TrainerState(step=checkpoint.step, **known)  # type: ignore[arg-type]


def _refuse_another_model(checkpoint: Checkpoint, preset: Preset) -> None:
    """CheckpointError where the weights are of another model than the run's preset describes."""
    where = f"the checkpoint of step {checkpoint.step:,}"
    saved = preset_from_tables(checkpoint.config, where=where)
    for section in ("backbone", "encoder", "policy"):
        was, now = getattr(saved, section).model_dump(), getattr(preset, section).model_dump()
        # The kind first: what else differs follows from it. The kernel computes the same on any machine.
        for key in ["kind", *was]:
            if key != "kernel" and was.get(key) != now.get(key):
                raise CheckpointError(
                    f"{where} was trained with {section}.{key} = {was.get(key)}, but the run's preset says "
                    f"{now.get(key)}: set {section}.{key} in run.toml back to {was.get(key)}, or start a new run"
                )


def _fit_baselines(data: TrainingData, policy: Policy) -> Baselines:
    egos = choose_games(data.store.index, data.train, BASELINE_FRAMES)

    def samples() -> Iterator[tuple[Tensor, Tensor]]:
        cpu = torch.device("cpu")
        for batch in stream_games(
            data.store, egos, rows=min(8, len(egos)), chunk_length=BASELINE_CHUNK, horizon=policy.horizon
        ):
            aimed = targets(
                to_tensors(batch, cpu), policy.codec, horizon=policy.horizon, chunk_length=BASELINE_CHUNK
            )
            yield aimed.tokens_BTK[aimed.mask_BT], aimed.previous_BTK[aimed.mask_BT]

    return fit_baselines(policy.codec, samples())


def _settle_precision(
    preset: Preset,
    plan: Plan,
    store: ColumnStore,
    device: torch.device,
    policy: Policy,
    loss_of: Callable[[int, Batch, torch.dtype | None], _Loss],
    *,
    say: Callable[[str], None],
) -> str:
    """Settle `train.precision` on frames of the run's first batch, without a trace in weights or random state."""
    with _closing(BatchLoader(store, plan, first_step=0, workers=0)) as loader:
        _, batch = next(iter(loader))
    few = first_rows(batch, max(1, MOST_FRAMES // batch.valid.shape[1]))

    def probe(dtype: torch.dtype | None) -> None:
        loss_of(0, few, dtype).mean.backward()

    with preserved_rng():
        chosen = choose_precision(preset.train.precision, device, probe, say=say)
    policy.zero_grad(set_to_none=True)
    return chosen


def _diverged(step: int, loss: float, norm: float, batch: Batch, store: ColumnStore) -> DivergedError:
    windows = ", ".join(
        f"{store.index.games[game].content_id[:12]} slot {slot} from frame {start}"
        for game, slot, start in zip(batch.game, batch.ego_slot, batch.start, strict=True)
    )
    return DivergedError(
        f"step {step}: the loss is {loss} and the gradient norm {norm}; expected finite numbers. The step was "
        f"not taken. Windows of the batch: {windows}. Try a lower train.lr, or train.precision=fp32"
    )


@contextmanager
def _closing(loader: BatchLoader) -> Iterator[BatchLoader]:
    try:
        yield loader
    finally:
        loader.close()
