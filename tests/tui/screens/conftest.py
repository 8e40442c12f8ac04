"""A machine of the test's own, and a stand-in for what runs beside the workbench."""

from pathlib import Path

import pytest

from tests.tui.machine import Machine, StandIn


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPHIL_CACHE", "cache")
    monkeypatch.setenv("HOME", str(found.home))
    for name in ("XDG_CONFIG_HOME", "XDG_DOCUMENTS_DIR"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()
