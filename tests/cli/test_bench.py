"""`exphil bench` as people and scripts call it. What it measures is not judged here; that it measures is."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from exphil_core.cli import latency as latency_cli
from exphil_core.cli.latency_report import LatencyRow, latency_report
from exphil_core.cli.main import run
from exphil_core.config.preset import Preset
from exphil_core.cpu import TRAINING_SPINS
from exphil_core.inference.latency import Percentiles
from exphil_core.inference.latency_benchmark import LatencyResult
from exphil_core.inference.runtimes import RuntimeName
from exphil_core.runs.directory import RunDirectory
from exphil_core.worker import work

PROMISED = {
    *("backbone", "parameters", "window_size", "device", "runtime", "p50_ms", "p95_ms", "p99_ms", "max_ms"),
    *("missed", "within_budget", "max_abs_error"),
}


@pytest.fixture(autouse=True)
def _short_warmup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # What is measured in a test is nothing to go by later.
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(latency_cli, "WARMUP_FRAMES", 3)
    # Put back afterwards: who plays sets it for the whole process.
    monkeypatch.setenv("GOMP_SPINCOUNT", TRAINING_SPINS)


def bench_latency(*arguments: str) -> int:
    return run(["bench", "latency", "--threads", "1", *arguments])


def test_json_is_one_object_with_the_promised_keys_and_the_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = ("--backbone", "mlp,sliding_window", "--size", "first", "--window", "30,20")
    assert bench_latency(*chosen, "--runtime", "eager", "--frames", "12", "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert {"processor", "cores", "torch", "gpu"} <= found["machine"].keys()
    assert found["budget_ms"] == pytest.approx(1000 / 60)
    results = found["results"]
    assert [(row["window_size"], row["backbone"]) for row in results if row["device"] == "cpu"] == [
        (20, "mlp"),
        (20, "attention"),
        (30, "mlp"),
        (30, "attention"),
    ]
    for row in results:
        assert row.keys() >= PROMISED
        assert row["max_abs_error"] < 1e-4
        assert row["frames"] == 12
        assert sum(row["histogram"]) == 12
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= row["max_ms"]
        assert row["floor_ms"] > 0
        parts = row["parts_p50_ms"]
        assert list(parts) == ["encode", "step", "sample", "decode"]
        assert all(value > 0 for value in parts.values())
    assert "measuring 1 of" in said.err


def test_a_checkpoint_is_measured_in_every_runtime(
    new_run: Callable[..., RunDirectory],
    tiny: Callable[..., Preset],
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = new_run(tiny(train={"max_steps": 1}))
    assert work(made) == 0
    capsys.readouterr()
    chosen = ("--checkpoint", str(made.path), "--runtime", "eager,onnx,onnx_int8", "--frames", "5")
    assert bench_latency(*chosen, "--json") == 0
    results = json.loads(capsys.readouterr().out)["results"]
    errors = {row["runtime"]: row["max_abs_error"] for row in results if row["device"] == "cpu"}
    assert errors["eager"] < 1e-4
    assert errors["onnx"] < 1e-4
    assert errors["onnx_int8"] > errors["onnx"]
    assert {row["size"] for row in results} == {made.name}
    assert {row["window_size"] for row in results} == {16}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backbone", "atention"], "did you mean 'attention'"),
        (["--size", "huge"], "expected first, 20m or all"),
        (["--window", "0"], "--window 0: expected frames"),
        (["--window", "many"], "--window many: expected frames"),
        (["--runtime", "onxx"], "did you mean 'onnx'"),
        (["--frames", "0"], "--frames 0: expected at least 1"),
        (["--backbone", "mamba2", "--size", "first"], "there is no preset 'first_mamba2'"),
        (["--checkpoint", "x", "--window", "60"], "leave out --backbone, --size, --preset and --window"),
        (["--preset", "quik"], "did you mean 'quick'"),
        (
            ["--preset", "quick", "--size", "20m"],
            "--size: size: unknown value '20m'; expected one of auto, small",
        ),
        (["--checkpoint", "no/such/run"], "no/such/run"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_latency(*arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_threads_beyond_the_machine_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "latency", "--threads", "9999"]) == 2
    assert "--threads 9999: expected 1 to" in capsys.readouterr().err


def test_a_runtime_that_is_not_there_is_not_replaced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exphil_core.inference.runtimes.find_spec", lambda name: None)
    monkeypatch.setattr("exphil_core.inference.graph.find_spec", lambda name: None)
    assert bench_latency("--backbone", "mlp", "--runtime", "onnx") == 2
    assert "pip install 'exphil[onnx]'" in capsys.readouterr().err


def _row(
    backbone: str, runtime: RuntimeName, p99: float, *, window: int = 180, missed: int = 0
) -> LatencyRow:
    took = Percentiles(
        frames=600, p50_ms=p99 / 2, p95_ms=p99 * 0.9, p99_ms=p99, max_ms=p99 * 2, missed=missed
    )
    parts = {"encode": 1.0, "step": 2.0, "sample": 0.5, "decode": 0.1} if runtime == "eager" else None
    latency = LatencyResult(
        runtime=runtime,
        device="cpu",
        parameters=20_050_581,
        warmup=120,
        took=took,
        histogram=(600,),
        realtime=False,
        late_p99_ms=0.1,
        parts_p50_ms=parts,
        max_abs_error=1.2e-5,
        floor_ms=2.5,
        bandwidth_gb_per_s=32.0,
    )
    return LatencyRow(backbone=backbone, window_size=window, size="20m", latency=latency)


def _shown(rows: list[LatencyRow], width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(latency_report(rows, threads=2))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_marks_what_is_over_the_budget(width: int) -> None:
    rows = [
        _row("lstm_hybrid", "eager", 12.34, missed=100),
        _row("lstm_hybrid", "onnx_int8", 9.0),
        _row("gru", "eager", 6.5),
        _row("gru", "cuda_graph", 0.8),
        _row("gru", "eager", 6.4, window=60),
    ]
    shown = _shown(rows, width)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= width
    assert shown.index("Window 60, 20m") < shown.index("Window 180, 20m")
    below = shown[shown.index("Window 180, 20m") :]
    assert below.index("gru") < below.index("lstm_hybrid")
    assert "!12.34" in shown
    assert "1 of 5 are not (!)" in shown
    for figure in ("11.11", "24.68", "1e-05", "20,050,581", "cuda_graph"):
        assert figure in shown
    assert "…" not in shown


def test_gauges_of_several_rows_share_a_scale_and_the_line_of_the_budget() -> None:
    shown = _shown([_row("lstm_hybrid", "eager", 12.3), _row("gru", "eager", 40.0, missed=9)], 80)
    lines = shown.splitlines()
    (scale,) = [place for place, line in enumerate(lines) if "16.67 ms" in line and "25 ms" in line]
    bars = lines[scale + 1 : scale + 3]
    assert [bar.split()[:2] for bar in bars] == [["lstm_hybrid", "eager"], ["gru", "eager"]]
    (budget,) = {bar.index("│") for bar in bars}
    assert abs(lines[scale].index("16.67") + 4 - budget) <= 1
    assert "▶" in bars[1][budget:]
    assert "┃" in bars[0][:budget]


def test_a_single_row_has_its_whole_gauge() -> None:
    shown = _shown([_row("gru", "eager", 6.5)], 80)
    for words in ("in time", "headroom 10.2 ms", "missed 0/600", "gru, window 180"):
        assert words in shown


def test_what_is_wholly_within_the_budget_is_said_to_be(tmp_path: Path) -> None:
    shown = _shown([_row("gru", "eager", 6.5)], 80)
    assert "all are" in shown
    assert "!" not in shown
