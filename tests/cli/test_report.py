"""What the table of held-out games says beside its figures."""

from io import StringIO
from typing import Any

from rich.console import Console

from exphil_core.cli.report import evaluation_table

LOSSES = {"loss": 1.0, "baseline_marginal": 4.0, "baseline_repeat": 1.5, "baseline_markov": 1.25}
SIDE = {"content_id": "0123456789abcdef", "port": 2, "frames": 9437, **LOSSES}


def shown(**fields: Any) -> str:
    per_character = {name: {**LOSSES, "games": 1, "frames": 10} for name in ("mewtwo", "zelda")}
    evaluated = {**LOSSES, "frames": 20, "per_character": per_character, "heads": {}, "transition_f1": {}}
    console = Console(file=StringIO(), width=400)
    console.print(evaluation_table({**evaluated, **fields}, title="Held-out games"))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_side_whose_best_baseline_is_repeat_is_marked_and_named() -> None:
    text = shown(repeat_is_best=[{**SIDE, "character": "mewtwo", "baseline_repeat": 0.25}])
    assert "Mewtwo !" in text
    assert "Zelda !" not in text
    assert "! repeat is the best baseline of 1 held-out side: a script, idle, or a controller" in text
    assert "Mewtwo at port 2 of game 0123456789ab (9,437 frames, repeat 0.250, markov 1.250)." in text
    assert "!" not in shown(repeat_is_best=[])


def test_many_such_sides_are_counted() -> None:
    text = shown(repeat_is_best=[{**SIDE, "character": "zelda"}] * 8)
    assert "of 8 held-out sides" in text
    assert "and 3 more" in text


def test_the_leak_probe_says_what_so_many_jumps_tell() -> None:
    assert "6 of 293 jumps" in shown(leaking_onsets=6, jump_onsets=293)
    assert "Leak probe" not in shown(leaking_onsets=0, jump_onsets=0)
