"""Laws of reading, on real replays: alignment, ids, equality with libmelee, and every file accounted for."""

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peppi_py import RollbackMode, read_slippi

from exphil_core.melee import characters, stages
from exphil_core.melee.controller import BUTTON_BITS
from exphil_core.replays.columns import Version
from exphil_core.replays.game import Columns, Game
from exphil_core.replays.ingest import IngestOptions, Outcome, ingest
from exphil_core.replays.leak_probe import jump_onset_leak
from exphil_core.replays.parse import FOUNTAIN, parse_replay
from tests.replays.slp_events import POST, EventStream, finalised_copy

melee = pytest.importorskip("melee")

CHARACTER_OF_MANIFEST = {
    "DK": "dk",
    "GNW": "gameandwatch",
    "ICS": "iceclimbers",
    "PUFF": "jigglypuff",
    "GANON": "ganondorf",
}
STAGE_OF_MANIFEST = {"BF": 31, "DL": 28, "FD": 32, "FOD": 2, "PS": 3, "YS": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    file: str
    version: str
    stage: str
    characters: tuple[str, ...]
    types: tuple[str, ...]
    frames: int
    rollback_rows: int
    nana: bool
    end_method: str
    parses: bool


@pytest.fixture(scope="module")
def manifest(replays: Path) -> list[Row]:
    with (replays / "manifest.tsv").open(newline="") as file:
        return [
            Row(
                file=row["file"],
                version=row["slp_version"],
                stage=row["stage"],
                characters=tuple(row["characters"].split("/")),
                types=tuple(row["types(H=human,C=cpu)"].split("/")),
                frames=int(row["frames"] or 0),
                rollback_rows=int(row["rollback_rows"] or 0),
                nana=row["nana"] == "1",
                end_method=row["end_method"],
                parses=row["peppi_py_0.9.2"] == "ok",
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]


@pytest.fixture(scope="module")
def outcomes(replays: Path) -> dict[str, Outcome]:
    found = ingest([replays], workers=2, options=IngestOptions())
    return {str(Path(outcome.source.path).relative_to(replays.resolve())): outcome for outcome in found}


@pytest.fixture(scope="module")
def games(replays: Path, manifest: list[Row]) -> dict[str, Game]:
    return {row.file: parse_replay(replays / row.file) for row in manifest if row.parses}


EXPECTED = {
    "broken/bttdk.slp": ("refused", "bad_game_end"),
    "broken/corrupt.slp": ("refused", "no_frames"),
    "broken/corrupt_game_1.slp": ("refused", "not_slippi"),
    "broken/corrupt_game_2.slp": ("refused", "not_slippi"),
    "broken/corrupt_game_3.slp": ("refused", "bad_payload_size"),
    "broken/fodplatforms.slp": ("kept", ""),
    "broken/homerun_jp.slp": ("refused", "bad_game_end"),
    "broken/incomplete.slp": ("kept", ""),
    "broken/unknown_event.slp": ("kept", ""),
    "games/falcon_vs_zelda_bf_v1.7.1.slp": ("filtered", "no_damage"),
    "games/fox_vs_fox_fd_v3.19.0.slp": ("filtered", "no_damage"),
    "games/fox_vs_fox_fd_v3.19.0_2.slp": ("filtered", "no_damage"),
    "games/gnw_vs_fox_fd_v3.12.0.slp": ("filtered", "no_damage"),
    "odd/falco_vs_fox_vs_marth_ys_v3.13.0.slp": ("filtered", "not_1v1"),
    "odd/falco_vs_roy_fd_v1.7.1.slp": ("filtered", "too_short"),
    "odd/falcon_vs_ganon_vs_falcon_vs_marth_bf_v1.2.0.slp": ("filtered", "not_1v1"),
    "odd/fox_vs_falco_ys_v3.16.0.slp": ("filtered", "too_short"),
    "odd/fox_vs_fox_vs_fox_vs_fox_fd_v3.12.0.slp": ("filtered", "not_1v1"),
    "odd/fox_vs_pichu_fd_v3.13.0.slp": ("filtered", "too_short"),
    "odd/marth_vs_marth_ps_v3.12.0.slp": ("filtered", "too_short"),
}
"""Every file of the shared set that is not simply kept, with why."""


def test_every_file_is_kept_filtered_or_refused_by_name(
    manifest: list[Row], outcomes: dict[str, Outcome]
) -> None:
    assert set(outcomes) == {row.file for row in manifest}
    found = {file: (outcome.status, outcome.reason) for file, outcome in outcomes.items()}
    assert found == {row.file: EXPECTED.get(row.file, ("kept", "")) for row in manifest}
    kept = [outcome for outcome in outcomes.values() if outcome.packed is not None]
    assert len({outcome.packed.content_id for outcome in kept if outcome.packed}) == len(kept)


def test_the_truncated_file_is_salvaged_and_says_so(outcomes: dict[str, Outcome]) -> None:
    assert [file for file, outcome in outcomes.items() if outcome.salvaged] == ["broken/incomplete.slp"]
    packed = outcomes["broken/incomplete.slp"].packed
    assert packed is not None
    assert packed.salvaged
    assert packed.frames in (7779, 7780)


def test_repaired_files_say_what_was_repaired(outcomes: dict[str, Outcome]) -> None:
    marks = {file: outcome.packed.repaired for file, outcome in outcomes.items() if outcome.packed}
    assert {file: found for file, found in marks.items() if found} == {
        "broken/fodplatforms.slp": ("older_version",),
        "broken/unknown_event.slp": ("unknown_event",),
    }


def test_idle_and_scripted_sides_typed_human_are_seen(outcomes: dict[str, Outcome]) -> None:
    def unusable(file: str) -> list[bool]:
        sides = outcomes[f"games/{file}"].sides
        assert sides is not None
        return [not (side.active and side.plausible) for side in sides]

    assert unusable("fox_vs_fox_ys_v3.19.1.slp") == [True, True]
    assert unusable("fox_vs_gnw_fd_v3.19.1.slp") == [True, False]
    assert unusable("mewtwo_vs_fox_fd_v3.19.1_2.slp") == [False, True]
    sides = [side for outcome in outcomes.values() if outcome.sides for side in outcome.sides]
    assert not any(side.plausible for side in sides if not side.human)
    usable = [side for side in sides if side.human and side.active and side.plausible]
    assert len(usable) >= 55, "box controllers and low-tier players must not be taken for scripts"


def test_headers_are_as_the_manifest_says(manifest: list[Row], games: dict[str, Game]) -> None:
    for row in manifest:
        if not row.parses:
            continue
        game = games[row.file]
        names = [CHARACTER_OF_MANIFEST.get(name, name.lower()) for name in row.characters]
        found = [characters.by_external_id(player.external_id).name for player in game.players]
        assert found == names, row.file
        assert game.external_stage_id == STAGE_OF_MANIFEST[row.stage], row.file
        assert str(game.version) == row.version, row.file
        assert [player.type[0].upper() for player in game.players] == list(row.types), row.file
        assert game.frames + game.rollback_rows == row.frames, row.file
        assert (game.end_method or "") == row.end_method.lower(), row.file
        nana = [p.follower is not None for p in game.players if p.external_id == 14]
        assert nana == [True] * len(nana), row.file
        assert row.nana == bool(nana), row.file


def test_rollback_rows_are_those_of_the_manifest(manifest: list[Row], games: dict[str, Game]) -> None:
    for row in manifest:
        if row.parses:
            assert games[row.file].rollback_rows == row.rollback_rows, row.file
            assert (np.diff(games[row.file].frame_id) == 1).all(), row.file


@pytest.mark.parametrize("file", ["games/fox_vs_marth_dl_v3.9.0.slp", "games/ics_vs_falco_dl_v3.12.0.slp"])
def test_rollback_is_resolved_as_peppi_resolves_it(replays: Path, games: dict[str, Game], file: str) -> None:
    frames = read_slippi(str(replays / file), rollback_mode=RollbackMode.LAST).frames
    game = games[file]
    np.testing.assert_array_equal(game.frame_id, np.asarray(frames.id))
    for port, player in zip(frames.ports, game.players, strict=True):
        np.testing.assert_array_equal(player.leader["position_x"], np.asarray(port.leader.post.position.x))
        np.testing.assert_array_equal(player.leader["buttons"], np.asarray(port.leader.pre.buttons_physical))
    assert game.items is not None
    assert frames.items is not None
    offsets = np.asarray(frames.items.id.offsets)
    np.testing.assert_array_equal(np.diff(game.items.offsets), np.diff(offsets))
    ids = [spawn_id for frame in frames.items.id.to_pylist() for spawn_id in frame]
    assert game.items.spawn_id.tolist() == ids


def _leak(games: dict[str, Game], horizon: int) -> tuple[int, int]:
    counts = [
        jump_onset_leak(leader["action_state"], leader["buttons"], leader["airborne"], horizon)
        for game in games.values()
        if game.version >= Version(2, 0)  # before, nothing says who stands on the ground
        for leader in (player.leader for player in game.players if player.type == "human")
    ]
    return sum(leaking for leaking, _ in counts), sum(onsets for _, onsets in counts)


def test_a_jump_is_predicted_before_the_jump_squat_and_not_read_off_it(games: dict[str, Game]) -> None:
    leaking, onsets = _leak(games, horizon=1)
    assert onsets > 3000
    assert leaking / onsets <= 0.01


def test_pairing_a_state_with_the_controller_that_caused_it_leaks(games: dict[str, Game]) -> None:
    leaking, onsets = _leak(games, horizon=0)
    assert leaking / onsets > 0.5


LOW_TIER_FILES = {
    "mewtwo": "games/mewtwo_vs_fox_fd_v3.19.1_2.slp",
    "ganondorf": "games/fox_vs_ganon_dl_v0.1.0.slp",
    "gameandwatch": "games/fox_vs_gnw_fod_v3.17.0.slp",
    "zelda": "games/falcon_vs_zelda_ys_v2.0.1.slp",
}


@pytest.mark.parametrize("name", LOW_TIER_FILES)
def test_low_tier_characters_have_the_right_ids(games: dict[str, Game], name: str) -> None:
    character = characters.by_name(name)
    (player,) = (p for p in games[LOW_TIER_FILES[name]].players if p.external_id == character.external_id)
    internal = Counter(player.leader["internal_id"].tolist())
    assert character.internal_id in internal
    assert set(internal) <= ({7, 19} if name == "zelda" else {character.internal_id})


@pytest.mark.parametrize(
    ("file", "seen"),
    [
        ("games/falcon_vs_zelda_bf_v1.7.1.slp", {"zelda", "sheik"}),
        ("games/zelda_vs_ics_ys_v0.1.0.slp", {"sheik"}),  # Zelda selected, Sheik from the first frame on
        ("games/falcon_vs_zelda_ys_v2.0.1.slp", {"zelda"}),
    ],
)
def test_a_transformation_changes_the_internal_id_only(
    games: dict[str, Game], file: str, seen: set[str]
) -> None:
    (zelda,) = (player for player in games[file].players if player.external_id == 18)
    internal_ids = set(zelda.leader["internal_id"].tolist())
    assert {characters.by_internal_id(internal_id).name for internal_id in internal_ids} == seen


# --- libmelee -------------------------------------------------------------------------------------------------

COMPARED = (
    "games/falco_vs_falco_ys_v3.15.0.slp",  # 1,494 rollback rows
    "games/ics_vs_falco_dl_v3.12.0.slp",  # Nana, items, 11 rollback rows
    "odd/marth_vs_falcon_fod_v3.18.0.slp",  # moving platforms
    "games/fox_vs_gnw_fd_v3.19.1.slp",
    "games/falcon_vs_zelda_bf_v1.7.1.slp",  # no frame ends, velocities, hitlag or items; transformation
)


def _console(path: Path) -> Iterator[Any]:
    console = melee.Console(path=str(path), is_dolphin=False, allow_old_version=True)
    console.connect()
    while (state := console.step()) is not None:
        yield state


def _shoulder(leader: Columns, t: int) -> float:
    """The analogue value that the game makes of both triggers, which is all that libmelee gives: Z is 0.35 whatever
    else is held, a click is 1, and 42 of 140 steps are the dead zone."""
    buttons = int(leader["buttons"][t])
    if buttons & BUTTON_BITS["Z"]:
        return 0.35
    if buttons & (BUTTON_BITS["L"] | BUTTON_BITS["R"]):
        return 1.0
    pressed = min(max(float(leader["trigger_l"][t]), float(leader["trigger_r"][t])), 1.0)
    return 0.0 if pressed < 42.5 / 140 else pressed


def test_the_shoulder_is_what_the_game_made_of_triggers_and_buttons(
    replays: Path, games: dict[str, Game]
) -> None:
    both = alone = 0
    for file, game in games.items():
        frames = read_slippi(str(replays / file), rollback_mode=RollbackMode.LAST).frames
        for port, player in zip(frames.ports, game.players, strict=True):
            leader, made = player.leader, np.asarray(port.leader.pre.triggers)
            if player.type != "human" or len(made) != game.frames:
                continue
            pressed = leader["buttons"] & (BUTTON_BITS["Z"] | BUTTON_BITS["L"] | BUTTON_BITS["R"])
            for t in np.flatnonzero((pressed != 0) & (leader["buttons"] != 65535)):
                assert made[t] == pytest.approx(_shoulder(leader, t), abs=1e-6), (file, t)
                both += bool(pressed[t] & BUTTON_BITS["Z"]) and pressed[t] != BUTTON_BITS["Z"]
                alone += pressed[t] == BUTTON_BITS["Z"]
    assert both > 300
    assert alone > 5000


def _whole(value: float) -> int:
    """libmelee cuts floats to integers, and has 0 where there is nothing."""
    return 0 if math.isnan(value) else int(value)


def _check_post(ours: Columns, theirs: Any, t: int) -> None:
    """Every field of libmelee's player that comes from the post frame. Where the version lacks it, libmelee gives
    a default and we have the missing value, so the comparison is of the default with missing."""

    def ours_or(name: str, default: float) -> float:
        value = ours[name][t]
        missing = np.isnan(value) if ours[name].dtype == np.float32 else value == 255
        return default if missing else float(value)

    assert theirs.position.x == ours["position_x"][t]
    assert theirs.position.y == ours["position_y"][t]
    assert theirs.character.value == ours["internal_id"][t]
    assert theirs.action.value == ours["action_state"][t]
    assert theirs.facing == (ours["direction"][t] > 0)
    assert theirs.percent == ours["percent"][t]
    assert theirs.shield_strength == ours["shield"][t]
    assert theirs.stock == ours["stocks"][t]
    assert theirs.hitstun_frames_left == _whole(ours_or("misc_as", 0))
    assert theirs.hitlag_left == _whole(ours_or("hitlag", 0))
    assert theirs.on_ground == (ours_or("airborne", 0) == 0)
    assert theirs.jumps_left == ours_or("jumps", 1)
    assert theirs.invulnerable == (ours_or("hurtbox_state", 0) != 0)
    assert theirs.is_powershield == (int(ours_or("flags_4", 0)) & 0x20 == 0x20)
    assert theirs.speed_air_x_self == ours_or("velocity_air_x", 0)
    assert theirs.speed_ground_x_self == ours_or("velocity_ground_x", 0)
    assert theirs.speed_y_self == ours_or("velocity_y", 0)
    assert theirs.speed_x_attack == ours_or("knockback_x", 0)
    assert theirs.speed_y_attack == ours_or("knockback_y", 0)


def _check_action_frame(console_indices: Any, ours: Columns, theirs: Any, t: int) -> None:
    """libmelee counts every animation from 1: it cuts `state_age` and adds 1 for the states that the game counts
    from 0. Leaders only; Nana's stays as the game has it."""
    from_zero = theirs.action.value in console_indices[theirs.character.value]
    assert theirs.action_frame == int(ours["state_age"][t]) + from_zero


def _check_pre(ours: Columns, theirs: Any, t: int, *, human: bool) -> None:
    """libmelee's sticks are 0 to 1, both its shoulders are the one value that the game makes of them. A CPU gives the
    game that value directly, with no physical trigger behind it."""
    assert theirs.main_stick == (ours["main_x"][t] / 2 + 0.5, ours["main_y"][t] / 2 + 0.5)
    assert theirs.c_stick == (ours["c_x"][t] / 2 + 0.5, ours["c_y"][t] / 2 + 0.5)
    if human:
        assert theirs.l_shoulder == pytest.approx(_shoulder(ours, t), abs=1e-6)
    assert theirs.r_shoulder == theirs.l_shoulder
    pressed = {button.name.removeprefix("BUTTON_") for button, down in theirs.button.items() if down}
    ours_pressed = {name for name, bit in BUTTON_BITS.items() if int(ours["buttons"][t]) & bit}
    assert pressed & set(BUTTON_BITS) == ours_pressed


def _check_items(game: Game, theirs: list[Any], t: int) -> None:
    if game.items is None:
        assert not theirs
        return
    start, stop = game.items.offsets[t : t + 2]
    assert len(theirs) == stop - start
    for row, item in enumerate(theirs, start=int(start)):
        columns = game.items.columns
        assert item.spawn_id == game.items.spawn_id[row]
        assert item.position.x == columns["position_x"][row]
        assert item.position.y == columns["position_y"][row]
        assert item.speed.x == columns["velocity_x"][row]
        assert item.speed.y == columns["velocity_y"][row]
        assert getattr(item.type, "value", item.type) == columns["type"][row]
        assert item.subtype == columns["state"][row]
        # libmelee has ports and 0 for nobody, we positions in `players` and 255.
        owner = columns["owner"][row]
        assert item.owner == (0 if owner == 255 else game.players[owner].port_index + 1)


@pytest.mark.parametrize("file", COMPARED)
def test_columns_equal_libmelees_file_console(
    replays: Path, games: dict[str, Game], tmp_path: Path, file: str
) -> None:
    # libmelee's file console yields the first occurrence of a repeated frame, and we keep the last.
    path = finalised_copy(replays / file, tmp_path)
    game = games[file]
    indices = melee.Console(path=str(path), is_dolphin=False).zero_indices
    internal_stage_id = stages.by_external_id(game.external_stage_id).internal_id
    frames = nanas = 0
    for t, state in enumerate(_console(path)):
        frames += 1
        assert state.frame == game.frame_id[t]
        assert state.stage.value == internal_stage_id
        assert set(state.players) == {player.port_index + 1 for player in game.players}
        for player in game.players:
            theirs = state.players[player.port_index + 1]
            _check_pre(player.leader, theirs.controller_state, t, human=player.type == "human")
            _check_post(player.leader, theirs, t)
            _check_action_frame(indices, player.leader, theirs, t)
            there = player.follower is not None and player.follower["action_state"][t] != 65535
            assert (theirs.nana is not None) == there
            if player.follower is not None and theirs.nana is not None:
                nanas += 1
                # libmelee starts Nana anew at her post frame, which loses the controller of her pre frame.
                assert theirs.nana.controller_state.c_stick == (0.5, 0.5)
                _check_post(player.follower, theirs.nana, t)
        _check_items(game, state.projectiles, t)
        if game.version >= Version(3, 18) and game.external_stage_id == FOUNTAIN:
            assert state.fod_platforms.left == game.stage["fod_left"][t]
            assert state.fod_platforms.right == game.stage["fod_right"][t]
    assert frames == game.frames
    assert (nanas > 1000) == ("ics" in file)


def test_nana_before_3_0_is_where_libmelee_sees_her(
    replays: Path, games: dict[str, Game], tmp_path: Path
) -> None:
    """She is away for a while in it, and the parser closes the gap that she leaves in its rows."""
    file = "games/zelda_vs_ics_ys_v0.1.0.slp"
    stream = EventStream.of((replays / file).read_bytes())
    # libmelee reads the state's age, which 0.1.0 does not have.
    aged = [event + bytes(4) if event[0] == POST else event for event in stream.events]
    sizes = stream.sizes_event.replace(b"\x38\x00\x21", b"\x38\x00\x25")
    path = tmp_path / "aged.slp"
    path.write_bytes(EventStream(sizes_event=sizes, events=tuple(aged), after=stream.after).build())
    (climbers,) = (player for player in games[file].players if player.follower is not None)
    nana = climbers.follower
    assert nana is not None
    there = nana["action_state"] != 65535
    seen = []
    for t, state in enumerate(_console(path)):
        theirs = state.players[climbers.port_index + 1]
        assert theirs.position.x == climbers.leader["position_x"][t]
        seen.append(theirs.nana is not None)
        if theirs.nana is not None:
            assert theirs.nana.position.x == nana["position_x"][t]
            assert theirs.nana.position.y == nana["position_y"][t]
            assert theirs.nana.action.value == nana["action_state"][t]
            assert theirs.nana.percent == nana["percent"][t]
    assert seen == there.tolist()
    away = np.flatnonzero(~there)
    assert there[away[0] :].any(), "she comes back, so that rows could slip"
