"""Ordinary mistakes are sentences: of paths, names, characters, encodings, damaged files, and a missing home."""

import errno
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from exphil_core.cli import examine, main
from exphil_core.config.loader import load_preset
from exphil_core.errors import UsageError
from exphil_core.paths import expand_user
from exphil_core.replays.folders import usual_folders
from exphil_core.runs.directory import RunDirectory
from exphil_core.studies.plan import trial_specs
from exphil_core.studies.storage import JOURNAL, StudyStorage
from exphil_core.studies.study import load_study
from exphil_core.studies.study_file import studies_folder

LONG = "x" * 300


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dojo_replays: Path) -> Path:
    """A folder with a file, and replays beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPHIL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "FILE").touch()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "game.slp").symlink_to(next(iter(sorted(dojo_replays.glob("*.slp")))))
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("runs list --runs-dir FILE", "--runs-dir FILE: this is a file"),
        ("runs list --runs-dir FILE/x", "FILE/x: a part of this path is a file"),
        (f"runs list --runs-dir {LONG}", "longer than the disk allows"),
        ("study list --runs-dir FILE", "this is a file"),
        (f"study list --runs-dir {LONG}", "longer than the disk allows"),
        ("advise --runs-dir FILE/x", "a part of this path is a file"),
        ("train --headless --preset quick --replays one --runs-dir FILE", "this is a file"),
        ("train --headless --preset quick --replays one --runs-dir /proc/x", "none can be made there"),
        (f"train --headless --preset {LONG}", "longer than the disk allows"),
        (f"train --headless --resume {LONG}", "longer than the disk allows"),
        (f"train --headless --replays {LONG}", "longer than the disk allows"),
        (
            "train --headless --replays ~nobody-of-that-name/x",
            "home folder that '~nobody-of-that-name' stands for",
        ),
        ("demo --games 1 --out FILE/x", "a part of this path is a file"),
        (f"demo --games 1 --out {LONG}", "longer than the disk allows"),
        ("demo --games 1 --out /proc/x", "none can be made there"),
        ("data build one --out /proc/x", "none can be made there"),
        (f"data stats {LONG}", "longer than the disk allows"),
        (f"data check {LONG}", "longer than the disk allows"),
        (f"presets show {LONG}", "longer than the disk allows"),
        (f"study run {LONG}", "longer than the disk allows"),
        (f"runs delete {LONG} --yes", "longer than the disk allows"),
        ("eval x --character ,", "--character ',' names no character"),
        ("eval x --character nana", "Nana cannot be selected"),
        ("eval x --character mewtoo", "did you mean 'mewtwo'?"),
        ("eval x --character G&W", "no run 'x'"),
    ],
)
def test_a_mistake_is_a_sentence_with_exit_code_2(
    typed: str, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(typed.split()) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert LONG not in said


def test_a_file_of_ours_that_is_missing_is_not_blamed_on_who_typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/somewhere/of/ours")

    monkeypatch.setattr(main, "_app", lambda typed: fails)
    assert main.run(["data", "build", "demo"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert main.run(["data", "build", "demo", "--out=/somewhere/of/ours/x"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def typed_under(encoding: str, *arguments: bytes, cwd: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "exphil_tui", *arguments],
        env={**os.environ, "PYTHONIOENCODING": encoding, "EXPHIL_CACHE": str(cwd / "cache")},
        cwd=cwd,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_fits_the_encoding_that_the_terminal_has(encoding: str, tmp_path: Path) -> None:
    """A run without a loss has a dash, a study a times sign."""
    RunDirectory.create(
        tmp_path / "checkpoints", load_preset("quick"), name="new", dataset=Path("/data"), fingerprint="abc"
    )
    times = "x" if encoding == "ascii" else "×"
    for typed, words in (
        (b"runs list", "quick"),
        (b"study list", f"4 variants {times} 3 seeds"),
    ):
        done = typed_under(encoding, *typed.split(), cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, b""), typed
        assert words in done.stdout.decode(encoding)


def test_doctor_can_be_read_without_any_letter_beyond_ascii(tmp_path: Path) -> None:
    done = typed_under("ascii", b"doctor", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"   -> " in done.stdout.replace(b"  ", b"   ")


def test_a_path_that_is_not_text_can_be_printed(tmp_path: Path) -> None:
    done = typed_under("utf-8", b"runs", b"list", b"--runs-dir", b"odd\xff", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"no run in odd\\xff yet" in done.stdout


def test_a_damaged_line_in_one_journal_is_named_and_hides_no_other_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = trial_specs(load_study("context_length", quick=True))
    for name in ("broken", "half", "sound"):
        assert StudyStorage(tmp_path / "studies" / name).extend(cells)
    journal = tmp_path / "studies" / "broken" / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b"{not json\n", *lines[2:]]))
    # Valid JSON, and no entry.
    (tmp_path / "studies" / "half" / JOURNAL).write_bytes(b"".join([*lines[:3], b"[]\n", *lines[3:]]))
    assert main.run(["study", "list", "--runs-dir", str(tmp_path)]) == 3
    said = capsys.readouterr()
    assert f"sound: 0 of {len(cells)} runs have ended" in said.out
    assert f"{journal}:3 is damaged" in said.err
    assert f"{tmp_path / 'studies' / 'half' / JOURNAL}:4 is damaged" in said.err
    assert "Traceback" not in said.err
    assert main.run(["study", "report", "broken", "--runs-dir", str(tmp_path)]) == 3
    assert f"{journal}:3 is damaged" in capsys.readouterr().err


def test_a_byte_order_mark_is_not_part_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a preset, and in a study and in a run's own file."""
    preset = tmp_path / "mine.toml"
    preset.write_bytes(b'\xef\xbb\xbfextends = "quick"\n[train]\nlrr = 1\n')
    assert main.run(["presets", "show", str(preset)]) == 2
    assert f"{preset}:3: train.lrr" in capsys.readouterr().err
    preset.write_bytes(b'\xef\xbb\xbfextends = "quick"\n')
    assert main.run(["presets", "show", str(preset)]) == 0

    study = tmp_path / "study.toml"
    study.write_bytes(b"\xef\xbb\xbf" + (studies_folder() / "context_length.toml").read_bytes())
    assert trial_specs(load_study(str(study)))

    run = RunDirectory.create(
        tmp_path, load_preset("quick"), name="mine", dataset=Path("/data"), fingerprint="abc"
    )
    described = run.path / "run.toml"
    described.write_bytes(b"\xef\xbb\xbf" + described.read_bytes())
    assert run.preset().name == "quick"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system does not know, as in many containers."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "EXPHIL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_folder_commands_say_which_variable_to_set(
    homeless: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(examine, "_torch", list)
    assert main.run(["doctor"]) == 1
    assert "!! cache" in (said := capsys.readouterr().out)
    assert "set EXPHIL_CACHE" in said
    assert main.run(["data", "stats"]) == 2
    assert "set EXPHIL_CACHE" in capsys.readouterr().err
    assert usual_folders() == []
    with pytest.raises(UsageError, match="home folder"):
        expand_user("~/replays")
    # Nothing was written into a folder called `~`.
    assert list(tmp_path.iterdir()) == []
