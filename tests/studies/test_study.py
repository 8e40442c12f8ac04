"""A study's file: what it spans, that its budgets are even, and that a mistake in it is a sentence with its place."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.errors import UsageError
from exphil_core.studies.budget import MOST_ROUNDING, Budget, frames_per_step
from exphil_core.studies.plan import cells_of
from exphil_core.studies.study import Study, load_study
from exphil_core.studies.study_file import study_names

Write = Callable[..., Path]


def refused(path: Path, *, quick: bool = False) -> str:
    with pytest.raises(UsageError) as error:
        load_study(str(path), quick=quick)
    return str(error.value)


def test_variants_are_the_product_of_the_axes(write_study: Write) -> None:
    path = write_study(
        more="""
        [axes.rate]
        key = "train.lr"
        values = { slow = 1e-4, fast = 1e-3 }
        """
    )
    study = load_study(str(path))
    assert [variant.name for variant in study.variants] == [
        "narrow-slow", "narrow-fast", "wide-slow", "wide-fast"
    ]  # fmt: skip
    fast = study.variants[1]
    assert dict(fast.values) == {"width": "narrow", "rate": "fast"}
    assert (fast.preset.backbone.width, fast.preset.train.lr) == (16, 1e-3)


def test_a_cell_is_a_variant_with_a_seed_and_every_variant_has_a_first_seed_before_any_has_a_second(
    write_study: Write,
) -> None:
    cells = cells_of(load_study(str(write_study())))
    assert [cell.run for cell in cells] == ["tiny.narrow.0", "tiny.wide.0", "tiny.narrow.1", "tiny.wide.1"]
    assert [cell.preset.train.seed for cell in cells] == [0, 0, 1, 1]


def test_the_forms_and_real_replays_do_not_share_a_folder(write_study: Write) -> None:
    path = str(write_study())
    assert load_study(path).name == "tiny"
    assert load_study(path, quick=True).name == "tiny-quick"
    assert load_study(path, quick=True, replays=("games",)).name == "tiny-quick-replays"
    assert load_study(path, name="mine").name == "mine"


def test_the_quick_form_changes_what_it_names_and_nothing_else(write_study: Write) -> None:
    path = str(write_study())
    full, quick = load_study(path), load_study(path, quick=True)
    assert [v.budget.amount for v in full.variants] == [6400, 6400]
    assert [v.budget.amount for v in quick.variants] == [3200, 3200]
    assert [v.preset for v in full.variants] == [v.preset for v in quick.variants]


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", study_names())
def test_shipped_budgets_are_equal_across_variants(name: str, quick: bool) -> None:
    study = load_study(name, quick=quick)
    cells = cells_of(study)
    assert len({cell.seed for cell in cells}) >= 3
    for budget in {cell.budget for cell in cells}:
        taken = []
        for cell in cells:
            train = cell.preset.train
            if cell.budget != budget:
                continue
            assert train.epochs is None
            assert cell.preset.evaluation.patience == 0
            if budget == "minutes":
                assert train.max_steps is None
                assert train.max_minutes is not None
                taken.append(train.max_minutes / cell.multiple)
            else:
                assert train.max_minutes is None
                assert train.max_steps is not None
                taken.append(train.max_steps * frames_per_step(cell.preset) / cell.multiple)
        assert max(taken) / min(taken) - 1 < 0.01


def test_what_the_issue_asks_for_is_shipped() -> None:
    assert set(study_names()) == {
        "multi_vs_single", "context_length", "attention_vs_mamba", "character_embedding", "prediction_mode",
        "backbones", "context_length_remembering", "balance",
    }  # fmt: skip
    for name, echo in (("context_length", 0), ("context_length_remembering", 150)):
        windows = [v.preset.backbone.window_size for v in load_study(name).variants]
        assert windows == [60, 120, 180, 300]
        assert load_study(name).dojo_echo == echo
    predictions = {v.preset.policy.prediction for v in load_study("prediction_mode").variants}
    assert predictions == {"last", "dense", "interleaved"}
    kinds = {variant.preset.backbone.kind for variant in load_study("backbones").variants}
    assert kinds == set(BACKBONE_KINDS)
    budgets = {variant.budget.kind for variant in load_study("attention_vs_mamba").variants}
    assert budgets == {"frames", "minutes"}


def test_unified_sees_each_character_as_often_as_its_own_policy_does() -> None:
    variants = {v.name: v for v in load_study("multi_vs_single").variants}
    own, unified = variants["mewtwo"], variants["unified"]
    assert len(unified.preset.data.characters) == 5
    assert unified.preset.train.balance_characters
    assert unified.budget.amount == 5 * own.budget.amount


@pytest.mark.parametrize(("quick", "games"), [(False, 5), (True, 2)])
def test_balance_leaves_mewtwo_few_games_and_varies_nothing_but_the_balance(quick: bool, games: int) -> None:
    off, on = (variant.preset for variant in load_study("balance", quick=quick).variants)
    assert off.data.most_games == on.data.most_games == {"mewtwo": games}
    assert len(off.data.characters) == 5
    assert (off.train.balance_characters, on.train.balance_characters) == (False, True)
    assert off.model_copy(update={"train": on.train}) == on


def test_equal_flops_give_the_cheaper_variant_more_updates(write_study: Write) -> None:
    study = load_study(
        str(write_study(("frames = 6_400", "flops = 1e11"), ("budget.frames", "budget.flops")))
    )
    narrow, wide = cells_of(study)[:2]
    steps = [cell.preset.train.max_steps for cell in (narrow, wide)]
    assert None not in steps
    assert steps[0] > steps[1] > 0  # type: ignore[operator]


def test_a_budget_of_too_few_updates_to_be_even_is_refused(write_study: Write) -> None:
    # An update is 128 frames.
    with pytest.raises(UsageError, match=r"a budget of 200 frames is 1\.6 updates of 128 frames each"):
        cells_of(load_study(str(write_study(("frames = 6_400", "frames = 200")))))


@pytest.mark.parametrize("amount", [6400, 6401, 99_999, 123_457])
def test_frames_are_met_to_within_the_rounding_of_an_update(write_study: Write, amount: int) -> None:
    preset = load_study(str(write_study())).variants[0].preset
    given = Budget(kind="frames", amount=float(amount)).given_to(preset)
    assert given.train.max_steps is not None
    assert abs(given.train.max_steps * frames_per_step(given) / amount - 1) <= MOST_ROUNDING


MISTAKES = [
    (("[budget]", "[bugdet]"), False, r"tiny\.toml:LINE: bugdet: unknown key; did you mean 'budget'\?"),
    (("frames = 6_400", "framse = 6_400"), False,
     r"tiny\.toml:LINE: budget\.framse: unknown key; did you mean 'frames'\?"),
    (("games = 6", "gaems = 6"), False, r"tiny\.toml:LINE: data\.gaems: unknown key; did you mean 'games'\?"),
    (("seeds = [0, 1]", 'seeds = ["0"]'), False, r"tiny\.toml:LINE: seeds: expected a valid integer, found \"0\""),
    (("seeds = [0, 1]", "seeds = [1, 1]"), False, r"tiny\.toml:LINE: seeds: expected different numbers"),
    (('"quick"', '"quik"'), False, r"unknown preset 'quik'; did you mean 'quick'\?"),
    (('against = "narrow"', 'against = "narow"'), False, r"tiny\.toml:LINE: against: .*did you mean 'narrow'\?"),
    (("backbone.width = 16", "backbone.widht = 16"), False,
     r"tiny\.toml:LINE: backbone\.widht: unknown key; did you mean 'width'\?"),
    (("backbone.width = 16", "bakbone.width = 16"), False, r"tiny\.toml:LINE: .*bakbone.*did you mean 'backbone'\?"),
    (("backbone.width = 32", "backbone.width = 24"), False, r"encoder\.width is 32 but backbone\.width is 24"),
    (("warmup_steps = 2", "max_steps = 2"), False,
     r"tiny\.toml:LINE: train\.max_steps is decided by the budget, so a study cannot set it"),
    (("warmup_steps = 2", "seed = 2"), False, r"tiny\.toml:LINE: train\.seed is decided by 'seeds'"),
    (("values.narrow]", 'values."a.b"]'), False, r"a value's name is part of a run's name"),
    (("budget.frames = 3_200", "budgte.frames = 3_200"), False,
     r"tiny\.toml:LINE: quick\.budgte: unknown key; did you mean 'budget'\?"),
    (("budget.frames = 3_200", "budget.framse = 3_200"), True,
     r"tiny\.toml:LINE: budget\.framse: unknown key; did you mean 'frames'\?"),
    (("frames = 6_400", "# No limit."), False, r"tiny\.toml:\d+: budget: nothing makes the variants comparable"),
    (("seeds = [0, 1]", "seeds = [0, 1"), False, r"tiny\.toml: not valid TOML"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "quick", "sentence"), MISTAKES, ids=[change[1] for change, _, _ in MISTAKES]
)
def test_a_mistake_is_a_sentence_with_its_place(
    write_study: Write, change: tuple[str, str], quick: bool, sentence: str
) -> None:
    path = write_study(change)
    before = path.read_text().partition(change[1])[0]
    said = refused(path, quick=quick)
    assert re.search(sentence.replace("LINE", str(before.count("\n") + 1)), said), said
    assert "Traceback" not in said


def test_two_axes_that_set_one_key_are_refused(write_study: Write) -> None:
    path = write_study(more="[axes.again.values.x]\nbackbone.width = 8\n")
    assert "axes width and again both set backbone.width" in refused(path)


def test_an_unknown_study_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown study 'context_lenght'; did you mean 'context_length'\?"):
        load_study("context_lenght")


def test_settings_of_the_command_line_come_last(write_study: Write) -> None:
    study: Study = load_study(str(write_study()), settings={"train.device": "cuda"})
    assert {variant.preset.train.device for variant in study.variants} == {"cuda"}
