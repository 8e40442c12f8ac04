"""A wheel holds every file that exphil reads, and its commands work where there is no checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from exphil_core.config.sources import preset_names
from exphil_core.studies.study_file import study_names

pytest.importorskip("pip", reason="pip builds and installs the wheel")

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("exphil_core", "exphil_tui")
BUILT_FROM = (*PACKAGES, "presets", "pyproject.toml", "setup.py", "README.md", "LICENSE")

Exphil = Callable[..., str]

_WHERE = """
import sys, exphil_core, exphil_tui
print(exphil_core.__file__, exphil_tui.__file__, *sys.path, sep="\\n")
"""


def in_environment(python: str | Path, *arguments: str | Path, cwd: Path, **variables: str) -> str:
    """What Python prints, without any variable that could lead it to the checkout."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "EXPHIL_", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [str(python), *map(str, arguments)],
        cwd=cwd,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def wheel_of(source: Path, out: Path) -> Path:
    """Offline: nothing is resolved, and this environment's setuptools builds."""
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir")
    in_environment(sys.executable, "-m", "pip", "wheel", *options, out, source, cwd=out.parent)
    [wheel] = out.glob("*.whl")
    return wheel


def package_files(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {
            name for name in archive.namelist() if name.startswith(tuple(f"{name}/" for name in PACKAGES))
        }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads, since setuptools writes beside it; with a preset that an earlier build left."""
    copy = tmp_path_factory.mktemp("source") / "exphil"
    for name in BUILT_FROM:
        original = ROOT / name
        if original.is_dir():
            shutil.copytree(original, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(original, copy / name)
    left = copy / "build" / "lib" / "exphil_core" / "presets"
    left.mkdir(parents=True)
    (left / "deleted.toml").touch()
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of(source, tmp_path_factory.mktemp("wheel") / "out")


@pytest.fixture(scope="module")
def exphil(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Exphil:
    """Runs a command of the installed wheel, away from the checkout; dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    environment, elsewhere = folder / "environment", folder / "elsewhere"
    elsewhere.mkdir()
    in_environment(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    python = environment / "bin" / "python"
    options = ("--quiet", "--no-index", "--no-deps")
    in_environment(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    # After the installation: pip would take this environment's exphil for an earlier version. Python reads no .pth
    # file in these folders, so an editable install stays behind.
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(in_environment(python, "-c", purelib, cwd=folder).strip())
    dependencies = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    assert sysconfig.get_path("purelib") in dependencies
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in dependencies), encoding="utf-8")

    core, tui, *searched = in_environment(python, "-c", _WHERE, cwd=elsewhere).splitlines()
    assert Path(core) == site / "exphil_core" / "__init__.py"
    assert Path(tui) == site / "exphil_tui" / "__init__.py"
    assert str(ROOT) not in searched

    def run(*words: str | Path) -> str:
        return in_environment(
            python, environment / "bin" / "exphil", *words, cwd=elsewhere, EXPHIL_CACHE=str(folder / "cache")
        )

    return run


def test_a_wheel_holds_both_packages_whole_and_the_presets(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    expected |= {f"exphil_core/{path.relative_to(ROOT)}" for path in (ROOT / "presets").rglob("*.toml")}
    assert package_files(wheel) == expected
    assert expected >= {
        "exphil_core/presets/base.toml",
        "exphil_core/presets/studies/balance.toml",
        "exphil_core/models/scan.cpp",
        "exphil_core/py.typed",
        "exphil_tui/app.tcss",
        "exphil_tui/py.typed",
    }


def test_a_source_distribution_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    in_environment(sys.executable, "-c", build, cwd=source)
    [sdist] = tmp_path.glob("*.tar.gz")
    assert package_files(wheel_of(sdist, tmp_path / "out")) == package_files(wheel)


def test_an_installed_wheel_has_its_presets_and_studies_and_no_revision(exphil: Exphil) -> None:
    presets = json.loads(exphil("presets", "list", "--json"))
    assert presets["broken"] == []
    assert [preset["name"] for preset in presets["presets"]] == list(preset_names())
    studies = json.loads(exphil("study", "list", "--json"))
    assert [study["name"] for study in studies["studies"]] == list(study_names())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert exphil("--version") == f"exphil {version}\n"


@pytest.mark.slow
def test_an_installed_wheel_writes_demo_replays_and_trains_on_them(exphil: Exphil, tmp_path: Path) -> None:
    replays, runs = tmp_path / "demo", tmp_path / "runs"
    exphil("demo", "--out", replays, "--games", "6")
    exphil(
        *("train", "--preset", "quick", "--headless", "--replays", replays, "--runs-dir", runs),
        *("--name", "installed", "--max-steps", "2"),
    )
    shown = json.loads(exphil("runs", "show", "installed", "--runs-dir", runs, "--json"))
    assert shown["step"] == 2
