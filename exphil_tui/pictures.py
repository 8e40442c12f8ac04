"""Pictures of the workbench, as the README shows them: `python -m exphil_tui.pictures --run NAME`.

In: a folder of real runs. Out: an SVG for every main screen. What a reader gets wrong: nothing is staged. The screens
read the runs, the datasets and the machine as they do in a terminal; only the terminal is not there.
"""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from exphil_tui.app import Workbench

SIZE = (120, 40)
SETTLE_S = 4.0
"""Until what a screen asks of other processes has arrived, as far as it does at once."""
PLAYED_S = 25.0
"""Until a pilot has started and played as many frames as its gauge is of."""


async def take(
    runs_dir: Path,
    out: Path,
    *,
    run: str,
    others: list[str],
    data: Path | None,
    replay: Path | None,
    frame: int,
    with_pilot: bool,
) -> None:
    """One picture a screen: `runs`, `run`, `new_run`, `compare`, `data`, `help`; with a replay also `replay`, with a
    pilot beside the run also `gauge`."""
    out.mkdir(parents=True, exist_ok=True)
    screens: dict[str, Callable[[Workbench], object]] = {
        "runs": lambda app: app.open_runs(),
        "run": lambda app: app.open_run(run),
        "help": lambda app: app.open_help(),
        "new_run": lambda app: app.open_new_run(data),
        "compare": lambda app: app.open_compare([run, *others]),
        "data": lambda app: app.open_data(),
    }
    app = Workbench(runs_dir=runs_dir)
    async with app.run_test(size=SIZE) as pilot:
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
            # Until all of it is predicted, for its strip shows the whole game.
            while any(worker.group == "predict" for worker in app.screen.workers):
                await pilot.pause(SETTLE_S)
            await pilot.press("g", *str(frame), "enter")
            await pilot.pause(SETTLE_S)
            app.save_screenshot("replay.svg", path=str(out))


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of the workbench.")
    parser.add_argument("--runs-dir", type=Path, default=Path("checkpoints"))
    parser.add_argument("--run", required=True, help="the run that is opened")
    parser.add_argument("--others", nargs="*", default=[], help="runs it is compared with")
    parser.add_argument("--data", type=Path, help="the dataset or replays of the new run")
    parser.add_argument("--replay", type=Path, help="a replay that the run's policy is shown on")
    parser.add_argument("--frame", type=int, default=1200, help="the frame of it, by its id")
    parser.add_argument("--pilot", action="store_true", help="picture the run with a pilot beside it")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    given = parser.parse_args()
    asyncio.run(
        take(
            given.runs_dir,
            given.out,
            run=given.run,
            others=given.others,
            data=given.data,
            replay=given.replay,
            frame=given.frame,
            with_pilot=given.pilot,
        )
    )


if __name__ == "__main__":
    main()
