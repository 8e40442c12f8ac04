"""Advice on made-up figures: it follows what was measured, calls ties ties, and says what is missing."""

from pathlib import Path

import pytest

from exphil_core.advise import latency_cache
from exphil_core.advise.advice import Advice, Data
from exphil_core.advise.advisor import advise
from exphil_core.advise.evidence import read_evidence
from exphil_core.advise.latency_cache import read_latency_cache, shape_of, write_latency_cache
from exphil_core.advise.strategy import SIZES
from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.dataset.stats import CharacterCounts
from exphil_core.models.policy import build_policy
from exphil_core.studies.plan import trial_specs
from exphil_core.studies.report_notes import NLL_SENTENCE
from exphil_core.studies.storage import StudyStorage
from exphil_core.studies.study import load_study
from exphil_core.studies.trial_result import CharacterLoss, Measures
from tests.studies.figures import LARGE, MIDDLE, SMALL, all_rows, data, known, question, row, shipped, study

CLEAR = {"attention": [0.50, 0.51, 0.505], "gru": [0.40, 0.41, 0.404], "lstm": [0.41, 0.43, 0.401]}
"""gru is shown to be lower than attention; lstm ties with it."""

FIVE = {"mewtwo": 2.0, "ganondorf": 2.0, "link": 2.0, "gameandwatch": 2.0, "zelda": 2.0}


def said(advice: Advice, about: str = "") -> str:
    return "\n".join(reason.sentence for reason in advice.reasons if about in ("", reason.about))


def basis(advice: Advice, words: str) -> str:
    (found,) = [reason.basis for reason in advice.reasons if words in reason.sentence]
    return found


def taken(advice: Advice) -> tuple[str, int, str]:
    assert advice.chosen is not None
    return advice.chosen.backbone, advice.chosen.window_size, advice.chosen.label


def option(advice: Advice, name: str) -> str | None:
    words = advice.command
    return words[words.index(name) + 1] if name in words else None


# Without figures.


def test_without_a_measurement_nothing_is_advised_and_how_to_get_one_is_said() -> None:
    advice = advise(question(), known(evidence=study("backbones", CLEAR)))
    assert advice.chosen is None
    assert advice.command == ()
    assert advice.headline.startswith("No advice yet: no latency was measured")
    assert "exphil advise --measure" in advice.headline
    assert {each.backbone for each in advice.missing} == set(BACKBONE_KINDS)


def test_the_shipped_default_is_an_assumption_where_no_study_compares() -> None:
    advice = advise(question(), known(all_rows()))
    assert taken(advice) == ("attention", 60, SMALL)
    assert basis(advice, "Backbone attention") == "assumption"
    assert basis(advice, "Window 60") == "assumption"
    assert "exphil study run backbones --quick" in " ".join(advice.notes)


def test_every_advice_says_that_the_loss_does_not_rank_play() -> None:
    for found in (known(), known(all_rows()), known(all_rows(99.0))):
        assert advise(question(), found).notes[-1] == NLL_SENTENCE


# Latency.


def test_what_does_not_fit_is_named_with_how_much_it_is_over() -> None:
    advice = advise(question(budget_ms=4.0), known(all_rows(3.0, but={"attention": 4.25, "jamba": 9.0})))
    assert "attention with 60 frames 0.25 ms over" in said(advice, "latency")
    assert "jamba with 60 frames 5.00 ms over" in said(advice, "latency")
    assert advice.chosen is not None
    assert advice.chosen.backbone not in ("attention", "jamba")
    assert "the shipped default, attention, does not fit" in said(advice, "backbone")


def test_missed_deadlines_count_beside_the_p99() -> None:
    rows = [row("attention", 5.0, missed=40), row("gru", 9.0, missed=3)]
    advice = advise(question(), known(rows))
    assert taken(advice)[0] == "gru"
    assert "attention with 60 frames 40 of 300 deadlines missed" in said(advice, "latency")


