"""Made-up latencies, study results and data counts for tests of `advise`.

Rows have the shapes of the shipped presets, so that advice finds them like measured ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from exphil_core.advise.advice import Data, Known, Question
from exphil_core.advise.evidence import Evidence, evidence_of
from exphil_core.advise.latency_cache import CachedLatencies, CachedLatency, shape_of
from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import load_preset
from exphil_core.config.preset import Preset
from exphil_core.dataset.stats import CharacterCounts
from exphil_core.melee.frames import FRAME_MS
from exphil_core.studies.trial_result import CharacterLoss, Measures
from exphil_core.studies.trials import Trial

SMALL, MIDDLE, LARGE = "low_tier_unified (small)", "low_tier_unified (production)", "{}_20m"


def shipped(label: str, backbone: str, changed: Mapping[str, object] | None = None) -> Preset:
    """The preset that advice calls so, with a backbone."""
    name, _, size = label.format(backbone).removesuffix(")").partition(" (")
    return load_preset(
        name, {"backbone.kind": backbone, **({"size": size} if size else {}), **(changed or {})}
    )


HOUR = 60 * 60 * 60


def row(
    backbone: str,
    p99: float,
    *,
    preset: str = SMALL,
    window: int | None = None,
    device: str = "cpu",
    runtime: str = "eager",
    threads: int = 2,
    missed: int = 0,
    p50: float | None = None,
) -> CachedLatency:
    changed: dict[str, object] = {}
    if window is not None:
        changed["backbone.window_size"] = window
    shape = shipped(preset, backbone, changed)
    return CachedLatency(
        shape=shape_of(shape),
        backbone=backbone,
        window_size=shape.backbone.window_size,
        size=preset,
        parameters=500_000,
        device=device,
        runtime=runtime,
        threads=threads,
        frames=300,
        p50_ms=p99 / 2 if p50 is None else p50,
        p95_ms=p99 * 0.9,
        p99_ms=p99,
        max_ms=p99 * 2,
        missed=missed,
        realtime=True,
        measured="2026-01-15T12:00:00+00:00",
    )


def all_rows(
    p99: float = 5.0, *, but: Mapping[str, float] | None = None, **options: Any
) -> list[CachedLatency]:
    """Every backbone, each as quick as the others but for those in `but`."""
    return [row(kind, (but or {}).get(kind, p99), **options) for kind in BACKBONE_KINDS]


def study(
    name: str,
    losses: Mapping[str, Sequence[float]],
    *,
    setting: str = "backbone.kind",
    dojo: bool = True,
    quick: bool = False,
    kind: str = "attention",
    also: Mapping[str, Mapping[str, object]] | None = None,
    per_character: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    budget: str = "frames",
) -> list[Evidence]:
    """Of values, each with a loss a seed. `also`: other settings of a value; `per_character`: losses of a value."""
    trials = []
    for value, each in losses.items():
        for seed, loss in enumerate(each):
            preset: dict[str, dict[str, object]] = {
                "backbone": {"kind": kind, "window_size": 60},
                "data": {},
                "train": {"seed": seed},
                "encoder": {},
            }
            for key, found in {setting: _plain(setting, value), **(also or {}).get(value, {})}.items():
                section, _, last = key.partition(".")
                preset[section][last] = found
            judged = {"zelda": [loss] * len(each)} if per_character is None else per_character[value]
            measures = Measures(
                loss=loss,
                baseline=0.8,
                per_character={
                    who: CharacterLoss(loss=by_seed[seed], frames=500, floor=0.3 if dojo else None)
                    for who, by_seed in judged.items()
                },
                steps=100,
                frames=1_000_000,
                seconds=60.0,
                frames_per_s=1000.0,
                parameters=100_000,
                device="cpu",
                precision="fp32",
                host="here",
            )
            trials.append(
                Trial(
                    run=f"{name}.{value}.{seed}",
                    variant=value,
                    seed=seed,
                    values={"axis": value},
                    budget=budget,
                    amount=1e6,
                    multiple=1.0,
                    preset=preset,
                    state="complete",
                    why="",
                    measures=measures.plain(),
                )
            )
    return list(evidence_of(name, {"about": "?", "decides": "!", "quick": quick}, trials))


def _plain(setting: str, value: str) -> object:
    if setting == "backbone.window_size":
        return int(value)
    if setting == "train.balance_characters":
        return value == "True"
    return value.split("+") if setting == "data.characters" else value


def data(hours: Mapping[str, float], *, games: int = 40) -> Data:
    """Hours to imitate by character."""
    return Data(
        games=games,
        per_character={
            name: CharacterCounts(
                games=games,
                sides=games,
                frames=round(each * HOUR),
                usable_sides=games,
                usable_frames=round(each * HOUR),
            )
            for name, each in hours.items()
        },
    )


def question(**changed: Any) -> Question:
    asked: dict[str, Any] = {"device": "cpu", "threads": 2, "budget_ms": FRAME_MS, "missed_share": 0.01}
    return Question(**asked | changed)


def known(rows: Sequence[CachedLatency] = (), evidence: Sequence[Evidence] = ()) -> Known:
    return Known(latencies=CachedLatencies(rows=tuple(rows)), evidence=tuple(evidence))
