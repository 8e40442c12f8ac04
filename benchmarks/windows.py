"""Benchmark: training windows that one thread supplies, in frames/s, against a plain copy of as many bytes.

Measures whole batches as the trainer takes them (drawn, cut, ego first, padded) from a synthetic or a built dataset,
alternating with a contiguous copy of the same size. The pages are warm: this measures our code, not the disk.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from exphil_core.dataset.batches import training_batch
from exphil_core.dataset.index import BuildKey, DatasetIndex, GameEntry, GameSide, write_index
from exphil_core.dataset.plan import BatchPlan
from exphil_core.dataset.shards import SHARD_FOLDER, write_shard
from exphil_core.dataset.split import select_egos
from exphil_core.dataset.store import ColumnStore
from exphil_core.replays.columns import DTYPES, GROUPS, LAYOUT, SCHEMA_VERSION, Version
from exphil_core.replays.pack import PackedGame, PackedSide

GOAL = 2_000_000


def write_synthetic(folder: Path, games: int, frames: int) -> DatasetIndex:
    """Write a dataset of random rows."""
    random = np.random.default_rng(0)
    sides = tuple(
        GameSide(
            external_id=character,
            selected_external_id=character,
            frames_by_character={character: frames},
            port_index=port,
            type="human",
            human=True,
            active=True,
            plausible=True,
            activity=0.5,
        )
        for port, character in enumerate((2, 20))
    )
    packed_sides = tuple(
        PackedSide(
            port_index=side.port_index,
            selected_external_id=side.external_id,
            frames_by_character=side.frames_by_character,
            type=side.type,
        )
        for side in sides
    )
    (folder / SHARD_FOLDER).mkdir()
    entries = []
    for number in range(games):
        groups = {
            group: random.integers(0, 200, (frames, len(LAYOUT[group])), np.uint8).astype(DTYPES[group])
            for group in GROUPS
        }
        packed = PackedGame(
            content_id=f"{number:032x}",
            version=Version(3, 16),
            external_stage_id=32,
            end_method=None,
            salvaged=False,
            rollback_rows=0,
            sides=(packed_sides[0], packed_sides[1]),
            frame_id=np.arange(-123, frames - 123, dtype=np.int32),
            groups=groups,
        )
        name = f"{number:08d}.safetensors"
        write_shard(folder / SHARD_FOLDER / name, [packed])
        entries.append(
            GameEntry(
                content_id=packed.content_id,
                shard=name,
                row_start=0,
                frames=frames,
                external_stage_id=32,
                version=str(packed.version),
                sides=(sides[0], sides[1]),
                salvaged=False,
                source="",
            )
        )
    (folder / "dataset.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION}))
    write_index(folder, BuildKey(parser_version="", options=""), entries)
    return DatasetIndex.open(folder)


def measure(index: DatasetIndex, *, batch_size: int, chunk_length: int, seconds: float) -> dict[str, float]:
    store = ColumnStore(index)
    egos = select_egos(index, range(len(index.games)), include_idle=True)
    plan = BatchPlan(egos, index, seed=0, batch_size=batch_size, chunk_length=chunk_length - 1)
    frames = batch_size * chunk_length
    frame_bytes = sum(len(LAYOUT[group]) * DTYPES[group].itemsize for group in GROUPS)
    # A source larger than the CPU caches, since windows come from all over the dataset.
    source = np.ones((50, frames * frame_bytes), np.uint8)
    target = np.empty_like(source[0])
    for step in range(20):
        training_batch(store, plan, step)
    windows, copies = [], []
    ends, step = time.perf_counter() + seconds, 20
    while time.perf_counter() < ends:
        began = time.perf_counter()
        for _ in range(5):
            training_batch(store, plan, step)
            step += 1
        between = time.perf_counter()
        for _ in range(5):
            np.copyto(target, source[step * 7 % len(source)])
            step += 1
        windows.append(5 * frames / (between - began))
        copies.append(5 * frames / (time.perf_counter() - between))
    supplied, copied = statistics.median(windows), statistics.median(copies)
    return {
        "games": len(index.games),
        "batch_size": batch_size,
        "chunk_length": chunk_length,
        "frame_bytes": frame_bytes,
        "window_frames_per_s": supplied,
        "copy_frames_per_s": copied,
        "share_of_copy": supplied / copied,
        "goal_frames_per_s": GOAL,
        "reaches_goal": supplied >= GOAL,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="a built dataset; synthetic rows without it")
    parser.add_argument("--games", type=int, default=100, help="of the synthetic dataset, 8000 frames each")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--chunk-length", type=int, default=180)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = (
            DatasetIndex.open(chosen.dataset)
            if chosen.dataset
            else write_synthetic(Path(folder), chosen.games, 8000)
        )
        found = measure(
            index, batch_size=chosen.batch_size, chunk_length=chosen.chunk_length, seconds=chosen.seconds
        )
    if chosen.json:
        print(json.dumps(found))
        return
    print(
        f"{found['games']} games, batches of {found['batch_size']} windows of {found['chunk_length']} frames\n"
        f"windows, one thread  {found['window_frames_per_s'] / 1e6:8.2f} M frames/s (goal {GOAL / 1e6:.0f} M)\n"
        f"plain copy           {found['copy_frames_per_s'] / 1e6:8.2f} M frames/s\n"
        f"windows / copy       {found['share_of_copy']:8.2f}"
    )


if __name__ == "__main__":
    main()
