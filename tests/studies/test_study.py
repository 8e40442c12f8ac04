"""A study's file: what it spans, that its budgets are even, and that a mistake in it is a sentence with its place."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.errors import UsageError
from exphil_core.studies.budget import MOST_ROUNDING, Budget, frames_per_step
from exphil_core.studies.plan import trial_specs
from exphil_core.studies.study import Study, load_study
from exphil_core.studies.study_file import study_names
from tests.studies.tiny import AFTER

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
    specs = trial_specs(load_study(str(write_study())))
    assert [spec.run for spec in specs] == ["tiny.narrow.0", "tiny.wide.0", "tiny.narrow.1", "tiny.wide.1"]
    assert [spec.preset.train.seed for spec in specs] == [0, 0, 1, 1]


def test_the_forms_and_real_replays_do_not_share_a_folder(write_study: Write) -> None:
    path = str(write_study())
    assert load_study(path).name == "tiny"
    assert load_study(path, quick=True).name == "tiny-quick"
    assert load_study(path, quick=True, replays=("games",)).name == "tiny-quick-replays"
    assert load_study(path, name="mine").name == "mine"


def test_a_study_says_by_which_name_or_file_it_is_found_again_from_anywhere(
    write_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_study()
    monkeypatch.chdir(tmp_path)
    assert load_study("tiny.toml", name="mine").source == str(path)
    assert load_study("context_length", quick=True).source == "context_length"


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
    specs = trial_specs(study)
    assert len({spec.seed for spec in specs}) >= 3
    for budget in {spec.budget for spec in specs}:
        taken = []
        for spec in specs:
            train = spec.preset.train
            if spec.budget != budget:
                continue
            assert train.epochs is None
            assert spec.preset.evaluation.patience == 0
            if budget == "minutes":
                assert train.max_steps is None
                assert train.max_minutes is not None
                taken.append(train.max_minutes / spec.multiple)
            else:
                assert train.max_minutes is None
                assert train.max_steps is not None
                taken.append(train.max_steps * frames_per_step(spec.preset) / spec.multiple)
        assert max(taken) / min(taken) - 1 < 0.01


def test_what_the_issue_asks_for_is_shipped() -> None:
    assert set(study_names()) == {
        "multi_vs_single", "context_length", "attention_vs_mamba", "character_embedding", "prediction_mode",
        "backbones", "context_length_remembering", "balance",
        "held_out_character",
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


@pytest.mark.parametrize("quick", [False, True])
def test_balance_leaves_mewtwo_few_games_and_varies_nothing_but_the_balance(quick: bool) -> None:
    off, on = (variant.preset for variant in load_study("balance", quick=quick).variants)
    assert off.data.max_games_per_character == on.data.max_games_per_character == {"mewtwo": 5}
    assert len(off.data.characters) == 5
    assert (off.train.balance_characters, on.train.balance_characters) == (False, True)
    assert off.model_copy(update={"train": on.train}) == on


def test_a_variant_that_starts_from_another_comes_after_it_with_the_same_seed_values_and_budget(
    write_study: Write,
) -> None:
    path = write_study(
        ("frames = 6_400", "frames = 6_400\nminutes = 1.0"),
        ("[axes.width.values.narrow]", f"{AFTER}\n[axes.width.values.narrow]"),
        more='[axes.rate]\nkey = "train.lr"\nvalues = { slow = 1e-4, fast = 1e-3 }\n',
    )
    study = load_study(str(path))
    assert [variant.name for variant in study.variants][:6] == [
        "narrow-slow-frames", "narrow-fast-frames", "after-slow-frames", "after-fast-frames",
        "wide-slow-frames", "wide-fast-frames",
    ]  # fmt: skip
    starts = {spec.run: spec.starts_from for spec in trial_specs(study)}
    for budget in ("frames", "minutes"):
        for rate in ("slow", "fast"):
            for seed in (0, 1):
                assert starts[f"tiny.after-{rate}-{budget}.{seed}"] == f"tiny.narrow-{rate}-{budget}.{seed}"
                assert starts[f"tiny.narrow-{rate}-{budget}.{seed}"] is None


def test_a_chain_of_starts_is_in_order_whatever_the_order_of_the_file(write_study: Write) -> None:
    def value(name: str, before: str) -> str:
        return AFTER.replace("values.after", f"values.{name}").replace('"narrow"', f'"{before}"')

    path = write_study(("[axes.width.values.narrow]", value("third", "second") + value("second", "narrow")
                        + "\n[axes.width.values.narrow]"))  # fmt: skip
    assert [v.name for v in load_study(str(path)).variants] == ["narrow", "second", "third", "wide"]


def test_a_value_may_name_the_one_that_it_is_compared_with(write_study: Write) -> None:
    study = load_study(str(write_study(more=AFTER)))
    assert (study.against, study.references) == ("narrow", {"after": "wide"})


STARTS_MISTAKES = [
    ('"narrow"', '"narow"', r"tiny\.toml:LINE: starts_from: unknown value 'narow'; did you mean 'narrow'\?"),
    ('"narrow"', '"after"', r"tiny\.toml:LINE: starts_from: 'after' names itself; expected another value"),
    ('"narrow"', "3", r"tiny\.toml:LINE: starts_from: expected the name of another value, found 3"),
    ('"narrow"', '"back"', r"tiny\.toml:LINE: starts_from: goes round in a circle: after → back → after"),
    ('against = "wide"', 'against = "wild"', r"tiny\.toml:\d+: against: unknown value 'wild'; did you mean 'wide'\?"),
    ("starts_from", "start_from", r"start_from: unknown table; did you mean 'starts_from'\?"),
    ('against = "wide"', 'train.init_from = "x"', r"tiny\.toml:LINE: starts_from: train\.init_from is 'x', and"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "sentence"), STARTS_MISTAKES, ids=[new for _, new, _ in STARTS_MISTAKES]
)
def test_a_start_that_cannot_be_is_a_sentence_with_its_place(
    write_study: Write, old: str, new: str, sentence: str
) -> None:
    back = AFTER.replace("values.after", "values.back").replace('"narrow"', '"after"')
    path = write_study(more=AFTER.replace(old, new) + (back if "back" in new else ""))
    before = path.read_text().partition("starts_from" if "starts_from" in path.read_text() else "start_from")[
        0
    ]
    said = refused(path)
    assert re.search(sentence.replace("LINE", str(before.count("\n") + 1)), said), said


def test_a_run_begins_with_the_weights_of_one_other_alone(write_study: Write) -> None:
    twice = """
    [axes.rate.values.slow]
    train.lr = 1e-4

    [axes.rate.values.fast]
    starts_from = "slow"
    train.lr = 1e-3
    """
    path = write_study(more=AFTER + textwrap.dedent(twice))
    said = refused(path)
    assert "starts_from: a value of the axis width and one of rate both start from another" in said
    assert re.search(r"tiny\.toml:\d+: ", said)


def test_the_quick_form_does_without_the_values_that_it_says_none_of(write_study: Write) -> None:
    path = write_study(more=f'axes.width.values.wider = "none"\n{AFTER.replace("after", "wider")}')
    assert [v.name for v in load_study(str(path)).variants] == ["narrow", "wide", "wider"]
    quick = load_study(str(path), quick=True)
    assert [v.name for v in quick.variants] == ["narrow", "wide"]
    assert quick.references == {}


@pytest.mark.parametrize("quick", [False, True])
def test_a_value_that_is_not_there_cannot_be_left_out(write_study: Write, quick: bool) -> None:
    path = write_study(more='axes.width.values.widr = "none"\n')
    line = path.read_text().splitlines().index('axes.width.values.widr = "none"') + 1
    assert re.search(
        rf"tiny\.toml:{line}: quick\.axes\.width\.values\.widr: nothing to leave out; did you mean 'wide'\?",
        refused(path, quick=quick),
    )


@pytest.mark.parametrize(("quick", "games"), [(False, (1, 2, 4, 8)), (True, (1, 4))])
def test_a_held_out_character_is_picked_up_from_the_same_games_with_and_without_a_start(
    quick: bool, games: tuple[int, ...]
) -> None:
    study = load_study("held_out_character", quick=quick)
    variants = {variant.name: variant for variant in study.variants}
    assert variants.keys() == {"without", "all"} | {
        f"{how}_{k}" for how in ("scratch", "after") for k in games
    }
    assert "mewtwo" not in variants["without"].preset.data.characters
    assert study.cross == ("mewtwo",)
    for k in games:
        scratch, after = variants[f"scratch_{k}"], variants[f"after_{k}"]
        assert scratch.preset == after.preset
        assert scratch.budget == after.budget
        assert (scratch.starts_from, after.starts_from) == (None, "without")
        assert (after.preset.data.characters, after.preset.data.max_games_per_character) == (("mewtwo",), k)
        assert study.references[f"after_{k}"] == f"scratch_{k}"
    assert {variant.preset.encoder.character_mode for variant in study.variants} == {"learned"}


def test_equal_flops_give_the_cheaper_variant_more_updates(write_study: Write) -> None:
    study = load_study(
        str(write_study(("frames = 6_400", "flops = 1e11"), ("budget.frames", "budget.flops")))
    )
    narrow, wide = trial_specs(study)[:2]
    steps = [spec.preset.train.max_steps for spec in (narrow, wide)]
    assert None not in steps
    assert steps[0] > steps[1] > 0  # type: ignore[operator]


def test_a_budget_of_too_few_updates_to_be_even_is_refused(write_study: Write) -> None:
    # An update is 128 frames.
    with pytest.raises(UsageError, match=r"a budget of 200 frames is 1\.6 updates of 128 frames each"):
        trial_specs(load_study(str(write_study(("frames = 6_400", "frames = 200")))))


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


def test_a_study_of_a_preset_that_picks_its_size_names_one_for_all_variants(write_study: Write) -> None:
    preset = ('preset = "quick"', 'preset = "low_tier_unified"')
    said = refused(write_study(preset))
    assert "the size of low_tier_unified is auto" in said
    assert "set.size: small, medium, production" in said
    study = load_study(str(write_study(preset, ("[set.train]", '[set]\nsize = "small"\n\n[set.train]'))))
    for variant in study.variants:
        assert (variant.preset.size, variant.preset.encoder.character_width) == ("small", 16)
        assert variant.preset.data.train_on_all_characters is False
