"""Predictions on disk: what is given out is whole, of the right replay, and goes no further than was written."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exphil_core.errors import DataError, DiskFullError, UsageError
from exphil_core.melee.controller import BUTTON_BITS, Controller
from exphil_core.runs.prediction_layout import ComponentLayout, Layout, controller_of
from exphil_core.runs.predictions import (
    Meta,
    PredictedSide,
    PredictionFile,
    PredictionRing,
    partial_of,
    prediction_path,
)

STICK = ComponentLayout(
    name="main",
    size=3,
    kind="stick",
    labels=("–", "+1.00 +0.00", "-1.00 +0.00"),
    points=((0.0, 0.0), (1.0, 0.0), (-1.0, 0.0)),
)
BUTTONS = ComponentLayout(name="buttons", size=4, kind="buttons", labels=("–", "A", "B", "A+B"), points=None)
LAYOUT = Layout(codec="clusters", components=(STICK, BUTTONS), horizon=2)
FRAMES = 20


def meta(**changes: Any) -> Meta:
    sides = tuple(
        PredictedSide(slot=slot, port=slot + 1, external_id=2, type="human", known=True) for slot in (0, 1)
    )
    found = Meta(
        content_id="ab" * 16,
        frames=FRAMES,
        run="run",
        step=7,
        weights=2**64 - 1,
        backbone="gru",
        window_size=60,
        seed=0,
        since=0,
        sides=sides,
    )
    return replace(found, **changes)


def records(first: int, count: int, layout: Layout = LAYOUT) -> np.ndarray:
    """Frames whose every value says which frame they are of."""
    found = np.zeros(count, layout.dtype)
    index = np.arange(first, first + count)
    found["frame_index"], found["frame_id"] = index, index - 123
    found["content_id"] = b"ab" * 16
    found["likeliest"] = index[:, None] % 3
    found["human"] = (index // 2)[:, None] % 3
    found["nll"] = index[:, None] / 10
    found["presses"] = (index / 100)[:, None]
    return found


def written(path: Path, *, frames: int = FRAMES, finish: bool = True) -> PredictionFile:
    file = PredictionFile.create(path, LAYOUT, meta(frames=frames))
    for slot in file.slots:
        for start in range(0, frames, 5):
            file.write(slot, start, records(start, min(5, frames - start)))
    if finish:
        file.finish()
    return file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return prediction_path(tmp_path / "run", "ab" * 16, 7)


def test_a_file_gives_back_what_was_written(path: Path) -> None:
    written(path)
    assert path.name == f"{'ab' * 16}-step-000000007.predictions"
    file = PredictionFile.open(path, content_id="ab" * 16, frames=FRAMES)
    assert (file.layout, file.meta) == (LAYOUT, meta())
    for slot in (0, 1):
        assert file.done(slot) == FRAMES
        for index in range(FRAMES):
            record = file.record(slot, index)
            assert record is not None
            assert record["frame_index"] == index
            assert (record["human"] == index // 2 % 3).all()
    assert file.record(0, FRAMES) is None
    assert file.record(0, -1) is None
    assert file.record(2, 0) is None
    assert not partial_of(path).exists()


def test_a_frame_is_shown_with_what_was_predicted_for_it(path: Path) -> None:
    file = written(path)
    assert file.for_frame(0, 0) is None
    assert file.for_frame(0, LAYOUT.horizon - 1) is None
    for frame in range(LAYOUT.horizon, FRAMES):
        record = file.for_frame(0, frame)
        assert record is not None
        assert record["frame_index"] == frame - LAYOUT.horizon


def test_tracks_are_by_the_frame_that_they_are_for(path: Path) -> None:
    file = written(path)
    nll, agreement, probability = file.nll(1), file.agreement(1), file.human_probability(1)
    assert nll.shape == (FRAMES, 2)
    assert np.isnan(nll[:2]).all()
    assert np.isnan(agreement[:2]).all()
    observed = np.arange(FRAMES - 2)
    np.testing.assert_allclose(nll[2:, 0], observed / 10, rtol=1e-6)
    np.testing.assert_array_equal(agreement[2:], observed % 3 == observed // 2 % 3)
    np.testing.assert_allclose(probability[2:], np.exp(-observed / 5), rtol=1e-5)


def test_frames_without_a_target_are_unknown_in_every_track(path: Path) -> None:
    file = PredictionFile.create(path, LAYOUT, meta())
    some = records(0, 4)
    some["human"][1], some["nll"][1] = -1, np.nan
    some["likeliest"][0, 0] += 1
    file.write(0, 0, some)
    assert np.isnan(file.nll(0)[3]).all()
    assert np.isnan(file.agreement(0)[3])
    assert np.isnan(file.human_probability(0)[3])
    assert file.agreement(0)[2] == 0.5


def test_a_reader_sees_the_finished_part_and_sees_it_grow(path: Path) -> None:
    assert PredictionFile.find(path) is None
    writer = PredictionFile.create(path, LAYOUT, meta())
    reader = PredictionFile.find(path)
    assert reader is not None
    assert reader.being_written()
    for slot in (0, 1):
        assert reader.done(slot) == 0
        assert reader.record(slot, 0) is None
        assert np.isnan(reader.nll(slot)).all()
    writer.write(0, 0, records(0, 3))
    assert (reader.done(0), reader.done(1)) == (3, 0)
    assert [reader.record(0, index) is not None for index in range(5)] == [True, True, True, False, False]
    assert np.isfinite(reader.nll(0)).any(axis=1).nonzero()[0].tolist() == [2, 3, 4]
    writer.write(0, 3, records(3, 4))
    assert np.isfinite(reader.nll(0)).any(axis=1).nonzero()[0].tolist() == [2, 3, 4, 5, 6, 7, 8]
    writer.write(0, 7, records(7, FRAMES - 7))
    writer.write(1, 0, records(0, FRAMES))
    writer.finish()
    assert reader.done(0) == reader.done(1) == FRAMES
    assert not reader.being_written()
    assert reader.record(1, FRAMES - 1) is not None
    assert np.isfinite(reader.nll(0)[2:]).all()


def test_a_file_that_begins_later_has_nothing_before(path: Path) -> None:
    file = PredictionFile.create(path, LAYOUT, meta(since=8))
    assert file.record(0, 7) is None
    file.write(0, 8, records(8, 4))
    assert file.done(0) == 12
    assert file.record(0, 7) is None
    assert file.record(0, 8) is not None
    assert np.isfinite(file.nll(0)[:, 0]).nonzero()[0].tolist() == [10, 11, 12, 13]


def test_frames_are_filed_in_order(path: Path) -> None:
    file = PredictionFile.create(path, LAYOUT, meta())
    with pytest.raises(AssertionError, match="in order"):
        file.write(0, 5, records(5, 1))


def test_an_unfinished_file_is_never_taken_for_a_whole_one(path: Path) -> None:
    file = written(path, finish=False)
    with pytest.raises(DataError, match="no predictions there yet"):
        PredictionFile.open(path)
    file.finish()
    PredictionFile.open(path)
    # Nor is one that somebody has renamed.
    other = path.with_name("other.predictions")
    PredictionFile.create(other, LAYOUT, meta()).close()
    partial_of(other).rename(other)
    with pytest.raises(DataError, match="is not whole"):
        PredictionFile.open(other)


KILLED = """
import sys, time
from pathlib import Path
from tests.runs.test_predictions import LAYOUT, PredictionFile, meta, records
file = PredictionFile.create(Path(sys.argv[1]), LAYOUT, meta())
file.write(0, 0, records(0, 6))
print("written", flush=True)
time.sleep(60)
"""


def test_what_a_killed_writer_left_is_read_as_far_as_it_came_and_replaced_by_the_next(path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"written\n"
    with pytest.raises(UsageError, match="is being written by another process"):
        PredictionFile.create(path, LAYOUT, meta())
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    left = PredictionFile.find(path)
    assert left is not None
    assert not left.being_written()
    assert (left.done(0), left.done(1)) == (6, 0)
    with pytest.raises(DataError, match="no predictions there yet"):
        PredictionFile.open(path)
    written(path)
    assert PredictionFile.open(path).done(1) == FRAMES
    # Who had the old one open still has it, as it was.
    assert (left.done(0), left.done(1)) == (6, 0)
    assert left.record(0, 5) is not None
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_torn_record_is_not_given_out(path: Path) -> None:
    file = written(path)
    size = LAYOUT.dtype.itemsize
    start = path.stat().st_size - 2 * FRAMES * size
    with path.open("r+b", buffering=0) as raw:
        for at in range(size):
            raw.seek(start + 3 * size + at)
            before = raw.read(1)
            raw.seek(start + 3 * size + at)
            raw.write(bytes([before[0] ^ 0x10]))
            assert file.record(0, 3) is None, at
            raw.seek(start + 3 * size + at)
            raw.write(before)
        assert file.record(0, 3) is not None
        raw.seek(start + 3 * size + 60)
        raw.write(b"\xff\xff")
    assert np.isnan(file.nll(0)[5]).all()
    assert np.isnan(file.agreement(0)[5])
    assert np.isfinite(file.nll(0)[4]).all()
    assert np.isfinite(file.nll(0)[6]).all()


def test_a_file_cut_at_any_byte_is_refused_in_a_sentence(path: Path) -> None:
    written(path, frames=2)
    whole, cut = path.read_bytes(), path.with_name("cut.predictions")
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.predictions (is cut short|is damaged)"):
            PredictionFile.open(cut)


def test_a_header_with_any_flipped_bit_is_refused_or_harmless(path: Path) -> None:
    written(path, frames=2)
    whole, other = path.read_bytes(), path.with_name("other.predictions")
    header = 72 + int.from_bytes(whole[12:16], "little")
    for at in range(header):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        other.write_bytes(flipped)
        try:
            found = PredictionFile.open(other)
        except DataError:
            continue
        assert found.meta == meta(frames=2)
        record = found.record(1, 1)
        assert record is not None
        assert record["frame_index"] == 1


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"content_id": "cd" * 16}, "predictions of another replay: abab.*, expected cdcd"),
        ({"frames": 21}, "is for 20 frames; the replay has 21"),
    ],
)
def test_another_replay_is_refused(asked: dict[str, Any], words: str, path: Path) -> None:
    file = written(path, finish=False)
    with pytest.raises(DataError, match=words):
        PredictionFile.find(path, **asked)
    file.finish()
    with pytest.raises(DataError, match=words):
        PredictionFile.open(path, **asked)


def test_another_version_another_kind_and_what_is_no_predictions_at_all_are_refused(path: Path) -> None:
    written(path)
    data = bytearray(path.read_bytes())
    data[8] = 2
    path.write_bytes(data)
    with pytest.raises(DataError, match="is of version 2; this exphil reads version 1"):
        PredictionFile.open(path)
    PredictionRing.create(path, LAYOUT, {})
    with pytest.raises(DataError, match="does not hold predictions of this kind"):
        PredictionFile.open(path)
    path.write_bytes(b"something else entirely" * 100)
    for kind in (PredictionFile, PredictionRing):
        with pytest.raises(DataError, match="does not hold predictions of this kind"):
            kind.open(path)
        with pytest.raises(DataError, match="cannot be read"):
            kind.open(path.parent)


def test_a_full_disk_says_so_and_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(parents=True)

    def full(handle: int, data: bytes, at: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFullError, match="no room left"):
        PredictionFile.create(path, LAYOUT, meta())
    with pytest.raises(DiskFullError, match="no room left"):
        PredictionRing.create(path, LAYOUT, {})
    assert list(path.parent.iterdir()) == []


def test_a_ring_keeps_the_newest_and_numbers_them(tmp_path: Path) -> None:
    ring = PredictionRing.create(tmp_path / "frames.ring", LAYOUT, {"run": "é"}, capacity=4)
    reader = PredictionRing.open(tmp_path / "frames.ring")
    assert (reader.newest(), reader.last(10), reader.count) == (None, [], 0)
    assert (reader.meta, reader.layout, reader.capacity) == ({"run": "é"}, LAYOUT, 4)
    for number in range(1, 8):
        assert ring.append(records(number, 1)) == number
    newest = reader.newest()
    assert newest is not None
    assert (newest["number"], newest["frame_index"]) == (7, 7)
    assert [record["number"] for record in reader.last(10)] == [4, 5, 6, 7]
    assert [record["number"] for record in reader.last(2)] == [6, 7]
    assert [reader.at(number) is not None for number in range(9)] == [False] * 4 + [True] * 4 + [False]


def test_a_ring_that_begins_anew_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "frames.ring"
    PredictionRing.create(path, LAYOUT, {}).append(records(1, 1)[0])
    reader = PredictionRing.open(path)
    assert not reader.replaced()
    PredictionRing.create(path, LAYOUT, {})
    assert reader.replaced()
    assert reader.newest() is not None
    assert PredictionRing.open(path).newest() is None
    path.unlink()
    assert reader.replaced()
    with pytest.raises(DataError, match="no predictions there yet"):
        PredictionRing.open(path)


APPENDING = """
import sys
from pathlib import Path
import numpy as np
from tests.runs.test_predictions import LAYOUT, PredictionRing, records
ring = PredictionRing.create(Path(sys.argv[1]), LAYOUT, {}, capacity=2)
while True:
    ring.append(records(ring.count + 1, 1))
