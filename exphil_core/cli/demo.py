"""`exphil demo`: writes synthetic replays of the dojo.

In: a folder, how many games, a seed. Out: the replays, and one line (or one JSON object) about them on stdout.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from exphil_core.cli.progress import told
from exphil_core.cpu import core_count
from exphil_core.dojo.demo import DEFAULT_GAMES, iterate_demo
from exphil_core.errors import UsageError

DEFAULT_OUT = Path("demo")


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder for the replays; made if it is not there.")] = DEFAULT_OUT,
    games: Annotated[int, typer.Option(min=1, help="How many matches to play.")] = DEFAULT_GAMES,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    echo: Annotated[
        int,
        typer.Option(
            min=0,
            max=600,
            help="Bots that repeat the step which the opponent took so many frames before: for studies of memory.",
        ),
    ] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 is one for each core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Write synthetic replays of the dojo: bots of the five low-tier characters, with a known floor."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: it is a file; expected a folder, or a name that is still free")
    written = iterate_demo(out, games=games, seed=seed, echo=echo, workers=workers or core_count())
    size = 0
    with told(f"playing {games} games") as say:
        for number, path in enumerate(written, start=1):
            size += path.stat().st_size
            say(f"{number} of {games} replays written")
    if as_json:
        print(json.dumps({"out": str(out), "games": games, "seed": seed, "echo": echo, "bytes": size}))
    else:
        print(f"{games} replays of the dojo in {out} ({size / 1e6:.0f} MB, seed {seed})")