def test_where_nothing_fits_nothing_is_taken_and_the_nearest_is_named() -> None:
    rows = [*all_rows(9.0, but={"mlp": 6.5}), row("mlp", 2.5, runtime="onnx")]
    advice = advise(question(budget_ms=5.0), known(rows))
    assert advice.chosen is None
    assert advice.command == ()
    assert "closest is mlp at the size of low_tier_unified (small): 1.50 ms over" in advice.headline
    assert (
        "mlp with 60 frames at the size of low_tier_unified (small) would fit in onnx (p99 2.50 ms)"
        in said(advice)
    )


def test_a_p99_of_many_medians_is_said_to_be_perhaps_other_work() -> None:
    advice = advise(question(), known([row("mlp", 40.0, p50=3.0), row("gru", 30.0, p50=20.0)]))
    assert "For mlp with 60 frames, p99 is several times the median" in said(advice)
    assert [each.backbone for each in advice.candidates if each.disturbed] == ["mlp"]


def test_a_budget_above_a_frame_leaves_the_deadlines_where_they_are() -> None:
    advice = advise(question(budget_ms=30.0), known([row("gru", 20.0, missed=299)]))
    assert advice.chosen is None
    assert "deadlines are still those of 60 FPS" in " ".join(advice.notes)


def test_rows_of_another_device_or_other_threads_do_not_count() -> None:
    rows = [row("attention", 5.0, device="cuda"), row("gru", 5.0, threads=8)]
    advice = advise(question(), known(rows))
    assert advice.chosen is None
    assert "measured with 8 threads do not count" in " ".join(advice.notes)


def test_on_a_gpu_what_was_measured_on_the_gpu_counts() -> None:
    rows = [*all_rows(1.0), *all_rows(3.0, preset=MIDDLE, device="cuda")]
    advice = advise(question(device="cuda", asked_device="cuda"), known(rows))
    assert taken(advice) == ("attention", 180, MIDDLE)
    assert "on the GPU" in said(advice, "latency")
    assert option(advice, "--device") == "cuda"


def test_without_attention_one_window_s_latency_holds_for_all() -> None:
    rows = [row("gru", 5.0, window=300), row("attention", 5.0, window=300)]
    found = {each.backbone: each for each in advise(question(), known(rows)).candidates}
    assert found["gru"].fits
    assert found["attention"].row is None


# What studies say.


def test_a_clear_winner_is_taken_with_its_spread_and_as_it_was_trained() -> None:
    carried = {"gru": {"train.carry_state": True}, "lstm": {"train.carry_state": True}}
    advice = advise(question(), known(all_rows(), study("backbones", CLEAR, also=carried)))
    assert taken(advice)[0] == "gru"
    assert "lowest mean loss: gru (0.4047 nats, 3 seeds)" in said(advice)
    assert "significantly higher: attention (+0.1003, " in said(advice)
    assert "tie: lstm" in said(advice)
    assert (
        "backbones (on the dojo, equal training frames: 1,000,000 frames per run, 0.1 million parameters; "
        in said(advice)
    )
    assert (
        basis(
            advice,
            "Backbone gru: its loss is significantly lower than that of the shipped default, attention",
        )
        == "study"
    )
    assert option(advice, "--backbone") == "gru"
    assert option(advice, "--set") == "train.carry_state=true"
    assert "apply to its bots" in " ".join(advice.notes)


def test_a_tie_leaves_the_shipped_default_and_is_called_a_tie() -> None:
    tied = {"attention": [0.50, 0.53, 0.47], "gru": [0.49, 0.50, 0.50]}
    advice = advise(question(), known(all_rows(but={"gru": 1.0}), study("backbones", tied)))
    assert taken(advice)[0] == "attention"
    assert "tie: attention" in said(advice)
    assert "no other that fits has a significantly lower loss" in said(advice)


def test_one_seed_decides_nothing() -> None:
    advice = advise(question(), known(all_rows(), study("backbones", {"attention": [0.9], "gru": [0.1]})))
    assert taken(advice)[0] == "attention"
    assert "one seed, undecided: attention" in said(advice)


def test_those_that_fit_are_compared_with_each_other() -> None:
    advice = advise(question(), known(all_rows(but={"gru": 40.0}), study("backbones", CLEAR)))
    assert taken(advice)[0] == "lstm"
    assert "lowest mean loss: lstm" in said(advice, "backbone")


