"""One game that was recorded twice is one game of the dataset, whichever recording comes first."""

import itertools
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from exphil_core.dataset.index import DatasetIndex, GameEntry
from exphil_core.dataset.shards import SHARD_FOLDER
from exphil_core.dataset.sources import read_sources
from exphil_core.dataset.twins import kept_recordings
from tests.dataset.conftest import entry_of, packed_game
from tests.dataset.test_build import Folder, _build


def recording(number: int, frames: int, *twins: str, salvaged: bool = False) -> GameEntry:
    return replace(entry_of(packed_game(number, frames=3, twin_keys=twins)), frames=frames, salvaged=salvaged)


def test_the_longest_recording_is_kept_in_whatever_order_they_come() -> None:
    longest = recording(0, 900, "a", "b")
    cut, shortest = recording(1, 800, "b", salvaged=True), recording(2, 700, "a")
    other = recording(3, 500, "z")
    for order in itertools.permutations((longest, cut, shortest, other)):
        assert kept_recordings(order) == {
            longest.content_id: longest.content_id,
            cut.content_id: longest.content_id,
            shortest.content_id: longest.content_id,
            other.content_id: other.content_id,
        }
    whole = recording(4, 800, "b")
    assert kept_recordings([cut, whole])[cut.content_id] == whole.content_id
    equal = [recording(5, 700, "q"), recording(6, 700, "q")]
    assert set(kept_recordings(equal).values()) == {min(game.content_id for game in equal)}


def test_recordings_that_a_third_one_links_are_one_game() -> None:
    first, second, third = recording(0, 900, "a"), recording(1, 800, "c"), recording(2, 700, "a", "c")
    assert set(kept_recordings([first, second]).values()) == {first.content_id, second.content_id}
    assert set(kept_recordings([first, second, third]).values()) == {first.content_id}
    # Long chains, in any order, come to one game.
    chain = [recording(n, 600 + n, f"{n}", f"{n + 1}") for n in range(50)]
    Random(0).shuffle(chain)
    assert set(kept_recordings(chain).values()) == {packed_game(49, frames=3).content_id}


@pytest.fixture
def twins() -> Folder:
    """A game as both players recorded it, the second recording twice; and another game."""
    longer = packed_game(1, frames=700, twin_keys=("of this game", "longer"))
    shorter = packed_game(2, frames=650, twin_keys=("of this game",))
    return Folder(
        files={
            "a.slp": shorter,
            "b.slp": longer,
            "copy of a.slp": shorter,
            "other.slp": packed_game(3, frames=650, twin_keys=("of another",)),
        }
    )


def listed(out: Path) -> set[str]:
    return {game.source for game in DatasetIndex.open(out).games}


def test_a_second_recording_is_a_duplicate_by_name(twins: Folder, tmp_path: Path) -> None:
    report = _build(twins, tmp_path)
    assert (report.kept, report.games, report.sources) == (2, 2, 4)
    assert (report.duplicates, report.twins) == (2, 2)
    assert report.duplicate_of == {"a.slp": "b.slp", "copy of a.slp": "b.slp"}
    assert report.unlisted == 0
    assert report.frames == 1350
    assert sum(entry["frames"] for entry in report.per_character.values()) == 2 * 1350
    assert listed(tmp_path) == {"b.slp", "other.slp"}
    duplicate_of = {entry.name: entry.duplicate_of for entry in read_sources(tmp_path).values()}
    assert duplicate_of == {"a.slp": "b.slp", "copy of a.slp": "b.slp", "b.slp": "", "other.slp": ""}


def test_the_order_of_arrival_does_not_matter(twins: Folder, tmp_path: Path) -> None:
    files = dict(twins.files)
    found = set()
    for number, order in enumerate(itertools.permutations(files)):
        twins.files = {name: files[name] for name in order}
        out = tmp_path / f"at_once_{number}"
        report = _build(twins, out)
        found.add((DatasetIndex.open(out).fingerprint, str(report.duplicate_of)))
    out = tmp_path / "one_by_one"
    twins.files = {}
    for name, game in files.items():
        twins.files[name] = game
        report = _build(twins, out)
    found.add((DatasetIndex.open(out).fingerprint, str(report.duplicate_of)))
    assert len(found) == 1


def test_when_the_kept_recording_goes_the_other_one_returns_unread(twins: Folder, tmp_path: Path) -> None:
    _build(twins, tmp_path)
    twins.taken()
    longer = twins.files.pop("b.slp")
    report = _build(twins, tmp_path)
    assert listed(tmp_path) == {"a.slp", "other.slp"}
    assert report.duplicate_of == {"copy of a.slp": "a.slp"}
    assert (report.duplicates, report.twins, report.unlisted) == (1, 0, 1)
    twins.files["b.slp"] = longer
    assert _build(twins, tmp_path).duplicate_of == {"a.slp": "b.slp", "copy of a.slp": "b.slp"}
    assert listed(tmp_path) == {"b.slp", "other.slp"}
    assert twins.taken() == []
    assert len(list((tmp_path / SHARD_FOLDER).iterdir())) == 1


def test_a_build_that_is_broken_off_lists_no_game_twice(twins: Folder, tmp_path: Path) -> None:
    twins.fails_after = 3
    with pytest.raises(KeyboardInterrupt):
        _build(twins, tmp_path)
    assert listed(tmp_path) == {"b.slp"}
    twins.fails_after = None
    assert _build(twins, tmp_path).games == 2
    assert listed(tmp_path) == {"b.slp", "other.slp"}
