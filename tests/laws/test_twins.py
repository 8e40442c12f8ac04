"""Recordings of one real game by both of its players are found, whatever tells them apart, and never split.

The twins are made from shared games with repeated frames: what the other client recorded has other guesses in the
repeated frames, ends some frames earlier or later, and has metadata of its own.
"""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from exphil_core.dataset.build import build_dataset
from exphil_core.dataset.build_report import BuildReport
from exphil_core.dataset.index import DatasetIndex
from exphil_core.dataset.split import split_games
from exphil_core.replays.ingest import IngestOptions
from exphil_core.replays.parse import parse_replay
from exphil_core.training.split_file import kept_of
from tests.replays.slp_events import (
    FRAME_EVENTS,
    GAME_END,
    GAME_START,
    PRE,
    EventStream,
    finalised,
    frame_id_of,
    occurrences,
)

GAMES = (
    "falco_vs_falco_ys_v3.15.0",
    "fox_vs_marth_dl_v3.9.0",
    "ics_vs_falco_dl_v3.12.0",
    "sheik_vs_sheik_ps_v3.18.0",
)
"""Of before and after match ids; 1,494, 4,292, 11 and 235 repeated rows."""

Recording = Callable[[EventStream], EventStream]


def _from_occurrences(stream: EventStream, kept: list[tuple[int, list[bytes]]]) -> EventStream:
    """The stream with these occurrences of frames in the place of its own."""
    head = [event for event in stream.events if event[0] not in FRAME_EVENTS and event[0] != GAME_END]
    end = [event for event in stream.events if event[0] == GAME_END][:1]
    return stream.with_events([*head, *(event for _, events in kept for event in events), *end])


def without_guesses(stream: EventStream) -> EventStream:
    """Of a client whose input never came late, with the last frames never settled."""
    return shorter(finalised(stream), 5)


def with_other_guesses(stream: EventStream) -> EventStream:
    """Every tenth frame was played before with the controller of the frame before it, and then as it is."""
    last = dict(occurrences(stream.events))
    played: list[tuple[int, list[bytes]]] = []
    for frame_id in sorted(last):
        events = last[frame_id]
        if frame_id % 10 == 0 and frame_id - 1 in last:
            before = {event[5:7]: event for event in last[frame_id - 1] if event[0] == PRE}
            wrong = [
                _at_frame(before.get(event[5:7], event), frame_id) if event[0] == PRE else event
                for event in events
            ]
            played.append((frame_id, wrong))
        played.append((frame_id, events))
    return shorter(_from_occurrences(stream, played), 2)


def shorter(stream: EventStream, frames: int) -> EventStream:
    """The recording of a client that left earlier."""
    last = max(frame_id for event in stream.events if (frame_id := frame_id_of(event)) is not None)
    kept = [played for played in occurrences(stream.events) if played[0] <= last - frames]
    return _from_occurrences(stream, kept)


def much_shorter(stream: EventStream) -> EventStream:
    return shorter(stream, 2000)


def with_a_wrong_end(stream: EventStream) -> EventStream:
    """The last frames as they were guessed: the stick held to one side."""
    last = max(frame_id for event in stream.events if (frame_id := frame_id_of(event)) is not None)
    events = [
        event[:0x19] + struct.pack(">f", 1.0) + event[0x1D:]
        if event[0] == PRE and event[5] == 1 and (frame_id_of(event) or 0) > last - 7
        else event
        for event in stream.events
    ]
    return stream.with_events(events)


def _at_frame(event: bytes, frame_id: int) -> bytes:
    return event[:1] + struct.pack(">i", frame_id) + event[5:]


RECORDINGS: dict[str, Recording] = {
    "without guesses": without_guesses,
    "other guesses": with_other_guesses,
    "much shorter": much_shorter,
    "a wrong end": with_a_wrong_end,
}


