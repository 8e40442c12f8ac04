"""Training on the dojo: that it learns, stops where it must, and says what it did."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.dataset.index import DatasetIndex
from exphil_core.errors import CheckpointError, UsageError
from exphil_core.models.policy import Policy, Scores
from exphil_core.replays.columns import SCHEMA_VERSION
from exphil_core.runs.command_handler import StopTraining
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.events import read_events
from exphil_core.training import trainer
from exphil_core.training.checkpoint import load_checkpoint, save_checkpoint
from exphil_core.training.checkpoint_manager import load_for_play
from exphil_core.training.data import open_training_data
from exphil_core.training.evaluate import Evaluation, SideResult, evaluate
from exphil_core.training.precision import MEASURING
from exphil_core.worker import work

MakePreset = Callable[..., Preset]
NewRun = Callable[..., RunDirectory]


def events_of(run: RunDirectory, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run.events_path) if event["type"] == kind]


@pytest.mark.usefixtures("from_nothing")
@pytest.mark.parametrize("kind", BACKBONE_KINDS)
def test_every_backbone_learns_something_in_a_hundred_steps(
    kind: str, tiny: MakePreset, new_run: NewRun
) -> None:
    backbone = {"kind": kind, "layers": 2}
    train = {"max_steps": 100, "lr": 3e-3, "ema_decay": 0.9}
    run = new_run(tiny(backbone=backbone, train=train, evaluation={"every_steps": 100}))
    assert work(run) == 0
    losses = [event["loss"] for event in events_of(run, "step")]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_a_row_goes_on_from_what_it_remembers_of_its_game(
    kind: str, tiny: MakePreset, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    grad_accum_steps = 2
    seen: list[tuple[Any, Any, torch.Tensor]] = []
    plain = Policy.forward

    def watched(self: Policy, batch: Any, state: Any = None, **settings: Any) -> Scores:
        scores = plain(self, batch, state, **settings)
        if self.training:
            seen.append((state, scores.state, batch.reset))
        return scores

    monkeypatch.setattr(Policy, "forward", watched)
    train = {"max_steps": 40, "carry_state": True, "grad_accum_steps": grad_accum_steps}
    assert work(new_run(tiny(backbone={"kind": kind}, train=train, evaluation={"every_steps": 40}))) == 0
    assert len(seen) == 80
    for (_, left, _), (state, _, reset) in zip(seen, seen[grad_accum_steps:], strict=False):
        assert all(torch.equal(one, two) for one, two in zip(left, state, strict=True))
        assert not any(part.requires_grad for part in state)
        assert not reset[:, 1:].any()
    begins = torch.stack([reset[:, 0] for _, _, reset in seen[grad_accum_steps:]]).float().mean()
    assert 0 < begins < 0.5


@pytest.mark.usefixtures("from_nothing")
def test_a_backbone_learns_with_carried_state(tiny: MakePreset, new_run: NewRun) -> None:
    train = {"max_steps": 100, "lr": 3e-3, "ema_decay": 0.9, "carry_state": True}
    run = new_run(tiny(backbone={"kind": "gru"}, train=train, evaluation={"every_steps": 100}))
    assert work(run) == 0
    losses = [event["loss"] for event in events_of(run, "step")]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('kind = "gru"', 'kind = "attention"', ("backbone.kind = gru", "says attention", "back to gru")),
        ("layers = 1", "layers = 2", ("backbone.layers = 1", "says 2")),
        ("head_width = 32", "head_width = 16", ("policy.head_width = 32", "says 16")),
        ("carry_state = false", "carry_state = true", ("no carried state", "train.carry_state")),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_by_its_key(
    before: str, after: str, words: tuple[str, ...], tiny: MakePreset, new_run: NewRun, capsys: Any
) -> None:
    run = new_run(tiny(backbone={"kind": "gru"}, train={"max_steps": 2}))
    assert work(run) == 0
    about = run.path / "run.toml"
    assert before in about.read_text()
    about.write_text(about.read_text().replace(before, after))
    assert work(run) == 5
    said = capsys.readouterr().err
    assert all(word in said for word in words)


@pytest.mark.parametrize(("kind", "kernel"), [("mamba", "torch"), ("gru", None)])
def test_a_run_says_which_kernel_runs_its_scan(
    kind: str, kernel: str | None, tiny: MakePreset, new_run: NewRun
) -> None:
    backbone = {"kind": kind} if kernel is None else {"kind": kind, "kernel": kernel}
    run = new_run(tiny(backbone=backbone, train={"max_steps": 2}))
    assert work(run) == 0
    (started,) = events_of(run, "run_started")
    assert started["kernel"] == kernel
    # Whoever plays takes what is there: the name of the kernel is not the policy's.
    _, preset, _ = load_for_play(run.step_directory(2), torch.device("cpu"))
    assert getattr(preset.backbone, "kernel", None) == ("auto" if kernel else None)


@pytest.mark.parametrize(
    ("written", "words"),
    [("v = 1", ("version 1, written by exphil", "reads version 2")), ("v = = 2", ("run.toml is damaged",))],
)
def test_a_run_that_cannot_be_read_is_left_as_it_was(
    written: str, words: tuple[str, ...], tiny: MakePreset, new_run: NewRun, capsys: Any
) -> None:
    run = new_run(tiny(train={"max_steps": 1}))
    assert work(run) == 0
    about = run.path / "run.toml"
    about.write_text(about.read_text().replace("v = 2", written, 1))
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError) as refused:
        work(run)
    assert all(word in str(refused.value) for word in words)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_of_another_format_is_refused_with_the_formats(
    tiny: MakePreset, new_run: NewRun
) -> None:
    run = new_run(tiny(train={"max_steps": 1}))
    assert work(run) == 0
    manifest = run.step_directory(1) / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace('"version": 2', '"version": 1'))
    with pytest.raises(CheckpointError, match=r"checkpoint format 1, .* reads format 2: train a new policy"):
        load_for_play(run.step_directory(1), torch.device("cpu"))


def test_weights_of_another_backbone_are_refused_with_their_kind(tiny: MakePreset, new_run: NewRun) -> None:
    mamba, gru = (
        new_run(tiny(backbone={"kind": kind}, train={"max_steps": 1}), name=kind) for kind in ("mamba", "gru")
    )
    assert work(mamba) == work(gru) == 0
    checkpoint = load_checkpoint(mamba.step_directory(1), training=False)
    config = load_checkpoint(gru.step_directory(1), training=False).config
    mixed = save_checkpoint(gru.path / "mixed", replace(checkpoint, config=config))
    with pytest.raises(CheckpointError, match=r"kind is 'gru'.* weights of backbone\.kind 'mamba'"):
        load_for_play(mixed, torch.device("cpu"))


def test_a_run_says_what_it_learned_per_character_and_head(tiny: MakePreset, new_run: NewRun) -> None:
    run = new_run(tiny())
    assert work(run) == 0
    (started,) = events_of(run, "run_started")
    assert started["backbone"] == "attention"
    shares = started["dataset"]["shares"]
    assert shares.keys() == {
        name for name, entry in started["dataset"]["per_character"].items() if entry["frames"]
    }
    for which in ("asked", "reachable", "drawn"):
        assert sum(share[which] for share in shares.values()) == pytest.approx(1.0)
    step = events_of(run, "step")[-1]
    assert step["step"] == 10
    assert step["loss"] == pytest.approx(sum(step["heads"].values()))
    frames = sum(entry["frames"] for entry in step["per_character"].values())
    total = sum(entry["frames"] * entry["loss"] for entry in step["per_character"].values())
    assert step["loss"] == pytest.approx(total / frames)
    final = events_of(run, "evaluated")[-1]
    assert final["best"] is True
    for entry in final["per_character"].values():
        assert entry["baseline_markov"] < entry["baseline_marginal"]
        assert entry["floor"] < entry["baseline_markov"]
    assert final["leak_probe"] is None or final["leak_probe"] <= 0.01
    assert final["copycat"] is not None
    assert set(final["transition_f1"]) == set(final["heads"])
    assert events_of(run, "run_finished")[-1]["summary"]["best_step"] == final["step"]


def test_the_kept_checkpoint_is_the_best_and_not_the_last(tiny: MakePreset, new_run: NewRun) -> None:
    run = new_run(tiny(train={"max_steps": 40}, evaluation={"every_steps": 5}))
    assert work(run) == 0
    evaluations = [event for event in events_of(run, "evaluated") if "best" not in event]
    best = min(evaluations, key=lambda event: event["loss"])
    assert run.best_step() == best["step"]
    assert load_checkpoint(run.step_directory(best["step"])).step == best["step"]


def test_training_stops_early_when_validation_no_longer_improves(tiny: MakePreset, new_run: NewRun) -> None:
    # With a minimum of improvement that nothing reaches, the second evaluation is already stale.
    run = new_run(
        tiny(
            train={"max_steps": 200},
            evaluation={"every_steps": 5, "patience": 2, "min_delta": 100.0},
        )
    )
    assert work(run) == 0
    assert events_of(run, "run_finished")[-1]["step"] == 15
    assert any(event["code"] == "early_stop" for event in events_of(run, "warning"))


def test_a_loss_that_is_not_finite_ends_the_run_before_the_step(
    tiny: MakePreset, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tiny(train={"checkpoint_minutes": 1e-6}))
    calls = 0
    plain = Policy.forward

    def poisoned(self: Policy, batch: Any, state: Any = None, **settings: Any) -> Scores:
        nonlocal calls
        scores = plain(self, batch, state, **settings)
        calls += self.training
        if calls != 4 or not self.training:
            return scores
        return scores._replace(log_probs=[part * float("nan") for part in scores.log_probs])

    monkeypatch.setattr(Policy, "forward", poisoned)
    assert work(run) == 4
    (error,) = events_of(run, "error")
    games = DatasetIndex.open(run.dataset_path()).games
    assert sum(game.content_id[:12] in error["message"] for game in games) >= 1
    assert "slot" in error["message"]
    assert "from frame" in error["message"]
    assert events_of(run, "run_finished")[-1]["status"] == "diverged"
    kept = load_checkpoint(run.step_directory(3))
    assert all(torch.isfinite(tensor).all() for tensor in kept.model.values())
    assert run.steps()[-1] == 3


def test_a_truncated_checkpoint_falls_back_to_the_one_before_and_says_so(
    tiny: MakePreset, new_run: NewRun, tmp_path: Path
) -> None:
    run = new_run(tiny(train={"checkpoint_minutes": 1e-6, "keep_checkpoints": 4}))
    assert work(run) == 0
    *_, before, newest = run.steps()
    os.truncate(run.step_directory(newest) / "optimizer.safetensors", 100)
    assert work(run) == 0
    (warning,) = [e for e in events_of(run, "warning") if e["code"] == "checkpoint_damaged"]
    assert f"{newest:09}" in warning["message"]
    assert events_of(run, "run_started")[-1]["resumed_from"] == before


def test_a_dataset_of_another_schema_is_refused_with_a_sentence(
    tiny: MakePreset, new_run: NewRun, dojo_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dojo_dataset, copy)
    run = new_run(tiny(), dataset=copy)
    about = copy / "dataset.json"
    about.write_text(about.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'))
    assert work(run) == 3
    assert "schema version 99" in capsys.readouterr().err


def test_an_absent_character_is_warned_of_by_name(tiny: MakePreset, new_run: NewRun) -> None:
    run = new_run(tiny(data={"characters": ("mewtwo", "fox")}, train={"max_steps": 2}))
    assert work(run) == 0
    (warning,) = [e for e in events_of(run, "warning") if e["code"] == "character_without_games"]
    assert warning["message"].startswith("fox: no game")
    assert set(events_of(run, "step")[-1]["per_character"]) == {"mewtwo"}


@pytest.mark.parametrize("train_on_all_characters", [False, True])
def test_no_game_of_any_wanted_character_is_an_error_that_names_who_is_there(
    train_on_all_characters: bool, tiny: MakePreset, new_run: NewRun, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"characters": ("fox",), "train_on_all_characters": train_on_all_characters}
    assert work(new_run(tiny(data=data))) == 3
    message = capsys.readouterr().err
    assert "fox" in message
    assert "mewtwo" in message


def test_the_loss_does_not_depend_on_how_evaluation_cuts_the_games(
    tiny: MakePreset, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    import exphil_core.training.evaluate as module

    losses = []
    for number, length in enumerate((256, 100)):
        monkeypatch.setattr(module, "CHUNK_LENGTH", length)
        run = new_run(tiny(train={"max_steps": 2}), name=f"chunk-{number}")
        assert work(run) == 0
        losses.append(events_of(run, "evaluated")[-1]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_other_characters_can_be_learned_from_without_being_judged(tiny: MakePreset, new_run: NewRun) -> None:
    run = new_run(tiny(data={"characters": ("mewtwo",), "train_on_all_characters": True}))
    assert work(run) == 0
    assert len({name for event in events_of(run, "step") for name in event["per_character"]}) > 1
    for event in events_of(run, "evaluated"):
        assert set(event["per_character"]) == {"mewtwo"}


@pytest.mark.parametrize(("few", "takes_all"), [(10**9, True), (1, False)])
def test_few_frames_of_the_wanted_characters_take_everybody_s_sides(
    few: int, takes_all: bool, tiny: MakePreset, dojo_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exphil_core.config.schedule.FEW_FRAMES", few)
    data = open_training_data(
        tiny(data={"characters": ("mewtwo",), "train_on_all_characters": "auto"}), dojo_dataset
    )
    index = data.store.index
    trained, judged = (
        {index.games[ego.game].sides[ego.slot].external_id for ego in egos}
        for egos in (data.train, data.validation)
    )
    assert (len(trained) > 1, len(judged)) == (takes_all, 1)


def test_a_new_run_starts_at_the_markov_baseline(tiny: MakePreset, new_run: NewRun) -> None:
    run = new_run(tiny(train={"max_steps": 1, "lr": 1e-9}))
    assert work(run) == 0
    first = events_of(run, "evaluated")[0]
    assert first["loss"] == pytest.approx(first["baseline_markov"], abs=0.05)
    assert first["baseline_markov"] < first["baseline_marginal"] - 0.5


@pytest.mark.parametrize("start", ["the markov baseline", "train.init_from"])
def test_a_run_never_ends_above_its_own_start(start: str, tiny: MakePreset, new_run: NewRun) -> None:
    learned = new_run(tiny(train={"max_steps": 30}))
    train: dict[str, object] = {"max_steps": 20, "lr": 0.3}
    if start == "train.init_from":
        assert work(learned) == 0
        train["init_from"] = str(learned.step_directory(learned.best_step() or 0))
    run = new_run(tiny(train=train, evaluation={"every_steps": 4, "max_frames": None}), name="harmed")
    assert work(run) == 0
    first, *others, final = events_of(run, "evaluated")
    assert first["step"] == final["step"] == run.best_step() == 0
    # The learning rate is far too high: what came later is worse.
    assert min(event["loss"] for event in others) > first["loss"]
    assert final["loss"] == pytest.approx(first["loss"], rel=1e-4)
    assert any(
        start in event["message"] for event in events_of(run, "warning") if event["code"] == "start_is_best"
    )


def test_an_interrupted_evaluation_of_the_start_is_repeated(
    tiny: MakePreset, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: Any, **settings: Any) -> Evaluation:
        raise StopTraining("stopped")

    run = new_run(tiny(train={"max_steps": 4}, evaluation={"every_steps": 2, "max_frames": 500}))
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "evaluate", stopped)
        work(run)
    assert (run.latest_step(), events_of(run, "evaluated")) == (0, [])
    assert work(run) == 0
    evaluated = [event["step"] for event in events_of(run, "evaluated") if "best" not in event]
    assert evaluated == [0, 2, 4]


def test_a_warm_up_that_outlasts_the_run_is_warned_of(tiny: MakePreset, new_run: NewRun) -> None:
    run = new_run(tiny(train={"max_steps": 5, "warmup_steps": 100}))
    assert work(run) == 0
    assert [event["code"] for event in events_of(run, "warning")] == ["warmup_longer_than_run"]


def test_a_run_says_whom_it_takes_for_alike(tiny: MakePreset, new_run: NewRun) -> None:
    run = new_run(tiny())
    assert work(run) == 0
    neighbours = events_of(run, "run_finished")[-1]["summary"]["neighbours"]
    (started,) = events_of(run, "run_started")
    assert set(started["dataset"]["per_character"]) <= set(neighbours)
    for name, nearest in neighbours.items():
        assert name not in nearest
        assert list(nearest.values()) == sorted(nearest.values(), reverse=True)


def test_a_run_without_averages_saves_what_it_learned(tiny: MakePreset, new_run: NewRun) -> None:
    run = new_run(tiny(train={"ema_decay": 0.0}))
    assert work(run) == 0
    model = load_checkpoint(run.step_directory(10)).model
    assert torch.equal(
        model["encoder.players.action_states.weight"], model["encoder.followers.action_states.weight"]
    )


def test_sides_whose_best_baseline_is_repeat_are_warned_of_once(
    tiny: MakePreset, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = SideResult(
        content_id="0123456789abcdef",
        port=2,
        character="mewtwo",
        frames=100,
        baselines={"marginal": 4.0, "repeat": 0.5, "markov": 1.0},
    )

    def evaluated(*given: Any, **settings: Any) -> Evaluation:
        return replace(evaluate(*given, **settings), repeat_is_best=(side,))

    monkeypatch.setattr(trainer, "evaluate", evaluated)
    run = new_run(tiny(train={"max_steps": 4}, evaluation={"every_steps": 1, "max_frames": 500}))
    assert work(run) == 0
    warnings = [event["message"] for event in events_of(run, "warning") if event["code"] == "repeat_is_best"]
    assert len(warnings) == 1
    assert "Mewtwo at port 2 of game 0123456789ab" in warnings[0]
    assert all(event["repeat_is_best"] for event in events_of(run, "evaluated"))


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_a_run_says_what_it_measures_before_it_does(
    precision: str, tiny: MakePreset, new_run: NewRun
) -> None:
    run = new_run(tiny(train={"max_steps": 2, "precision": precision}, evaluation={"max_frames": 500}))
    assert work(run) == 0
    kinds = [event["type"] for event in read_events(run.events_path)]
    assert kinds.count("preparing") == (precision == "auto")
    if precision == "auto":
        assert kinds.index("preparing") < kinds.index("run_started")
        assert events_of(run, "preparing")[0]["message"] == MEASURING
    assert work(run) == 0
    assert len(events_of(run, "preparing")) == (precision == "auto"), "a resumed run has its precision"
