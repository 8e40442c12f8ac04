"""The public Python API: what importing it costs, and that its functions agree with the command line."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

import exphil_core as exphil
from exphil_core.api import __all__ as PUBLIC
from exphil_core.config.preset import Preset
from exphil_core.errors import ExphilError, UsageError


def test_importing_exphil_core_loads_no_torch_and_sets_no_variable() -> None:
    program = (
        "import os, sys; before = dict(os.environ); import exphil_core\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'pydantic', 'textual'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert dict(os.environ) == before\n"
        "from exphil_core import cpu\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    assert all(getattr(exphil, name) is not None for name in PUBLIC)
    assert set(PUBLIC) <= set(dir(exphil))


def test_an_unknown_name_is_an_attribute_error_that_says_where_names_are() -> None:
    with pytest.raises(AttributeError, match=r"exphil_core/api\.py"):
        _ = exphil.bild_dataset  # type: ignore[attr-defined]


@pytest.fixture
def preset() -> Preset:
    return exphil.load_preset(
        "quick",
        {"train.batch_size": 4, "train.grad_accum_steps": 2, "train.noise_prob": 0.5, "data.replays": []},
    )


def test_train_step_is_compute_loss_and_an_update(preset: Preset, dojo_dataset: Path) -> None:
    data = exphil.open_training_data(preset, dojo_dataset)

    def fresh() -> tuple[exphil.Policy, exphil.Optimizer]:
        torch.manual_seed(3)
        policy = exphil.build_policy(preset)
        return policy, exphil.Optimizer(policy, preset.train)

    by_step, optimizer = fresh()
    torch.manual_seed(4)
    result = exphil.train_step(
        by_step, optimizer, exphil.training_batches(preset, data), preset, step=0, progress=0.0
    )
    by_hand, optimizer = fresh()
    torch.manual_seed(4)
    mean = 0.0
    for seed, batch in islice(exphil.training_batches(preset, data), 2):
        loss = exphil.compute_loss(by_hand, batch, preset, seed=seed)
        (loss.mean / 2).backward()
        mean += float(loss.mean) / 2
    assert float(optimizer.clip()) == result.grad_norm
    optimizer.step(step=0, progress=0.0)
    assert mean == pytest.approx(result.loss, abs=1e-6)
    for one, other in zip(by_step.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(one, other)


def test_first_step_skips_the_batches_of_earlier_steps(preset: Preset, dojo_dataset: Path) -> None:
    data = exphil.open_training_data(preset, dojo_dataset)
    (_, second), *_ = islice(exphil.training_batches(preset, data, first_step=1), 1)
    (_, third), *_ = islice(exphil.training_batches(preset, data), 2, 3)
    assert (second.start == third.start).all()
    assert (second.game == third.game).all()


def test_a_failed_run_raises_its_sentence(preset: Preset, dojo_dataset: Path, tmp_path: Path) -> None:
    diverging = preset.model_copy(
        update={"train": preset.train.model_copy(update={"lr": 1e30, "max_steps": 30, "warmup_steps": 1})}
    )
    with pytest.raises(ExphilError, match=r"train\.lr: expected less than or equal to 1"):
        exphil.train(diverging, dojo_dataset, runs_dir=tmp_path)


def test_overrides_need_a_preset_s_name(preset: Preset, dojo_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="load_preset"):
        exphil.train(preset, dojo_dataset, overrides={"train.lr": 1e-3}, runs_dir=tmp_path)
    assert not list(tmp_path.iterdir())
