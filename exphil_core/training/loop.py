"""The training loop: load, step, log, evaluate, checkpoint.

Weights are a function of the preset, the dataset, the step and the saved state, so a run that is killed and resumed
learns what an uninterrupted run learns. Evaluations and the clock decide only when something is saved and, in a run
that is limited by minutes, how fast the learning rate falls.
"""

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.runs.command_handler import Save, StopTraining
from exphil_core.training.checkpoint_manager import CheckpointManager
from exphil_core.training.data import TrainingData
from exphil_core.training.step import train_step
from exphil_core.training.trainer import Emit, Trainer, TrainResult

PlayingWeights = Callable[[], Mapping[str, Tensor]]
"""Returns the current weights by name; they change with the next step."""


def train(
    preset: Preset,
    data: TrainingData,
    checkpoints: CheckpointManager,
    *,
    device: torch.device,
    run_name: str,
    emit: Emit,
    between_steps: Callable[[int, Save], None] = lambda step, save: None,
    between_chunks: Callable[[], None] = lambda: None,
    publish: Callable[[int, PlayingWeights], None] = lambda step, weights: None,
    clock: Callable[[], float] = time.monotonic,
) -> TrainResult:
    """Train from the newest whole checkpoint (or from the start) to the run's limit.

    Args:
        between_steps: Called before each step; may save. Its time does not count as time trained.
        between_chunks: Called during evaluations. Where either raises StopTraining, the run saves a checkpoint and
            ends with that status.
        publish: Called before each step; may copy the weights for a player.

    Raises:
        DivergedError: A loss or gradient is not finite. The step is not taken.
    """
    trainer = Trainer(
        preset, data, checkpoints, device=device, emit=emit, between_chunks=between_chunks, clock=clock
    )
    trainer.announce(run_name)
    state = trainer.state
    try:
        with trainer.loader() as batches:
            while True:
                # Evaluate first: a resumed run repeats an interrupted evaluation before anything else.
                trainer.evaluate_if_due()
                trainer.save_if_due()
                if trainer.progress >= 1 or trainer.stops_early():
                    break
                with trainer.stopped_clock():
                    between_steps(state.step, trainer.save)
                    publish(state.step, trainer.optimizer.eval_weights)
                with trainer.timed_step():
                    result = train_step(
                        trainer.policy,
                        trainer.optimizer,
                        batches,
                        preset,
                        step=state.step,
                        progress=trainer.progress,
                        objective=trainer.objective,
                        recurrent_state=trainer.recurrent_state,
                        randomness=trainer.randomness,
                        dtype=trainer.dtype,
                        meter=trainer.meter,
                        index=data.store.index,
                        clock=clock,
                    )
                trainer.log(result)
        return trainer.finish()
    except StopTraining as stop:
        trainer.save()
        return TrainResult(status=stop.status, step=state.step, evaluation=None, state=state, neighbours={})
