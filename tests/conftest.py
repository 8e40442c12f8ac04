"""Fixtures that many tests share, and which tests `make test-fast` leaves out.

Real replays are found at `EXPHIL_REPLAYS`, else at `../shared/replays` beside the checkout.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exphil_core.config.preset import Preset
from exphil_core.cpu import core_count
from exphil_core.runs.directory import RunDirectory


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: two workers a core, since a quarter of the tests' time is waiting."""
    return 2 * core_count()


def pytest_configure() -> None:
    """Keep each worker of pytest-xdist to one core.

    Two processes that each start torch threads for every core run slower than one after the other. What a test starts
    inherits the core.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker.startswith("gw") and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


SLOW_FIXTURES = {
    "new_run": "trains",
    "start": "starts exphil in a pseudo-terminal",
    "replays": "reads real replays",
    "exphil": "builds and installs the wheel",
    "make_policy": "makes ONNX graphs",
    "fresh_cache": "compiles the scan",
}
"""Fixture → why each test that uses it takes long."""

SCREENS = "tests/tui/screens/"
SAMPLED_SCREENS = 5
"""`make test-fast` runs one of so many tests of a screen."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that take long, and start the files that hold most of them first.

    pytest-xdist gives files to its workers in this order: a long file that starts last would keep one core waiting.
    """
    slow: Counter[str] = Counter()
    of_screen: Counter[str] = Counter()
    for item in items:
        file = item.nodeid.partition("::")[0]
        if SLOW_FIXTURES.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        elif file.startswith(SCREENS):
            if of_screen[file] % SAMPLED_SCREENS:
                item.add_marker("slow")
            of_screen[file] += 1
        slow[file] += item.get_closest_marker("slow") is not None
    items.sort(key=lambda item: -slow[item.nodeid.partition("::")[0]])


@pytest.fixture(scope="session")
def replays() -> Path:
    """The folder of real replays with its `manifest.tsv`; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "replays"
    folder = Path(os.environ.get("EXPHIL_REPLAYS", beside))
    if not (folder / "manifest.tsv").is_file():
        pytest.skip(f"no real replays at {folder}: set EXPHIL_REPLAYS to a folder with manifest.tsv")
    return folder


@pytest.fixture(scope="session")
def dojo_replays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few of the dojo's games."""
    from exphil_core.dojo.demo import write_demo

    folder = tmp_path_factory.mktemp("dojo")
    with pytest.MonkeyPatch.context() as patch:
        # Twenty seconds each: most of what a test's run takes is to evaluate whole games.
        patch.setattr("exphil_core.dojo.environment.LAST_FRAME_ID", 1200)
        write_demo(folder, games=12, seed=11)
    return folder


@pytest.fixture(scope="session")
def dojo_dataset(dojo_replays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same games, built into a dataset. Read-only: copy it before changing it."""
    from exphil_core.dataset.build import build_dataset
    from exphil_core.replays.ingest import IngestOptions

    out = tmp_path_factory.mktemp("datasets") / "dojo"
    build_dataset([dojo_replays], out, workers=1, options=IngestOptions())
    return out


@pytest.fixture
def tiny() -> Callable[..., Preset]:
    """Makes presets small enough to take steps in milliseconds: `tiny(train={"max_steps": 3})`."""

    def make(**sections: dict[str, object]) -> Preset:
        tables: dict[str, dict[str, object]] = {
            "encoder": {"width": 32, "character_width": 8, "action_state_width": 8, "stage_width": 4},
            "backbone": {"kind": "attention", "width": 32, "layers": 1, "heads": 2, "window_size": 16},
            "policy": {"head_width": 32},
            "train": {
                "max_steps": 10,
                "batch_size": 4,
                "chunk_length": 32,
                "warmup_steps": 2,
                "precision": "fp32",
                "device": "cpu",
                "log_every_steps": 1,
            },
            "evaluation": {"max_frames": 2000, "batch_size": 4, "every_steps": 5},
            # By `auto`, every side of so few games would be trained on.
            "data": {"train_on_all_characters": False},
        }
        for section, values in sections.items():
            if values.get("kind") not in (None, tables.get(section, {}).get("kind")):
                tables[section] = {"width": 32, "layers": 1, "window_size": 16}
            tables.setdefault(section, {}).update(values)
        return Preset.model_validate({"name": "tiny", **tables})

    return make


@pytest.fixture
def new_run(tmp_path: Path, dojo_dataset: Path) -> Callable[..., RunDirectory]:
    """Makes a run directory that learns from the dojo's games."""

    def make(preset: Preset, name: str = "run", dataset: Path = dojo_dataset) -> RunDirectory:
        from exphil_core.dataset.index import DatasetIndex

        fingerprint = DatasetIndex.open(dataset).fingerprint
        return RunDirectory.create(
            tmp_path / "runs", preset, name=name, dataset=dataset, fingerprint=fingerprint
        )

    return make


@pytest.fixture
def terminal_signals() -> Iterator[None]:
    """Processes that a test starts get SIGHUP and SIGINT, also if the tests run under nohup or in the background."""
    defaults = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a head knows of the last controller from the start would hide what is learned."""
    from exphil_core.models.heads import ControllerHead

    monkeypatch.setattr(ControllerHead, "start_from_tables", lambda self, tables: None)