"""


def test_no_record_is_a_mixture_of_two_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "frames.ring"
    child = subprocess.Popen([sys.executable, "-c", APPENDING, str(path)], cwd=Path(__file__).parents[2])
    try:
        while not path.is_file():
            time.sleep(0.01)
            assert child.poll() is None
        ring, seen = PredictionRing.open(path), set()
        while len(seen) < 500:
            record = ring.newest()
            if record is None:
                continue
            number = int(record["number"])
            assert record.tobytes()[8:-4] == records(number, 1).tobytes()[8:-4]
            seen.add(number)
    finally:
        child.kill()
        child.wait()


def test_a_record_says_what_would_be_held(path: Path) -> None:
    one = records(0, 1)
    one["likely_controller"]["axes"] = (1.0, -0.5, 0.0, 0.25, 0.0, 1.0)
    one["likely_controller"]["buttons"] = BUTTON_BITS["A"] | BUTTON_BITS["L"]
    one["human_controller"]["axes"], one["human_controller"]["buttons"] = np.nan, 65535
    assert controller_of(one[0], "human") is None
    held = controller_of(one[0], "likely")
    assert held == Controller(main_x=1.0, main_y=-0.5, c_y=0.25, trigger_r=1.0, buttons=0x140)


def test_each_component_has_its_span_of_the_probabilities() -> None:
    assert LAYOUT.spans == (slice(0, 3), slice(3, 7))
    assert LAYOUT.dtype["probabilities"].shape == (7,)
