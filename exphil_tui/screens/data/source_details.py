"""Text about a data source: its replays, or the contents of its dataset."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from exphil_core.melee import characters, stages
from exphil_core.replays.folders import ReplayCount
from exphil_core.replays.text import sanitise
from exphil_tui.model.data_sources import DataSource, shown, what_it_is
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs

if TYPE_CHECKING:
    from exphil_core.dataset.stats import DatasetStats


def short_detail(source: DataSource, counted: ReplayCount | None, now: float, glyphs: Glyphs) -> str:
    """Describe a source in one line; `counted` is None until its replays were counted."""
    if not source.written:
        return "not written yet"
    if source.dataset is not None and not source.dataset.problem:
        age = fmt.duration(max(0.0, now - source.dataset.built), glyphs)
        age = " ".join(age.split()[:2])
        return f"{plural(source.dataset.games, 'game')}, {_playtime(source.dataset.frames)}, {age} old"
    if source.dataset is not None:
        return f"{glyphs.warning} cannot be used"
    if counted is None:
        return "counting" + glyphs.ellipsis
    return _counts(counted)


def unwritten_demo_lines(source: DataSource) -> Iterator[Content]:
    yield Content.styled(source.title, "bold")
    yield Content("")
    yield Content("Games between exphil's own bots, with five characters. The lowest possible loss is known.")
    yield Content("")
    yield _key("b", "write them and build a dataset")
    yield _key("n", "new run on them")


def unread_lines(
    source: DataSource, counted: ReplayCount | None, now: float, glyphs: Glyphs
) -> Iterator[Content]:
    """Describe replays without a dataset, or a dataset that cannot be used."""
    yield Content.styled(source.title, "bold")
    if source.dataset is not None:
        yield Content.styled(f"{glyphs.warning} {source.dataset.problem}", "$text-warning")
        yield Content("")
        yield _key("b", "build it again")
        return
    if counted is None:
        yield Content.styled("counting replays" + glyphs.ellipsis, "$foreground-muted")
        return
    if not exists(source.path):
        yield Content.styled(f"{glyphs.warning} no such file or folder", "$text-error")
        return
    summary = f"{what_it_is(source.path)}: {_counts(counted)}"
    yield Content(summary + (f", {fmt.memory(counted.bytes, glyphs)}" if counted.bytes >= 2**20 else ""))
    if not counted.replays and not counted.archives:
        yield Content.styled(f"{glyphs.warning} contains no replay (.slp) and no archive", "$text-warning")
        return
    if counted.newest is not None:
        age = fmt.duration(max(0.0, now - counted.newest), glyphs)
        yield Content.styled(f"the newest is {age} old", "$foreground-muted")
    yield Content("")
    yield Content("Their characters are known after a build.")
    yield Content("")
    yield _key("b", "build a dataset from them")
    yield _key("n", "new run on them, which builds the dataset first")


def dataset_lines(
    source: DataSource, stats: "DatasetStats | str | None", glyphs: Glyphs
) -> Iterator[Content]:
    """Describe a dataset; `stats` is an error sentence if they cannot be read, None until they are."""
    yield Content.styled(source.title, "bold")
    if stats is None:
        yield Content.styled("loading" + glyphs.ellipsis, "$foreground-muted")
    elif isinstance(stats, str):
        yield Content.styled(f"{glyphs.warning} {sanitise(stats, limit=400)}", "$text-error")
    else:
        yield Content.styled(shown(stats.path), "$foreground-muted")
        salvaged = f", {stats.salvaged:,} salvaged" if stats.salvaged else ""
        games, frames = plural(stats.games, "game"), f"{stats.frames:,} frames"
        yield Content(f"{games}, {frames} ({_playtime(stats.frames)}){salvaged}")
        yield from _character_table(stats, glyphs)
        yield from _stages_and_versions(stats)
        yield from _excluded_files(stats)


def _character_table(stats: "DatasetStats", glyphs: Glyphs) -> Iterator[Content]:
    from exphil_core.dataset.stats import WHY_UNUSABLE, CharacterCounts

    yield Content("")
    title = f"{'character':<16}{'games':>6}{'frames':>11}{'playtime':>9}"
    yield Content.styled(title, "$foreground-muted")
    low = {name: stats.per_character.get(name, CharacterCounts()) for name in characters.LOW_TIER}
    rows = {**low, **stats.per_character}
    for name, counts in rows.items():
        mark = f" {glyphs.warning}" if counts.little else ""
        figures = f"{counts.games:>6,}{counts.frames:>11,}{_playtime(counts.usable_frames):>9}"
        yield Content.assemble(
            (f"{characters.by_name(name).title:<16}{figures}", ""), (mark, "$text-warning")
        )
    if any(counts.little for counts in rows.values()):
        yield Content.styled(
            f"{glyphs.warning} less than 1 h of playtime: little to train on", "$text-warning"
        )
    unusable = [f"{count:,}: {WHY_UNUSABLE[why]}" for why, count in stats.unusable.items() if count]
    if unusable:
        yield Content("")
        yield Content.styled(f"sides not imitated, of {2 * stats.games:,}", "$foreground-muted")
        for text in unusable:
            yield Content(f"  {text}")


def _stages_and_versions(stats: "DatasetStats") -> Iterator[Content]:
    yield Content("")
    yield Content.styled("stages", "$foreground-muted")
    for name, games in sorted(stats.stages.items(), key=lambda item: -item[1]):
        yield Content(f"{stages.by_name(name).title:<20}{games:>6,} {'game' if games == 1 else 'games'}")
    yield Content("")
    yield Content.styled("Slippi versions", "$foreground-muted")
    versions = (f"{sanitise(name, limit=20)} ({games:,})" for name, games in stats.versions.items())
    yield Content(", ".join(versions))


def _excluded_files(stats: "DatasetStats") -> Iterator[Content]:
    from exphil_core.dataset.stats import why_not_taken

    excluded = {
        "duplicate" if stats.duplicates == 1 else "duplicates": {"": stats.duplicates},
        "filtered": stats.filtered,
        "refused": stats.refused,
    }
    if not any(any(reasons.values()) for reasons in excluded.values()):
        return
    yield Content("")
    yield Content.styled("excluded files", "$foreground-muted")
    for what, reasons in excluded.items():
        for reason, count in reasons.items():
            if count:
                name = f": {sanitise(reason, limit=40)}" if reason else ""
                yield Content(f"{count:>6,} {what}{name}")
            if count and reason:
                why = sanitise(why_not_taken(reason), limit=200)
                yield Content.styled(f"       {why}", "$foreground-muted")


def exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def plural(count: int, noun: str) -> str:
    """Format a count with its noun: `1 game`, `2 games`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _counts(counted: ReplayCount) -> str:
    parts = []
    if counted.replays or not counted.archives:
        more = "" if counted.whole else "+"
        parts.append(f"{counted.replays:,}{more} replay{'s' * (counted.replays != 1)}")
    if counted.archives:
        parts.append(plural(counted.archives, "archive"))
    return ", ".join(parts)


def _playtime(frames: int) -> str:
    minutes = frames / 3600
    if minutes >= 100:
        return f"{minutes / 60:,.1f} h"
    return f"{minutes:.0f} min" if minutes >= 10 or not frames else f"{minutes:.1f} min"


def _key(key: str, does: str) -> Content:
    return Content.assemble((f"{key:>3}", "bold $primary"), f"  {does}")
