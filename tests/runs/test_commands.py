"""Commands that a message tells a person to type name the folder of the run."""

import re
import shlex
from pathlib import Path

import pytest

import exphil_core
import exphil_tui
from exphil_core.cli import main
from exphil_core.config.loader import load_preset
from exphil_core.errors import UsageError
from exphil_core.runs import control
from exphil_core.runs.commands import shell_command
from exphil_core.runs.directory import RunDirectory, name_problem
from exphil_core.runs.launcher import start
from exphil_tui.app import exit_message

COMMAND = re.compile(r"'(exphil (?:[^'$]|'\\''|'[^']*')*)'|(?<=: )(exphil [^\n;]*)")


def commands_in(text: str) -> list[list[str]]:
    return [shlex.split(one or other) for one, other in COMMAND.findall(text)]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run that crashed, in a folder that is not the default one."""
    monkeypatch.chdir(tmp_path)
    run = RunDirectory.create(
        Path("more runs"), load_preset("quick"), name="mine", dataset=Path("/data"), fingerprint="abc"
    )
    run.write_status("running", 12)
    return run


def test_the_default_folder_needs_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (Path("checkpoints"), tmp_path / "checkpoints"):
        assert shell_command(folder, "attach", "mine") == "exphil attach mine"
    assert shell_command(Path("my runs"), "attach", "a b") == "exphil attach 'a b' --runs-dir 'my runs'"


def test_what_is_to_be_typed_next_names_the_folder(
    elsewhere: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for typed in (
        ["show", "mine"],
        ["stop", "mine"],
        ["resume", "mine"],
        ["show", "other-name"],
        ["show", "x/y"],
    ):
        main.run(["runs", *typed, "--runs-dir", str(elsewhere.path.parent)])
        captured = capsys.readouterr()
        said.append(captured.out + captured.err)
    with elsewhere.lock():
        for attempt in (elsewhere.delete, lambda: start(elsewhere)):
            with pytest.raises(UsageError) as refused:
                attempt()
            said.append(str(refused.value))
        elsewhere.write_status("running", 13)
        control.send(elsewhere, "pause")
        with pytest.raises(UsageError) as refused:
            control.send(elsewhere, "pause")
        said.append(str(refused.value))
    said.append(str(name_problem(elsewhere.path.parent, "mine")))
    said.append(str(exit_message(["mine"], elsewhere.path.parent)))
    said.append(str(exit_message(["mine", "yours"], elsewhere.path.parent)))
    with pytest.raises(UsageError) as refused:
        RunDirectory.find(Path("empty runs"), None)
    said.append(str(refused.value).replace("empty runs", "more runs"))
    found = [command for text in said for command in commands_in(text)]
    assert len(found) >= len(said) - 1, said
    for command in found:
        assert command[-2:] == ["--runs-dir", "more runs"], command


def test_no_message_spells_a_command_about_a_run_by_hand() -> None:
    """`shell_command` knows the folder and how a name is quoted."""
    by_hand = re.compile(r"""['"`]exphil (?:attach|runs|train|eval|predict|export)\b[^'"`\n]*\{""")
    for package in (exphil_core, exphil_tui):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                assert not by_hand.search(line), f"{path}:{number}: {line.strip()}"
