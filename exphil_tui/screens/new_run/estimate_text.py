"""Text of an estimate: parameters, memory and time of a run, and the characters in its data."""

from collections.abc import Mapping
from typing import Any

from textual.content import Content

from exphil_core.config.sizes import AUTO
from exphil_core.melee import characters
from exphil_core.replays.text import sanitise
from exphil_tui.model.data_sources import DataSource
from exphil_tui.screens.new_run.form_fields import character_title
from exphil_tui.theme import format as fmt
from exphil_tui.theme.glyphs import Glyphs

Estimate = Mapping[str, Any]
"""JSON output of `exphil train --dry-run --json`."""


def estimate_lines(estimate: Estimate, glyphs: Glyphs, *, stale: bool) -> list[Content]:
    """Format an estimate with its reasons and warnings; `stale` dims an estimate that is being replaced."""
    lines = [
        Content.assemble((f"{label:<12}", "$foreground-muted"), (value, "$text-muted" if stale else ""))
        for label, value in _facts(estimate, glyphs)
    ]
    lines += [
        Content.styled(sanitise(str(reason), limit=400), "$foreground-muted")
        for reason in estimate.get("reasons") or ()
    ]
    lines += [
        Content.styled(f"{glyphs.warning} {sanitise(str(warning), limit=300)}", "$text-warning")
        for warning in estimate.get("warnings") or ()
    ]
    return lines


def _facts(estimate: Estimate, glyphs: Glyphs) -> list[tuple[str, str]]:
    """Return pairs of label and value."""
    memory = fmt.memory(_number(estimate, "memory_bytes"), glyphs)
    measured = estimate.get("probe") is not None
    facts = [
        ("parameters", fmt.whole(int(_number(estimate, "parameters") or 0), glyphs)),
        ("step", f"{fmt.whole(int(_number(estimate, 'frames_per_step') or 0), glyphs)} frames"),
        ("compute", f"{fmt.count(_number(estimate, 'flops_per_frame'), glyphs)} FLOPs/frame"),
        ("memory", f"{memory} measured" if estimate.get("memory_measured") else f"~{memory}, estimated"),
    ]
    if size := estimate.get("size"):
        facts.insert(0, ("size", _size(str(size), estimate.get("preset"))))
    if measured:
        speed = fmt.count(_number(estimate, "frames_per_s"), glyphs)
        facts.append(("speed", f"{speed} frames/s on {estimate.get('device')}"))
    seconds = _number(estimate, "estimated_seconds")
    if seconds is None:
        facts.append(("time", "press t to benchmark"))
    elif measured and seconds != _number(estimate, "limit_seconds"):
        facts.append(("time", f"~{fmt.duration(seconds, glyphs)}, estimated"))
    else:
        facts.append(("time", f"{fmt.duration(seconds, glyphs)}, time limit"))
    steps, epochs = _number(estimate, "steps"), _number(estimate, "epochs")
    if steps is not None:
        passes = "" if epochs is None else f", {epochs:.3g} epochs"
        facts.append(("total steps", f"{'~' * measured}{fmt.count(steps, glyphs)}{passes}"))
    return facts


def character_lines(source: DataSource, estimate: Estimate | None) -> list[Content]:
    """Format the characters in the data.

    Args:
        source: The chosen data.
        estimate: Adds held-out games and limits the rows to imitated characters; None if there is no current one.
    """
    head = Content.assemble("\n", (sanitise(source.title, limit=200), "bold"))
    if not source.usable:
        return [head, Content.styled(source_detail(source), "$foreground-muted")]
    dataset = None if estimate is None else estimate.get("dataset")
    if isinstance(dataset, dict):
        title = ("character", "games", "val", "time")
        rows = [
            (
                character_title(name),
                f"{entry['games']:,}",
                f"+{entry['validation_games']:,}",
                playtime(entry["frames"]),
            )
            for name, entry in dataset["per_character"].items()
        ]
    else:
        title = ("character", "games", "", "time")
        counted = source.per_character
        rows = [
            (character_title(name), f"{counted[name]['games']:,}", "", playtime(counted[name]["frames"]))
            for name in sorted(counted, key=characters.low_tier_first)
        ]
    return [
        head,
        Content.styled(_row(*title), "$foreground-muted"),
        *(Content(_row(*row)) for row in rows),
    ]


def source_detail(source: DataSource) -> str:
    """Return what is known of a data source, in a few words."""
    if not source.written:
        return "100 games between bots, written when the run starts"
    if source.dataset is None:
        return "not read yet"
    if source.dataset.problem:
        return source.dataset.problem
    games = source.dataset.games
    return f"{games:,} game{'s' * (games != 1)}, {playtime(source.dataset.frames)}"


def playtime(frames: int) -> str:
    minutes = frames / 3600
    if minutes >= 99.5:
        return f"{minutes / 60:,.1f} h"
    return f"{minutes:.0f} min" if minutes >= 1 or not frames else "<1 min"


def _row(name: str, games: str, validation: str, time: str) -> str:
    return f"{name:<16}{games:>5}{validation:>5}{time:>7}"


def _size(name: str, preset: object) -> str:
    """Format a size with its window and batch size; `auto` is resolved when the run starts."""
    if name == AUTO:
        return f"{name}, chosen when the run starts"
    if not isinstance(preset, Mapping):
        return name
    window, batch = preset["backbone"]["window_size"], preset["train"]["batch_size"]
    return f"{name}, window {window}, batch {batch}"


def _number(estimate: Estimate, key: str) -> float | None:
    value = estimate.get(key)
    return float(value) if isinstance(value, int | float) else None
