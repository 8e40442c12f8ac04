"""The scripts and the notebook of examples/ run as they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_runs_to_its_end(script: Path, tmp_path: Path) -> None:
    assert _run([str(script)], tmp_path).strip()


@pytest.mark.slow
def test_the_notebook_runs_cell_by_cell(tmp_path: Path) -> None:
    cells = json.loads((EXAMPLES / "tour.ipynb").read_text())["cells"]
    program = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    file = tmp_path / "tour.py"
    file.write_text(program)
    printed = _run([str(file)], tmp_path)
    assert "step 3:" in printed
    assert "best baseline" in printed


def _run(arguments: list[str], folder: Path) -> str:
    # From another folder: an example works wherever exphil is importable.
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
