"""`exphil advise` as people and scripts call it: its command runs, and nothing is guessed or measured unasked."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from exphil_core.advise.advice import Question
from exphil_core.advise.advisor import advise
from exphil_core.advise.latency_cache import latency_cache_path, read_latency_cache, write_latency_cache
from exphil_core.advise.strategy import SIZES
from exphil_core.cli import advise as advise_cli
from exphil_core.cli import latency as latency_cli
from exphil_core.cli.latency import PLAY_THREADS
from exphil_core.cli.machine import machine
from exphil_core.cli.main import run
from tests.studies.figures import LARGE, MIDDLE, SMALL, all_rows, data, known, question, study

CORES = 2
ITS_OWN = os.sched_getaffinity

PROMISED = {
    *("v", "headline", "device", "runtime", "threads", "budget_ms", "machine", "backbone", "window_size", "preset"),
    *("command", "command_line", "reasons", "candidates", "notes"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def machine_of_two_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(CORES)))


@pytest.fixture
def runs(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


def asked(*arguments: str) -> int:
    return run(["advise", *arguments])


def object_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def dry_run(capsys: pytest.CaptureFixture[str], command: list[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*command, "--dry-run", "--json"]) == 0
    return object_of(capsys)


def test_without_measurements_it_says_so_in_words_and_in_json(
    runs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("--runs-dir", runs, "--device", "cpu") == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "No advice yet" in said
    assert "A lower loss does not rank play" in said
    assert asked("--runs-dir", runs, "--device", "cpu", "--json") == 0
    found = object_of(capsys)
    assert found.keys() >= PROMISED
    assert found["backbone"] is None
    assert found["command"] == []
    assert not any(each["measured"] for each in found["candidates"])
    assert not latency_cache_path().exists()


def test_the_command_that_is_advised_runs_on_the_data_it_is_for(
    runs: str, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_latency_cache(machine(CORES), all_rows(but={"attention": 40.0, "mamba": 2.0}))
    words = ["--replays", str(dojo_dataset), "--runs-dir", runs, "--device", "cpu"]
    assert asked(*words, "--json") == 0
    found = object_of(capsys)
    assert (found["backbone"], found["window_size"]) == ("mamba", 60)
    assert (found["preset"], found["size"]) == ("low_tier_unified", "small")
    assert shlex.split(found["command_line"]) == ["exphil", *found["command"]]
    told = dry_run(capsys, found["command"])
    assert told["preset"]["backbone"]["kind"] == "mamba"
    assert told["preset"]["backbone"]["window_size"] == 60
    assert told["dataset"]["games"] > 0
    chosen = next(each for each in found["candidates"] if each["backbone"] == "mamba")
    assert (chosen["fits"], chosen["p99_ms"], chosen["frames"]) == (True, 2.0, 300)
    assert {"about", "sentence", "basis", "source"} == set(found["reasons"][0])
    assert asked(*words) == 0
    said = capsys.readouterr().out
    assert f"  {found['command_line']}\n" in said
    assert "taken" in said
    assert "too slow" in said
    assert "[measured here]" in said.replace("\n", " ")


def test_what_nobody_plays_gets_no_command(
    runs: str, dojo_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_latency_cache(machine(CORES), all_rows())
    words = ("--replays", str(dojo_dataset), "--character", "fox", "--runs-dir", runs, "--device", "cpu")
    assert asked(*words, "--json") == 0
    found = object_of(capsys)
    assert found["backbone"] == "attention"
    assert found["command"] == []
    assert "no side of Fox to imitate" in found["notes"][0]


EVERYWHERE = [each for preset in (SMALL, MIDDLE, LARGE) for each in all_rows(preset=preset)]

CASES = {
    "nothing named": (question(), []),
    "carried": (
        question(),
        study(
            "backbones",
            {"attention": [0.5, 0.51, 0.505], "lstm": [0.4, 0.41, 0.405]},
            also={"lstm": {"train.carry_state": True}},
        ),
    ),
    "window": (
        question(),
        study("w", {"60": [0.5, 0.51, 0.505], "45": [0.4, 0.41, 0.405]}, setting="backbone.window_size"),
    ),
    "others left out": (question(data=data({"mewtwo": 3.0, "zelda": 2.0, "fox": 3.0})), []),
    "one character": (question(data=data({"fox": 0.1})), []),
    "ids": (
        question(data=data({"mewtwo": 9.0, "zelda": 0.2})),
        study(
            "e",
            {"learned": [0.5, 0.51, 0.505], "one_hot": [0.4, 0.41, 0.405]},
            setting="encoder.character_mode",
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_command_is_taken_by_train(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    asks, evidence = CASES[case]
    rows = [*EVERYWHERE, *all_rows(window=45)]
    advice = advise(asks, known(rows, evidence))
    assert advice.chosen is not None
    told = dry_run(capsys, list(advice.command))["preset"]
    assert told["backbone"]["kind"] == advice.chosen.backbone
    assert told["backbone"]["window_size"] == advice.chosen.window_size
    assert told["train"]["carry_state"] == (case == "carried")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.label)
def test_every_backbone_of_every_size_is_taken_by_train(size: Any) -> None:
    from exphil_core.advise.candidates import candidates_of
    from exphil_core.config.loader import load_preset, resolve_preset

    for each in candidates_of(size, question(device="cuda"), (), ()):
        sized = {} if each.size is None else {"size": each.size}
        shipped = load_preset(each.preset, sized)
        resolved = resolve_preset(
            each.preset,
            {**sized, "backbone.kind": each.backbone, "backbone.window_size": each.window_size},
        )
        assert resolved.preset.backbone.kind == each.backbone
        assert resolved.preset.train == shipped.train


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget-ms", "0"], "--budget-ms 0.0: expected milliseconds above 0"),
        (["--budget-ms", "nan"], "expected milliseconds above 0"),
        (["--character", "zleda"], "zelda"),
        (["--character", ","], "names no character"),
        (["--device", "tpu"], "expected auto, cpu or cuda"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(*arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err


def test_replays_that_are_not_there_are_an_error_of_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("--replays", "/no/such/folder") == 3
    assert "/no/such/folder" in capsys.readouterr().err


def test_measuring_takes_what_is_missing_and_what_other_work_has_disturbed(
    runs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = machine(CORES)
    rows = {each.backbone: each for each in all_rows()}
    late = all_rows(60.0, p50=2.0)
    write_latency_cache(here, [rows["mlp"], *(each for each in late if each.backbone == "gru")])
    calls: list[tuple[str, ...]] = []

    def bench(*words: str, question: Question) -> None:
        calls.append(words)
        assert question.threads == PLAY_THREADS
        # One of them stays disturbed: it is not measured for ever.
        kinds = words[words.index("--backbone") + 1].split(",")
        write_latency_cache(here, [rows[kind] for kind in kinds if kind != "gru"])

    monkeypatch.setattr(advise_cli, "_bench", bench)
    assert asked("--measure", "--runs-dir", runs, "--device", "cpu", "--json") == 0
    found = object_of(capsys)
    assert found["backbone"] == "attention"
    ((*size, option, kinds, window, frames),) = calls
    assert (size, option, window, frames) == (
        ["--preset", "low_tier_unified", "--size", "small"],
        *("--backbone", "--window", "60"),
    )
    assert set(kinds.split(",")) == rows.keys() - {"mlp"}


def test_a_smaller_size_is_measured_only_where_nothing_of_a_larger_one_fits(
    runs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = machine(CORES)
    sizes: list[tuple[str, ...]] = []

    def bench(*words: str, question: Question) -> None:
        sizes.append(words[: words.index("--backbone")])
        preset, p99 = (LARGE, 40.0) if words[1] == "20m" else (MIDDLE, 4.0)
        write_latency_cache(here, all_rows(p99, preset=preset, device="cuda"))

    monkeypatch.setattr(advise_cli, "_bench", bench)
    found = advise_cli._after_measuring(
        question(device="cuda", data=data({"zelda": 200.0})), known(), here,
        advise(question(device="cuda", data=data({"zelda": 200.0})), known()),
    )  # fmt: skip
    assert sizes == [("--size", "20m"), ("--preset", "low_tier_unified", "--size", "production")]
    assert found.chosen is not None
    assert found.chosen.label == MIDDLE


def test_a_bench_is_kept_for_advice_and_one_of_a_run_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(latency_cli, "WARMUP_FRAMES", 3)
    words = ("bench", "latency", "--preset", "low_tier_unified", "--size", "small", "--backbone", "mlp")
    assert (
        run([*words, "--window", "20,60", "--runtime", "eager", "--frames", "12", "--threads", "1", "--json"])
        == 0
    )
    (row,) = (each for each in read_latency_cache(machine(CORES)).rows if each.device == "cpu")
    assert (row.backbone, row.size, row.window_size, row.frames) == ("mlp", SMALL, 60, 12)
    told = object_of(capsys)["results"]
    assert row.p99_ms in [each["p99_ms"] for each in told if each["device"] == "cpu"]
    advice = advise(question(threads=1), known([row]))
    assert advice.chosen is not None
    assert advice.chosen.backbone == "mlp"


def test_figures_that_cannot_be_kept_are_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(latency_cli, "WARMUP_FRAMES", 3)
    (tmp_path / "cache").write_text("a file, and no folder")
    words = ("bench", "latency", "--size", "first", "--backbone", "mlp", "--window", "20")
    assert (
        run([*words, "--window", "20,60", "--runtime", "eager", "--frames", "5", "--threads", "1", "--json"])
        == 0
    )
    said = capsys.readouterr()
    assert json.loads(said.out)["results"]
    assert "the results were not saved for 'exphil advise'" in said.err


@pytest.mark.slow
def test_a_missing_latency_is_really_measured(
    runs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The process that measures knows its cores by itself.
    monkeypatch.setattr("os.sched_getaffinity", ITS_OWN)
    cores = len(ITS_OWN(0))
    here = machine(cores)
    monkeypatch.setattr(advise_cli, "QUICK_FRAMES", 20)
    # All but one are there already, too slow.
    rows = all_rows(90.0, threads=min(PLAY_THREADS, cores))
    write_latency_cache(here, [each for each in rows if each.backbone != "mlp"])
    assert asked("--measure", "--budget-ms", "80", "--runs-dir", runs, "--device", "cpu", "--json") == 0
    found = object_of(capsys)
    (row,) = (each for each in read_latency_cache(here).rows if each.backbone == "mlp")
    assert row.frames == 20
    assert any(each["backbone"] == "mlp" and each["measured"] for each in found["candidates"])
