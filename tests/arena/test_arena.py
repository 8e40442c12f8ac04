"""Matches and scores: the same seed gives the same matches, and the controls come out as they must."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from exphil_core.arena.excess import tokens_of
from exphil_core.arena.oracle import OraclePlayer
from exphil_core.arena.plan import plan_matches
from exphil_core.arena.play import play_matches
from exphil_core.arena.players import ArenaPlayer, BotPlayer, NeutralPlayer, Seat
from exphil_core.arena.policy_player import PolicyPlayer
from exphil_core.arena.score import FRAMES_A_MINUTE, LEAST_PAIRS, GameScore, combined, wilson
from exphil_core.arena.workers import LEAST_MATCHES, Pairing, play_pairing, recording_name
from exphil_core.cli.main import run
from exphil_core.config.preset import Preset
from exphil_core.dojo.inputs import nearest_input
from exphil_core.encoding.codecs import CodecName, build_codec
from exphil_core.inference.agent import to_controllers
from exphil_core.melee.characters import LOW_TIER, by_name
from exphil_core.models.policy import build_policy
from exphil_core.replays.parse import parse_replay
from exphil_core.runs.directory import RunDirectory
from exphil_core.worker import work

LOW_TIERS = tuple(by_name(name).external_id for name in LOW_TIER)
MakePreset = Callable[..., Preset]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matches of eight seconds of play."""
    monkeypatch.setattr("exphil_core.dojo.environment.LAST_FRAME_ID", 480)


def _policy(tiny: MakePreset, **policy: object) -> PolicyPlayer:
    torch.manual_seed(0)
    built = build_policy(tiny(backbone={"kind": "gru"}, policy={"head_width": 32, **policy})).eval()
    return PolicyPlayer(built, name="policy")


def _replays(players: tuple[ArenaPlayer, ArenaPlayer], games: int, **how: int) -> dict[int, bytes]:
    planned = plan_matches(games, seed=3, first=LOW_TIERS, second=LOW_TIERS)
    found: dict[int, bytes] = {}
    scores = list(
        play_matches(
            planned, players, record=lambda match, replay: found.update({match.number: replay}), **how
        )
    )
    assert sorted(score.number for score in scores) == sorted(found) == list(range(games))
    return found


@pytest.mark.usefixtures("short")
def test_matches_are_the_same_to_the_byte_however_many_are_played_at_once(tiny: MakePreset) -> None:
    # More matches than a block has rows; one by one they take longest, and more games extend fewer.
    expected = _replays((_policy(tiny), BotPlayer()), 20, at_once=96)
    for games, at_once in ((4, 1), (20, 7)):
        found = _replays((_policy(tiny), BotPlayer()), games, at_once=at_once)
        assert [number for number in found if found[number] != expected[number]] == [], at_once


def test_matches_are_the_same_to_the_byte_in_one_process_and_in_two(
    tiny: MakePreset, new_run: Callable[..., RunDirectory], tmp_path: Path
) -> None:
    trained = new_run(tiny(train={"max_steps": 2}))
    assert work(trained) == 0
    planned = plan_matches(2 * LEAST_MATCHES, seed=7, first=LOW_TIERS[:1], second=LOW_TIERS[1:])
    found = []
    for workers in (1, 2):
        record = tmp_path / f"{workers}"
        record.mkdir()
        pairing = Pairing(players=(trained.name, "bot"), runs_dir=trained.path.parent, record=record)
        scores = sorted(play_pairing(pairing, planned, workers=workers), key=lambda score: score.number)
        replays = {path.name: path.read_bytes() for path in sorted(record.glob("*.slp"))}
        assert sorted(replays) == sorted(map(recording_name, planned))
        found.append(([replace(score, excess=None) for score in scores], replays))
    assert found[0] == found[1]


def test_an_interval_is_as_wide_as_the_standard_error_of_planned_pairings() -> None:
    chance = np.random.default_rng(0)
    ratios = []
    for _ in range(40):
        taken = chance.integers(0, 5, size=(2, LEAST_PAIRS, 2))
        games = [
            GameScore(
                number=number,
                pair=number // 2,
                seat=number % 2,
                character="mewtwo",
                opponent="link" if number < 2 * LEAST_PAIRS else "zelda",
                stage="battlefield",
                frames=FRAMES_A_MINUTE,
                taken=int(stocks),
                lost=2,
                won=0.5,
                damage=0.0,
                received=0.0,
                self_destructs=0,
            )
            for number, stocks in enumerate(taken.ravel())
        ]
        found = combined(games).net_stocks
        assert found.low is not None
        assert found.high is not None
        variance = LEAST_PAIRS * taken.sum(-1).var(axis=1, ddof=1).sum()
        ratios.append((found.high - found.low) / (2 * 1.96 * np.sqrt(variance) / len(games)))
    # Resampling alone would give 0.935.
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.02)


@pytest.mark.usefixtures("short")
def test_more_games_extend_fewer() -> None:
    few, many = (_replays((BotPlayer(), BotPlayer()), games) for games in (4, 10))
    assert {number: many[number] for number in few} == few


