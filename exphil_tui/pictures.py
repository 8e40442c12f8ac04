"""Take the README's SVG screenshots: `python -m exphil_tui.pictures --run NAME --study NAME`.

The screens run headless on real runs, studies and datasets.
"""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from exphil_tui.app import Workbench
from exphil_tui.model.study_snapshot import STUDIES
from exphil_tui.screens.studies.screen import StudiesScreen

SIZE = (120, 40)
SETTLE_S = 4.0
"""Wait for answers of other processes after a screen opens."""
PLAYED_S = 25.0
"""Wait for a pilot to start and play as many frames as its gauge covers."""


async def take(
    runs_dir: Path,
    out: Path,
    *,
    run: str | None,
    study: str | None,
    others: list[str],
    data: Path | None,
    replay: Path | None,
    frame: int,
    with_pilot: bool,
) -> None:
    """Write one SVG per screen to `out`.

    With a run: `runs`, `run`, `new_run`, `compare`, `data` and `help`, with a replay also `replay`, with a pilot
    also `gauge`. With a study: `studies`.
    """
    out.mkdir(parents=True, exist_ok=True)
    app = Workbench(runs_dir=runs_dir)
    async with app.run_test(size=SIZE) as pilot:
        if study is not None:
            await _take_study(app, pilot, out, study)
        if run is None:
            return
        screens: dict[str, Callable[[Workbench], object]] = {
            "runs": lambda app: app.open_runs(),
            "run": lambda app: app.open_run(run),
            "help": lambda app: app.open_help(),
            "new_run": lambda app: app.open_new_run(data),
            "compare": lambda app: app.open_compare([run, *others]),
            "data": lambda app: app.open_data(),
        }
        for name, show in screens.items():
            if name != "help":
                app.open_runs()
                await pilot.pause(0.5)
            show(app)
            await pilot.pause(SETTLE_S)
            if name == "run" and with_pilot:
                await pilot.press("g")
                await pilot.pause(PLAYED_S)
            app.save_screenshot(f"{name}.svg", path=str(out))
            if name == "run" and with_pilot:
                await pilot.press("f")
                await pilot.pause(SETTLE_S)
                app.save_screenshot("gauge.svg", path=str(out))
        if replay is not None:
            app.open_replay(replay, run)
            await pilot.pause(SETTLE_S)
            # The agreement strip shows the whole game, so wait until all of it is predicted.
            while any(worker.group == "predict" for worker in app.screen.workers):
                await pilot.pause(SETTLE_S)
            await pilot.press("g", *str(frame), "enter")
            await pilot.pause(SETTLE_S)
            app.save_screenshot("replay.svg", path=str(out))


async def _take_study(app: Workbench, pilot: Pilot[None], out: Path, study: str) -> None:
    app.open_studies(study)
    await pilot.pause()
    screen = app.screen
    assert isinstance(screen, StudiesScreen)
    while not screen.loaded:
        await pilot.pause(0.1)
    await pilot.pause(SETTLE_S)
    app.save_screenshot("studies.svg", path=str(out))


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of the workbench.")
    parser.add_argument("--runs-dir", type=Path, default=Path("checkpoints"))
    parser.add_argument("--run", help="the run that is opened")
    parser.add_argument("--study", help="the study that is opened")
    parser.add_argument("--others", nargs="*", default=[], help="runs it is compared with")
    parser.add_argument("--data", type=Path, help="the dataset or replays of the new run")
    parser.add_argument("--replay", type=Path, help="a replay that the run's policy is shown on")
    parser.add_argument("--frame", type=int, default=1200, help="the frame of it, by its id")
    parser.add_argument("--pilot", action="store_true", help="picture the run with a pilot beside it")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    given = parser.parse_args()
    if given.run is None and given.study is None:
        parser.error("nothing to picture: give --run NAME, --study NAME, or both")
    if given.run is None and (given.others or given.data or given.replay or given.pilot):
        parser.error("--others, --data, --replay and --pilot are about a run: give --run NAME, too")
    if given.study is not None and not (given.runs_dir / STUDIES / given.study).is_dir():
        parser.error(f"--study {given.study}: no study of that name was begun in {given.runs_dir / STUDIES}")
    asyncio.run(
        take(
            given.runs_dir,
            given.out,
            run=given.run,
            study=given.study,
            others=given.others,
            data=given.data,
            replay=given.replay,
            frame=given.frame,
            with_pilot=given.pilot,
        )
    )


if __name__ == "__main__":
    main()
