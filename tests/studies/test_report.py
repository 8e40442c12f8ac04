"""Reports on made-up numbers: what is shown is said, the rest is called a tie, and one seed decides nothing."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exphil_core.studies.aggregate import report_of
from exphil_core.studies.markdown import markdown
from exphil_core.studies.plots import draw
from exphil_core.studies.publish import plain_report
from exphil_core.studies.report import Report
from exphil_core.studies.report_notes import NLL_SENTENCE
from exphil_core.studies.statistics import difference, spread, student_t
from exphil_core.studies.trial_result import CharacterLoss, LatencyMeasured, Measures, Point, measures_of
from exphil_core.studies.trials import Trial

FIVE = ("mewtwo", "ganondorf", "link", "gameandwatch", "zelda")


def measured(
    loss: float,
    *,
    per_character: Mapping[str, float] | None = None,
    cross: Mapping[str, float] | None = None,
    p99: float | None = 3.0,
    frames: int = 1_000_000,
    cross_frames: int = 500,
    beside: bool = False,
    curve: Sequence[float] = (),
) -> Measures:
    judged = {
        name: CharacterLoss(loss=value, frames=500, floor=0.37, closed=0.8)
        for name, value in (per_character or {"zelda": loss}).items()
    }
    return Measures(
        loss=loss,
        baseline=0.8,
        per_character=judged,
        steps=1000,
        frames=frames,
        seconds=60.0,
        frames_per_s=20_000.0,
        parameters=100_000,
        device="cpu",
        precision="fp32",
        host="here",
        beside=beside,
        curve=tuple(
            Point(step=k * 100, frames=k * 100_000, seconds=6.0 * k, loss=each)
            for k, each in enumerate(curve, start=1)
        ),
        latency=None
        if p99 is None
        else LatencyMeasured(
            p50_ms=p99 / 2, p99_ms=p99, budget_ms=16.67, within_budget=p99 <= 16.67, threads=1, frames=300
        ),
        cross=None
        if cross is None
        else {name: CharacterLoss(loss=value, frames=cross_frames) for name, value in cross.items()},
    )


def trial(
    variant: str,
    seed: int,
    measures: Measures | None,
    *,
    state: str = "complete",
    budget: str = "frames",
    multiple: float = 1.0,
    characters: Sequence[str] = (),
    why: str = "",
    starts_from: str | None = None,
) -> Trial:
    return Trial(
        run=f"made.{variant}.{seed}",
        variant=variant,
        seed=seed,
        values={"axis": variant},
        budget=budget,
        amount=1e6 * multiple,
        multiple=multiple,
        preset={"data": {"characters": list(characters)}},
        state=state,
        why=why,
        measures=None if measures is None else measures.plain(),
        starts_from=None if starts_from is None else f"made.{starts_from}.{seed}",
    )


def report(trials: Sequence[Trial], **described: Any) -> Report:
    told = {"about": "Does it?", "decides": "The loss.", "data": "made-up games", **described}
    return report_of("made", told, trials)


def of(losses: Mapping[str, Sequence[float]], **kwargs: Any) -> list[Trial]:
    return [
        trial(variant, seed, measured(loss), **kwargs)
        for variant, each in losses.items()
        for seed, loss in enumerate(each)
    ]


def verdict(found: Report) -> str:
    return " ".join(found.groups[0].verdict)


def test_a_clear_difference_is_said_with_its_interval() -> None:
    found = report(of({"short": [0.500, 0.502, 0.501], "long": [0.450, 0.4515, 0.4505]}), against="short")
    (comparison,) = found.groups[0].comparisons
    assert not comparison.tie
    assert "long has a loss 0.0503 nats lower than short" in verdict(found)
    assert "3 seeds" in comparison.sentence


def test_a_difference_inside_the_spread_is_called_a_tie() -> None:
    found = report(of({"short": [0.50, 0.53, 0.47], "long": [0.49, 0.50, 0.50]}), against="short")
    assert found.groups[0].comparisons[0].tie
    assert "long and short tie: " in verdict(found)
    assert "has a loss" not in verdict(found)
    assert "long has the lowest mean loss" in verdict(found)


def test_without_a_reference_all_stand_against_the_lowest_and_it_is_not_called_better_than_what_ties() -> (
    None
):
    found = report(of({"a": [0.40, 0.41, 0.40], "b": [0.401, 0.409, 0.402], "c": [0.601, 0.612, 0.602]}))
    assert {(each.ours, each.theirs, each.tie) for each in found.groups[0].comparisons} == {
        ("b", "a", True),
        ("c", "a", False),
    }
    assert "significantly lower than c" in verdict(found)


def test_a_value_that_names_its_own_reference_is_compared_with_that_and_the_others_with_the_study_s() -> None:
    losses = {"short": [0.5, 0.51, 0.50], "long": [0.4, 0.41, 0.40], "longer": [0.3, 0.31, 0.30]}

    def pairs(**described: Any) -> set[tuple[str, str]]:
        found = report(of(losses), **described).groups[0].comparisons
        return {(each.ours, each.theirs) for each in found}

    assert pairs(against="short", references={"longer": "long"}) == {("long", "short"), ("longer", "long")}
    # Who names nothing is compared with nobody, where only some name theirs.
    assert pairs(against=None, references={"longer": "long"}) == {("longer", "long")}
    assert pairs(against=None, references={}) == {("short", "longer"), ("long", "longer")}


def test_a_variant_that_began_where_another_ended_says_so_and_counts_its_own_frames() -> None:
    trials = [trial("without", seed, measured(0.5, frames=4_000_000), multiple=4.0) for seed in range(3)] + [
        trial(name, seed, measured(0.4 + seed / 100), starts_from=start)
        for seed in range(3)
        for name, start in (("scratch", None), ("after", "without"), ("later", "without"))
    ]
    found = report(trials)
    rows = {row.name: row for row in found.groups[0].rows}
    assert {name: row.starts_from for name, row in rows.items()} == {
        "without": None, "scratch": None, "after": "without", "later": "without"
    }  # fmt: skip
    assert rows["after"].frames == rows["scratch"].frames == 1_000_000
    assert (
        "after, later: started from the best weights of without with the same seed, trained for 4,000,000 frames. "
        "Their frames, minutes and time to a loss count only their own training."
    ) in found.notes
    text = markdown(found, [])
    assert "after, later: started from the best weights of without; frames and minutes are their own." in text
    assert "started from the best weights of without with the same seed" in text
    # Where what it started from is not in the report, it is named all the same.
    alone = report([each for each in trials if each.variant in ("scratch", "after")])
    assert any("after: started from the best weights of made.without.0" in note for note in alone.notes)


def test_one_seed_is_marked_and_decides_nothing() -> None:
    found = report(of({"short": [0.9], "long": [0.1]}), against="short")
    said = verdict(found)
    assert "one seed only" in said
    assert "this decides nothing" in said
    assert "tie" not in said
    assert "| long | 1 | 0.1000 | " in markdown(found, [])


def test_what_all_variants_of_a_seed_share_cancels() -> None:
    # The seeds lie 0.1 apart, the variants 0.01 at every seed: unpaired, that would drown.
    found = report(of({"short": [0.50, 0.60, 0.70], "long": [0.490, 0.5901, 0.6899]}), against="short")
    assert not found.groups[0].comparisons[0].tie


def test_more_comparisons_make_each_claim_harder() -> None:
    ours, theirs = {0: 0.490, 1: 0.492, 2: 0.487}, {0: 0.5, 1: 0.5, 2: 0.5}
    alone = difference(ours, theirs, together=1)
    among = difference(ours, theirs, together=20)
    assert alone is not None
    assert among is not None
    assert alone.decided
    assert not among.decided


def test_only_seeds_that_both_have_are_compared() -> None:
    by = difference({0: 1.0, 1: 2.0, 5: 9.0}, {0: 1.0, 1: 2.0, 2: 3.0}, together=1)
    assert by is not None
    assert (by.mean, by.count) == (0.0, 2)
    assert difference({0: 1.0}, {1: 1.0}, together=1) is None


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 3, 3.18245), (0.975, 7, 2.36462), (0.995, 20, 2.84534),
     (0.9995, 2, 31.5991)],
)  # fmt: skip
def test_student_t_is_the_table_s(probability: float, freedom: int, expected: float) -> None:
    assert student_t(probability, freedom) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [
        (0.975, 1, 12.7062047362),
        (0.975, 2, 4.3026527297),
        (0.975, 3, 3.1824463053),
        (0.975, 4, 2.7764451052),
        (0.975, 9, 2.2621571628),
        (0.995, 20, 2.8453397098),
        (0.9995, 2, 31.5990545764),
    ],
)
def test_student_t_is_right_to_ten_digits(probability: float, freedom: int, expected: float) -> None:
    assert student_t(probability, freedom) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("together", [1, 2, 3, 10, 45, 190, 1000])
def test_student_t_of_one_and_two_degrees_of_freedom_has_its_closed_form(together: int) -> None:
    tail = 0.025 / together
    assert student_t(1 - tail, 1) == pytest.approx(1 / math.tan(math.pi * tail), rel=1e-9)
    assert student_t(1 - tail, 2) == pytest.approx(
        (1 - 2 * tail) / math.sqrt(2 * tail * (1 - tail)), rel=1e-9
    )


def test_a_spread_of_one_has_no_deviation() -> None:
    assert spread([1.0]).deviation is None
    assert spread([1.0, 3.0]).deviation == pytest.approx(2**0.5)


def test_every_report_says_that_the_loss_does_not_rank_play() -> None:
    found = report(of({"a": [0.5]}))
    assert NLL_SENTENCE in found.notes
    assert NLL_SENTENCE in markdown(found, [])


def test_latency_is_said_to_fit_or_not() -> None:
    late = [trial("slow", 0, measured(0.4, p99=21.0)), trial("fast", 0, measured(0.5, p99=2.0))]
    assert "slow does not fit 60 FPS" in verdict(report(late))
    assert "too slow" in markdown(report(late), [])
    early = [trial("slow", 0, measured(0.4, p99=11.0)), trial("fast", 0, measured(0.5, p99=2.0))]
    assert "all fit 60 FPS (p99 from 2.0 to 11.0 ms" in verdict(report(early))


def test_a_machine_that_was_too_busy_is_not_called_a_slow_policy() -> None:
    busy = measured(0.4, p99=3.0)
    assert busy.latency is not None
    busy = replace(busy, latency=replace(busy.latency, within_budget=False))
    found = report([trial("woken", 0, busy), trial("fast", 0, measured(0.5, p99=2.0))])
    said = verdict(found)
    assert "all are fast enough for 60 FPS" in said
    assert "woken missed more than 1 in 100 deadlines anyway: the machine was too busy" in said
    assert "| late |" in markdown(found, [])
    assert "too slow" not in markdown(found, [])


def test_the_front_leaves_out_what_another_beats_in_both() -> None:
    found = report(
        [
            trial("good", 0, measured(0.4, p99=9.0)),
            trial("fast", 0, measured(0.5, p99=2.0)),
            trial("beaten", 0, measured(0.6, p99=5.0)),
            trial("untimed", 0, measured(0.1, p99=None)),
        ]
    )
    assert set(found.groups[0].front) == {"good", "fast"}


def crossed(cross_frames: int = 500) -> Report:
    trials = []
    for seed in range(3):
        for name in ("mewtwo", "zelda"):
            on = {other: 0.4 + 0.001 * seed + (0 if other == name else 1.5) for other in ("mewtwo", "zelda")}
            own = measured(on[name], per_character={name: on[name]}, cross=on)
            trials.append(trial(name, seed, own, characters=[name]))
        both = {"mewtwo": 0.38 + 0.001 * seed, "zelda": 0.4 + 0.003 * (seed - 1)}
        trials.append(
            trial(
                "unified",
                seed,
                measured(0.39, per_character=both, cross=both, cross_frames=cross_frames, frames=2_000_000),
                multiple=2.0,
                characters=["mewtwo", "zelda"],
            )
        )
    return report(trials, against="unified")


def test_policies_of_different_characters_are_compared_on_what_both_learned_alone() -> None:
    found = crossed()
    group = found.groups[0]
    # Totals over other characters are other numbers.
    assert group.comparisons == ()
    told = {(each.ours, each.theirs, each.on, each.tie) for each in group.by_character}
    assert told == {("mewtwo", "unified", "Mewtwo", False), ("zelda", "unified", "Zelda", True)}
    assert "mewtwo vs unified, by character: higher on Mewtwo (+0.0200, " in verdict(found)
    assert "zelda vs unified, by character: tie on Zelda (" in verdict(found)
    assert (group.front, group.target) == ((), None)
    assert "lowest mean loss" not in verdict(found)
    assert "unified gets 2 times the budget of the others." in found.notes
    assert any("evaluated on different frames" in note for note in found.notes)
    # Twice the frames for twice the budget is even.
    assert any("agree to within 0.0%" in note for note in found.notes)


def test_the_matrix_holds_every_policy_on_every_character() -> None:
    text = markdown(crossed(), [])
    assert "Trained on … (rows), evaluated on … (columns)" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| mewtwo |") and "1.9" in line]
    assert row == "| mewtwo | 0.4010 ± 0.0010 * | 1.9010 ± 0.0010 |"


def test_losses_on_other_games_are_not_compared() -> None:
    assert crossed(cross_frames=499).groups[0].by_character == ()


def test_each_budget_is_a_comparison_of_its_own() -> None:
    trials = of({"a": [0.5, 0.51], "b": [0.4, 0.41]}) + of(
        {"a": [0.3, 0.31], "b": [0.6, 0.61]}, budget="minutes"
    )
    found = report(trials)
    assert [(group.budget, group.rows[0].name) for group in found.groups] == [
        ("frames", "b"),
        ("minutes", "a"),
    ]


def test_the_target_is_a_loss_that_every_run_reached_and_says_when() -> None:
    found = report(
        [
            trial("quick", 0, measured(0.4, curve=[0.9, 0.5, 0.4])),
            trial("slow", 0, measured(0.6, curve=[0.9, 0.7, 0.6])),
        ]
    )
    group = found.groups[0]
    assert group.target == 0.6
    reached = {row.name: row.reached_frames.mean for row in group.rows if row.reached_frames is not None}
    assert reached == {"quick": 200_000, "slow": 300_000}


def test_what_has_no_result_is_listed_with_its_reason_and_what_is_missing_is_said() -> None:
    found = report(
        [
            *of({"a": [0.5]}),
            trial("b", 0, None, state="failed", why="no usable side plays link"),
            trial("c", 0, None, state="waiting"),
        ]
    )
    assert (found.ended, found.of) == (2, 3)
    assert "made.b.0: no usable side plays link" in markdown(found, [])
    assert any("Not every run has ended" in note for note in found.notes)


def test_a_study_without_any_result_reports_that() -> None:
    found = report([trial("a", 0, None, state="waiting")])
    assert found.groups == ()
    assert "0 of 1 runs have ended" in markdown(found, [])


def test_runs_that_shared_a_machine_are_told_of() -> None:
    found = report([trial("a", 0, measured(0.5, beside=True)), trial("b", 0, measured(0.5))])
    assert any("1 of 2 runs shared their machine" in note for note in found.notes)


def test_measures_come_back_from_the_journal_as_they_went_in() -> None:
    found = measured(0.5, cross={"zelda": 0.5}, curve=[0.9, 0.5])
    assert measures_of(json.loads(json.dumps(found.plain()))) == found


def test_the_report_is_json_without_holes() -> None:
    plain = json.loads(json.dumps(plain_report(crossed()), allow_nan=False))
    (group,) = plain["groups"]
    assert group["by_character"][0]["sentence"]
    assert plain["notes"]


def test_plots_are_drawn_in_both_formats(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = report(
        [
            trial(
                name, seed, measured(0.4 + shift, p99=p99, curve=[1.0, 0.6 + shift, 0.4 + shift + seed / 99])
            )
            for name, shift, p99 in (("a", 0.0, 3.0), ("b", 0.1, 2.0))
            for seed in range(3)
        ]
    )
    names = draw(found, tmp_path)
    assert names == ["curves-frames.svg", "pareto-frames.svg"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "curves-frames.svg", "curves-frames.png", "pareto-frames.svg", "pareto-frames.png"
    }  # fmt: skip
    assert "![curves frames](curves-frames.svg)" in markdown(found, names)
    before = (tmp_path / "curves-frames.svg").read_bytes()
    draw(found, tmp_path)
    assert (tmp_path / "curves-frames.svg").read_bytes() == before