def test_what_is_better_but_too_slow_or_not_measured_is_named() -> None:
    pair = study("backbones", {name: CLEAR[name] for name in ("attention", "gru")})
    advice = advise(question(), known(all_rows(but={"gru": 40.0}), pair))
    assert taken(advice)[0] == "attention"
    assert "gru had a lower loss than attention in backbones, but is too slow here" in said(advice)
    unmeasured = [each for each in all_rows() if each.backbone != "gru"]
    advice = advise(question(), known(unmeasured, pair))
    assert taken(advice)[0] == "attention"
    assert "gru had a lower loss than attention in backbones, but was not measured here" in said(advice)
    assert "Not measured here, so neither chosen nor ruled out: gru with 60 frames" in " ".join(advice.notes)


def test_among_ties_that_fit_without_the_default_the_quickest_is_taken() -> None:
    tied = {"lstm": [0.50, 0.53, 0.47], "gru": [0.49, 0.50, 0.50]}
    rows = all_rows(but={"attention": 40.0, "lstm": 4.0, "gru": 6.0, "mlp": 1.0})
    advice = advise(question(), known(rows, study("backbones", tied)))
    assert taken(advice)[0] == "lstm"


def test_studies_that_contradict_each_other_are_said_to_and_decide_nothing() -> None:
    turned = {"attention": [0.40, 0.41, 0.405], "gru": [0.50, 0.51, 0.504]}
    both = [*study("backbones", CLEAR), *study("again", turned)]
    advice = advise(question(), known(all_rows(), both))
    assert taken(advice)[0] == "attention"
    assert "These studies contradict each other: one shows a lower loss for attention" in said(advice)


def test_frames_and_minutes_of_one_study_are_two_comparisons() -> None:
    turned = {"attention": [0.40, 0.41, 0.405], "gru": [0.50, 0.51, 0.504]}
    both = [*study("one", CLEAR), *study("one", turned, budget="minutes")]
    advice = advise(question(), known(all_rows(), both))
    assert "equal training frames" in said(advice)
    assert "equal training time" in said(advice)
    assert "contradict" in said(advice)


def test_a_study_on_replays_says_more_than_one_on_the_dojo() -> None:
    turned = {"attention": [0.40, 0.41, 0.405], "gru": [0.50, 0.51, 0.504]}
    both = [*study("backbones", CLEAR), *study("backbones-replays", turned, dojo=False)]
    advice = advise(question(), known(all_rows(), both))
    assert taken(advice)[0] == "attention"
    assert "backbones-replays (on replays, " in said(advice)
    assert "contradict" in said(advice)
    alone = advise(question(), known(all_rows(), study("backbones", CLEAR)))
    assert taken(alone)[0] == "gru"


def test_the_window_follows_a_study_of_this_backbone_where_it_fits() -> None:
    windows = {"60": [0.50, 0.51, 0.505], "180": [0.45, 0.46, 0.454], "300": [0.45, 0.47, 0.441]}
    evidence = study("context_length", windows, setting="backbone.window_size")
    rows = [*all_rows(), row("attention", 6.0, window=180), row("attention", 7.0, window=300)]
    advice = advise(question(), known(rows, evidence))
    assert taken(advice) == ("attention", 300, SMALL)
    assert option(advice, "--window-size") == "300"
    assert "tie: 180 frames" in said(advice, "window")
    assert (
        basis(advice, "Window 300: its loss is significantly lower than that of the shipped default, 60")
        == "study"
    )
    slow = [*all_rows(), row("attention", 60.0, window=300)]
    advice = advise(question(), known(slow, evidence))
    assert taken(advice) == ("attention", 60, SMALL)
    assert "300 frames had a lower loss than 60 frames in context_length, but is too slow here" in said(
        advice
    )
    assert [each.window_size for each in advice.missing] == [180]


def test_a_study_of_another_backbone_s_windows_says_nothing() -> None:
    windows = {"60": [0.50, 0.51, 0.505], "180": [0.45, 0.46, 0.454]}
    evidence = study("context_length", windows, setting="backbone.window_size", kind="jamba")
    advice = advise(question(), known(all_rows(), evidence))
    assert taken(advice) == ("attention", 60, SMALL)
    assert "no study here compares it" in said(advice, "window")


