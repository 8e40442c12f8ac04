"""Normalised numbers are finite, bounded, in the table's order and keep the sign."""

import math

import pytest
import torch

from exphil_core.encoding.numerics import (
    CONTROLLER_NUMERICS,
    FOLLOWER_NUMERICS,
    ITEM_NUMERICS,
    LIMIT,
    PLAYER_NUMERICS,
    RELATIVE_NUMERICS,
    STAGE_NUMERICS,
    Normalise,
    Numeric,
)

TABLES = (
    PLAYER_NUMERICS,
    FOLLOWER_NUMERICS,
    ITEM_NUMERICS,
    RELATIVE_NUMERICS,
    STAGE_NUMERICS,
    CONTROLLER_NUMERICS,
)


def expected(numeric: Numeric, raw: float) -> float:
    if numeric.transform == "scale":
        return max(-LIMIT, min(LIMIT, raw / numeric.constant))
    if numeric.transform == "tanh":
        return math.tanh(raw / numeric.constant)
    return math.log1p(max(raw, 0.0)) / math.log1p(numeric.constant)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("raw", [-1e5, -3.0, 0.0, 0.7, 42.0, 2e4])
def test_each_number_follows_its_row_of_the_table(table: tuple[Numeric, ...], raw: float) -> None:
    normalised = Normalise(table)(torch.full((len(table),), raw))
    assert normalised.tolist() == pytest.approx([expected(numeric, raw) for numeric in table], abs=1e-5)


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_number_is_zero(table: tuple[Numeric, ...]) -> None:
    assert Normalise(table)(torch.full((3, len(table)), float("nan"))).eq(0).all()


@pytest.mark.parametrize("table", TABLES)
def test_every_number_has_one_row_and_a_reason(table: tuple[Numeric, ...]) -> None:
    assert len({numeric.name for numeric in table}) == len(table)
    assert all(numeric.reason and numeric.constant > 0 for numeric in table)
