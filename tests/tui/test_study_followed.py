"""A worker of a study, as a process of its own, followed by the workbench from its first run to its last."""

import subprocess
import sys
from pathlib import Path

import pytest

from exphil_tui.app import Workbench
from exphil_tui.screens.studies.screen import StudiesScreen
from exphil_tui.widgets.tables.study_table import StudyTable
from exphil_tui.widgets.text_panel import plain
from tests.studies.tiny import TINY

PRETEND = Path(__file__).parents[1] / "studies" / "pretend.py"


def table(screen: StudiesScreen) -> str:
    found = screen.query_one(StudyTable)
    picture = found.picture(120, found.glyphs)
    return plain((*picture.head, *picture.lines))


async def test_a_study_is_seen_to_start_to_run_and_to_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, runs_dir = tmp_path / "tiny.toml", tmp_path / "runs"
    file.write_text(TINY)
    runs_dir.mkdir()
    workbench = Workbench(runs_dir=runs_dir)
    seen: list[str] = []
    async with workbench.run_test(size=(120, 40)) as pilot:
        workbench.open_studies("tiny")
        await pilot.pause()
        screen = workbench.screen
        assert isinstance(screen, StudiesScreen)
        with (tmp_path / "log").open("w") as log:
            worker = subprocess.Popen([sys.executable, str(PRETEND), str(file), str(runs_dir)], stderr=log)
        try:
            for _ in range(600):
                await pilot.pause(0.1)
                snapshot = next((found for found in screen._snapshots if found.name == "tiny"), None)
                if snapshot is not None and (not seen or seen[-1] != snapshot.state):
                    seen.append(snapshot.state)
                if seen and seen[-1] == "finished":
                    break
        finally:
            worker.kill()
            worker.wait()
        assert seen[-1] == "finished", (tmp_path / "log").read_text()
        assert "running" in seen
        workbench.open_studies("tiny")
        for _ in range(100):
            await pilot.pause(0.1)
            opened = workbench.screen
            if isinstance(opened, StudiesScreen) and opened.snapshot is not None:
                break
        assert isinstance(opened, StudiesScreen)
        await pilot.pause()
        text = table(opened)
        assert "1.1605 ± 0.0007" in text
        assert "wide has a loss 0.1600 nats higher than narrow" in text