@pytest.fixture(scope="module")
def folder(replays: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The games, their other recordings, and games of their own to split with."""
    made = tmp_path_factory.mktemp("twins")
    for name in GAMES:
        whole = (replays / "games" / f"{name}.slp").read_bytes()
        (made / f"{name}.slp").write_bytes(whole)
        for number, record in enumerate(RECORDINGS.values()):
            twin = record(EventStream.of(whole))
            (made / f"{name} recording {number}.slp").write_bytes(twin.build())
    for path in sorted((replays / "games").glob("*_v3.17.0*.slp")):
        (made / path.name).symlink_to(path)
    return made


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[BuildReport, Path]:
    out = tmp_path_factory.mktemp("datasets") / "twins"
    return build_dataset([folder], out, workers=2, options=IngestOptions()), out


def game_of(source: str) -> str:
    return Path(source).stem.split(" recording")[0]


def test_the_recordings_differ_in_bytes_and_in_what_was_played(folder: Path) -> None:
    for name in GAMES:
        recordings = sorted(folder.glob(f"{name}*.slp"))
        assert len({path.read_bytes() for path in recordings}) == len(recordings) == 1 + len(RECORDINGS)
        assert len({parse_replay(path).content_id for path in recordings}) == len(recordings)


def test_every_recording_is_found_to_be_of_its_game(built: tuple[BuildReport, Path], folder: Path) -> None:
    report, out = built
    assert report.duplicates == report.twins == len(GAMES) * len(RECORDINGS)
    assert report.kept == len(list(folder.glob("*.slp"))) - report.twins
    for source, kept in report.duplicate_of.items():
        assert game_of(source) == game_of(kept)
    games = DatasetIndex.open(out).games
    assert len({game_of(game.source) for game in games}) == len(games) == report.games
    # What is kept has all frames that any recording has.
    by_name = {game_of(game.source): game for game in games}
    for path in folder.glob("* recording *.slp"):
        assert parse_replay(path).frames <= by_name[game_of(path.name)].frames


@pytest.mark.parametrize("whole_first", [True, False])
def test_no_recording_of_a_held_out_game_is_learned_from_when_they_arrive_one_by_one(
    folder: Path, tmp_path: Path, whole_first: bool
) -> None:
    """Over the seeds of a split that is drawn while only one of the recordings is there."""
    growing = tmp_path / "growing"
    growing.mkdir()

    def take(wanted: Callable[[Path], bool]) -> DatasetIndex:
        for path in folder.glob("*.slp"):
            if wanted(path) and not (growing / path.name).exists():
                (growing / path.name).symlink_to(path)
        build_dataset([growing], tmp_path / "dataset", workers=2, options=IngestOptions())
        return DatasetIndex.open(tmp_path / "dataset")

    names = [f" recording {n}" for n in range(len(RECORDINGS))]
    order = ["", *names] if whole_first else [*names, ""]
    before = take(lambda path: path.stem.endswith(order[0]) if order[0] else " recording" not in path.stem)
    after = take(lambda path: True)
    held_twins = 0
    for seed in range(40):
        kept = kept_of(before, split_games(before, validation_share=0.3, seed=seed))
        now = kept.of(after)
        held = {game_of(game.source) for game in before.games if game.content_id in kept.validation}
        assert {game_of(after.games[number].source) for number in now.validation} >= held
        assert not held & {game_of(after.games[number].source) for number in now.train}
        held_twins += sum(name in GAMES for name in held)
    assert held_twins > 20


def test_matches_of_real_games_are_never_split(folder: Path, tmp_path: Path) -> None:
    """Games that have no match id, mostly of one tournament, given one two by two."""
    made = tmp_path / "matches"
    made.mkdir()
    sources = sorted(folder.glob("*_v3.17.0*.slp"))
    for number, path in enumerate(sources):
        stream = EventStream.of(path.read_bytes())
        events = [
            _in_match(event, f"mode.ranked-{number // 2}", 1 + number % 2)
            if event[0] == GAME_START
            else event
            for event in stream.events
        ]
        (made / path.name).write_bytes(stream.with_events(events).build())
    report = build_dataset([made], tmp_path / "dataset", workers=2, options=IngestOptions())
    index = DatasetIndex.open(tmp_path / "dataset")
    assert report.twins == 0
    assert len({game.match_key for game in index.games}) == -(-len(sources) // 2)
    found = set()
    for seed in range(100):
        split = split_games(index, validation_share=0.3, seed=seed)
        learned = {index.games[number].match_key for number in split.train}
        held = {index.games[number].match_key for number in split.validation}
        assert not learned & held, seed
        found.add(split.validation)
    assert len(found) > 1


def _in_match(event: bytes, match_id: str, game_number: int) -> bytes:
    """Game Start with another match: Slippi's specification has the id at 0x2BE, its numbers behind it."""
    at = 0x2BE
    return event[:at] + struct.pack(">51sII", match_id.encode(), game_number, 0) + event[at + 59 :]
