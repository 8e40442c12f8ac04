"""The pilot and its stagehand in one process: whose weights every frame was played with, and what it cost."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.errors import CheckpointError
from exphil_core.inference import stagehand as stagehand_module
from exphil_core.inference.frames import dojo_game
from exphil_core.inference.newest import NewestWeights
from exphil_core.inference.pilot import PIECE_SECONDS, Now, Pilot
from exphil_core.inference.predictor import Predictor
from exphil_core.inference.recent import Felt
from exphil_core.inference.sides import sides_of
from exphil_core.inference.stagehand import (
    GameBegun,
    Memories,
    NextGame,
    Stagehand,
    SwapLate,
    Swapped,
    SwapReady,
    WeightsReady,
    WeightsRefused,
)
from exphil_core.models.policy import Policy, build_policy
from exphil_core.models.weights import checksum, write_weights
from exphil_core.replays.pack import PackedGame
from exphil_core.runs.directory import RunDirectory
from exphil_core.runs.pilot import PilotDirectory

FRAMES = 500
"""Of each game: few, so that many begin and end."""

KINDS = ("mlp", "gru", "attention", "mamba")


@pytest.fixture(scope="module")
def games() -> list[PackedGame]:
    return [shortened(dojo_game(number), FRAMES + 70 * number) for number in range(2)]


def shortened(game: PackedGame, frames: int) -> PackedGame:
    from dataclasses import replace

    groups = {group: rows[:frames] for group, rows in game.groups.items()}
    return replace(game, frame_id=game.frame_id[:frames], groups=groups)


def learned(preset: Preset, seed: int) -> Policy:
    """Fresh weights whose logits are as far apart as if they had learned."""
    torch.manual_seed(seed)
    policy = build_policy(preset).eval()
    with torch.no_grad():
        for component in policy.head.components:
            component.logits.weight.mul_(100)
    return policy


@dataclass
class Clock:
    """Time that passes only where it is spent."""

    now: float = 50.0
    rests: float = 0.0
    """Real seconds of each sleep, in which other threads work."""

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.rests:
            time.sleep(self.rests)


@dataclass
class Stage:
    """A pilot, its stagehand in a thread, and all that they said."""

    run: RunDirectory
    preset: Preset
    games: list[PackedGame]
    records: list[np.void] = field(default_factory=list)
    felt: list[tuple[Felt, Now]] = field(default_factory=list)
    warned: list[tuple[str, str]] = field(default_factory=list)
    written: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    clock: Clock = field(default_factory=lambda: Clock(rests=0.001))

    def __post_init__(self) -> None:
        self.path = PilotDirectory(self.run).weights_path
        self.path.parent.mkdir()
        self.link, other = Pipe()
        memories = Memories.new()
        policy = build_policy(self.preset).eval()
        newest = NewestWeights(
            self.run, like=policy.state_dict(), read_checkpoint=no_checkpoint, warn=self.warn
        )
        hand = Stagehand(policy, self.next_games(), newest, other, Memories.of(memories.handles))
        self.thread = threading.Thread(target=hand.serve, daemon=True)
        self.thread.start()
        self.pilot = Pilot(
            (learned(self.preset, 101), learned(self.preset, 102)),
            self.link,
            memories,
            keep=lambda record: self.records.append(record[0].copy()),
            say=lambda felt, now: self.felt.append((felt, now)),
            warn=self.warn,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def warn(self, code: str, message: str) -> None:
        # The stagehand may look before the test has saved the first ones.
        if code != "no_weights":
            self.warned.append((code, message))

    def next_games(self) -> Iterator[NextGame]:
        for number, game in cycle(enumerate(self.games)):
            yield NextGame(game, number % 2, "ganondorf")

    def save(self, seed: int) -> int:
        weights = {name: tensor.clone() for name, tensor in learned(self.preset, seed).state_dict().items()}
        self.written[checksum(weights)] = weights
        return write_weights(self.path, weights, step=seed)

    def play(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 240
        self.pilot.play(lambda: until() or time.monotonic() > deadline)
        assert until(), "it did not come to that"

    def close(self) -> None:
        self.link.close()
        self.thread.join(20)
        assert not self.thread.is_alive()


def no_checkpoint(directory: Path) -> Any:
    raise CheckpointError(f"{directory}: none here")


@pytest.fixture
def stage(
    tmp_path: Path, games: list[PackedGame], monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Preset]
) -> Iterator[Callable[[str], Stage]]:
    monkeypatch.setattr(stagehand_module, "LOOK_SECONDS", 0.005)
    # So that weights begin in the midst of games this short, and still further back than a band reaches.
    monkeypatch.setattr(stagehand_module, "REPLAYED_FRAMES", 100)
    made: list[Stage] = []

    def make(kind: str) -> Stage:
        preset = tiny(backbone={"kind": kind}, policy={"delay": 2})
        run = RunDirectory.create(tmp_path, preset, name=kind, dataset=Path("/data"), fingerprint="abc")
        made.append(Stage(run=run, preset=preset, games=games))
        return made[-1]

    yield make
    for one in made:
        one.close()


def assert_each_was_played_with_the_weights_it_names(stage: Stage) -> None:
    """Every record beside what one `forward` from its `since` on says with the weights of its checksum."""
    policy = build_policy(stage.preset).eval()
    games = {game.content_id: game for game in stage.games}
    stretches: dict[tuple[int, bytes, int, int], list[np.void]] = {}
    for record in stage.records:
        key = (int(record["weights"]), bytes(record["content_id"]), int(record["slot"]), int(record["since"]))
        stretches.setdefault(key, []).append(record)
    for (named, content_id, slot, since), records in stretches.items():
        weights = stage.written[named]
        policy.load_state_dict(weights)
        predictor = Predictor(policy, weights=named, step=0)
        sides = sides_of(games[content_id.decode()], (slot,), policy.codec, horizon=policy.horizon)
        stop = 1 + max(int(record["frame_index"]) for record in records)
        with torch.inference_mode():
            y_BTD, _ = policy.forward_features(sides.stretch(since, stop, since=since))
            seen = predictor._draw(
                y_BTD, sides.previous_BTK[:, since:stop], predictor.chance(sides, since, stop)
            )
        (expected,) = predictor.records(seen, sides, since, since=since)
        for record in records:
            wanted = expected[record["frame_index"] - since]
            np.testing.assert_allclose(record["nll"], wanted["nll"], atol=1e-4, rtol=1e-4, equal_nan=True)
            np.testing.assert_allclose(record["presses"], wanted["presses"], atol=1e-4)
            np.testing.assert_array_equal(record["human"], wanted["human"])
        drawn = np.mean(
            [
                np.array_equal(record["sampled"], expected[record["frame_index"] - since]["sampled"])
                for record in records
            ]
        )
        # A number may fall on the other side of a rounding error, once in a long while.
        assert drawn > 0.98


def in_order(stage: Stage) -> None:
    """Frame after frame, game after game: none is left out and none is played twice."""
    lengths = {game.content_id.encode(): game.frames for game in stage.games}
    for before, after in pairwise(stage.records):
        if after["frame_index"]:
            assert after["frame_index"] == before["frame_index"] + 1
            assert after["content_id"] == before["content_id"]
        else:
            assert before["frame_index"] == lengths[bytes(before["content_id"])] - 1


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_swapped_between_frames_and_the_state_is_theirs(
    stage: Callable[[str], Stage], kind: str
) -> None:
    bench = stage(kind)
    bench.save(1)
    assert bench.pilot.prepare(lambda: False)
    for seed in range(2, 9):
        wanted = bench.save(seed)
        bench.play(lambda wanted=wanted: bool(bench.records) and bench.records[-1]["weights"] == wanted)
        bench.pilot.play(lambda: False, frames=10 * seed)
    assert len({int(record["weights"]) for record in bench.records}) == 8
    in_order(bench)
    assert_each_was_played_with_the_weights_it_names(bench)
    assert bench.warned == []
    # Not only from the beginnings of games.
    begun = {int(record["since"]) for record in bench.records}
    assert begun != {0}


def damaged(path: Path, number: int, content: bytes) -> None:
    match number % 6:
        case 0:
            path.write_bytes(content[: len(content) * 2 // 3])
        case 1:
            path.write_bytes(b"")
        case 2:
            flipped = bytearray(content)
            flipped[-(number * 131) % (len(content) // 2) - 1] ^= 1
            path.write_bytes(flipped)
        case 3:
            path.unlink()
        case 4:
            # In place, and slowly: whoever looks finds a part of it.
            with path.open("r+b") as file:
                for start in range(0, len(content), 1 << 16):
                    file.write(content[start : start + (1 << 15)])
                    file.flush()
        case 5:
            path.write_bytes(content[:100] + content)


def test_a_hundred_swaps_while_another_writes_good_and_damaged_weights(
    stage: Callable[[str], Stage],
) -> None:
    bench = stage("attention")
    bench.save(1)
    assert bench.pilot.prepare(lambda: False)
    played: list[int] = []
    over = threading.Event()

    def write() -> None:
        for seed in range(2, 103):
            if seed % 3 == 0:
                damaged(bench.path, seed // 3, bench.path.read_bytes())
                time.sleep(0.05)
            wanted = bench.save(seed)
            deadline = time.monotonic() + 60
            while not over.is_set() and time.monotonic() < deadline:
                if bench.records and bench.records[-1]["weights"] == wanted:
                    played.append(wanted)
                    break
                time.sleep(0.002)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        bench.play(over.is_set)
    finally:
        over.set()
        writer.join()
    # No good file failed to be loaded, and nothing was ever played that had not been written.
    assert len(played) == 101
    assert {int(record["weights"]) for record in bench.records} <= bench.written.keys()
    in_order(bench)
    assert_each_was_played_with_the_weights_it_names(bench)
    codes = [code for code, _ in bench.warned]
    assert set(codes) <= {"weights_damaged", "weights_gone"}
    assert 0 < len(codes) <= 34
    # Between two swaps all records name the same weights and the same beginning.
    named = [(int(r["weights"]), int(r["step"])) for r in bench.records]
    changes = sum(one != two for one, two in pairwise(named))
    assert changes == 101


@pytest.mark.parametrize("number", range(6))
def test_damaged_weights_are_one_sentence_and_the_old_ones_play_on(
    stage: Callable[[str], Stage], number: int
) -> None:
    bench = stage("gru")
    old = bench.save(1)
    assert bench.pilot.prepare(lambda: False)
    bench.save(2)
    content = bench.path.read_bytes()
    bench.play(lambda: bool(bench.records) and bench.records[-1]["step"] == 2)
    assert bench.records[0]["weights"] == old
    damaged(bench.path, number, content)
    bench.play(lambda: len(bench.warned) == 1)
    bench.pilot.play(lambda: False, frames=100)
    ((code, message),) = bench.warned
    assert code in ("weights_damaged", "weights_gone")
    assert message.endswith("the pilot plays on with the weights of step 2")
    assert bench.records[-1]["step"] == 2
    if bench.path.exists():
        bench.path.unlink()
    wanted = bench.save(3)
    bench.play(lambda: bench.records[-1]["weights"] == wanted)
    assert_each_was_played_with_the_weights_it_names(bench)


class Cues:
    """A link whose other end is the test."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.sent: list[Any] = []

    def poll(self, timeout: float | None = 0.0) -> bool:
        return bool(self.waiting)

    def recv(self) -> Any:
        return self.waiting.pop(0)

    def send(self, message: Any) -> None:
        self.sent.append(message)