def test_a_match_that_is_recorded_can_be_read_with_its_players(tmp_path: Path) -> None:
    replay = _replays((BotPlayer(), NeutralPlayer()), 2)[1]
    (tmp_path / "a.slp").write_bytes(replay)
    game = parse_replay(tmp_path / "a.slp")
    assert game.frames > 600
    assert b"neutral" in replay


def test_neutral_loses_and_never_takes_a_stock() -> None:
    planned = plan_matches(12, seed=1, first=LOW_TIERS, second=LOW_TIERS)
    score = combined(list(play_matches(planned, (NeutralPlayer(), BotPlayer()))))
    assert score.net_stocks.high < -3
    assert (score.win_rate.value, score.damage) == (0.0, 0.0)
    mirrored = combined(list(play_matches(planned, (BotPlayer(), NeutralPlayer()))))
    assert mirrored.net_stocks.low > 3


def test_the_bot_against_itself_is_even_within_its_interval() -> None:
    planned = plan_matches(30, seed=2, first=LOW_TIERS, second=LOW_TIERS)
    score = combined(list(play_matches(planned, (BotPlayer(), BotPlayer()))))
    assert score.net_stocks.low < 0 < score.net_stocks.high
    assert score.win_rate.low < 0.5 < score.win_rate.high


@pytest.mark.parametrize("codec", ["clusters", "axes"])
def test_a_perfect_imitator_has_no_excess(codec: CodecName) -> None:
    planned = plan_matches(4, seed=2, first=LOW_TIERS, second=LOW_TIERS)
    score = combined(list(play_matches(planned, (OraclePlayer(codec), BotPlayer()))))
    assert score.excess is not None
    assert score.excess.value == pytest.approx(0.0, abs=1e-6)
    assert score.bot_entropy is not None
    # Those of the bots' games are .36 to .38 (docs/dojo.md).
    assert 0.3 < score.bot_entropy < 0.45


@pytest.mark.usefixtures("short")
def test_excess_is_the_divergence_from_the_bots_distribution(tiny: MakePreset) -> None:
    """Summed over what each seat's policy says of every input that its bot can choose."""
    player = _policy(tiny, delay=2)
    planned = plan_matches(2, seed=4, first=LOW_TIERS, second=LOW_TIERS)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    found: list[tuple[int, float]] = []
    observe, distribution = player.policy.step_and_features, player._reference.distribution

    def watched(frame: Any, *rest: Any, **settings: Any) -> Any:
        tokens_BK, y_BD, state = observe(frame, *rest, **settings)
        seen.append((y_BD[:1].clone(), player.policy.previous(frame)[:1, 0]))
        return tokens_BK, y_BD, state

    def compared(seat: Seat) -> Any:
        expected = distribution(seat)
        if expected is not None and seat.row == 0 and len(seen) > 2:
            # What was said two frames ago is about the next frame.
            y_1D, previous_1K = seen[-3]
            many = len(expected.tokens_NK)
            log_probs = player.policy.head.log_probs(
                y_1D.expand(many, -1), previous_1K.expand(many, -1), expected.tokens_NK
            )
            said = sum(part.gather(1, expected.tokens_NK[:, k : k + 1]) for k, part in enumerate(log_probs))
            p = expected.probabilities_N
            found.append((seat.played.match.number, float((p * (p.log() - said[:, 0])).sum())))
        return expected

    player.policy.step_and_features = watched  # type: ignore[method-assign]
    player._reference.distribution = compared  # type: ignore[method-assign]
    with torch.no_grad():
        (score,) = [
            each for each in play_matches(planned, (player, BotPlayer()), at_once=2) if each.number == 0
        ]
    assert score.excess is not None
    expected = [nats for number, nats in found if number == 0]
    assert score.excess.frames == len(expected) > 100
    assert score.excess.nats == pytest.approx(sum(expected), rel=1e-4)
    assert min(expected) > 0


@pytest.mark.usefixtures("short")
def test_a_policy_that_watches_leaves_the_match_as_its_teacher_plays_it(tiny: MakePreset) -> None:
    built = _policy(tiny).policy
    planned = plan_matches(4, seed=3, first=LOW_TIERS, second=LOW_TIERS)

    def played(first: ArenaPlayer) -> list[GameScore]:
        scores = play_matches(planned, (first, BotPlayer()))
        return sorted((replace(score, excess=None) for score in scores), key=lambda score: score.number)

    teacher = played(BotPlayer())
    assert played(PolicyPlayer(built, name="policy", teacher=BotPlayer())) == teacher
    assert played(PolicyPlayer(built, name="policy")) != teacher


def test_inputs_of_bots_survive_every_codec() -> None:
    planned = plan_matches(10, seed=6, first=LOW_TIERS, second=LOW_TIERS)
    bots, held = (BotPlayer(), BotPlayer()), set()
    act = bots[0].act

    def watched(seats: Any) -> Any:
        chosen = act(seats)
        held.update(chosen)
        return chosen

    bots[0].act = watched  # type: ignore[method-assign]
    list(play_matches(planned, bots))
    assert len(held) > 40
    inputs = sorted(held, key=repr)
    for codec in (build_codec("clusters"), build_codec("axes")):
        decoded = to_controllers(codec.decode(tokens_of(inputs, codec)))
        assert [nearest_input(each) for each in decoded] == inputs


