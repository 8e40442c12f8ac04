"""How often a picture is painted, from what pictures cost."""

from exphil_tui.model.frame_rate import AFAR, FAST, USUAL, FrameRate, initial_frame_rate

EASY = {"cost": 0.004, "late": 0.001}
HARD = {"cost": 0.014, "late": 0.001}


def painted(pace: FrameRate, pictures: int, **what: float) -> FrameRate:
    for _ in range(pictures):
        pace = pace.painted(**what)
    return pace


def test_it_begins_with_thirty_and_goes_to_sixty_where_that_is_easy() -> None:
    pace = initial_frame_rate({})
    assert pace.rate == USUAL
    assert painted(pace, 60, **EASY).rate == FAST
    assert painted(pace, 600, **HARD).rate == USUAL


def test_from_sixty_it_falls_back_where_pictures_cost_too_much_or_come_too_late() -> None:
    fast = painted(initial_frame_rate({}), 60, **EASY)
    assert painted(fast, 30, **HARD).rate == USUAL
    assert painted(fast, 30, cost=0.002, late=0.02).rate == USUAL
    # One slow picture among many is no reason.
    assert painted(fast.painted(cost=0.05, late=0.03), 29, **EASY).rate == FAST


def test_it_does_not_go_to_and_fro_for_ever() -> None:
    pace = initial_frame_rate({})
    rates = set()
    for _ in range(6):
        pace = painted(pace, 60, **EASY)
        rates.add(pace.rate)
        pace = painted(pace, 30, **HARD)
    assert rates == {FAST, USUAL}
    assert painted(pace, 600, **EASY).rate == USUAL


def test_over_ssh_it_is_twenty_whatever_it_costs() -> None:
    for name in ("SSH_CONNECTION", "SSH_TTY"):
        pace = initial_frame_rate({name: "somewhere"})
        assert pace.rate == AFAR
        assert painted(pace, 600, **EASY).rate == AFAR
