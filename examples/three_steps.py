"""Train three steps by hand on demo games: dataset, batches, loss, update."""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import exphil_core as exphil

with TemporaryDirectory() as folder:
    exphil.write_demo(Path(folder, "demo"), games=10, seed=0)
    dataset = exphil.build_dataset([Path(folder, "demo")], out=Path(folder, "dataset"))
    preset = exphil.load_preset("quick", {"train.batch_size": 8})
    data = exphil.open_training_data(preset, dataset.path)

    torch.manual_seed(0)
    policy = exphil.build_policy(preset)
    optimizer = exphil.Optimizer(policy, preset.train)
    for step, (seed, batch) in enumerate(islice(exphil.training_batches(preset, data), 3)):
        loss = exphil.compute_loss(policy, batch, preset, seed=seed)
        loss.mean.backward()
        optimizer.clip()
        optimizer.step(step=step, progress=step / 3)
        print(f"step {step + 1}: {loss.mean.item():.4f} nats a frame")
