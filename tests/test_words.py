"""The repository's vocabulary and sizes: former names stay out, files and functions stay readable. Loads no torch."""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("exphil_core", "exphil_tui", "benchmarks")

MOST_LINES = 450
MOST_FUNCTION_LINES = 80

TABLES = {("exphil_core/cli/train.py", "train_command")}
"""Functions whose length is a table: one line for each option."""

CLASSES = {
    "Asked": "StopFlag",
    "Arrange": "Reorder",
    "Ending": "StopTraining",
    "Felt": "LatencySnapshot",
    "Finished": "TrainResult",
    "Gather": "SelectColumns",
    "Helm": "CommandHandler",
    "Impossible": "TrialFailed",
    "Keeper": "CheckpointManager",
    "LanePlan": "StatefulBatchPlan",
    "Left": "TrialDeferred",
    "Level": "HLine",
    "OnAir": "PilotFrame",
    "Outlook": "RunEstimate",
    "Over": "StopFlag",
    "Presses": "ButtonTable",
    "Recent": "LatencyWindow",
    "Sides": "EgoFrames",
    "Sight": "RunSnapshot",
    "Ticks": "FrameClock",
    "Told": "ProgressCallbacks",
    "Understood": "ResolvedForm",
}

IDENTIFIERS = {
    "accumulation": "grad_accum_steps",
    "aimed": "targets",
    "caveats": "report_notes",
    "clip_norm": "max_grad_norm",
    "crew": "pool or isolation",
    "delays": "delay_range",
    "grounds": "advise text",
    "helm": "command_handler",
    "hurry": "repaint_now",
    "keeper": "checkpoint_manager",
    "kept_split": "split_file",
    "lane": "stream",
    "lanes": "streams",
    "learn_from_all": "train_on_all_characters",
    "ledger": "sources",
    "log_end": "log_tail",
    "log_steps": "log_every_steps",
    "lr_final": "lr_final_ratio",
    "most_games": "max_games_per_character",
    "noise_scale": "noise_std",
    "noise_share": "noise_prob",
    "outlook": "estimate",
    "owe_evaluation": "retry_evaluation",
    "own_inputs": "action_dropout",
    "playing_weights": "eval_weights",
    "reckoned": "estimated",
    "start_from": "init_from",
    "study_offers": "shipped_studies",
    "study_sight": "study_snapshot",
    "viewing": "isolation sandbox",
    "whoever": "the actor's name",
}
"""Former identifiers that have no other meaning here → what is written now. Leading underscores do not count."""

MODULES = {
    "exphil_core": {
        "crew": "isolation/worker_process",
        "wire": "isolation/ipc",
        "viewing": "isolation/sandbox",
        "ledger": "sources",
        "lanes": "stateful_batches",
        "pool": "sampling",
        "contents": "stats",
        "catalog": "discovery",
        "fighters": "players, except the dojo's",
        "scenery": "stage",
        "own_inputs": "action_dropout",
        "objective": "loss",
        "shown": "input_corruption",
        "carried": "recurrent_state",
        "keeper": "checkpoint_manager",
        "kept_split": "split_file",
        "meter": "metrics",
        "limits": "duration",
        "probes": "diagnostics",
        "neighbours": "embedding_neighbors",
        "sides": "ego_frames",
        "recent": "latency_window",
        "newest": "weight_watcher",
        "ticks": "frame_clock",
        "cores": "cpu_affinity",
        "measure": "latency_benchmark",
        "helm": "command_handler",
        "log_end": "log_tail",
        "benched": "latency_cache",
        "grounds": "advise text",
        "caveats": "report_notes",
        "cells": "trials",
        "children": "subprocesses",
        "claim": "trial_lock",
        "measures": "trial_result",
        "outcome": "aggregate",
        "spread": "statistics",
        "sight": "bot_observation",
    },
    "exphil_tui": {
        "standing": "run_status",
        "figures": "format",
        "steps": "step_columns",
        "shape": "step_decoder",
        "moments": "replay_events",
        "places": "data_sources",
        "draft": "new_run_form",
        "forecast": "prediction_view",
        "broadcast": "pilot_feed",
        "pace": "frame_rate",
        "watch": "run_snapshot",
        "study_sight": "study_snapshot",
        "study_offers": "shipped_studies",
        "gate": "output_filter",
        "child": "subprocess",
        "vitals": "system_stats",
        "pad": "controller_view",
        "steady": "screens/base",
    },
}
"""Package → former module name → module that took its place."""