class Paced(Pilot):
    """A pilot whose acts and pieces take as long as the test says, by the test's clock."""

    clock: Clock
    act_s: float = 0.005
    piece_s: float = 0.0005
    pieces: int = 0

    def _act(self) -> Any:
        self.clock.now += self.act_s
        return super()._act()

    def _piece(self) -> None:
        self.clock.now += self.piece_s
        self.pieces += 1
        super()._piece()


@dataclass
class Desk:
    """A pilot that the test itself is the stagehand of."""

    preset: Preset
    game: PackedGame

    def __post_init__(self) -> None:
        self.clock, self.cues, self.memories = Clock(), Cues(), Memories.new()
        self.records: list[np.void] = []
        self.felt: list[Felt] = []
        policies = learned(self.preset, 1), learned(self.preset, 2)
        self.pilot = Paced(
            policies,
            self.cues,
            self.memories,
            keep=lambda record: self.records.append(record[0].copy()),
            say=lambda felt, now: self.felt.append(felt),
            warn=lambda code, message: None,
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        self.pilot.clock = self.clock
        # A real one makes the messages about the game.
        hand_cues = Cues()
        hand = Stagehand(
            learned(self.preset, 3),
            cycle([NextGame(self.game, 0, "ganondorf")]),
            None,  # type: ignore[arg-type]
            hand_cues,
            Memories.of(self.memories.handles),
        )
        hand._prepare_games()
        self.cues.waiting += hand_cues.sent
        self.send_weights(4)
        self.cues.waiting.append(SwapReady(game=0, frame=0, since=0))
        assert self.pilot.prepare(lambda: False)

    def send_weights(self, seed: int, *, damage: bool = False) -> int:
        policy = learned(self.preset, seed)
        weights = policy.state_dict()
        for name, tensor in self.memories.weight_tensors(policy).items():
            tensor.copy_(weights[name])
        named = checksum(weights)
        if damage:
            self.memories.weight_tensors(policy)["head.enter.bias"][3] += 1
        self.cues.waiting.append(WeightsReady(step=seed, checksum=named, in_memory=named))
        return named

    def answers(self) -> list[Any]:
        found = [answer for answer in self.cues.sent if not isinstance(answer, GameBegun)]
        self.cues.sent.clear()
        return found


@pytest.fixture
def desk(tiny: Callable[..., Preset], games: list[PackedGame]) -> Desk:
    found = Desk(tiny(backbone={"kind": "gru"}), games[0])
    assert found.answers() == [Swapped()]
    return found


def test_a_swap_happens_at_its_frame_and_at_no_other(desk: Desk) -> None:
    desk.pilot.play(lambda: False, frames=10)
    named = desk.send_weights(7)
    desk.cues.waiting.append(SwapReady(game=0, frame=60, since=60))
    desk.pilot.play(lambda: False, frames=80)
    assert desk.answers() == [Swapped()]
    steps = [
        (int(record["frame_index"]), int(record["step"]), int(record["since"])) for record in desk.records
    ]
    assert steps == [(t, 4, 0) if t < 60 else (t, 7, 60) for t in range(90)]
    assert {int(record["weights"]) for record in desk.records[60:]} == {named}


def test_no_swap_costs_a_deadline_that_would_have_been_met(desk: Desk) -> None:
    """Of 16.67 ms a frame takes 15: what is left is for one piece, and not for two."""
    desk.pilot.act_s, desk.pilot.piece_s = 0.015, 0.95 * PIECE_SECONDS
    for number in range(3):
        desk.send_weights(10 + number)
        frame = len(desk.records) + 300
        desk.cues.waiting.append(SwapReady(game=0, frame=frame % FRAMES, since=frame % FRAMES))
        desk.pilot.play(lambda: False, frames=120)
    assert desk.pilot.pieces > 50
    felt = desk.felt[-1]
    assert (felt.total_missed, felt.total_frames) == (0, 360)
    assert max(felt.late_ms) < 1e-6


def test_a_policy_without_time_to_spare_still_gets_new_weights(desk: Desk) -> None:
    desk.pilot.play(lambda: False, frames=5)
    desk.pilot.act_s = 0.025
    desk.send_weights(7)
    desk.cues.waiting.append(SwapReady(game=0, frame=400, since=400))
    desk.pilot.play(lambda: False, frames=450)
    assert desk.answers() == [Swapped()]
    assert desk.records[-1]["step"] == 7
    assert desk.felt[-1].missed > 400


def test_a_frame_that_has_passed_is_said_to_be_late_and_the_weights_wait_for_another(desk: Desk) -> None:
    desk.pilot.play(lambda: False, frames=50)
    desk.send_weights(7)
    desk.cues.waiting.append(SwapReady(game=0, frame=30, since=10))
    desk.pilot.play(lambda: False, frames=50)
    assert desk.answers() == [SwapLate()]
    desk.cues.waiting.append(SwapReady(game=0, frame=120, since=120))
    desk.pilot.play(lambda: False, frames=50)
    assert desk.answers() == [Swapped()]
    assert [int(record["step"]) for record in desk.records] == [4] * 120 + [7] * 30


def test_a_frame_that_comes_before_the_last_byte_keeps_its_weights(desk: Desk) -> None:
    desk.pilot.play(lambda: False, frames=10)
    # No time is left for a single piece.
    desk.pilot.act_s = 0.016
    desk.send_weights(7)
    desk.cues.waiting.append(SwapReady(game=0, frame=20, since=20))
    desk.pilot.play(lambda: False, frames=20)
    assert desk.answers() == [SwapLate()]
    desk.pilot.act_s = 0.005
    desk.cues.waiting.append(SwapReady(game=0, frame=60, since=60))
    desk.pilot.play(lambda: False, frames=50)
    assert desk.answers() == [Swapped()]
    assert [int(record["step"]) for record in desk.records] == [4] * 60 + [7] * 20


def test_weights_that_change_on_their_way_are_not_played(desk: Desk) -> None:
    desk.pilot.play(lambda: False, frames=5)
    desk.send_weights(7, damage=True)
    desk.cues.waiting.append(SwapReady(game=0, frame=40, since=40))
    desk.pilot.play(lambda: False, frames=60)
    assert desk.answers() == [WeightsRefused()]
    assert {int(record["step"]) for record in desk.records} == {4}


def test_at_the_end_of_a_game_without_another_the_same_is_played_again_from_its_beginning(desk: Desk) -> None:
    desk.pilot.play(lambda: False, frames=FRAMES + 20)
    assert [int(record["frame_index"]) for record in desk.records] == [*range(FRAMES), *range(20)]
    np.testing.assert_allclose(desk.records[FRAMES + 5]["nll"], desk.records[5]["nll"], equal_nan=True)
    assert [answer for answer in desk.cues.sent if isinstance(answer, GameBegun)] == [GameBegun(0)]


def test_what_is_felt_is_told_ten_times_a_second_and_agrees_with_the_records(desk: Desk) -> None:
    desk.pilot.play(lambda: False, frames=120)
    desk.pilot.act_s = 0.02
    desk.pilot.play(lambda: False, frames=60)
    assert len(desk.felt) == 30
    felt = desk.felt[-1]
    assert felt.total_frames == 180
    assert felt.total_missed == sum(int(record["missed"]) for record in desk.records) == 60
    np.testing.assert_allclose(felt.took_ms, [record["took_ms"] for record in desk.records], rtol=1e-5)
    assert sum(one.recent_missed for one in desk.felt) == 60