def test_variants_judged_on_other_characters_are_not_compared() -> None:
    judged = {"attention": {"zelda": CLEAR["attention"]}, "gru": {"link": CLEAR["gru"]}}
    losses = {name: CLEAR[name] for name in judged}
    assert study("odd", losses, per_character=judged) == []


# What the data says.


def test_few_frames_take_the_small_size_and_all_characters_games() -> None:
    little = data({"mewtwo": 0.25, "zelda": 0.03, "fox": 1.5}, games=12)
    advice = advise(question(device="cuda", data=little, replays=("games",)), known(_on_gpu()))
    assert taken(advice) == ("attention", 60, SMALL)
    assert advice.command[:7] == (
        *("train", "--preset", "low_tier_unified", "--size", "small", "--replays", "games"),
    )
    assert option(advice, "--character") == "mewtwo,zelda"
    assert "Mewtwo, Zelda have less than an hour of play: train on all other characters' sides" in said(
        advice
    )
    assert basis(advice, "data.train_on_all_characters") == "assumption"
    assert basis(advice, "To imitate, in 12 games: Mewtwo 15 min") == "data"
    assert basis(advice, "Mewtwo has 8.3 times the frames of Zelda") == "assumption"
    assert basis(advice, "learned embedding") == "assumption"
    # The preset has all of it already.
    assert "--set" not in advice.command
    assert "--balance-characters" not in advice.command


def test_many_frames_take_a_larger_size_on_a_gpu_only() -> None:
    many = data(dict.fromkeys(FIVE, 20.0))
    assert taken(advise(question(device="cuda", data=many), known(_on_gpu()))) == (
        "attention",
        180,
        "attention_20m",
    )
    on_cpu = advise(question(data=many), known(all_rows()))
    assert taken(on_cpu)[2] == SMALL
    assert "need a GPU" in said(on_cpu, "size")
    assert basis(on_cpu, "need a GPU") == "assumption"


def test_the_large_presets_are_told_what_the_data_asks_for() -> None:
    uneven = data({"mewtwo": 90.0, "zelda": 10.0, "fox": 50.0})
    advice = advise(question(device="cuda", data=uneven), known(_on_gpu()))
    assert "--balance-characters" in advice.command
    assert option(advice, "--character") == "mewtwo,zelda"


def test_a_size_of_which_nothing_fits_gives_way_to_a_smaller_one() -> None:
    rows = [*all_rows(40.0, preset=LARGE, device="cuda"), *all_rows(3.0, preset=MIDDLE, device="cuda")]
    advice = advise(question(device="cuda", data=data(dict.fromkeys(FIVE, 20.0))), known(rows))
    assert taken(advice) == ("attention", 180, MIDDLE)
    assert "Nothing measured at size BACKBONE_20m fits" in said(advice, "size")
    unmeasured = advise(
        question(device="cuda", data=data(dict.fromkeys(FIVE, 20.0))),
        known(all_rows(3.0, preset=MIDDLE, device="cuda")),
    )
    assert "Nothing at size BACKBONE_20m was measured here" in said(unmeasured, "size")
    assert {each.preset for each in unmeasured.missing} == {f"{kind}_20m" for kind in BACKBONE_KINDS}


def test_characters_that_nobody_knows_are_left_out_and_named() -> None:
    odd = data({"zelda": 2.0, "\x1b[2Jmaster": 9.0})
    advice = advise(question(data=odd), known(all_rows()))
    assert option(advice, "--character") == "zelda"
    assert "Unknown characters in this data, ignored: [2Jmaster" in said(advice)
    assert "\x1b" not in said(advice)


def test_data_without_a_side_to_imitate_gets_no_command() -> None:
    for found in (
        Data(games=3, per_character={"fox": CharacterCounts(games=3, sides=3, frames=9000)}),
        Data(games=0, per_character={}),
    ):
        advice = advise(question(data=found), known(all_rows()))
        assert advice.command == ()
        assert "Training is not possible: this data has no side" in advice.notes[0]
    absent = advise(question(data=data({"fox": 3.0}), characters=("mewtwo",)), known(all_rows()))
    assert "no side of Mewtwo to imitate" in absent.notes[0]
    assert absent.command == ()


