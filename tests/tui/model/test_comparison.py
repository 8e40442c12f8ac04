"""What tells runs apart, and when their losses must not be compared."""

from typing import Any

import pytest

from exphil_tui.model.comparison import SettingDifference, compare


def described(fingerprint: str = "f", path: str = "data", **sections: dict[str, object]) -> dict[str, Any]:
    preset: dict[str, Any] = {
        "name": "quick",
        "description": "words",
        "backbone": {"kind": "gru", "width": 128},
        "policy": {"delay": 0, "codec": "clusters"},
        "data": {"characters": [], "include_idle": True},
        "train": {"batch_size": 16, "grad_accum_steps": 1},
    }
    for section, values in sections.items():
        preset[section] = {**preset.get(section, {}), **values}
    return {"v": 1, "preset": preset, "dataset": {"path": path, "fingerprint": fingerprint}}


def test_equal_runs_differ_in_nothing_and_compare() -> None:
    found = compare([described(), described()])
    assert found.differences == ()
    assert found.cautions == ()


def test_only_keys_that_differ_are_named_with_a_value_for_each_run() -> None:
    found = compare(
        [
            described(),
            described(backbone={"kind": "mamba", "state": 16}),
            described(data={"include_idle": False}),
        ]
    )
    assert found.differences == (
        SettingDifference(key="backbone.kind", values=("gru", "mamba", "gru")),
        SettingDifference(key="data.include_idle", values=("yes", "yes", "no")),
        SettingDifference(key="backbone.state", values=("not set", "16", "not set")),
    )
    assert found.cautions == ()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (described(fingerprint="g", path="elsewhere"), "different data"),
        (described(policy={"delay": 18}), "delays differ (0 and 18 frames)"),
        (described(policy={"codec": "axes"}), "codecs differ (clusters and axes)"),
        (described(data={"characters": ["link"]}), "different characters"),
        (described(train={"batch_size": 32}), "batch sizes differ"),
    ],
)
def test_losses_that_do_not_compare_are_said_not_to(other: dict[str, Any], words: str) -> None:
    (caution,) = compare([described(), other]).cautions
    assert words in caution


def test_the_same_data_in_another_folder_are_the_same_data() -> None:
    found = compare([described(path="here"), described(path="there")])
    assert found.cautions == ()
    assert found.differences == ()


def test_strange_tables_and_hostile_values_are_text() -> None:
    odd = {"preset": {"name": "\x1b[2J", "train": {"lr": "[/]\u202e" + "9" * 10_000}}, "dataset": 7}
    found = compare([described(), odd])
    text = " ".join((*found.cautions, *(value for row in found.differences for value in row.values)))
    assert text.isprintable()
    assert max(map(len, text.split())) <= 200
