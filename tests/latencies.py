"""Synthetic pilot latencies of a fast, a borderline and a too slow policy: `latency` records, ten a second.

They are computed from 600 frames as a pilot computes them, so figures, histogram and moments agree with each other.
"""

import math
from functools import cache
from typing import Any

from exphil_core.inference.latency import BUDGET_MS, histogram, percentiles
from exphil_core.render.gauge import LatencySample, samples_after
from exphil_core.runs.records import LatencyEvent

KINDS = ("fast", "borderline", "over")

FRAMES, TOGETHER = 600, 6


def took(kind: str) -> list[float]:
    """Of 600 frames, in milliseconds."""
    usual, spread, spike = {
        "fast": (3.2, 0.3, 9.0),
        "borderline": (13.4, 1.9, 1.9),
        "over": (15.6, 2.4, 5.0),
    }[kind]
    found = []
    for frame in range(FRAMES):
        # Two waves that hardly ever meet: looks like noise, and is the same every time.
        noise = math.sin(1.7 * frame * frame) * math.sin(78.233 * frame)
        found.append(usual + spread * noise + (spike * (1 + noise) / 1.5 if frame % 97 == 41 else 0.0))
    return found


def missed(kind: str) -> list[bool]:
    """One fast frame of all was woken late."""
    return [
        took_ms > BUDGET_MS or (kind != "over" and frame == 300) for frame, took_ms in enumerate(took(kind))
    ]


def fields(kind: str, **changed: object) -> dict[str, Any]:
    """Of the newest record."""
    times, late = took(kind), missed(kind)
    figures = percentiles(times, missed=sum(late))
    found: dict[str, Any] = {
        "device": "cpu",
        "backbone": "attention",
        "runtime": "eager",
        "parameters": 20_100_000,
        "window_size": 180,
        "step": 1200,
        "weights": "0123456789abcdef",
        "frames": figures.frames,
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "p99_ms": figures.p99_ms,
        "max_ms": figures.max_ms,
        "missed": figures.missed,
        "budget_ms": BUDGET_MS,
        "headroom_ms": BUDGET_MS - figures.p99_ms,
        "histogram": list(histogram(times)),
        "late_p99_ms": 0.31,
        "recent_max_ms": max(times[-TOGETHER:]),
        "recent_missed": sum(late[-TOGETHER:]),
        "total_frames": 36_000,
        "total_missed": 60 * figures.missed,
        "cpu": 0.2 if kind == "fast" else 0.72,
        "realtime": kind != "over",
        "threads": 1,
        "character": "mewtwo",
        "game": "00" * 16,
        "frame_index": 5000,
    }
    return found | changed


def record(kind: str, **changed: object) -> LatencyEvent:
    return LatencyEvent(**{"seq": 0, "ts": "2026-01-15T11:59:59.900Z"} | fields(kind, **changed))


def records(kind: str) -> list[LatencyEvent]:
    """Of the last ten seconds."""
    times, late = took(kind), missed(kind)
    return [
        record(
            kind,
            recent_max_ms=max(times[begin : begin + TOGETHER]),
            recent_missed=sum(late[begin : begin + TOGETHER]),
            total_frames=36_000 - FRAMES + begin + TOGETHER,
        )
        for begin in range(0, FRAMES, TOGETHER)
    ]


@cache
def moments(kind: str) -> tuple[LatencySample, ...]:
    found: tuple[LatencySample, ...] = ()
    for one in records(kind):
        found = samples_after(found, one)
    return found
