"""List of data sources, grouped by kind, with a line of details below each title."""

from collections.abc import Callable, Sequence
from pathlib import Path

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from exphil_tui.model.data_sources import DataSource

_GROUPS = {"dataset": "Datasets", "demo": "Demo", "folder": "Replays not read yet"}
_DEFAULT_WIDTH = 32
"""Width before the first layout."""


class SourceList(OptionList):
    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, compact=True)
        self._sources: list[DataSource | None] = []
        """Data source of every line; None for headings."""

    @property
    def current(self) -> DataSource | None:
        """Data source under the cursor."""
        index = self.highlighted
        return self._sources[index] if index is not None and index < len(self._sources) else None

    def show(
        self, sources: Sequence[DataSource], detail_of: Callable[[DataSource], str], current: Path | None
    ) -> bool:
        """Replace the list without messages; return whether `current` is in it, and the cursor therefore on it."""
        options: list[Option] = []
        self._sources = []
        group = ""
        for source in sorted(sources, key=lambda source: list(_GROUPS).index(source.kind)):
            if _GROUPS[source.kind] != group:
                group = _GROUPS[source.kind]
                options.append(Option(Content.styled(group, "$foreground-muted"), disabled=True))
                self._sources.append(None)
            options.append(Option(self._prompt(source, detail_of(source))))
            self._sources.append(source)
        indices = [index for index, source in enumerate(self._sources) if source is not None]
        wanted = [index for index in indices if _is_at(self._sources[index], current)]
        with self.prevent(OptionList.OptionHighlighted):
            self.clear_options()
            self.add_options(options)
            self.highlighted = next(iter((*wanted, *indices)), None)
        return bool(wanted)

    def _prompt(self, source: DataSource, detail: str) -> Content:
        width = (self.size.width or _DEFAULT_WIDTH) - 3
        # Paths differ at their ends.
        title = source.title if len(source.title) <= width else "…" + source.title[-(width - 1) :]
        return Content.assemble((f" {title}\n", ""), (f"   {detail}", "$text-muted"))


def _is_at(source: DataSource | None, path: Path | None) -> bool:
    """Whether the source is at the path, or is a dataset built from it."""
    if source is None or path is None:
        return False
    if source.path == path or (source.dataset is not None and source.dataset.path == path):
        return True
    return source.dataset is not None and str(path.absolute()) in source.dataset.sources
