"""Training data on this machine: datasets in the cache, Slippi's replay folders, the demo replays.

No replay is parsed here: games and frames are known only for built datasets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exphil_core.dataset.discovery import (
    DatasetSummary,
    default_dataset_dir,
    demo_folder,
    is_dataset,
    list_datasets,
    summarize_dataset,
)
from exphil_core.paths import home_folder
from exphil_core.replays.folders import usual_folders
from exphil_core.replays.kinds import kind_of
from exphil_core.replays.text import sanitise

Kind = Literal["dataset", "demo", "folder"]

DEMO_TITLE = "demo replays (dojo bots)"

_LOCAL_DEMO = Path("demo")
"""Where `make run` writes demo replays, relative to the working directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    path: Path
    """Value for `--replays`."""
    kind: Kind
    title: str
    """Short and sanitised."""
    dataset: DatasetSummary | None = None
    """The dataset built from it, if any."""
    written: bool = True
    """False for demo replays that are not written yet."""

    @property
    def usable(self) -> bool:
        """Whether it is a readable dataset, so that a run on it starts without a build."""
        return self.dataset is not None and not self.dataset.problem

    @property
    def per_character(self) -> Mapping[str, Mapping[str, int]]:
        """Character name → `games` and `frames`; empty if no dataset was built."""
        if self.dataset is None or self.dataset.per_character is None:
            return {}
        return self.dataset.per_character


def known_sources() -> list[DataSource]:
    """List datasets (newest first), then the demo replays, then Slippi's folders without a dataset."""
    datasets = list_datasets()
    demo = demo_source(datasets)
    found = [
        DataSource(path=listed.path, kind="dataset", title=_dataset_title(listed), dataset=listed)
        for listed in datasets
        if demo.dataset is None or listed.path != demo.dataset.path
    ]
    read = {Path(source) for listed in datasets if not listed.problem for source in listed.sources}
    folders = [
        DataSource(path=folder, kind="folder", title=shown(folder))
        for folder in usual_folders()
        if folder not in read
    ]
    return [*found, demo, *folders]


def demo_source(datasets: list[DatasetSummary] | None = None) -> DataSource:
    """Return the demo replays: those written by `make run`, else the cache's own, written or not."""
    folder = _LOCAL_DEMO if _holds_demo(_LOCAL_DEMO) else demo_folder()
    source = source_of(folder)
    return DataSource(
        path=folder, kind="demo", title=DEMO_TITLE, dataset=source.dataset, written=_holds_demo(folder)
    )


def default_source(sources: list[DataSource]) -> DataSource:
    """Return the default for a new run: the newest usable dataset, else the demo replays."""
    usable = [source for source in sources if source.kind == "dataset" and source.usable]
    return next(iter(usable), next(source for source in sources if source.kind == "demo"))


def source_of(path: Path) -> DataSource:
    """Describe a path: a dataset, or replays with the dataset built from them."""
    if is_dataset(path):
        listed = summarize_dataset(path)
        return DataSource(path=path, kind="dataset", title=_dataset_title(listed), dataset=listed)
    try:
        built = default_dataset_dir([path])
        dataset = summarize_dataset(built) if is_dataset(built) else None
    except (OSError, RuntimeError, ValueError):
        dataset = None
    kind: Kind = "demo" if path.absolute() in (demo_folder().absolute(), _LOCAL_DEMO.absolute()) else "folder"
    title = DEMO_TITLE if kind == "demo" else shown(path)
    return DataSource(path=path, kind=kind, title=title, dataset=dataset)


def shown(path: Path, limit: int = 400) -> str:
    """Format a path for display: sanitised, with `~` for the home folder."""
    text = str(path)
    home = str(home_folder() or "")
    if home and (text == home or text.startswith(home + "/")):
        text = "~" + text[len(home) :]
    return sanitise(text.encode("utf-8", "replace").decode(), limit=limit) or "?"


def expanded(text: str) -> Path:
    """Make a typed path absolute, relative to the working directory; `~` is the home folder."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        return Path(text).absolute()


def what_it_is(path: Path) -> str:
    """Return `folder`, `archive`, `replay` or `dataset`."""
    if is_dataset(path):
        return "dataset"
    if path.is_dir():
        return "folder"
    return "archive" if kind_of(path.name) == "archive" else "replay"


def _dataset_title(listed: DatasetSummary) -> str:
    """Name a dataset after its sources: its folder name is a fingerprint."""
    if len(listed.sources) == 1:
        return shown(Path(listed.sources[0]))
    if listed.sources:
        return f"{shown(Path(listed.sources[0]))} and {len(listed.sources) - 1} more"
    return shown(Path(listed.path.name))


def _holds_demo(folder: Path) -> bool:
    try:
        return any(folder.glob("dojo_*.slp"))
    except OSError:
        return False
