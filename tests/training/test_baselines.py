"""The baselines against sources whose entropy is known."""

import math

import pytest
import torch

from exphil_core.encoding.codecs import build_codec
from exphil_core.errors import DataError
from exphil_core.training.baselines import NAMES, baselines_from_tensors, fit_baselines


def chain(stay: float, frames: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens of the axes codec whose every component keeps its value with probability `stay`, else draws
    one of two values evenly; with the tokens before them."""
    generator = torch.Generator().manual_seed(seed)
    codec = build_codec("axes")
    width = len(codec.components)
    tokens = torch.zeros(frames + 1, width, dtype=torch.int64)
    keeps = torch.rand(frames + 1, width, generator=generator) < stay
    fresh = torch.randint(0, 2, (frames + 1, width), generator=generator)
    for t in range(1, frames + 1):
        tokens[t] = torch.where(keeps[t], tokens[t - 1], fresh[t])
    return tokens[1:], tokens[:-1]


def nats(baselines, name: str, sample) -> float:
    return float(baselines.nll(name, *sample).sum(-1).mean())


def test_each_baseline_reaches_the_entropy_of_the_source_it_describes() -> None:
    codec = build_codec("axes")
    baselines = fit_baselines(codec, [chain(0.8, 40_000, seed=1)])
    held_out = chain(0.8, 20_000, seed=2)
    width = len(codec.components)
    # P(same) = 0.8 + 0.2 / 2.
    given_last = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) * width
    assert nats(baselines, "marginal", held_out) == pytest.approx(math.log(2) * width, rel=0.02)
    assert nats(baselines, "repeat", held_out) == pytest.approx(given_last, rel=0.03)
    assert nats(baselines, "markov", held_out) == pytest.approx(given_last, rel=0.03)


def test_every_row_of_every_table_is_a_distribution_and_no_value_is_impossible() -> None:
    baselines = fit_baselines(
        build_codec("clusters"), [(torch.zeros(10, 4).long(), torch.zeros(10, 4).long())]
    )
    for name in NAMES:
        for table in baselines.tables[name]:
            assert torch.isfinite(table).all()
            torch.testing.assert_close(table.double().exp().sum(-1), torch.ones(len(table)).double())


def test_baselines_survive_their_file_form() -> None:
    fitted = fit_baselines(build_codec("axes"), [chain(0.5, 500, seed=3)])
    again = baselines_from_tensors(fitted.tensors())
    sample = chain(0.5, 100, seed=4)
    assert again.frames == fitted.frames
    for name in NAMES:
        assert torch.equal(again.nll(name, *sample), fitted.nll(name, *sample))


def test_baselines_without_a_frame_are_refused() -> None:
    with pytest.raises(DataError, match="no frame"):
        fit_baselines(build_codec("axes"), [])
