"""Selection dialogs of the new-run form: presets, training data, characters."""

from collections.abc import Mapping, Sequence

from exphil_core.melee import characters
from exphil_core.replays.text import sanitise
from exphil_tui.model.data_sources import DataSource
from exphil_tui.model.new_run_form import PresetEntry
from exphil_tui.screens.choose import ChooseOne, ChooseSome, ListEntry
from exphil_tui.screens.new_run.estimate_text import source_detail
from exphil_tui.screens.new_run.form_fields import ALL_CHARACTERS, character_title

_SOURCE_GROUPS = {
    "dataset": "Datasets, newest first",
    "demo": "Demo",
    "folder": "Slippi replay folders",
}


def preset_picker(presets: Sequence[PresetEntry], current: str) -> ChooseOne:
    entries = [
        ListEntry(
            value=preset.name,
            title=sanitise(preset.name, limit=40),
            detail=sanitise(preset.description, limit=200),
            group=preset.group,
        )
        for preset in presets
    ]
    return ChooseOne("Choose a preset", entries, current=current)


def source_picker(sources: Sequence[DataSource], current: str) -> ChooseOne:
    entries = [
        ListEntry(
            value=str(source.path),
            title=sanitise(source.title, limit=60),
            detail=source_detail(source),
            group=_SOURCE_GROUPS[source.kind],
            muted=source.dataset is not None and bool(source.dataset.problem),
        )
        for source in sources
    ]
    return ChooseOne("Choose training data", entries, current=current, path="")


def character_picker(source: DataSource | None, current: Sequence[str]) -> ChooseSome:
    """List all playable characters with their games in `source`: low tiers first, then those it has."""
    counts = source.per_character if source is not None else {}
    known = source is not None and source.usable

    def order(name: str) -> tuple[int, bool, str]:
        tier, title = characters.low_tier_first(name)
        return tier, name not in counts, title

    playable = characters.CHARACTERS[: characters.PLAYABLE_COUNT]
    entries = [
        ListEntry(
            value=name,
            title=character_title(name),
            detail=_counts(counts.get(name), known=known),
            muted=known and name not in counts,
        )
        for name in sorted((character.name for character in playable), key=order)
    ]
    return ChooseSome("Choose characters to imitate", entries, current=current, none=ALL_CHARACTERS)


def _counts(counts: Mapping[str, int] | None, *, known: bool) -> str:
    if counts is None:
        return "     0 games" if known else ""
    plural = "s" if counts["games"] != 1 else " "
    return f"{counts['games']:>6,} game{plural}  {counts['frames']:>11,} frames"
