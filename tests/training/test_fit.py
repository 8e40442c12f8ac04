"""A preset is fitted to its data, the machine and the time once, and stays as it was fitted."""

import tomllib
from pathlib import Path

import pytest
import torch

from exphil_core.cli.main import run
from exphil_core.config.loader import Resolved, resolve_preset
from exphil_core.config.preset import Preset
from exphil_core.runs.directory import RunDirectory
from exphil_core.training.checkpoint import load_checkpoint
from exphil_core.training.data import open_training_data
from exphil_core.training.fit import fit
from exphil_core.training.optim import Optimizer
from exphil_core.training.speed import training_speed


def low_tier(**overrides: object) -> Resolved:
    return resolve_preset(
        "low_tier_unified", {key.replace("__", "."): value for key, value in overrides.items()}
    )


def slow(preset: Preset) -> float:
    return 2_000.0


@pytest.mark.parametrize("kind", ["attention", "gru", "mamba"])
def test_few_games_a_slow_machine_and_three_minutes_make_a_small_run_that_fits(
    kind: str, dojo_dataset: Path
) -> None:
    asked = low_tier(backbone__kind=kind, train__max_minutes=3.0)
    fitted = fit(asked, dojo_dataset, speed=slow)
    preset, train = fitted.preset, fitted.preset.train
    games = {ego.game for ego in open_training_data(preset, dojo_dataset).train}
    steps = (fitted.seconds or 0) * 2_000 / (train.batch_size * train.grad_accum_steps * preset.chunk_length)
    assert preset.size == "small"
    assert train.batch_size * train.grad_accum_steps <= len(games)
    assert train.warmup_steps <= steps / 20
    assert train.lr < low_tier(size="small").at_size("small").train.lr
    assert 1 / (1 - train.ema_decay) <= steps / 20 + 1
    assert preset.data.train_on_all_characters is True
    # So few frames take fewer passes than there is time for; on a slower machine, time ends the run.
    assert train.epochs is not None
    assert 2 <= train.epochs < 10
    assert (fitted.seconds or 0) < 180
    assert fit(asked, dojo_dataset, speed=lambda preset: 200.0).seconds == 180
    assert any(reason.startswith("size small: ") for reason in fitted.reasons)
    assert any("trained on all characters" in reason for reason in fitted.reasons)


def test_what_was_set_stays_as_it_was_set(dojo_dataset: Path) -> None:
    asked = {
        "train__lr": 3e-3,
        "train__warmup_steps": 1999,
        "train__batch_size": 40,
        "backbone__dropout": 0.4,
    }
    kept = {"train__ema_decay": 0.9, "data__train_on_all_characters": False, "evaluation__every_minutes": 9.0}
    preset = fit(low_tier(size="small", **asked, **kept), dojo_dataset, speed=slow).preset
    assert preset.train.lr == 3e-3
    assert (preset.train.warmup_steps, preset.train.batch_size, preset.backbone.dropout) == (1999, 40, 0.4)
    assert (preset.train.ema_decay, preset.evaluation.every_minutes) == (0.9, 9.0)
    assert preset.data.train_on_all_characters is False


def test_a_preset_without_a_size_is_only_told_whose_sides_to_train_on(dojo_dataset: Path) -> None:
    def never(preset: Preset) -> float:
        raise AssertionError

    resolved = resolve_preset("quick", {"data.characters": ["mewtwo"]})
    fitted = fit(resolved, dojo_dataset, speed=never)
    data = resolved.preset.data.model_copy(update={"train_on_all_characters": True})
    assert fitted.preset == resolved.preset.model_copy(update={"data": data})


def test_measuring_the_speed_touches_no_random_state() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    preset = low_tier(size="small", backbone__dropout=0.2).preset
    assert training_speed(preset, torch.device("cpu"), seconds=0.0) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_keeps_its_size_and_a_resume_measures_nothing_and_ends_bitwise_the_same(
    tmp_path: Path, dojo_dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("exphil_core.training.fit._speed_here", slow)
    where = ["--runs-dir", str(tmp_path), "--headless"]
    words = ["--preset", "low_tier_unified", "--replays", str(dojo_dataset), "--max-steps", "6"]
    small = ["backbone.layers=1", "train.precision=fp32", "evaluation.max_frames=600", "backbone.dropout=0.3"]
    small += ["train.checkpoint_minutes=1e-9"]
    assert run(["train", *words, "--name", "whole", *where, "--set", *small]) == 0
    said = capsys.readouterr().err
    assert "size small: " in said
    assert "training takes about" in said

    clip, taken = Optimizer.clip, []

    def dies(self: Optimizer) -> torch.Tensor:
        taken.append(1)
        if len(taken) == 4:
            raise RuntimeError("killed")
        return clip(self)

    with monkeypatch.context() as dying:
        dying.setattr(Optimizer, "clip", dies)
        assert run(["train", *words, "--name", "killed", *where, "--set", *small]) == 1
    killed, whole = RunDirectory(tmp_path / "killed"), RunDirectory(tmp_path / "whole")
    described = tomllib.loads((killed.path / "run.toml").read_text())
    assert described["preset"]["size"] == "small"
    assert described["reasons"][0].startswith("size small: ")

    def never(preset: Preset) -> float:
        raise AssertionError

    monkeypatch.setattr("exphil_core.training.fit._speed_here", never)
    before = (killed.path / "run.toml").read_bytes()
    assert killed.latest_step() == 3
    assert run(["train", "--resume", "killed", *where]) == 0
    assert (killed.path / "run.toml").read_bytes() == before
    first, second = (load_checkpoint(each.step_directory(6)) for each in (whole, killed))
    assert first.model.keys() == second.model.keys()
    assert all(torch.equal(first.model[name], second.model[name]) for name in first.model)
