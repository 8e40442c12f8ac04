"""Benchmark: share of a training step spent waiting for data, against the same steps on one batch held in memory.

Reports the wait for each batch as a share of the step, and frames/s with the loader as a share of those without. The
two alternate in this process, so whatever slows the machine slows both.
"""

# Must come first: it sets OpenMP's spin count, which is read when torch is loaded.
import exphil_core  # noqa: F401

# isort: split
import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from exphil_core.cli.options import dataset_of
from exphil_core.config.loader import load_preset
from exphil_core.config.preset import Preset
from exphil_core.dataset.batches import Batch, BatchLoader
from exphil_core.dataset.plan import BatchPlan
from exphil_core.dojo.demo import write_demo
from exphil_core.encoding.batch import to_tensors
from exphil_core.encoding.mirror import apply_mirror
from exphil_core.models.policy import Policy, build_policy
from exphil_core.training.data import open_training_data
from exphil_core.training.device import choose_device
from exphil_core.training.optim import Optimizer
from exphil_core.training.precision import autocast_dtype

GOAL = 0.03
ROUNDS, STEPS = 5, 20


def take_step(policy: Policy, optimizer: Optimizer, batch: Batch, step: int, device: torch.device) -> None:
    dtype = autocast_dtype("bf16")
    seen = apply_mirror(to_tensors(batch, device))
    with torch.autocast(device.type, dtype=dtype):
        nll_BTK, targets, _ = policy.nll(seen)
    ((nll_BTK.float().sum(-1) * targets.mask_BT).sum() / targets.mask_BT.sum()).backward()
    optimizer.clip()
    optimizer.step(step=step, progress=0.5)


def measure(preset: Preset, dataset: Path, device: torch.device) -> dict[str, object]:
    data = open_training_data(preset, dataset)
    torch.manual_seed(0)
    policy = build_policy(preset).to(device)
    optimizer = Optimizer(policy, preset.train)
    plan = BatchPlan(
        data.train,
        data.store.index,
        seed=0,
        batch_size=preset.train.batch_size,
        chunk_length=preset.chunk_length,
        horizon=policy.horizon,
        mirror=preset.train.mirror_prob,
    )
    loader = BatchLoader(data.store, plan, first_step=0, workers=preset.train.loader_workers)
    _, held = next(loader)
    frames = preset.train.batch_size * preset.chunk_length * STEPS
    shares, loaded, in_memory = [], [], []
    step = 0
    for _ in range(ROUNDS + 1):  # the first round warms up and is left out
        waited, began = 0.0, time.perf_counter()
        for _ in range(STEPS):
            asked = time.perf_counter()
            _, batch = next(loader)
            waited += time.perf_counter() - asked
            take_step(policy, optimizer, batch, step, device)
            step += 1
        between = time.perf_counter()
        for _ in range(STEPS):
            take_step(policy, optimizer, held, step, device)
            step += 1
        ended = time.perf_counter()
        shares.append(waited / (between - began))
        loaded.append(frames / (between - began))
        in_memory.append(frames / (ended - between))
    loader.close()
    share = statistics.median(shares[1:])
    return {
        "preset": preset.name,
        "backbone": preset.backbone.kind,
        "parameters": sum(p.numel() for p in policy.parameters()),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "data_wait": share,
        "goal": GOAL,
        "reaches_goal": share < GOAL,
        "frames_per_s": statistics.median(loaded[1:]),
        "frames_per_s_in_memory": statistics.median(in_memory[1:]),
        "share_of_in_memory": statistics.median(
            one / other for one, other in zip(loaded[1:], in_memory[1:], strict=True)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--replays", nargs="+", help="replays or a built dataset; dojo replays without it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    preset = load_preset(chosen.preset)
    with tempfile.TemporaryDirectory() as folder:
        if not chosen.replays:
            write_demo(Path(folder), games=20, seed=0)
        dataset = dataset_of(
            chosen.replays or [folder], min_frames=preset.data.min_frames, workers=2, quiet=True
        )
        found = measure(preset, dataset, choose_device(chosen.device))
    if chosen.json:
        print(json.dumps(found))
        return
    for key, value in found.items():
        print(f"{key:24} {value:.4f}" if isinstance(value, float) else f"{key:24} {value}")


if __name__ == "__main__":
    main()
