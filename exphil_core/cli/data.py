"""`exphil data`: build a dataset from replays, show dataset statistics, check one replay.

The counts of a build cover everything in the paths, including files that an earlier build read.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exphil_core.cli.format import console, counted, table
from exphil_core.cli.progress import ingest_progress, warn_of_unverified
from exphil_core.cpu import core_count
from exphil_core.errors import DataError, UsageError
from exphil_core.melee import characters, stages
from exphil_core.replays.text import sanitise

if TYPE_CHECKING:
    from exphil_core.dataset.build_report import BuildReport
    from exphil_core.dataset.stats import DatasetStats
    from exphil_core.replays.ingest import Outcome

data_app = typer.Typer(no_args_is_help=True, help="Build and inspect datasets.")

DUPLICATES_SHOWN = 10
"""Maximum number of duplicates that a build lists without --json."""

MOST_NAMED = 60
"""Maximum number of rejected files that a build lists without --json."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@data_app.command("build")
def build_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Replays (.slp, also .gz, .xz, .bz2, .zst, .slpz), folders, .zip, .7z, .tar archives."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The dataset's folder (default: one in the cache, which train uses).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Parser processes (default: one per core).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build a dataset from replays; unchanged files of an earlier build are not read again."""
    from exphil_core.dataset.build import build_dataset
    from exphil_core.dataset.discovery import default_dataset_dir
    from exphil_core.replays.ingest import IngestOptions
    from exphil_core.replays.listing import require_paths

    require_paths(paths)
    with ingest_progress() as seen:
        report = build_dataset(
            paths,
            out or default_dataset_dir(paths),
            workers=workers or core_count(),
            options=IngestOptions(),
            progress=seen,
        )
    if as_json:
        print(json.dumps(report.fields(), allow_nan=False))
    else:
        _print_report(report)
    warn_of_unverified(report)


