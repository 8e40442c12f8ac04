"""What a run can learn from, as far as this machine is known: datasets, replay folders, the demo replays.

In: the cache, Slippi's folders, the folder that the workbench runs in. Out: `Place` values to choose from. What a
reader gets wrong: nothing is parsed here; games and frames are known only of what was read into a dataset before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from exphil_core.dataset.catalog import (
    Listed,
    default_dataset_dir,
    demo_folder,
    is_dataset,
    listed_dataset,
    listed_datasets,
)
from exphil_core.paths import home_folder
from exphil_core.replays.folders import usual_folders
from exphil_core.replays.kinds import kind_of
from exphil_core.replays.text import sanitise

Kind = Literal["dataset", "demo", "folder"]

DEMO_TITLE = "demo replays of the dojo"

_MADE_HERE = Path("demo")
"""Where `make run` writes demo replays, from the folder that it runs in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    path: Path
    """What `--replays` takes."""
    kind: Kind
    title: str
    """Short, and safe to show."""
    dataset: Listed | None = None
    """What was read of it, where anything was."""
    written: bool = True
    """False for demo replays that are yet to be written."""

    @property
    def usable(self) -> bool:
        """Whether its games are known, so that a run on it starts at once."""
        return self.dataset is not None and not self.dataset.problem

    @property
    def per_character(self) -> Mapping[str, Mapping[str, int]]:
        """Name → games and frames; empty where it was not read."""
        if self.dataset is None or self.dataset.per_character is None:
            return {}
        return self.dataset.per_character


def known_places() -> list[Place]:
    """Datasets (the newest first), then the demo replays, then Slippi's folders that were not read yet."""
    datasets = listed_datasets()
    demo = demo_place(datasets)
    found = [
        Place(path=listed.path, kind="dataset", title=_dataset_title(listed), dataset=listed)
        for listed in datasets
        if demo.dataset is None or listed.path != demo.dataset.path
    ]
    read = {Path(source) for listed in datasets if not listed.problem for source in listed.sources}
    folders = [
        Place(path=folder, kind="folder", title=shown(folder))
        for folder in usual_folders()
        if folder not in read
    ]
    return [*found, demo, *folders]


def demo_place(datasets: list[Listed] | None = None) -> Place:
    """The demo replays: those that `make run` wrote, else the cache's own, written or not."""
    here = _MADE_HERE
    folder = here if _holds_demo(here) else demo_folder()
    place = place_of(folder)
    return Place(
        path=folder, kind="demo", title=DEMO_TITLE, dataset=place.dataset, written=_holds_demo(folder)
    )


def first_place(places: list[Place]) -> Place:
    """What a new run is offered: the newest dataset that can be used, else the demo replays."""
    usable = [place for place in places if place.kind == "dataset" and place.usable]
    return next(iter(usable), next(place for place in places if place.kind == "demo"))


def place_of(path: Path) -> Place:
    """A dataset, or replays with the dataset that they were read into."""
    if is_dataset(path):
        listed = listed_dataset(path)
        return Place(path=path, kind="dataset", title=_dataset_title(listed), dataset=listed)
    try:
        built = default_dataset_dir([path])
        dataset = listed_dataset(built) if is_dataset(built) else None
    except (OSError, RuntimeError, ValueError):
        dataset = None
    kind: Kind = "demo" if path.absolute() in (demo_folder().absolute(), _MADE_HERE.absolute()) else "folder"
    title = DEMO_TITLE if kind == "demo" else shown(path)
    return Place(path=path, kind=kind, title=title, dataset=dataset)


def shown(path: Path, limit: int = 400) -> str:
    """A path to read, with `~` for the home folder, whatever is in its name."""
    text = str(path)
    home = str(home_folder() or "")
    if home and (text == home or text.startswith(home + "/")):
        text = "~" + text[len(home) :]
    return sanitise(text.encode("utf-8", "replace").decode(), limit=limit) or "?"


def expanded(text: str) -> Path:
    """What a person typed, from the folder that the workbench runs in; `~` is the home folder."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        return Path(text).absolute()


def what_it_is(path: Path) -> str:
    """`folder`, `archive`, `replay` or `dataset`."""
    if is_dataset(path):
        return "dataset"
    if path.is_dir():
        return "folder"
    return "archive" if kind_of(path.name) == "archive" else "replay"


def _dataset_title(listed: Listed) -> str:
    """After what it was built from: its own name carries a fingerprint."""
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
