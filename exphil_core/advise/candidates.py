"""Candidates of one size: every backbone, with the windows of its preset and of studies.

A latency counts only for the exact shape that would be trained, on the device and with the threads that it
would play with.
"""

from collections.abc import Sequence

from exphil_core.advise.advice import Candidate, Question
from exphil_core.advise.evidence import WINDOW, Evidence
from exphil_core.advise.latency_cache import CachedLatency, shape_of
from exphil_core.advise.strategy import PolicySize
from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import list_presets, load_preset
from exphil_core.config.preset import Preset
from exphil_core.config.sizes import size_overrides

PLAYS_IN = "eager"
"""Runtime of a run's pilot; others are mentioned only where they would change the answer."""


def candidates_of(
    size: PolicySize, question: Question, evidence: Sequence[Evidence], rows: Sequence[CachedLatency]
) -> list[Candidate]:
    """Return the candidates of one size, with their latency where it was measured."""
    there = set(list_presets())
    found = []
    for kind in BACKBONE_KINDS:
        preset = size.preset.format(kind)
        if preset == size.preset or preset in there:
            shipped = load_preset(preset, {"backbone.kind": kind, **size_overrides(size.size)})
            for window in _windows(shipped, evidence):
                found.append(_candidate(preset, size.size, _with_window(shipped, window), question, rows))
    return found


def _windows(shipped: Preset, evidence: Sequence[Evidence]) -> list[int]:
    """Return the preset's own window and those that studies tried with this backbone."""
    tried = {
        int(each.value)
        for found in windows_tried(evidence, shipped.backbone.kind)
        for each in found.tried
        if each.value.isdecimal()
    }
    return sorted(tried | {shipped.backbone.window_size})


def windows_tried(evidence: Sequence[Evidence], kind: str) -> list[Evidence]:
    """Return the evidence on windows of this backbone; for another one a window means something else."""
    return [
        found
        for found in evidence
        if found.setting == WINDOW and all(each.backbone == kind for each in found.tried)
    ]


def _with_window(preset: Preset, window: int) -> Preset:
    backbone = preset.backbone.model_copy(update={"window_size": window})
    return preset.model_copy(update={"backbone": backbone})


def _candidate(
    name: str, size: str | None, preset: Preset, question: Question, rows: Sequence[CachedLatency]
) -> Candidate:
    shape = shape_of(preset)
    mine = {
        row.runtime: row
        for row in rows
        if (row.shape, row.device, row.threads)
        == (shape, _device(row.runtime, question.device), question.threads)
    }
    row = mine.pop(PLAYS_IN, None)
    over = None if row is None or row.p99_ms < question.budget_ms else row.p99_ms - question.budget_ms
    return Candidate(
        backbone=preset.backbone.kind,
        window_size=preset.backbone.window_size,
        preset=name,
        size=size,
        row=row,
        fits=row is not None and fits(row, question),
        over_ms=over,
        others=mine,
    )


def _device(runtime: str, device: str) -> str:
    """Return the device that a runtime computes on when the policy is to play on `device`."""
    return "cpu" if runtime.startswith("onnx") else device


def fits(row: CachedLatency, question: Question) -> bool:
    """Return whether a latency meets the budget and misses few enough deadlines."""
    return row.p99_ms < question.budget_ms and row.missed <= question.missed_share * row.frames
