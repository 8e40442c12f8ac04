"""Train a short run on demo games, then evaluate its best checkpoint per character."""

from pathlib import Path
from tempfile import TemporaryDirectory

import exphil_core as exphil

with TemporaryDirectory() as folder:
    exphil.write_demo(Path(folder, "demo"), games=12, seed=0)
    dataset = exphil.build_dataset([Path(folder, "demo")], out=Path(folder, "dataset"))
    run = exphil.train(
        "quick",
        dataset,
        overrides={"train.max_steps": 20, "train.batch_size": 8, "evaluation.max_frames": 4000},
        runs_dir=Path(folder, "runs"),
    )
    evaluation = exphil.evaluate(run)
    print(f"{run.name}: {evaluation.loss:.4f} nats a frame, markov {evaluation.baselines['markov']:.4f}")
    for name, result in evaluation.per_character.items():
        print(f"  {name}: {result.loss:.4f} on {result.frames:,} frames of {result.games} games")
