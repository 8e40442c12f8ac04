"""What code a run was made with: package versions and the commit of the checkout."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("exphil", "torch", "numpy", "peppi-py-vladfi", "pyarrow", "safetensors", "pydantic")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that take part in a run's numbers, where they are installed."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_revision() -> str | None:
    """The commit that this code is checked out at, with `+changes` where files differ; None without git."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        revision = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{revision}+changes" if changed else revision


def _git(here: Path, *arguments: str) -> str:
    command = ["git", "-C", str(here), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