def test_without_low_tiers_all_characters_are_imitated() -> None:
    advice = advise(question(data=data({"fox": 0.5, "marth": 0.4})), known(all_rows()))
    assert option(advice, "--character") == "fox,marth"
    assert "even enough to do without balancing" in said(advice)
    assert "--no-balance-characters" in advice.command


def test_a_study_that_shows_one_policy_each_to_be_better_is_heeded() -> None:
    losses = {"zelda": [0.5, 0.5, 0.5], "zelda+link": [0.6, 0.6, 0.6]}
    judged = {
        "zelda": {"zelda": [0.40, 0.41, 0.405]},
        "zelda+link": {"zelda": [0.50, 0.51, 0.506], "link": [0.5, 0.5, 0.5]},
    }
    evidence = study("multi_vs_single", losses, setting="data.characters", per_character=judged)
    little = data({"zelda": 0.2, "fox": 5.0})
    advice = advise(question(data=little), known(all_rows(), evidence))
    assert option(advice, "--set") == "data.train_on_all_characters=false"
    assert basis(advice, "showed a lower loss for characters trained alone") == "study"
    turned = {name: {**found, "zelda": judged[other]["zelda"]} for (name, found), other in
              zip(judged.items(), reversed(judged), strict=True)}  # fmt: skip
    evidence = study("multi_vs_single", losses, setting="data.characters", per_character=turned)
    advice = advise(question(data=little), known(all_rows(), evidence))
    assert "--set" not in advice.command
    assert basis(advice, "(data.train_on_all_characters)") == "study"


def test_a_study_that_shows_ids_to_be_better_than_an_embedding_is_heeded() -> None:
    losses = {"one_hot": [0.40, 0.41, 0.405], "learned": [0.50, 0.51, 0.506]}
    evidence = study("character_embedding", losses, setting="encoder.character_mode")
    advice = advise(question(data=data(FIVE)), known(all_rows(), evidence))
    assert option(advice, "--character-mode") == "one_hot"
    assert basis(advice, "Characters as one_hot") == "study"
    tie = {"one_hot": [0.40, 0.43, 0.405], "learned": [0.41, 0.41, 0.416]}
    evidence = study("character_embedding", tie, setting="encoder.character_mode")
    advice = advise(question(data=data(FIVE)), known(all_rows(), evidence))
    assert basis(advice, "tie:") == "study"
    assert basis(advice, "Characters as a learned embedding") == "assumption"


def test_sizes_ask_for_about_as_many_frames_as_they_have_parameters() -> None:
    for size in SIZES[1:]:
        parameters = sum(
            p.numel()
            for p in build_policy(shipped(size.label.replace("BACKBONE", "{}"), "attention")).parameters()
        )
        assert size.frames == pytest.approx(parameters, rel=0.1)


# What is kept of a bench.

MACHINE = {
    "processor": "Z80",
    "cores": 2,
    "gpu": None,
    "system": "any",
    "python": "3.11.7",
    "torch": "2.9",
    "onnxruntime": None,
}


def test_rows_are_read_where_they_were_taken_and_newer_ones_take_their_place(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "latency.json"
    write_latency_cache(MACHINE, [row("gru", 5.0), row("mlp", 2.0)], file)
    write_latency_cache(MACHINE | {"system": "updated"}, [row("gru", 6.0)], file)
    found = {each.backbone: each.p99_ms for each in read_latency_cache(MACHINE, file).rows}
    assert found == {"gru": 6.0, "mlp": 2.0}


def test_rows_of_other_versions_and_machines_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "latency.json"
    write_latency_cache(MACHINE, [row("gru", 5.0)], file)
    other = read_latency_cache(MACHINE | {"torch": "2.10"}, file)
    assert other.rows == ()
    assert "torch 2.9" in other.note
    assert read_latency_cache(MACHINE | {"processor": "6502"}, file) == latency_cache.CachedLatencies()
    monkeypatch.setattr(latency_cache, "models_revision", lambda: "later")
    assert "another revision of exphil's models" in read_latency_cache(MACHINE, file).note
    write_latency_cache(MACHINE, [row("mlp", 5.0)], file)
    assert [each.backbone for each in read_latency_cache(MACHINE, file).rows] == ["mlp"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"v": 99, "machines": []}', b'{"v":1,"machines":[{"machine":{}}]}']
)
def test_a_file_that_cannot_be_read_is_said_and_written_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "latency.json"
    file.write_bytes(content)
    assert "cannot be read" in read_latency_cache(MACHINE, file).note
    write_latency_cache(MACHINE, [row("gru", 5.0)], file)
    assert len(read_latency_cache(MACHINE, file).rows) == 1


