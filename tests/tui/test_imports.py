"""What the workbench must not load: torch never, and nothing slow before the first picture."""

import json
import subprocess
import sys

EVERY_MODULE = """
import importlib, json, pkgutil, sys
import exphil_tui.app
at_start = sorted(sys.modules)
for found in pkgutil.walk_packages(exphil_tui.__path__, "exphil_tui."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print(json.dumps([at_start, sorted(sys.modules)]))
"""


def test_the_workbench_never_imports_torch_and_opens_without_what_is_slow() -> None:
    done = subprocess.run([sys.executable, "-c", EVERY_MODULE], capture_output=True, text=True, check=True)
    at_start, at_last = (set(names) for names in json.loads(done.stdout))
    assert not {"torch", "scipy"} & at_last
    assert "exphil_tui.screens.runs" in at_start
    slow = {"torch", "pyarrow", "numpy", "pydantic", "psutil", "typer", "peppi_py", "multiprocessing"}
    assert not slow & at_start