def test_pairs_are_mirrored_and_stages_and_pairings_come_equally() -> None:
    planned = plan_matches(150, seed=0, first=LOW_TIERS, second=LOW_TIERS)
    for one, other in zip(planned[::2], planned[1::2], strict=True):
        assert one.pair == other.pair
        assert one.match.external_ids == other.match.external_ids[::-1]
        assert (one.seat, other.seat) == (0, 1)
        assert [one.character(player) for player in (0, 1)] == [other.character(player) for player in (0, 1)]
    settings = [(each.character(0), each.character(1), each.match.stage.name) for each in planned[::2]]
    assert len(set(settings)) == 75


def test_scores_are_counted_per_active_minute() -> None:
    common = {
        "character": "mewtwo",
        "opponent": "link",
        "stage": "battlefield",
        "seat": 0,
        "frames": FRAMES_A_MINUTE,
    }
    rest = {"damage": 50.0, "received": 100.0, "self_destructs": 1}
    games = [
        GameScore(number=0, pair=0, taken=1, lost=4, won=0.0, **common, **rest),
        GameScore(number=1, pair=0, taken=4, lost=3, won=1.0, **common, **rest),
    ]
    score = combined(games)
    assert score.net_stocks.value == -1.0
    assert (score.taken, score.lost, score.damage, score.self_destructs) == (2.5, 3.5, 50.0, 1.0)
    assert score.win_rate.value == 0.5


@pytest.mark.parametrize(("pairs", "exact"), [(LEAST_PAIRS, True), (LEAST_PAIRS - 1, False)])
def test_how_pairings_differ_is_no_error_of_a_score(pairs: int, exact: bool) -> None:
    common = {"stage": "battlefield", "frames": FRAMES_A_MINUTE, "damage": 0.0, "received": 0.0}
    games = [
        GameScore(
            number=number,
            pair=number // 2,
            seat=number % 2,
            character="mewtwo",
            opponent=opponent,
            taken=taken,
            lost=1,
            won=0.5,
            self_destructs=0,
            **common,
        )
        for number, (opponent, taken) in enumerate([("link", 0)] * 2 * pairs + [("zelda", 3)] * 2 * pairs)
    ]
    found = combined(games).net_stocks
    assert found.value == 0.5
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low < 1e-9) == exact


def test_wilsons_interval_is_that_of_scipy() -> None:
    from scipy.stats import binomtest

    for won, trials in ((0, 10), (7, 10), (31, 96)):
        expected = binomtest(won, trials).proportion_ci(method="wilson")
        found = wilson(won, trials)
        np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high), atol=1e-6)


@pytest.mark.usefixtures("short")
def test_a_run_is_scored_from_the_command_line(
    tiny: MakePreset, new_run: Callable[..., RunDirectory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = new_run(tiny(train={"max_steps": 2}))
    assert work(trained) == 0
    capsys.readouterr()
    runs = ["--runs-dir", str(trained.path.parent)]
    assert (
        run(["arena", trained.name, "--games", "8", "--record", str(tmp_path / "out"), "--json", *runs]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["games"], found["against"]) == (8, "bot")
    assert found["net_stocks"]["low"] <= found["net_stocks"]["value"] <= found["net_stocks"]["high"]
    assert sum(part["games"] for part in found["per_character"].values()) == 8
    assert len(list((tmp_path / "out").glob("*.slp"))) == 8
    assert found["excess"]["low"] <= found["excess"]["value"] <= found["excess"]["high"]
    assert found["excess_on_bots_states"]["watched"]["value"] > 0
    # Two matches are one pair, which has no interval.
    assert (found["excess_on_bots_states"]["games"], found["excess_on_bots_states"]["played"]["low"]) == (
        2,
        None,
    )
    assert run(["arena", trained.name, "--games", "8", "--record", str(tmp_path / "out"), *runs]) == 2
    assert "already holds arena_0_00000.slp and 7 other matches" in capsys.readouterr().err
    assert run(["arena", trained.name, "--games", "4", *runs]) == 0
    said = capsys.readouterr()
    assert "net stocks per active minute" in said.out
    assert "On-policy excess" in said.out
    assert "on the bot's states" in said.out
    assert "nan" not in said.out
    assert "note" not in said.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nobody"], "no run 'nobody'"),
        (["bot", "--character", "fox"], "the dojo does not have Fox"),
        (["bot", "--temperature", "0.5"], "--temperature is for policies"),
        (["bot", "--device", "cpu"], "--device is for policies"),
        (["bot", "--stage", "pokemon"], "the dojo has no stage 'pokemon'"),
        (["bot", "--against", "nobody"], "a player is a run, a checkpoint, bot, oracle or neutral"),
    ],
)
def test_what_cannot_be_played_is_a_sentence(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["arena", *words, "--runs-dir", str(tmp_path)]) == 2
    assert expected in capsys.readouterr().err
