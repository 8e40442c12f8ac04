"""The transport of a replay under a clock that is moved by hand."""

import pytest

from exphil_tui.model.playback import SPEEDS, Playback, parse_frame, speed_name, time_of

FRAMES = 1000


def test_sixty_frames_are_a_second_at_every_speed() -> None:
    for speed in SPEEDS:
        playing = Playback(frames=FRAMES, playing=True, speed=speed, start=100, since=5.0)
        assert [playing.frame_index(5.0 + n / 60) for n in range(40)] == [
            100 + int(n * speed) for n in range(40)
        ]


def test_a_late_picture_shows_a_later_frame_and_not_a_slower_game() -> None:
    playing = Playback(frames=FRAMES, start=0).started(0.0)
    assert playing.frame_index(0.016) == 0
    assert playing.frame_index(3.5) == 210


def test_a_frame_does_not_depend_on_how_often_the_clock_was_asked() -> None:
    playing = Playback(frames=100_000).started(1.0)
    for n in range(1, 50_000, 7):
        assert playing.frame_index(1.0 + n / 60) == n


def test_a_clock_that_goes_back_shows_no_frame_before_the_start() -> None:
    playing = Playback(frames=FRAMES, start=50).started(10.0)
    assert playing.frame_index(3.0) == 50


def test_paused_it_stands_and_goes_on_from_there() -> None:
    paused = Playback(frames=FRAMES).started(0.0).toggled(1.0)
    assert (paused.playing, paused.frame_index(99.0)) == (False, 60)
    on = paused.toggled(100.0)
    assert (on.playing, on.frame_index(100.5)) == (True, 90)


def test_at_the_end_it_stands_and_playing_begins_anew() -> None:
    playing = Playback(frames=60).started(0.0)
    assert playing.frame_index(50.0) == 59
    ended = playing.paused_at_end(50.0)
    assert not ended.playing
    assert ended.frame_index(60.0) == 59
    again = ended.toggled(60.0)
    assert (again.playing, again.frame_index(60.0), again.frame_index(60.5)) == (True, 0, 30)
    # Where nobody noticed the end, the key still means: once more.
    assert playing.toggled(50.0).frame_index(50.0) == 0


def test_a_jump_stays_within_the_game_and_keeps_playing() -> None:
    playing = Playback(frames=FRAMES).started(0.0)
    assert playing.moved(60, 1.0).frame_index(1.0) == 120
    assert playing.moved(60, 1.0).frame_index(2.0) == 180
    assert playing.moved(-600, 1.0).frame_index(1.0) == 0
    assert playing.at(5000, 1.0).frame_index(1.0) == FRAMES - 1
    assert playing.at(-1, 1.0).frame_index(1.0) == 0


def test_a_step_of_one_frame_stands_still_to_be_looked_at() -> None:
    playing = Playback(frames=FRAMES).started(0.0)
    for step in (1, -1):
        stepped = playing.moved(step, 1.0)
        assert not stepped.playing
        assert stepped.frame_index(9.0) == 60 + step


def test_speeds_go_from_a_quarter_to_four_and_the_frame_stays() -> None:
    now = Playback(frames=FRAMES).started(0.0)
    slower = now.speed_changed(-1, 1.0)
    assert (slower.speed, slower.frame_index(1.0), slower.frame_index(2.0)) == (0.5, 60, 90)
    assert now.speed_changed(-9, 1.0).speed == SPEEDS[0]
    assert now.speed_changed(9, 1.0).speed == SPEEDS[-1]


def test_speeds_have_names_in_every_terminal() -> None:
    assert [speed_name(speed, ascii=False) for speed in SPEEDS] == ["¼", "½", "1", "2", "4"]
    assert [speed_name(speed, ascii=True) for speed in SPEEDS] == ["1/4", "1/2", "1", "2", "4"]


IDS = list(range(-123, 7200))


@pytest.mark.parametrize(
    ("typed", "frame_id"),
    [
        ("-39", -39),
        ("1200", 1200),
        ("1,200", 1200),
        (" 0 ", 0),
        ("+5", 5),
        ("−39", -39),
        ("0:00", 0),
        ("1:23", 83 * 60),
        ("1:23.5", 83 * 60 + 30),
        ("-0:02", -120),
        ("01:05", 65 * 60),
    ],
)
def test_a_place_is_a_frame_id_or_a_time(typed: str, frame_id: int) -> None:
    index = parse_frame(typed, IDS)
    assert isinstance(index, int)
    assert IDS[index] == frame_id


@pytest.mark.parametrize("typed", ["", "soon", "1:75", "1.5", "--3", "1:2:3", "9" * 40, "1200f"])
def test_what_is_no_place_is_told_how_one_looks(typed: str) -> None:
    found = parse_frame(typed, IDS)
    assert isinstance(found, str)
    assert "such as -39" in found


@pytest.mark.parametrize("typed", ["7200", "-124", "99:59"])
def test_a_place_outside_of_the_game_is_told_how_far_it_goes(typed: str) -> None:
    found = parse_frame(typed, IDS)
    assert isinstance(found, str)
    assert "from frame -123 to 7,199" in found


def test_in_a_gap_the_later_frame_is_meant() -> None:
    assert parse_frame("5", [0, 1, 2, 9, 10]) == 3


def test_times_count_from_when_the_clock_of_the_game_runs() -> None:
    assert [time_of(frame) for frame in (-123, -39, 0, 59, 60, 83 * 60, 8 * 3600)] == [
        "-0:02",
        "0:00",
        "0:00",
        "0:00",
        "0:01",
        "1:23",
        "8:00",
    ]
    assert time_of(-39, tenths=True) == "-0:00.6"
    assert time_of(83 * 60 + 30, tenths=True) == "1:23.5"
