"""What a run's events say on a console."""

from typing import Any

from exphil_core.cli.console import describe


def started(**fields: Any) -> dict[str, Any]:
    return {
        "type": "run_started",
        "run": "mine",
        "backbone": "mamba",
        "window_size": 60,
        "parameters": 1234,
        "device": "cpu",
        "precision": "fp32",
        "dataset": {"games": 3, "frames": 9000, "shares": {}},
        **fields,
    }


def test_the_opening_line_names_the_kernel_of_the_scan_where_there_is_one() -> None:
    assert "on cpu in fp32, compiled scan kernel; 3 games" in str(describe(started(kernel="compiled")))
    for without in (started(kernel=None), started()):
        assert "on cpu in fp32; 3 games" in str(describe(without))


def test_the_opening_line_says_how_often_the_first_characters_come() -> None:
    shares = {
        name: {"asked": 0.125, "reachable": 0.125, "drawn": 0.12}
        for name in ("mewtwo", "ganondorf", "link", "gameandwatch", "zelda", "fox", "falco", "marth")
    }
    line = str(describe(started(dataset={"games": 3, "frames": 9000, "shares": shares})))
    assert "9,000 frames; windows: mewtwo 12.0%, ganondorf 12.0%, " in line
    assert line.endswith("fox 12.0% and 2 more")
