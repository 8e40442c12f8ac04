"""The `exphil` command: exit codes, plain messages, and nothing heavy before it is needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from exphil_core.cli import main
from exphil_core.errors import DataError


def exphil(*arguments: str) -> "subprocess.CompletedProcess[str]":
    start = "import sys; from exphil_tui.cli import main; sys.argv[0] = 'exphil'; main()"
    return subprocess.run(
        [sys.executable, "-c", start, *arguments], capture_output=True, text=True, check=False
    )


def test_alone_off_a_terminal_it_says_that_the_workbench_needs_one_and_what_to_type() -> None:
    done = exphil()
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a terminal" in done.stderr
    assert "exphil train" in done.stderr


def test_starting_imports_neither_torch_nor_scipy() -> None:
    code = "import exphil_tui.cli, sys; print(sorted({'torch', 'pandas', 'scipy', 'tomli_w'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_help_imports_neither_torch_nor_scipy() -> None:
    code = (
        "import sys; from exphil_core.cli import main; assert main.run(['--help']) == 0; "
        "print(sorted({'torch', 'scipy', 'tomli_w'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["doctr"]) == 2
    assert "Did you mean 'doctor'?" in capsys.readouterr().err


def test_help_and_version_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("exphil 0.")
    assert main.run(["--help"]) == 0
    assert "presets" in capsys.readouterr().out


def test_an_expected_failure_is_its_sentence_on_stderr_and_its_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise DataError("[bold]/replays/[odd].slp[/]: not a replay")

    monkeypatch.setattr(main, "_app", lambda typed: fails)
    assert main.run(["doctor"]) == 3
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "[bold]/replays/[odd].slp[/]: not a replay\n")


def test_a_full_disk_has_its_code_wherever_it_is_met(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "/data/x")

    monkeypatch.setattr(main, "_app", lambda typed: fails)
    assert main.run(["doctor"]) == 6
    assert "/data/x" in capsys.readouterr().err


def test_an_unexpected_failure_shows_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(main, "_app", lambda typed: fails)
    assert main.run(["doctor", "--json"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "report" in said
    assert "exphil doctor --json (exphil 0." in said


def test_presets_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["presets", "list"]) == 0
    assert "low_tier_unified" in capsys.readouterr().out
    assert main.run(["presets", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"base", "quick"} <= {preset["name"] for preset in listed["presets"]}
    assert main.run(["presets", "show", "quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "quick"


def test_one_broken_preset_does_not_hide_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "good.toml").write_text(
        'description = "fine"\n[backbone]\nkind = "gru"\n[train]\nepochs = 1\n'
    )
    (tmp_path / "bad.toml").write_text('extends = "good"\n[train]\nlrr = 1\n')
    monkeypatch.setenv("EXPHIL_PRESETS", str(tmp_path))
    assert main.run(["presets", "list"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "good  fine\n"
    assert "did you mean 'lr'?" in captured.err


def test_what_presets_show_prints_is_a_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main.run(["presets", "show", "production"]) == 0
    shown = capsys.readouterr().out
    copy = tmp_path / "copy.toml"
    copy.write_text(shown)
    assert main.run(["presets", "show", str(copy)]) == 0
    assert capsys.readouterr().out == shown


def test_an_unknown_preset_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["presets", "show", "mewto"]) == 2
    assert capsys.readouterr().err == "unknown preset 'mewto'; did you mean 'mewtwo'?\n"


def test_doctor_finds_this_machine_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"]
    states = {finding["name"]: finding["state"] for finding in found["findings"]}
    assert states["torch"] == states["parser"] == states["presets"] == "good"


def test_doctor_says_what_to_install_for_the_compiled_scan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O3")
    assert main.run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "-- compiler" in out
    assert "no 'no-such-compiler' on PATH" in out
    assert "apt install g++" in out


def test_doctor_says_what_to_do_about_what_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EXPHIL_PRESETS", str(tmp_path / "nowhere"))
    assert main.run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "!! presets" in out
    assert "set EXPHIL_PRESETS" in out
