import pytest

from exphil_tui.widgets.canvas.view import EVERYTHING, ChartView, Extent

SHORT, LONG = Extent(first=0, last=1000), Extent(first=0, last=5000)


def test_everything_grows_with_the_data() -> None:
    assert EVERYTHING.axis(SHORT).low == EVERYTHING.axis(LONG).low == 0
    assert EVERYTHING.axis(SHORT).high >= 1000
    assert EVERYTHING.axis(LONG).high >= 5000


def test_everything_leaves_little_room_and_moves_seldom() -> None:
    edges = {EVERYTHING.axis(Extent(first=0, last=last)).high for last in range(1000, 2000)}

    assert len(edges) < 35
    assert all(EVERYTHING.axis(Extent(first=0, last=n)).high <= n * 1.07 for n in range(100, 5000, 7))


def test_a_zoomed_view_at_the_end_follows_new_data() -> None:
    view = EVERYTHING.zoomed(SHORT, 0.25)

    assert view.follows
    before, after = view.axis(SHORT), view.axis(LONG)
    assert after.high >= 5000
    assert after.high - after.low == pytest.approx(before.high - before.low)


def test_a_view_that_a_person_moved_stays_there() -> None:
    view = EVERYTHING.zoomed(SHORT, 0.25).panned(SHORT, -0.5)

    assert not view.follows
    assert view.axis(SHORT) == view.axis(LONG)


def test_moving_back_to_the_end_follows_again() -> None:
    view = EVERYTHING.zoomed(SHORT, 0.25).panned(SHORT, -0.5)

    assert view.panned(SHORT, 2.0).follows


def test_a_view_stops_at_the_first_point() -> None:
    assert EVERYTHING.zoomed(SHORT, 0.25).panned(SHORT, -50).axis(SHORT).low == 0


def test_zooming_keeps_its_place_and_out_again_shows_everything() -> None:
    view = EVERYTHING.zoomed(SHORT, 0.5, around=400)
    axis, whole = view.axis(SHORT), EVERYTHING.axis(SHORT)

    assert (400 - axis.low) / (axis.high - axis.low) == pytest.approx(400 / whole.high)
    assert view.zoomed(SHORT, 0.1).zoomed(SHORT, 100) == EVERYTHING


def test_zooming_in_ends_somewhere() -> None:
    view = EVERYTHING
    for _ in range(200):
        view = view.zoomed(SHORT, 0.5, around=500)

    axis = view.axis(SHORT)
    assert axis.low < axis.high


def test_one_point_has_an_axis() -> None:
    for at in (0.0, -3.0, 1e12):
        axis = EVERYTHING.axis(Extent(first=at, last=at))
        assert axis.low < at < axis.high


def test_a_view_reaches_for_what_lies_outside() -> None:
    view = ChartView(span=100, high=500)

    for at in (100.0, 450.0, 800.0):
        axis = view.reaching(SHORT, at).axis(SHORT)
        assert axis.low <= at <= axis.high
    assert view.reaching(SHORT, 450) == view
