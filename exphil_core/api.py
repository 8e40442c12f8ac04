"""The public Python API; `import exphil_core as exphil` offers every name of `__all__`.

    import exphil_core as exphil

    dataset = exphil.build_dataset(["~/Slippi"])
    run = exphil.train(exphil.load_preset("quick"), dataset)
    print(exphil.evaluate(run).loss)

docs/API.md shows more; `examples/` has scripts that run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from exphil_core.config.loader import list_presets, load_preset, resolve_preset
from exphil_core.config.preset import Preset
from exphil_core.cpu import core_count
from exphil_core.dataset.batches import Batch, BatchLoader
from exphil_core.dataset.build import build_dataset as _build
from exphil_core.dataset.discovery import default_dataset_dir, summarize_dataset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dojo.demo import write_demo
from exphil_core.encoding.batch import TensorBatch, to_tensors
from exphil_core.encoding.codecs import build_codec
from exphil_core.errors import ExphilError, UsageError
from exphil_core.inference.agent import Agent, to_controllers
from exphil_core.inference.ego_frames import build_ego_frames
from exphil_core.inference.export import Exported, ExportFormat, export_policy
from exphil_core.inference.offline import describe, predict_replay
from exphil_core.inference.predictor import Predictor
from exphil_core.inference.runtimes import PolicyRuntimes, RuntimeName
from exphil_core.melee.controller import Controller
from exphil_core.models.policy import Policy, build_policy
from exphil_core.models.weights import checksum
from exphil_core.paths import expand_user
from exphil_core.replays.ingest import IngestOptions
from exphil_core.replays.isolation.sandbox import load_two_player_game
from exphil_core.runs.commands import DEFAULT_RUNS_DIR
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.predictions import PredictionFile, prediction_path
from exphil_core.training.checkpoint_evaluation import evaluate_checkpoint
from exphil_core.training.checkpoint_manager import find_checkpoint, load_for_play
from exphil_core.training.data import TrainingData, open_training_data
from exphil_core.training.device import choose_device
from exphil_core.training.evaluate import Evaluation
from exphil_core.training.fit import fit
from exphil_core.training.optim import Optimizer
from exphil_core.training.step import LossResult, StepResult, compute_loss, train_step
from exphil_core.training.trainer import training_plan
from exphil_core.worker import work

__all__ = [
    "Agent",
    "Batch",
    "Controller",
    "DatasetIndex",
    "Evaluation",
    "LoadedPolicy",
    "LossResult",
    "Optimizer",
    "Policy",
    "PredictionFile",
    "Preset",
    "RunDirectory",
    "StepResult",
    "TensorBatch",
    "TrainingData",
    "build_dataset",
    "build_policy",
    "compute_loss",
    "evaluate",
    "export",
    "list_presets",
    "load_policy",
    "load_preset",
    "make_agent",
    "open_dataset",
    "open_training_data",
    "predict",
    "replay_frames",
    "resume",
    "to_controllers",
    "to_tensors",
    "train",
    "train_step",
    "training_batches",
    "write_demo",
]

PathLike = str | Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPolicy:
    """A checkpoint's policy, ready to evaluate or to play."""

    policy: Policy
    preset: Preset
    step: int
    """Updates behind the weights."""
    run: RunDirectory


def build_dataset(
    paths: Sequence[PathLike],
    out: PathLike | None = None,
    *,
    min_frames: int = 600,
    workers: int | None = None,
) -> DatasetIndex:
    """Read replays, folders and archives into a dataset; building it again reads only what is new.

    Args:
        out: The folder to write; None is one in the cache that belongs to these paths.
        min_frames: Games with fewer frames are left out (60 frames are a second).
        workers: Processes that parse; None is one for each core.

    Raises:
        DataError: The paths hold no replay, or `out` holds something else.
    """
    found = [expand_user(str(path)) for path in paths]
    folder = default_dataset_dir(found) if out is None else expand_user(str(out))
    _build(found, folder, workers=workers or core_count(), options=IngestOptions(min_frames=min_frames))
    return DatasetIndex.open(folder)


