"""Law: what events say of each character, weighted by its frames, is the total to 1e-6, and it is that character's.

Checked are the events that a run wrote. What they are held against are the policy's own nats, whoever added them up:
of every training pass as it happened, and of whole held-out games played once more, one at a time. Whose nats they
are is read from the frames themselves, where a character has another number than in the index.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.dataset.batches import stream_games
from exphil_core.dataset.build import build_dataset
from exphil_core.encoding.batch import TensorBatch, to_tensors
from exphil_core.melee import characters
from exphil_core.models.policy import Policy, Scores
from exphil_core.replays.columns import POSITION
from exphil_core.replays.ingest import IngestOptions
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.training.checkpoint_manager import load_for_play
from exphil_core.training.data import open_run_data
from exphil_core.worker import work

MakePreset = Callable[..., Preset]
NewRun = Callable[..., RunDirectory]
TOLERANCE = 1e-6

TRAIN: dict[str, object] = {
    "max_steps": 7,
    "log_every_steps": 3,
    "grad_accum_steps": 2,
    "batch_size": 5,
    "lr": 3e-3,
}
REWARDED = {"label_smoothing": 0.1, "focal_gamma": 2.0, "press_weight": 5.0}
HELD_OUT: dict[str, object] = {"validation_share": 0.4, "include_idle": True}

REAL = (
    "falcon_vs_zelda_ys_v2.0.1.slp",
    "fox_vs_gnw_fd_v3.19.1.slp",
    "fox_vs_gnw_fod_v3.17.0.slp",
    "fox_vs_puff_bf_v3.17.0.slp",
    "fox_vs_puff_fod_v3.17.0.slp",
)

CASES: dict[str, dict[str, dict[str, object]]] = {
    "dense": {},
    "balanced": {"train": {"balance_characters": True, "mirror_prob": 1.0, "noise_prob": 0.5}},
    "carried": {"backbone": {"kind": "gru"}, "train": {"carry_state": True}},
    "last": {"policy": {"prediction": "last"}, "train": {"balance_characters": True, **REWARDED}},
    "interleaved": {
        "policy": {"prediction": "interleaved"},
        "train": {"action_dropout": 0.2, "scheduled_sampling": 0.2, **REWARDED},
    },
    "half precision": {"train": {"precision": "bf16"}},
    "delay_range": {"policy": {"codec": "axes", "delay": 3, "delay_range": [0, 18]}, "train": REWARDED},
}


@dataclass(slots=True)
class Sums:
    """Of one character."""

    frames: int = 0
    nats: float = 0.0


@dataclass(slots=True)
class Passes:
    """Every training pass of a run, in order: character → sums, in float64."""

    prediction: str
    found: list[dict[str, Sums]] = field(default_factory=list)

    def hear(self, batch: TensorBatch, scores: Scores) -> None:
        nats_BTK, mask_BT = scores.nll_BTK.detach().double(), scores.targets.mask_BT
        if self.prediction == "last":
            nats_BTK, mask_BT = nats_BTK[:, -1:], mask_BT[:, -1:]
        self.found.append(by_frames(batch, nats_BTK, mask_BT))


def who(batch: TensorBatch, row: int) -> str:
    """The ego's name by the internal ids of its own frames. Zelda and Sheik are one player's two forms."""
    group, index = POSITION["p0.internal_id"]
    (internal,) = batch.columns[group][row, batch.valid[row], index][:1].tolist()
    return one_of_two(characters.by_internal_id(internal).name)


def one_of_two(name: str) -> str:
    return "zelda" if name == "sheik" else name


def by_frames(batch: TensorBatch, nats_BTK: Tensor, mask_BT: Tensor) -> dict[str, Sums]:
    found: dict[str, Sums] = {}
    for row in range(len(mask_BT)):
        if mask_BT[row].any():
            entry = found.setdefault(who(batch, row), Sums())
            entry.frames += int(mask_BT[row].sum())
            entry.nats += float(nats_BTK[row][mask_BT[row]].sum())
    return found


def added(parts: Sequence[Mapping[str, Sums]]) -> dict[str, Sums]:
    total: dict[str, Sums] = {}
    for part in parts:
        for name, sums in part.items():
            entry = total.setdefault(name, Sums())
            entry.frames += sums.frames
            entry.nats += sums.nats
    return total


def told_of(event: Mapping[str, Any]) -> dict[str, Sums]:
    """What the event says, as sums again."""
    return added(
        [
            {one_of_two(name): Sums(frames=entry["frames"], nats=entry["frames"] * entry["loss"])}
            for name, entry in event["per_character"].items()
        ]
    )


def assert_adds_up(event: Mapping[str, Any]) -> None:
    entries = event["per_character"].values()
    frames = sum(entry["frames"] for entry in entries)
    weighted = sum(entry["frames"] * entry["loss"] for entry in entries)
    assert frames > 0
    assert weighted == pytest.approx(frames * event["loss"], rel=TOLERANCE)
    assert sum(event["heads"].values()) == pytest.approx(event["loss"], rel=TOLERANCE)
    assert event.get("frames", frames) == frames


def assert_same(event: Mapping[str, Any], counted: Mapping[str, Sums]) -> None:
    told = told_of(event)
    assert {name: sums.frames for name, sums in told.items()} == {
        name: sums.frames for name, sums in counted.items()
    }
    for name, sums in counted.items():
        assert told[name].nats == pytest.approx(sums.nats, rel=TOLERANCE), name
    frames, nats = (sum(getattr(sums, part) for sums in counted.values()) for part in ("frames", "nats"))
    assert event["loss"] == pytest.approx(nats / frames, rel=TOLERANCE)


def events_of(run: RunDirectory, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run.events_path) if event["type"] == kind]


def trained(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> Passes:
    passes, plain = Passes(run.preset().policy.prediction), Policy.forward

    def watched(self: Policy, batch: TensorBatch, state: Any = None, **settings: Any) -> Scores:
        scores = plain(self, batch, state, **settings)
        if self.training:
            passes.hear(batch, scores)
        return scores

    monkeypatch.setattr(Policy, "forward", watched)
    assert work(run) == 0
    return passes


def between_events(run: RunDirectory, passes: Passes) -> Iterator[tuple[dict[str, Any], dict[str, Sums]]]:
    """Every `step` event, and the passes since the one before."""
    grad_accum_steps = run.preset().train.grad_accum_steps
    since = 0
    for event in events_of(run, "step"):
        upto = event["step"] * grad_accum_steps
        yield event, added(passes.found[since:upto])
        since = upto
    assert since == len(passes.found)


def once_more(run: RunDirectory, step: int) -> dict[str, Sums]:
    """The held-out games of a run by its kept weights: each whole, in one pass."""
    _, preset, policy = load_for_play(run.step_directory(step), torch.device("cpu"))
    data = open_run_data(run, preset)
    found = []
    for ego in data.validation:
        frames = data.store.index.games[ego.game].frames
        for numpy_batch in stream_games(
            data.store, [ego], rows=1, chunk_length=frames, horizon=policy.horizon
        ):
            batch = to_tensors(numpy_batch, "cpu")
            with torch.no_grad():
                nats_BTK, targets, _ = policy.nll(batch)
            found.append(by_frames(batch, nats_BTK.double(), targets.mask_BT))
    return added(found)


@pytest.fixture(scope="module")
def real_dataset(replays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real") / "dataset"
    build_dataset([replays / "games" / name for name in REAL], out, workers=1, options=IngestOptions())
    return out


@pytest.fixture(
    params=[
        *((case, "dojo_dataset") for case in CASES),
        ("balanced", "real_dataset"),
        ("last", "real_dataset"),
    ],
    ids=" of the ".join,
)
def run(request: pytest.FixtureRequest, tiny: MakePreset, new_run: NewRun) -> RunDirectory:
    case, dataset = request.param
    sections = {**CASES[case], "train": {**TRAIN, **CASES[case].get("train", {})}, "data": HELD_OUT}
    preset = tiny(**sections, evaluation={"every_steps": 3, "batch_size": 8})
    return new_run(preset, dataset=request.getfixturevalue(dataset))


def test_the_losses_of_characters_add_up_to_the_total_in_training_and_validation(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = trained(run, monkeypatch)
    steps, evaluations = events_of(run, "step"), events_of(run, "evaluated")
    assert [event["step"] for event in steps] == [1, 3, 6, 7]
    assert len(evaluations) > 1
    assert max(len(event["per_character"]) for event in steps) > 2
    for event in (*steps, *evaluations):
        assert_adds_up(event)
    for event, counted in between_events(run, passes):
        assert_same(event, counted)
    final = evaluations[-1]
    assert final["best"]
    assert len(final["per_character"]) > 1
    assert_same(final, once_more(run, final["step"]))
