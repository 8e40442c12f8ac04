"""Studies in every state, written through `StudyStorage` with made-up results.

No run was trained, and a run has a folder only where a test asks for one.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from exphil_core.config.loader import load_preset
from exphil_core.runs.directory import RunDirectory
from exphil_core.studies.storage import StudyStorage
from exphil_core.studies.trial_lock import Claim
from exphil_core.studies.trial_result import CharacterLoss, LatencyMeasured, Measures, Point
from exphil_core.studies.trials import TrialSpec

FIVE = ("mewtwo", "ganondorf", "link", "gameandwatch", "zelda")
FRAMES = 2_688_000
"""Of a run, as many as the recorded run was to see."""
BUDGET_MS = 16.67


def measured(
    loss: float,
    *,
    p99: float | None = 3.4,
    cross: Mapping[str, float] | None = None,
    characters: Sequence[str] = FIVE,
    steepness: float = 3.0,
    seconds: float = 96.0,
) -> Measures:
    """Of a run that learned evenly down to `loss`."""
    curve = [
        Point(
            step=140 * k,
            frames=FRAMES * k // 10,
            seconds=seconds * k / 10,
            loss=loss + 0.02 + (1.4 - loss) * 2.718 ** (-steepness * k / 4),
        )
        for k in range(1, 11)
    ]
    return Measures(
        loss=loss,
        baseline=0.8,
        per_character={
            name: CharacterLoss(
                loss=loss + 0.013 * index - 0.026, frames=500, floor=0.37, closed=(0.8 - loss) / 0.43
            )
            for index, name in enumerate(characters)
        },
        steps=1400,
        frames=FRAMES,
        seconds=seconds,
        frames_per_s=FRAMES / seconds,
        parameters=224_181,
        device="cpu",
        precision="fp32",
        host="here",
        curve=tuple(curve),
        latency=None
        if p99 is None
        else LatencyMeasured(
            p50_ms=0.8 * p99,
            p99_ms=p99,
            budget_ms=BUDGET_MS,
            within_budget=p99 <= BUDGET_MS,
            threads=1,
            frames=300,
        ),
        cross=None
        if cross is None
        else {name: CharacterLoss(loss=value, frames=500) for name, value in cross.items()},
    )


_CELL = cast("TrialSpec", None)
"""What a claim is taken for matters to a worker alone."""


class StudyMaker:
    """One study of a folder of runs."""

    def __init__(self, runs_dir: Path, name: str, **described: Any) -> None:
        self.runs_dir, self.name = runs_dir, name
        self.runs = name if name.isascii() else "made"
        """What their names begin with."""
        self.storage = StudyStorage(runs_dir / "studies" / name)
        told = {
            "about": "Does looking further back than a second help?",
            "decides": "The loss with a band of 120, 180 or 300 frames against 60.",
            "quick": name.endswith("-quick"),
            "against": None,
            "data": "the dojo's games of seed 0: 60 games, 256,516 frames",
            "fingerprint": "f",
        }
        self.storage.describe(**{**told, **described})

    @property
    def journal(self) -> Path:
        return self.storage.folder / "journal.log"

    def wants(
        self, *variants: str, seeds: Sequence[int] = (0, 1, 2), budget: str = "frames", multiple: float = 1.0,
        characters: Sequence[str] = FIVE,
    ) -> None:  # fmt: skip
        """Adds their trials, which wait."""
        preset = load_preset("quick")
        preset = preset.model_copy(
            update={"data": preset.data.model_copy(update={"characters": tuple(characters)})}
        )
        self.storage.extend([
            TrialSpec(
                run=self.run(variant, seed), variant=variant, seed=seed, values={"axis": variant}, budget=budget,
                amount=multiple * (FRAMES if budget == "frames" else 2.0), multiple=multiple, preset=preset,
            )
            for seed in seeds
            for variant in variants
        ])  # fmt: skip

    def run(self, variant: str, seed: int) -> str:
        return f"{self.runs}.{variant}.{seed}"

    def begins(self, variant: str, seed: int) -> Claim:
        """Its trial runs, and is this process's until the claim is let go of."""
        run = self.run(variant, seed)
        open_runs = [trial.run for trial in self.storage.trials() if not trial.ended]
        taken = self.storage.take(dict.fromkeys(open_runs, _CELL), without=set(open_runs) - {run})
        assert taken is not None
        return taken.claim

    def ends(self, variant: str, seed: int, measures: Measures) -> None:
        self.begins(variant, seed).release()
        assert self.storage.complete(self.run(variant, seed), loss=measures.loss, measures=measures.plain())

    def fails(self, variant: str, seed: int, why: str) -> None:
        self.begins(variant, seed).release()
        assert self.storage.fail(self.run(variant, seed), why)


