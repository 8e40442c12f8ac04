"""Resume: a run continues bit for bit from a checkpoint, and one of another model is refused."""

from exphil_core.config.loader import preset_from_tables
from exphil_core.config.preset import Preset
from exphil_core.errors import CheckpointError
from exphil_core.models.policy import Policy
from exphil_core.training.checkpoint import Checkpoint
from exphil_core.training.data import DataWarning
from exphil_core.training.optim import Optimizer
from exphil_core.training.random_state import StepRandomness
from exphil_core.training.recurrent_state import RecurrentState
from exphil_core.training.trainer_state import TrainerState

_CLEARED = DataWarning(
    "carried_state_cleared",
    "the training games are not those of the carried state: every row continues with a game from a "
    "cleared state",
)


def resume(
    checkpoint: Checkpoint,
    preset: Preset,
    *,
    policy: Policy,
    optimizer: Optimizer,
    randomness: StepRandomness,
    dataset: str,
) -> tuple[TrainerState, RecurrentState, list[DataWarning]]:
    """Load the optimiser (with the weights) and the random state; return counters, carried state and warnings.

    Args:
        checkpoint: The newest whole one of the run.
        dataset: Fingerprint of the dataset that training continues on. A carried state is kept for the same one only.

    Raises:
        CheckpointError: The checkpoint is of another model, or its carried state does not fit the preset.
    """
    _refuse_another_model(checkpoint, preset)
    optimizer.load_state_tensors(checkpoint.optimizer, checkpoint.model)
    randomness.state = checkpoint.rng
    # A field that an earlier version did not write keeps its start value.
    known = {name: checkpoint.trainer.get(name, value) for name, value in TrainerState().fields().items()}
    state = TrainerState(step=checkpoint.step, **known)  # type: ignore[arg-type]
    recurrent_state = RecurrentState(policy, preset.train)
    recurrent_state.load(checkpoint.carried, where=f"the checkpoint of step {state.step:,}")
    if preset.train.carry_state and state.dataset != dataset:
        return state, RecurrentState(policy, preset.train), [_CLEARED]
    return state, recurrent_state, []


def _refuse_another_model(checkpoint: Checkpoint, preset: Preset) -> None:
    """Raise CheckpointError where the weights are of another model than the run's preset describes."""
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
