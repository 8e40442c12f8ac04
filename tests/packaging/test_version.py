"""The version: the same in the changelog, and with its commit in a checkout."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from exphil_core.cli import main
from exphil_core.runs import provenance

ROOT = Path(__file__).resolve().parents[2]


def test_the_changelog_begins_with_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    headings = [
        line
        for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    ]
    assert headings[0].startswith(f"## [{version}]")


def test_version_names_the_commit_and_changes_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*arguments: str) -> str:
        named = ("-c", "user.name=exphil", "-c", "user.email=exphil@localhost", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *named, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def shown() -> str:
        assert main.run(["--version"]) == 0
        return capsys.readouterr().out.strip().partition(" (")[2]

    monkeypatch.setattr(provenance, "checkout_folder", lambda: tmp_path)
    assert shown() == ""
    git("init", "--quiet")
    (tmp_path / "code.py").write_text("1\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "Begin")
    commit = git("rev-parse", "HEAD")[:7]
    assert shown() == f"{commit})"
    (tmp_path / "untracked").touch()
    assert shown() == f"{commit})"
    (tmp_path / "code.py").write_text("22\n")
    assert shown() == f"{commit}+changes)"
    monkeypatch.setattr(provenance, "checkout_folder", lambda: None)
    assert shown() == ""