def test_the_shape_is_what_a_frame_s_cost_depends_on() -> None:
    small = shipped(SMALL, "attention")
    same = {"train.lr": 0.5, "backbone.dropout": 0.0, "encoder.character_mode": "one_hot", "policy.delay": 3}
    assert shape_of(shipped(SMALL, "attention", same)) == shape_of(small)
    for key, value in (("backbone.window_size", 61), ("backbone.layers", 3), ("policy.head_width", 32)):
        assert shape_of(shipped(SMALL, "attention", {key: value})) != shape_of(small)


def test_a_study_that_cannot_be_read_says_so_and_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "journal.log").write_text("no journal\n")
    (tmp_path / "something_else").mkdir()
    evidence, problems = read_evidence(tmp_path)
    assert evidence == ()
    (problem,) = problems
    assert "The study broken cannot be read" in problem
    assert read_evidence(tmp_path / "nowhere") == ((), ())


def _on_gpu() -> list[latency_cache.CachedLatency]:
    return [each for preset in (SMALL, MIDDLE, LARGE) for each in all_rows(preset=preset, device="cuda")]


SHIPPED = {
    "backbones": {("backbone.kind", frozenset(BACKBONE_KINDS))},
    "attention_vs_mamba": {("backbone.kind", frozenset({"attention", "mamba"}))},
    "context_length": {("backbone.window_size", frozenset({"60", "120", "180", "300"}))},
    "character_embedding": {("encoder.character_mode", frozenset({"one_hot", "learned"}))},
    "multi_vs_single": {
        (
            "data.characters",
            frozenset({"mewtwo", "ganondorf", "link", "gameandwatch", "zelda", "unified", "unified_once"}),
        )
    },
    "prediction_mode": set(),
    "balance": {("train.balance_characters", frozenset({"True", "False"}))},
    # What began elsewhere or had fewer games says nothing of whom to learn from.
    "held_out_character": {("data.characters", frozenset({"without", "all"}))},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_studies_are_understood_from_their_journals(name: str, tmp_path: Path) -> None:
    asked = load_study(name, quick=True)
    storage = StudyStorage(tmp_path / name)
    storage.describe(about="?", decides="!", quick=True, data="made up", fingerprint="f")
    specs = {spec.run: spec for spec in trial_specs(asked)}
    storage.extend(specs.values())
    while (taken := storage.take(specs)) is not None:
        own = taken.spec.preset.data.characters or ("zelda", "link")
        made = Measures(
            loss=0.5,
            baseline=0.8,
            per_character={who: CharacterLoss(loss=0.5, frames=100, floor=0.3) for who in own},
            steps=1,
            frames=1,
            seconds=1.0,
            frames_per_s=1.0,
            parameters=80_000,
            device="cpu",
            precision="fp32",
            host="here",
        )
        storage.complete(taken.spec.run, loss=0.5, measures=made.plain())
        taken.claim.release()
    evidence, problems = read_evidence(tmp_path)
    assert problems == ()
    assert {(each.setting, frozenset(tried.value for tried in each.tried)) for each in evidence} == SHIPPED[
        name
    ]
    assert len(evidence) == len(SHIPPED[name]) * len({variant.budget.kind for variant in asked.variants})
    for each in evidence:
        assert (each.study, each.dojo, each.quick) == (name, True, True)
    if name in ("backbones", "attention_vs_mamba"):
        assert all("train.carry_state" in each.besides for each in evidence)
    else:
        assert all(each.besides == () for each in evidence if each.setting != "data.characters")