@data_app.command("stats")
def stats_command(
    directory: Annotated[
        Path | None,
        typer.Argument(help="A dataset, or replays it was built from (default: the newest in the cache)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a dataset holds per character, stage and version, and which characters have little data."""
    from exphil_core.dataset.stats import dataset_stats

    found = _stats(dataset_stats(_dataset_of(directory)))
    if as_json:
        print(json.dumps(found, allow_nan=False))
    else:
        _print_stats(found)


@data_app.command("check")
def check_command(
    file: Annotated[Path, typer.Argument(help="One replay.")],
    as_json: Json = False,
) -> None:
    """Check one replay: what it holds, whether a dataset accepts it, and which sides are usable for imitation."""
    from exphil_core.replays.ingest import IngestOptions, ingest
    from exphil_core.replays.listing import require_paths

    require_paths([file])
    if file.is_dir():
        raise UsageError(
            f"{file}: this is a folder; check takes one replay, `exphil data build` takes folders"
        )
    outcomes = list(ingest([file], workers=1, options=IngestOptions()))
    if len(outcomes) != 1:
        raise UsageError(
            f"{file}: found {len(outcomes)} replays in it; check takes one, `exphil data build` takes archives"
        )
    found = _checked(outcomes[0])
    if as_json:
        print(json.dumps(found, allow_nan=False))
    else:
        _print_checked(found)


def _print_report(report: "BuildReport") -> None:
    out = console()
    found = table(("outcome",), right=("files",), title="Files by outcome")
    found.add_row("kept", str(report.kept))
    found.add_row("duplicates of a kept one", str(report.duplicates - report.twins))
    found.add_row("other recordings of a kept game", str(report.twins))
    for outcome, reasons in (("filtered", report.filtered), ("refused", report.refused)):
        for reason, count in reasons.items():
            found.add_row(f"{outcome}: {reason}", str(count))
    found.add_section()
    found.add_row("all", str(report.sources))
    if report.ignored:
        found.add_row("other files, not replays by name", str(report.ignored))
    out.print(found)
    _print_not_kept(report)
    _print_duplicates(report.duplicate_of)
    found = table(("character",), right=("games", "frames"), title="Characters in the kept games")
    for name in sorted(report.per_character, key=characters.low_tier_first):
        counts = report.per_character[name]
        found.add_row(characters.by_name(name).title, str(counts["games"]), f"{counts['frames']:,}")
    out.print(found)
    print(
        f"{counted(report.games, 'game')}, {counted(report.frames, 'frame')}"
        + (f", {report.salvaged} salvaged from truncated files" if report.salvaged else "")
        + (f", {report.repaired} repaired" if report.repaired else "")
        + (f"; {counted(report.unlisted, 'game')} of other paths no longer listed" if report.unlisted else "")
        + f"\n{report.new_sources:,} of {report.sources:,} files read in {report.seconds:.1f} s"
        + (f", {report.frames_per_s:,.0f} frames/s" if report.frames_per_s else "")
        + f"\n{report.path}"
    )


def _print_not_kept(report: "BuildReport") -> None:
    """Print the files that were not kept with their reasons, at most `MOST_NAMED`."""
    for source in report.not_kept[:MOST_NAMED]:
        print(f"{source.status} ({source.reason}): {sanitise(source.detail, limit=1000)}")
    more = len(report.not_kept) - MOST_NAMED
    if more > 0:
        print(f"… and {more:,} more: `exphil data build --json` names all of them under `not_kept`")


def _print_duplicates(duplicate_of: Mapping[str, str]) -> None:
    for name, kept in list(duplicate_of.items())[:DUPLICATES_SHOWN]:
        print(f"duplicate: {sanitise(name, limit=1000)} is the game of {sanitise(kept, limit=1000)}")
    if len(duplicate_of) > DUPLICATES_SHOWN:
        print(f"{len(duplicate_of) - DUPLICATES_SHOWN:,} more duplicates: --json names them all")


def _dataset_of(directory: Path | None) -> Path:
    """Return the dataset at or built from `directory`, or the newest in the cache; DataError where there is none."""
    from exphil_core.dataset.discovery import cache_root, default_dataset_dir, is_dataset, list_datasets

    if directory is not None:
        built = default_dataset_dir([directory])
        return built if is_dataset(built) and not is_dataset(directory) else directory
    listed = list_datasets()
    if not listed:
        root = cache_root() / "datasets"
        raise DataError(f"{root}: no dataset was built yet; build one with `exphil data build REPLAYS`")
    return listed[0].path


def _stats(found: "DatasetStats") -> dict[str, Any]:
    return {
        "path": str(found.path),
        "fingerprint": found.fingerprint,
        "games": found.games,
        "frames": found.frames,
        "salvaged": found.salvaged,
        "sides": 2 * found.games,
        "usable_sides": found.usable_sides,
        "unusable": dict(found.unusable),
        "per_character": {name: asdict(counts) for name, counts in found.per_character.items()},
        "stages": dict(found.stages),
        "versions": dict(found.versions),
        "sources": list(found.sources),
        "duplicates": found.duplicates,
        "filtered": dict(found.filtered),
        "refused": dict(found.refused),
        "low_tier_with_little": list(found.low_tier_with_little),
    }


def _print_stats(found: Mapping[str, Any]) -> None:
    out = console()
    listed = table(
        ("character",), right=("games", "sides", "usable", "usable frames", "hours"), title="Characters"
    )
    for name, counts in found["per_character"].items():
        listed.add_row(
            characters.by_name(name).title,
            str(counts["games"]),
            str(counts["sides"]),
            str(counts["usable_sides"]),
            f"{counts['usable_frames']:,}",
            f"{counts['usable_frames'] / 60**3:.2f}",
        )
    out.print(listed)
    listed = table(("stage",), right=("games",), title="Stages")
    for name, games in found["stages"].items():
        listed.add_row(stages.by_name(name).title, str(games))
    out.print(listed)
    listed = table(("version",), right=("games",), title="Slippi versions")
    for version, games in found["versions"].items():
        listed.add_row(version, str(games))
    out.print(listed)
    unusable = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in found["unusable"].items())
    print(
        f"{counted(found['games'], 'game')}, {counted(found['frames'], 'frame')}, {found['salvaged']} salvaged; "
        f"{found['usable_sides']:,} of {found['sides']:,} sides usable ({unusable})"
    )
    for name in found["low_tier_with_little"]:
        counts = found["per_character"].get(name)
        there = f"only {counts['usable_frames'] / 60**2:.1f} minutes of" if counts else "no"
        print(f"{characters.by_name(name).title}: {there} training data")
    print(found["path"])


def _checked(outcome: "Outcome") -> dict[str, Any]:
    found: dict[str, Any] = {
        "path": outcome.source.path,
        "status": outcome.status,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "salvaged": outcome.salvaged,
    }
    game = outcome.packed
    if game is None or outcome.sides is None:
        return found
    return found | {
        "version": str(game.version),
        "stage": stages.by_external_id(game.external_stage_id).name,
        "frames": game.frames,
        "rollback_rows": game.rollback_rows,
        "end_method": game.end_method,
        "content_id": game.content_id,
        "repaired": game.repaired,
        "match_key": game.match_key,
        "twin_keys": list(game.twin_keys),
        "sides": [
            {
                "character": characters.by_external_id(side.external_id).name,
                "selected": characters.by_external_id(side.selected_external_id).name,
                "frames_by_character": {
                    characters.by_external_id(external_id).name: frames
                    for external_id, frames in side.frames_by_character.items()
                },
                "port": side.port_index + 1,
                "type": side.type,
                **asdict(quality),
            }
            for side, quality in zip(game.sides, outcome.sides, strict=True)
        ],
    }


def _print_checked(found: Mapping[str, Any]) -> None:
    from exphil_core.replays.repair import REPAIRS

    if found["reason"]:
        print(f"{found['status']} ({found['reason']}): {sanitise(found['detail'], limit=1000)}")
    else:
        print(f"{found['status']}: {sanitise(found['path'], limit=1000)}")
    if found["salvaged"]:
        print("salvaged: the file is truncated and was cut to its last complete frame")
    if "sides" not in found:
        return
    for mark in found["repaired"]:
        print(f"repaired: {REPAIRS[mark]}")
    print(
        f"Slippi {found['version']}, {stages.by_name(found['stage']).title}, {found['frames']:,} frames "
        f"({found['frames'] / 60:.0f} s), {found['rollback_rows']:,} rollback rows, "
        f"end: {found['end_method'] or 'not written'}"
    )
    listed = table(
        ("character",), right=("port", "type", "active", "plausible", "inputs change on"), title="Sides"
    )
    for side in found["sides"]:
        listed.add_row(
            _who_plays(side),
            str(side["port"]),
            side["type"],
            "yes" if side["active"] else "no",
            "yes" if side["plausible"] else "no",
            f"{side['activity']:.1%}",
        )
    console().print(listed)


def _who_plays(side: Mapping[str, Any]) -> str:
    """Name a side's characters: `Fox`; `Sheik, selected Zelda`; `Zelda, Sheik on 8%` where the side transforms."""
    said = [characters.by_name(side["character"]).title]
    total = sum(side["frames_by_character"].values())
    for name, frames in side["frames_by_character"].items():
        if name != side["character"]:
            said.append(f"{characters.by_name(name).title} on {frames / total:.0%}")
    if side["selected"] not in side["frames_by_character"]:
        said.append(f"selected {characters.by_name(side['selected']).title}")
    return ", ".join(said)
