"""`exphil demo`: write synthetic replays of dojo bots."""

import json
from pathlib import Path
from typing import Annotated

import typer

from exphil_core.cli.format import counted
from exphil_core.cli.progress import progress_lines
from exphil_core.cpu import core_count
from exphil_core.dojo.demo import DEFAULT_GAMES, iterate_demo
from exphil_core.errors import UsageError

DEFAULT_OUT = Path("demo")


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder for the replays; created if missing.")] = DEFAULT_OUT,
    games: Annotated[int, typer.Option(min=1, help="Number of games to play.")] = DEFAULT_GAMES,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same bytes.")] = 0,
    echo: Annotated[
        int,
        typer.Option(
            min=0,
            max=600,
            help="Bots repeat the opponent's step after this many frames, to study memory.",
        ),
    ] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write synthetic replays of dojo bots: the five low-tier characters, with a known loss floor."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: it is a file; expected a folder, or a name that is still free")
    written = iterate_demo(out, games=games, seed=seed, echo=echo, workers=workers or core_count())
    size = 0
    with progress_lines(f"playing {counted(games, 'game')}") as say:
        for number, path in enumerate(written, start=1):
            size += path.stat().st_size
            say(f"{number} of {counted(games, 'replay')} written")
    if as_json:
        print(json.dumps({"out": str(out), "games": games, "seed": seed, "echo": echo, "bytes": size}))
    else:
        print(f"{counted(games, 'replay')} of the dojo in {out} ({size / 1e6:.0f} MB, seed {seed})")