def finished_with_ties(runs_dir: Path) -> StudyMaker:
    """Four windows: two of them tie, one is behind; three seeds each."""
    made = StudyMaker(runs_dir, "context_length-quick")
    losses = {
        "w60": (0.5664, 0.5691, 0.5640),
        "w120": (0.5441, 0.5478, 0.5429),
        "w180": (0.5193, 0.5224, 0.5176),
        "w300": (0.5210, 0.5195, 0.5221),
    }
    latencies = {"w60": 2.1, "w120": 2.6, "w180": 3.1, "w300": 4.4}
    made.wants(*losses)
    for variant, each in losses.items():
        for seed, loss in enumerate(each):
            made.ends(variant, seed, measured(loss, p99=latencies[variant] if seed == 0 else None))
    return made


def of_one_seed(runs_dir: Path) -> StudyMaker:
    """Nine backbones, of one seed; one is too slow for 60 frames a second."""
    made = StudyMaker(
        runs_dir, "backbones-quick", about="What does each backbone cost, and what does it reach?", quick=True
    )
    figures = {
        "attention": (0.5193, 3.4), "mamba": (0.5241, 3.3), "gru": (0.5390, 1.9), "lstm": (0.5402, 2.2),
        "mlp": (0.6120, 0.6), "jamba": (0.5188, 9.8), "griffin": (0.5225, 7.1), "tcn": (0.5303, 4.0),
        "transformer_xl": (0.5151, 21.7),
    }  # fmt: skip
    made.wants(*figures, seeds=[0])
    for variant, (loss, p99) in figures.items():
        made.ends(variant, 0, measured(loss, p99=p99))
    return made


def cross_evaluated(runs_dir: Path) -> StudyMaker:
    """Each character alone against one policy for all, evaluated on everybody's games."""
    made = StudyMaker(
        runs_dir, "multi_vs_single-quick", about="One policy for five characters, or one for each?",
        against="unified", decides="The loss on a character's held-out games.",
    )  # fmt: skip
    for name in FIVE:
        made.wants(name, characters=[name])
    made.wants("unified", multiple=5.0)
    for seed in range(3):
        for index, name in enumerate(FIVE):
            on = {
                other: 0.52
                + 0.01 * at
                + 0.002 * seed
                + (0 if other == name else 0.9 + 0.05 * abs(at - index))
                for at, other in enumerate(FIVE)
            }
            found = measured(on[name], cross=on, characters=[name], p99=3.4 if seed == 0 else None)
            made.ends(name, seed, found)
        own = {other: 0.505 + 0.011 * at + 0.003 * (seed - 1) for at, other in enumerate(FIVE)}
        made.ends("unified", seed, measured(0.527, cross=own, p99=3.5 if seed == 0 else None))
    return made


def running(runs_dir: Path, run_of: Callable[[str], RunDirectory]) -> tuple[StudyMaker, Claim]:
    """Some seeds have ended, one runs, one was left by its worker, one has failed, the others wait.

    `run_of` makes the folder of the run that goes on. The claim is its worker's, who has it until it is released.
    """
    made = StudyMaker(runs_dir, "context_length-quick")
    made.wants("w60", "w120", "w180", "w300")
    for variant, loss in (("w60", 0.5664), ("w120", 0.5441), ("w180", 0.5193)):
        made.ends(variant, 0, measured(loss, p99=3.0))
    made.ends("w60", 1, measured(0.5691))
    made.fails("w300", 0, "the loss was not a number at step 120: lower train.lr")
    made.begins("w120", 1).release()
    run_of(made.run("w180", 1))
    return made, made.begins("w180", 1)