def open_dataset(path: PathLike) -> DatasetIndex:
    """Open a built dataset. Raises DataError where there is none, or one of another schema."""
    return DatasetIndex.open(expand_user(str(path)))


def training_batches(
    preset: Preset, data: TrainingData, *, first_step: int = 0
) -> Iterator[tuple[int, Batch]]:
    """Yield the batches of a run without end, as (number, batch).

    They are a function of preset and data: the same call gives the same batches. The number is the seed that
    `compute_loss` and `train_step` take for augmentation.
    """
    delay = preset.policy.delay if preset.policy.delay_range is None else max(preset.policy.delay_range)
    plan = training_plan(preset, data, horizon=1 + delay)
    loader = BatchLoader(data.store, plan, first_step=first_step * preset.train.grad_accum_steps, workers=0)
    yield from loader


def load_policy(
    checkpoint: PathLike, *, runs_dir: PathLike = DEFAULT_RUNS_DIR, device: str | torch.device = "cpu"
) -> LoadedPolicy:
    """Load the policy of a run (its best checkpoint) or of one checkpoint directory.

    Args:
        checkpoint: A run's name or directory, or a checkpoint directory.
        runs_dir: Where a run's name is looked up.

    Raises:
        UsageError: There is no such run.
        CheckpointError: The run has no checkpoint yet, or the checkpoint is damaged.
    """
    run, directory = find_checkpoint(Path(runs_dir), str(checkpoint))
    loaded, preset, policy = load_for_play(directory, torch.device(device))
    return LoadedPolicy(policy=policy, preset=preset, step=loaded.step, run=run)


def train(
    preset: Preset | str,
    dataset: DatasetIndex | PathLike,
    *,
    overrides: Mapping[str, object] | None = None,
    name: str | None = None,
    runs_dir: PathLike = DEFAULT_RUNS_DIR,
    on_event: Callable[[dict[str, object]], None] | None = None,
) -> RunDirectory:
    """Train a run to its end in this process, and return its directory.

    Args:
        preset: A preset, or the name or file of one.
        dataset: A built dataset.
        overrides: Settings by dotted key, such as {"train.max_steps": 100}; with a named preset only.
        name: The run's name; None is the preset's name and the time.
        on_event: Called with every event after it is on disk.

    Raises:
        ExphilError: The preset does not fit the data, or the run ended in an error; the sentence says which.
    """
    path = dataset.path if isinstance(dataset, DatasetIndex) else expand_user(str(dataset))
    reasons: tuple[str, ...] = ()
    if isinstance(preset, str):
        fitted = fit(resolve_preset(preset, overrides), path)
        preset, reasons = fitted.preset, fitted.reasons
    elif overrides:
        raise UsageError(
            "overrides belong to a preset's name; change the preset itself with load_preset(name, overrides)"
        )
    folder = Path(runs_dir)
    folder.mkdir(parents=True, exist_ok=True)
    run = RunDirectory.create(
        folder,
        preset,
        name=name,
        dataset=path.resolve(),
        fingerprint=DatasetIndex.open(path).fingerprint,
        sources=summarize_dataset(path).sources,
        reasons=reasons,
    )
    return _worked(run, on_event)


def resume(
    run: RunDirectory | PathLike, *, on_event: Callable[[dict[str, object]], None] | None = None
) -> RunDirectory:
    """Train a run on from its newest checkpoint to its end. Raises what `train` raises."""
    found = run if isinstance(run, RunDirectory) else RunDirectory.open(Path(run))
    return _worked(found, on_event)


