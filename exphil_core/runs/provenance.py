"""Provenance of a run: package versions and the git commit of the checkout."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from exphil_core.paths import checkout_folder

_PACKAGES = ("exphil", "torch", "numpy", "peppi-py-vladfi", "pyarrow", "safetensors", "pydantic")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of installed packages that affect a run's results."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_revision() -> str | None:
    """Return the commit of the checkout, with `+changes` if tracked files differ; None without git or a checkout."""
    here = checkout_folder()
    if here is None or not (here / ".git").exists():
        return None
    try:
        revision = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{revision}+changes" if changed else revision


def version_line() -> str:
    """Return `exphil 0.2.0`, in a checkout with the short commit: `exphil 0.2.0 (abc1234+changes)`."""
    version = f"exphil {metadata.version('exphil')}"
    commit, mark, changes = (git_revision() or "").partition("+")
    return f"{version} ({commit[:7]}{mark}{changes})" if commit else version


def _git(here: Path, *arguments: str) -> str:
    # By default `git status` locks the index for a moment, and a commit made at that time fails.
    command = ["git", "--no-optional-locks", "-C", str(here), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
