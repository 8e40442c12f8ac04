"""Latency benchmark: one policy in one runtime, played at 60 Hz, with its parity error and a memory-bandwidth floor.

A frame is timed from its numpy columns to its `Controller`: conversion to tensors, encoder, backbone, head and
sampling. `floor_ms` is a lower bound, not a goal: the time to read the weights once at the best rate measured while
reading a buffer of their size repeatedly. In play the weights are colder, since other data has passed through the
caches.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import TensorBatch, to_tensors
from exphil_core.inference.agent import Agent, to_controllers
from exphil_core.inference.cpu_affinity import busiest_threads, pin_threads, realtime_priority
from exphil_core.inference.frames import live_frame
from exphil_core.inference.latency import (
    FrameTiming,
    Percentiles,
    gc_disabled,
    histogram,
    percentiles,
    run_at_60_hz,
)
from exphil_core.inference.parity import max_abs_error
from exphil_core.inference.runtime import EagerRuntime, Runtime, frame_to
from exphil_core.inference.runtimes import PolicyRuntimes, RuntimeName
from exphil_core.models.policy import Policy, build_policy
from exphil_core.replays.pack import PackedGame

PARTS = ("encode", "step", "sample", "decode")

PARITY_WINDOWS = 3.5
"""Frames of the comparison with `forward`, in windows: enough for every band to fill up and move on."""

STREAM_ROUNDS, STREAM_READS = 10, 5
"""Rounds of which the fastest counts, and reads of the buffer per round before synchronising."""

LEARNED_LOGITS = 100.0
"""Factor on fresh logits: spreads them about as far as training does, so that errors show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyResult:
    """Benchmark result of one policy in one runtime."""

    runtime: RuntimeName
    device: str
    parameters: int
    warmup: int
    """Frames before the measured ones, with the same pacing."""
    took: Percentiles
    histogram: tuple[int, ...]
    """Number of frames per bin of `latency.histogram`."""
    realtime: bool
    """Whether the player's threads had real-time priority."""
    late_p99_ms: float
    """p99 of the delay from tick to start of a frame: wake-up cost and stalls of earlier frames."""
    parts_p50_ms: dict[str, float] | None
    """Median time of each of `PARTS`; None for runtimes other than eager torch, which cannot be split."""
    max_abs_error: float
    floor_ms: float
    bandwidth_gb_per_s: float


def random_policy(preset: Preset, *, seed: int = 0) -> Policy:
    """Build a policy with random weights whose logits are as large as a trained policy's."""
    torch.manual_seed(seed)
    policy = build_policy(preset).eval()
    with torch.no_grad():
        for component in policy.head.components:
            component.logits.weight.mul_(LEARNED_LOGITS)
    return policy


def benchmark_latency(
    name: RuntimeName,
    device: torch.device,
    runtimes: PolicyRuntimes,
    game: PackedGame,
    *,
    window_size: int,
    frames: int,
    warmup: int,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> LatencyResult:
    """Benchmark one of the runtimes, built for one row.

    Args:
        window_size: The policy's window size; sets the length of the parity check.
        frames: Measured frames.
        warmup: Frames played before the measured ones.
    """
    policy = runtimes.policy
    runtime = runtimes.build(name, device)
    error = max_abs_error(runtime, policy, game, rows=1, frames=round(PARITY_WINDOWS * window_size))
    watch = _Watched(policy, clock) if name == "eager" else None
    helpers = _helpers(runtime, game, len(runtimes.cores) - 1) if runtimes.cores else ()
    with pin_threads(runtimes.cores, helpers), realtime_priority(helpers) as realtime:
        ticks, parts = _play(watch or runtime, watch, game, warmup + frames, clock=clock, sleep=sleep)
    measured = ticks[warmup:]
    took_ms = [tick.took_ms for tick in measured]
    size = streamed_bytes(policy, int8=name == "onnx_int8")
    rate = bandwidth(size, policy.device)
    return LatencyResult(
        runtime=name,
        device=policy.device.type,
        parameters=sum(parameter.numel() for parameter in policy.parameters()),
        warmup=warmup,
        took=percentiles(took_ms, missed=sum(tick.missed for tick in measured)),
        histogram=histogram(took_ms),
        realtime=realtime,
        late_p99_ms=float(np.percentile([tick.late_ms for tick in measured], 99, method="inverted_cdf")),
        parts_p50_ms={part: float(np.median(parts[part][warmup:])) for part in PARTS} if watch else None,
        max_abs_error=error,
        floor_ms=size / rate * 1e3,
        bandwidth_gb_per_s=rate / 1e9,
    )


def _helpers(runtime: Runtime, game: PackedGame, count: int) -> tuple[int, ...]:
    """Return the threads with which the runtime shares the work of a frame."""
    agent = Agent(runtime, rows=1)
    frame = to_tensors(live_frame(game, 0), "cpu")
    return busiest_threads(lambda: agent.act(frame), count)


def _play(
    runtime: Runtime,
    watch: "_Watched | None",
    game: PackedGame,
    frames: int,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], object],
) -> tuple[list[FrameTiming], dict[str, list[float]]]:
    """Return the frame timings and, with `watch`, the milliseconds of each part."""
    agent = Agent(runtime, rows=1)
    parts: dict[str, list[float]] = {part: [] for part in PARTS}

    def act(number: int) -> None:
        began = clock()
        to_controllers(agent.act(to_tensors(live_frame(game, number), "cpu")))
        if watch is not None:
            marks = (began, *watch.marks, clock())
            for part, (start, end) in zip(PARTS, pairwise(marks), strict=True):
                parts[part].append((end - start) * 1e3)

    with gc_disabled():
        return list(run_at_60_hz(act, frames, clock=clock, sleep=sleep)), parts


class _Watched(EagerRuntime):
    """Eager runtime that records when each part of its last step was done."""

    def __init__(self, policy: Policy, clock: Callable[[], float]) -> None:
        super().__init__(policy)
        self._clock = clock
        self.marks: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def step(
        self, frame: TensorBatch, reset_B: Tensor, state: Any, uniform_BK: Tensor, temperature: Tensor
    ) -> tuple[Tensor, Any]:
        device = self.policy.device
        marks: list[float] = []

        def after_part() -> None:
            if device.type == "cuda":
                torch.cuda.synchronize()
            marks.append(self._clock())

        tokens_BK, state = self.policy.step(
            frame_to(device, frame),
            reset_B.to(device),
            state,
            uniform_BK.to(device),
            temperature.to(device),
            after_part=after_part,
        )
        tokens_BK = tokens_BK.cpu()
        encoded, stepped = marks
        self.marks = (encoded, stepped, self._clock())
        return tokens_BK, state


def streamed_bytes(policy: Policy, *, int8: bool) -> int:
    """Return the bytes of weights that a step reads: all but embedding tables, of which it reads one row."""
    tables = {module.weight for module in policy.modules() if isinstance(module, nn.Embedding)}
    read = [parameter for parameter in policy.parameters() if parameter not in tables]
    return sum(part.numel() * (1 if int8 and part.dim() > 1 else part.element_size()) for part in read)


def bandwidth(size: int, device: torch.device) -> float:
    """Return the best measured rate of repeatedly reading a buffer of `size` bytes, in bytes per second."""
    buffer = torch.ones(max(1, size // 4), device=device)
    best = float("inf")
    for _ in range(STREAM_ROUNDS):
        began = time.perf_counter()
        for _ in range(STREAM_READS):
            total = buffer.sum()
        total.item()
        best = min(best, (time.perf_counter() - began) / STREAM_READS)
    return buffer.numel() * 4 / best