SAME_WORD = {"exphil_core/dojo/fighters.py"}
"""Modules that are named rightly by a word that was given up elsewhere."""


@cache
def _trees() -> dict[str, tuple[str, ast.Module]]:
    """Path → (text, syntax tree) of every module of the product and the benchmarks."""
    found = {}
    for top in CODE:
        for path in sorted((ROOT / top).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found[path.relative_to(ROOT).as_posix()] = text, ast.parse(text)
    return found


def _identifiers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names that a module defines: functions, classes, arguments, variables, attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno


def test_module_docstrings_have_no_template() -> None:
    ritual = re.compile(r"what a reader gets wrong|^\s*(in|out)\s*:", re.IGNORECASE | re.MULTILINE)
    found = [path for path, (_, tree) in _trees().items() if ritual.search(ast.get_docstring(tree) or "")]
    assert not found


def test_every_module_says_what_it_is() -> None:
    assert not [
        path for path, (text, tree) in _trees().items() if text.strip() and ast.get_docstring(tree) is None
    ]


def test_a_class_name_stands_for_one_thing() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path, (_, tree) in _trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path}:{node.lineno}")
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_former_names_are_not_defined_again() -> None:
    former = CLASSES | IDENTIFIERS
    found = [
        f"{path}:{line}: {name}: write {former[name.lstrip('_')]}"
        for path, (_, tree) in _trees().items()
        for name, line in _identifiers(tree)
        if name.lstrip("_") in former
    ]
    assert not found


def test_former_names_stand_in_no_text() -> None:
    """Names that cannot be read as English stay out of texts, documents and tests, too."""
    plain_english = {"accumulation", "aimed", "caveats", "crew", "delays", "grounds", "hurry", "outlook"}
    plain_english |= {"reckoned", "viewing", "whoever"}
    former = {
        name: now
        for name, now in (CLASSES | IDENTIFIERS).items()
        if name not in plain_english and (name.islower() or re.search("[a-z][A-Z]", name))
    }
    pattern = re.compile(rf"(?<!\w)({'|'.join(former)})(?!\w)")
    # They say what a former name is called now.
    tables = {"ARCHITECTURE.md", "CHANGELOG.md", "exphil_core/config/problems.py", "tests/test_words.py"}
    # They give old files to the loader.
    tables |= {"tests/config/test_loader.py", "tests/studies/test_study.py"}
    paths = [
        path for top in (*CODE, "tests", "docs", "examples", "presets") for path in (ROOT / top).rglob("*")
    ]
    found = [
        f"{name}:{number}: {match[1]}: write {former[match[1]]}"
        for path in [*paths, *ROOT.glob("*.md")]
        if path.suffix in {".py", ".md", ".toml", ".tcss", ".ipynb"}
        and (name := path.relative_to(ROOT).as_posix()) not in tables
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in pattern.finditer(line)
    ]
    assert not found


def test_former_modules_do_not_come_back() -> None:
    found = [
        f"{path}: use {former[Path(path).stem]}"
        for package, former in MODULES.items()
        for path in _trees()
        if path.startswith(f"{package}/") and Path(path).stem in former and path not in SAME_WORD
    ]
    assert not found


def test_no_setting_and_no_preset_has_a_former_key() -> None:
    from exphil_core.config.preset import Preset
    from exphil_core.config.problems import RENAMED

    for key in RENAMED:
        section, _, name = key.partition(".")
        model = Preset.model_fields[section].annotation
        assert name not in getattr(model, "model_fields", {}), key
    for path in sorted((ROOT / "presets").rglob("*.toml")):
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        written = {
            f"{section}.{key}"
            for section, table in tables.items()
            if isinstance(table, dict)
            for key in table
        }
        assert not written & set(RENAMED), path.name


@pytest.mark.parametrize("top", CODE)
def test_files_and_functions_are_short_enough_to_read(top: str) -> None:
    found = []
    for path, (text, tree) in _trees().items():
        if not path.startswith(f"{top}/"):
            continue
        if (lines := len(text.splitlines())) > MOST_LINES:
            found.append(f"{path}: {lines} lines, at most {MOST_LINES}")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (path, node.name) not in TABLES:
                assert node.end_lineno is not None
                if (lines := node.end_lineno - node.lineno + 1) > MOST_FUNCTION_LINES:
                    found.append(
                        f"{path}:{node.lineno}: {node.name} has {lines} lines, at most {MOST_FUNCTION_LINES}"
                    )
    assert not found
