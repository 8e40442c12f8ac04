"""The main stick's clusters keep what the game acts on."""

import torch

from exphil_core.encoding.sticks import STEPS, c_grid, grid_index, main_grid


def decoded(x: float, y: float) -> list[float]:
    grid = main_grid()
    index = grid_index(torch.tensor([x / STEPS]), torch.tensor([y / STEPS]))
    return grid.points[grid.lookup[index]][0].tolist()


def test_every_cluster_stands_for_itself() -> None:
    for grid in (main_grid(), c_grid()):
        x, y = (grid.points / STEPS).unbind(-1)
        assert torch.equal(grid.lookup[grid_index(x, y)], torch.arange(len(grid.points)))


def test_clusters_lie_within_the_gate_and_outside_the_dead_zone() -> None:
    points = main_grid().points
    assert len(points) == 79
    assert len({tuple(point) for point in points.tolist()}) == 79
    assert points.square().sum(dim=1).max() <= STEPS**2
    assert ((points == 0) | (points.abs() >= 23)).all()


def test_a_dash_stays_a_dash_and_a_walk_a_walk() -> None:
    assert abs(decoded(64, 0)[0]) >= 64
    assert abs(decoded(-63, 0)[0]) < 64
    assert abs(decoded(-64, 30)[0]) >= 64


def test_a_tap_jump_and_a_fast_fall_stay_so() -> None:
    assert decoded(0, 53)[1] >= 53
    assert decoded(0, 52)[1] < 53
    assert decoded(40, -53)[1] <= -53


def test_the_shallowest_wavedash_is_kept_exactly() -> None:
    assert decoded(76, -23) == [76, -23]
    assert decoded(-76, -23) == [-76, -23]


def test_what_lies_in_the_dead_zone_is_neutral() -> None:
    assert decoded(22, -22) == [0, 0]
    assert decoded(79, 10) == [80, 0]