def evaluate(
    checkpoint: RunDirectory | PathLike,
    dataset: DatasetIndex | PathLike | None = None,
    *,
    characters: Sequence[str] | None = None,
    regime: str = "carried",
    runs_dir: PathLike = DEFAULT_RUNS_DIR,
    device: str = "auto",
) -> Evaluation:
    """Measure a checkpoint in nats per frame: total, per character and per component, beside the baselines.

    Args:
        checkpoint: A run (its best checkpoint), its name or directory, or a checkpoint directory.
        dataset: The games to play through; None is the run's held-out games.
        characters: Whose inputs are predicted; None is the preset's own characters.
        regime: carried, windows or stepped, as in `exphil eval --regime`.

    Raises:
        DataError: The games hold no usable side of these characters.
    """
    name = str(checkpoint.path) if isinstance(checkpoint, RunDirectory) else str(checkpoint)
    path = (
        dataset.path
        if isinstance(dataset, DatasetIndex)
        else None
        if dataset is None
        else expand_user(str(dataset))
    )
    return evaluate_checkpoint(
        Path(runs_dir), name, dataset=path, wanted=characters, regime=regime, device=choose_device(device)
    ).evaluation


def predict(checkpoint: LoadedPolicy, replay: PathLike, out: PathLike | None = None) -> PredictionFile:
    """Predict both players' controllers in every frame of a replay.

    Args:
        out: The file to write; None is one in the run's folder `predictions`.

    Raises:
        DataError: The replay cannot be read, or has another number of players than two.
    """
    game = load_two_player_game(Path(replay))
    policy = checkpoint.policy
    predictor = Predictor(policy, weights=checksum(policy.state_dict()), step=checkpoint.step)
    meta = describe(predictor, checkpoint.preset, game, run=checkpoint.run.name)
    path = (
        prediction_path(checkpoint.run.path, game.content_id, checkpoint.step) if out is None else Path(out)
    )
    return predict_replay(predictor, game, path, meta)


def make_agent(
    checkpoint: LoadedPolicy,
    *,
    rows: int = 1,
    runtime: RuntimeName = "eager",
    delay: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    threads: int = 1,
) -> Agent:
    """Build an agent that plays `rows` games, one frame at a time.

    Args:
        runtime: eager, onnx, onnx_int8 or cuda_graph.
        delay: Frames for which the agent holds actions back; None is the policy's whole delay.
        temperature: 1 samples as trained; lower is more predictable.

    Raises:
        UsageError: The runtime is not installed, or the delay or temperature does not fit the policy.
    """
    policy = checkpoint.policy
    device = next(policy.parameters()).device
    built = PolicyRuntimes(policy, checkpoint.preset, rows=rows, threads=threads).build(runtime, device)
    return Agent(built, rows, delay=delay, temperature=temperature, seed=seed)


def replay_frames(replay: PathLike, *, slot: int = 0) -> Iterator[TensorBatch]:
    """Yield a replay's frames one at a time, as a live game gives them to an agent with one row.

    Args:
        slot: The player that the agent observes as itself: 0 or 1, by port.

    Raises:
        DataError: The replay cannot be read, or has another number of players than two.
    """
    game = load_two_player_game(Path(replay))
    sides = build_ego_frames(game, [slot], build_codec("clusters"), horizon=1)
    for frame_index in range(game.frames):
        yield to_tensors(sides.live(frame_index, since=0), "cpu")


def export(
    checkpoint: LoadedPolicy,
    out: PathLike,
    *,
    format: ExportFormat = "onnx",
    int8: bool = False,
    rows: int = 1,
) -> Exported:
    """Write a policy as one file, checked frame by frame against the checkpoint.

    Raises:
        UsageError: The combination does not exist, or a package is missing.
        CheckpointError: The file would not play like the policy; nothing is written.
    """
    return export_policy(checkpoint.policy, checkpoint.preset, Path(out), format=format, int8=int8, rows=rows)


def _worked(run: RunDirectory, on_event: Callable[[dict[str, object]], None] | None) -> RunDirectory:
    """Run the worker here; raise ExphilError with its sentence where it fails."""
    messages: list[str] = []

    def take(record: dict[str, object]) -> None:
        if record["type"] == "error":
            messages.append(str(record["message"]))
        if on_event is not None:
            on_event(record)

    code = work(run, sinks=[take])
    if code != 0:
        raise ExphilError(
            messages[-1] if messages else f"run {run.name} ended with exit code {code}; see {run.path}"
        )
    return run
