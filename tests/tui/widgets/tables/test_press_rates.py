"""When a button counts as forgotten, and how that is said."""

import pytest

from exphil_core.runs.records import CharacterEvaluated, Evaluated, PressRate
from exphil_tui.model.run_state import TOTAL
from exphil_tui.theme.glyphs import ASCII, UNICODE
from exphil_tui.widgets.tables.press_rates import ButtonRate, PressRates, collapses, press_rates
from exphil_tui.widgets.text_panel import plain


def evaluated(**rates: dict[str, tuple[float | None, float | None]]) -> Evaluated:
    """By character: (policy, human) by button, of 100 frames for the first, 200 for the second…"""
    return Evaluated(
        seq=0,
        ts="",
        step=1,
        split="validation",
        loss=1.0,
        heads={},
        per_character={
            name: CharacterEvaluated(
                loss=1.0,
                frames=100 * (place + 1),
                press_rates={
                    button: PressRate(policy=policy, human=human)
                    for button, (policy, human) in of_name.items()
                },
            )
            for place, (name, of_name) in enumerate(rates.items())
        },
    )


@pytest.mark.parametrize(
    ("policy", "human", "collapsed"),
    [
        (0.0249, 0.1, True),
        (0.025, 0.1, False),
        (0.0, 1e-6, True),
        (0.0, 0.0, False),
        (0.3, 0.0, False),
        (None, 0.1, False),
        (0.1, None, False),
    ],
)
def test_a_button_is_forgotten_below_a_quarter_of_the_human_s_rate(
    policy: float | None, human: float | None, collapsed: bool
) -> None:
    assert ButtonRate(button="B", policy=policy, human=human).collapsed is collapsed


def test_rates_of_all_are_weighted_by_frames() -> None:
    found = press_rates(evaluated(mewtwo={"B": (0.1, 0.4)}, link={"B": (0.4, 0.1)}), TOTAL)
    assert found[0].policy == pytest.approx((0.1 * 100 + 0.4 * 200) / 300)
    assert found[0].human == pytest.approx((0.4 * 100 + 0.1 * 200) / 300)


def test_a_collapse_of_one_character_is_found_though_all_together_look_well() -> None:
    found = evaluated(link={"B": (0.2, 0.1)}, mewtwo={"B": (0.001, 0.1), "A": (0.0, 0.3)})
    assert not any(rate.collapsed for rate in press_rates(found, TOTAL) if rate.button == "B")
    assert [(c.title, c.rate.button) for c in collapses(found)] == [("Mewtwo", "A"), ("Mewtwo", "B")]


@pytest.mark.parametrize("width", [37, 50, 80])
def test_a_collapse_is_said_in_words_and_fits(width: int) -> None:
    found = evaluated(mewtwo={"B": (0.001, 0.1), "A": (0.2, 0.2)})
    panel = PressRates()
    panel._rates, panel._collapses = press_rates(found, TOTAL), collapses(found)
    text = plain(panel.picture(width, UNICODE).lines)
    assert "⚠ Mewtwo rarely presses B: 0.10 % of frames, human 10 %" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= width
    assert "Mewtwo rarely presses A" not in text


def test_many_collapses_are_counted_after_two() -> None:
    found = evaluated(mewtwo=dict.fromkeys("ABXYZ", (0.0, 0.1)))
    panel = PressRates()
    panel._rates, panel._collapses = press_rates(found, TOTAL), collapses(found)
    text = plain(panel.picture(37, UNICODE).lines)
    assert text.count("rarely presses") == 2
    assert "and 3 more" in text


def test_the_bar_of_a_rate_like_the_human_s_ends_in_the_middle() -> None:
    panel = PressRates()
    panel._rates = (ButtonRate(button="A", policy=0.1, human=0.1),)
    [_, row] = panel.picture(40, ASCII).lines
    assert "".join(text for text, _ in row).endswith("######......")


def test_a_button_that_the_human_never_presses_has_no_bar() -> None:
    panel = PressRates()
    panel._rates = (ButtonRate(button="Y", policy=0.1, human=0.0),)
    assert "never" in plain(panel.picture(40, UNICODE).lines)


def test_a_hostile_button_is_made_safe() -> None:
    found = evaluated(mewtwo={"\x1b[2J" + "B" * 10_000: (0.1, 0.1)})
    assert press_rates(found, "mewtwo")[0].button == "[2JBBBBB"
