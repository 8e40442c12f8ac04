"""Where tests find real replays: `EXPHIL_REPLAYS`, else `../shared/replays` beside the checkout."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def replays() -> Path:
    """The folder of real replays with its `manifest.tsv`; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "replays"
    folder = Path(os.environ.get("EXPHIL_REPLAYS", beside))
    if not (folder / "manifest.tsv").is_file():
        pytest.skip(f"no real replays at {folder}: set EXPHIL_REPLAYS to a folder with manifest.tsv")
    return folder
