"""The player in one process: whose weights every frame was played with, what is late, and what is skipped."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import TensorBatch
from exphil_core.errors import CheckpointError
from exphil_core.inference.ego_frames import build_ego_frames
from exphil_core.inference.frames import dojo_game
from exphil_core.inference.latency import RATE
from exphil_core.inference.predictor import ObservedFrames, Predictor
from exphil_core.inference.runtime import EagerRuntime
from exphil_core.models.policy import Policy, build_policy
from exphil_core.models.weights import Weights, checksum, write_weights
from exphil_core.pilot import clips as clips_module
from exphil_core.pilot import player as player_module
from exphil_core.pilot.clips import LONGEST_CLIP, Clip, ClipSide, clip_bounds, cut_clips
from exphil_core.pilot.directory import PilotDirectory
from exphil_core.pilot.latency_window import LatencySnapshot
from exphil_core.pilot.loader import PilotRuntime, PolicyLoader
from exphil_core.pilot.player import PilotPlayer, PlayedFrame
from exphil_core.pilot.weight_watcher import WeightWatcher
from exphil_core.replays.pack import PackedGame
from exphil_core.runs.directory import RunDirectory

FRAMES = 500
"""Of each game: few, so that many begin and end."""

CLIP = 60

KINDS = ("mlp", "gru", "attention", "mamba")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As a pilot plays; threads that wait for each other take many times as long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def games() -> list[PackedGame]:
    return [shortened(dojo_game(number), FRAMES + 70 * number) for number in range(2)]


def shortened(game: PackedGame, frames: int) -> PackedGame:
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


def of_seed(preset: Preset, seed: int) -> Weights:
    tensors = {name: tensor.clone() for name, tensor in learned(preset, seed).state_dict().items()}
    return Weights(step=seed, checksum=checksum(tensors), tensors=tensors)


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
    """A player, the weights that it is given, and all that it said."""

    run: RunDirectory
    preset: Preset
    games: list[PackedGame]
    runtime: PilotRuntime = "eager"
    records: list[np.void] = field(default_factory=list)
    felt: list[tuple[LatencySnapshot, PlayedFrame]] = field(default_factory=list)
    warned: list[tuple[str, str]] = field(default_factory=list)
    loaded: list[int] = field(default_factory=list)
    clips: int = 0
    """Clips that were begun."""
    written: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.path = PilotDirectory(self.run).weights_path
        self.path.parent.mkdir()
        loader = PolicyLoader(self.preset, torch.device("cpu"), self.runtime, threads=1)
        policy = loader.policy
        watcher = WeightWatcher(
            self.run, like=policy.state_dict(), read_checkpoint=no_checkpoint, warn=self.warn
        )
        sides = (ClipSide(game, number % 2, "ganondorf") for number, game in cycle(enumerate(self.games)))
        self.player = PilotPlayer(
            cut_clips(sides, policy.codec, horizon=policy.horizon),
            watcher.poll,
            loader.load,
            keep=lambda record: self.records.append(record[0].copy()),
            say=lambda felt, played: self.felt.append((felt, played)),
            loading=self.loaded.append,
            undisturbed=self.undisturbed,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def undisturbed(self, trial_frame: Callable[[], object]) -> AbstractContextManager[None]:
        self.clips += 1
        trial_frame()
        return nullcontext()

    def warn(self, code: str, message: str) -> None:
        self.warned.append((code, message))

    def save(self, seed: int) -> int:
        weights = of_seed(self.preset, seed)
        self.written[weights.checksum] = dict(weights.tensors)
        return write_weights(self.path, weights.tensors, step=seed)

    def play_until(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 600
        self.player.play(lambda: until() or time.monotonic() > deadline)
        assert until(), "it did not come to that"


def no_checkpoint(directory: Path) -> Any:
    raise CheckpointError(f"{directory}: none here")


@pytest.fixture
def stage(
    tmp_path: Path, games: list[PackedGame], monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Preset]
) -> Callable[..., Stage]:
    monkeypatch.setattr(clips_module, "LONGEST_CLIP", CLIP)

    def make(kind: str, runtime: PilotRuntime = "eager") -> Stage:
        preset = tiny(backbone={"kind": kind}, policy={"delay": 2})
        run = RunDirectory.create(tmp_path, preset, name=kind, dataset=Path("/data"), fingerprint="abc")
        return Stage(run=run, preset=preset, games=games, runtime=runtime)

    return make


def assert_each_was_played_with_the_weights_it_names(stage: Stage) -> None:
    """Every record beside what `forward` over the frames observed in its clip says with its checksum's weights."""
    policy = build_policy(stage.preset).eval()
    games = {game.content_id: game for game in stage.games}
    stretches: list[list[np.void]] = []
    for before, record in zip([None, *stage.records], stage.records, strict=False):
        if (
            before is None
            or same_clip(before) != same_clip(record)
            or record["frame_index"] <= before["frame_index"]
        ):
            stretches.append([])
        stretches[-1].append(record)
    for records in stretches:
        named, content_id, slot, since = same_clip(records[0])
        policy.load_state_dict(stage.written[named])
        predictor = Predictor(policy, weights=named, step=0)
        sides = build_ego_frames(games[content_id.decode()], (slot,), policy.codec, horizon=policy.horizon)
        observed = torch.tensor([int(record["frame_index"]) for record in records])
        assert observed[0] == since
        place, stop = observed - since, int(observed[-1]) + 1
        with torch.inference_mode():
            frames = only(sides.stretch(since, stop, since=since), place)
            y_BTD, _ = policy.forward_features(frames)
            sampled = policy.head.sample(
                y_BTD.flatten(0, 1),
                policy.previous(frames).flatten(0, 1),
                predictor.uniform(sides, since, stop)[:, place].flatten(0, 1),
                torch.ones(()),
            )
        # In the places of the whole clip; nothing is compared where no frame was played.
        whole_y_BTD = torch.zeros(1, stop - since, y_BTD.shape[-1])
        whole_BTK = torch.zeros(1, stop - since, sampled.shape[-1], dtype=torch.int64)
        whole_y_BTD[:, place], whole_BTK[:, place] = y_BTD, sampled
        seen = ObservedFrames(y_BTD=whole_y_BTD, sampled_BTK=whole_BTK)
        (expected,) = predictor.records(seen, sides, since, since=since)
        for record in records:
            wanted = expected[record["frame_index"] - since]
            np.testing.assert_allclose(record["nll"], wanted["nll"], atol=1e-4, rtol=1e-4, equal_nan=True)
            np.testing.assert_allclose(record["presses"], wanted["presses"], atol=1e-4)
            np.testing.assert_array_equal(record["human"], wanted["human"])
        drawn = [
            np.array_equal(record["sampled"], expected[record["frame_index"] - since]["sampled"])
            for record in records
        ]
        # A number may fall on the other side of a rounding error, once in a long while.
        assert np.mean(drawn) > 0.98


def same_clip(record: np.void) -> tuple[int, bytes, int, int]:
    return int(record["weights"]), bytes(record["content_id"]), int(record["slot"]), int(record["since"])


def only(frames: TensorBatch, place: Tensor) -> TensorBatch:
    """Some frames of a batch, as if there had been no others."""
    return replace(
        frames,
        columns={group: columns[:, place] for group, columns in frames.columns.items()},
        frame_id=frames.frame_id[:, place],
        valid=frames.valid[:, place],
        reset=frames.reset[:, place],
    )


def in_order(stage: Stage) -> None:
    """Frame after frame, clip after clip, game after game: none is left out and none is played twice."""
    lengths = {game.content_id.encode(): game.frames for game in stage.games}
    for before, after in pairwise(stage.records):
        if after["frame_index"]:
            assert after["frame_index"] == before["frame_index"] + 1
            assert after["content_id"] == before["content_id"]
        else:
            assert before["frame_index"] == lengths[bytes(before["content_id"])] - 1


@pytest.mark.parametrize("kind", KINDS)
def test_weights_change_between_two_clips_and_every_clip_starts_anew(
    stage: Callable[..., Stage], kind: str
) -> None:
    bench = stage(kind)
    for seed in range(1, 6):
        wanted = bench.save(seed)
        bench.play_until(lambda wanted=wanted: bool(bench.records) and bench.records[-1]["weights"] == wanted)
        # `play` begins a new clip, so what it left of the last one is not played.
        bench.records.clear()
        bench.player.play(lambda: False, frames=100 + 10 * seed)
        in_order(bench)
        assert {int(record["weights"]) for record in bench.records} == {wanted}
        assert_each_was_played_with_the_weights_it_names(bench)
    assert bench.loaded == [1, 2, 3, 4, 5]
    assert bench.warned == []
    assert {int(record["since"]) for record in bench.records} > {0} or len(bench.records) > CLIP


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_onnx_runtime_plays_what_the_checksum_says(stage: Callable[..., Stage], kind: str) -> None:
    pytest.importorskip("onnxruntime")
    bench = stage(kind, "onnx")
    for seed in (1, 2):
        wanted = bench.save(seed)
        bench.player.play(lambda: False, frames=150)
        assert bench.records[-1]["weights"] == wanted
    assert_each_was_played_with_the_weights_it_names(bench)
    assert len({int(record["weights"]) for record in bench.records}) == 2


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


@pytest.mark.slow
def test_a_hundred_loads_while_another_writes_good_and_damaged_weights(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips_module, "LONGEST_CLIP", 10)
    monkeypatch.setattr(player_module, "WARM_UPS", 1)
    bench = stage("attention")
    bench.clock.rests = 0.001
    played: list[int] = []
    over = threading.Event()

    def wait(what: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 120
        while not what():
            if over.is_set() or time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def write() -> None:
        for seed in range(1, 102):
            if seed % 3 == 0:
                damaged(bench.path, seed // 3, bench.path.read_bytes())
                begun = bench.clips
                wait(lambda begun=begun: bench.clips >= begun + 2)
            wanted = bench.save(seed)
            if wait(lambda wanted=wanted: bool(bench.records) and bench.records[-1]["weights"] == wanted):
                played.append(wanted)
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        bench.play_until(over.is_set)
    finally:
        over.set()
        writer.join()
    # No good file failed to be loaded, and nothing was ever played that had not been written.
    assert len(played) == 101
    assert {int(record["weights"]) for record in bench.records} == bench.written.keys()
    in_order(bench)
    assert_each_was_played_with_the_weights_it_names(bench)
    assert bench.loaded == list(range(1, 102))
    # The player may look before the first ones are saved. Each damaged file is one sentence.
    codes = [code for code, _ in bench.warned if code != "no_weights"]
    assert set(codes) == {"weights_damaged", "weights_gone"}
    assert len(codes) == 33
    # Within a clip all records name the same weights.
    for before, after in pairwise(bench.records):
        if after["since"] == before["since"] and after["frame_index"] == before["frame_index"] + 1:
            assert after["weights"] == before["weights"]


@pytest.mark.parametrize("number", range(6))
def test_damaged_weights_are_one_sentence_and_the_old_ones_play_on(
    stage: Callable[..., Stage], number: int
) -> None:
    bench = stage("gru")
    bench.save(2)
    content = bench.path.read_bytes()
    bench.player.play(lambda: False, frames=CLIP)
    damaged(bench.path, number, content)
    bench.play_until(lambda: len(bench.warned) == 1)
    bench.player.play(lambda: False, frames=3 * CLIP)
    ((code, message),) = bench.warned
    assert code in ("weights_damaged", "weights_gone")
    assert message.endswith("the pilot plays on with the weights of step 2")
    assert bench.records[-1]["step"] == 2
    if bench.path.exists():
        bench.path.unlink()
    wanted = bench.save(3)
    bench.play_until(lambda: bench.records[-1]["weights"] == wanted)
    assert_each_was_played_with_the_weights_it_names(bench)


def test_a_player_without_weights_waits_for_them(stage: Callable[..., Stage]) -> None:
    bench = stage("mlp")
    began = bench.clock.now
    bench.player.play(lambda: bench.clock.now > began + 10)
    assert bench.records == []
    assert [code for code, _ in bench.warned] == ["no_weights"]
    wanted = bench.save(1)
    bench.player.play(lambda: False, frames=3)
    assert {int(record["weights"]) for record in bench.records} == {wanted}


@pytest.mark.parametrize("frames", [1, 700, 1800, 1801, 3600, 3601, 7000, 28_800])
def test_a_game_is_cut_into_clips_of_at_most_thirty_seconds(frames: int) -> None:
    bounds = clip_bounds(frames)
    assert [bounds[0][0], *(stop for _, stop in bounds)] == [*(start for start, _ in bounds), frames]
    lengths = [stop - start for start, stop in bounds]
    assert max(lengths) <= LONGEST_CLIP
    if frames > 2 * LONGEST_CLIP:
        assert min(lengths) >= 20 * RATE


class SlowRuntime(EagerRuntime):
    """Takes the time that the test says, by the test's clock."""

    def __init__(self, policy: Policy, clock: Clock, took: Iterator[float]) -> None:
        super().__init__(policy)
        self._clock, self._took = clock, took

    def step_and_features(self, *given: Any) -> tuple[Tensor, Tensor, Any]:
        found = super().step_and_features(*given)
        self._clock.sleep(next(self._took))
        return found


@dataclass
class Desk:
    """A player whose frames take as long as the test says."""

    preset: Preset
    game: PackedGame
    took: list[float]
    """Seconds of each frame from the first one that counts; the last goes on for ever."""
    pauses: float = 0.0
    """Seconds for which the player is kept from playing between two clips."""

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.records: list[np.void] = []
        self.felt: list[LatencySnapshot] = []
        self.policy = learned(self.preset, 1)
        weights: list[Weights | None] = [of_seed(self.preset, 1)]
        self.player = PilotPlayer(
            self.clips(),
            lambda: weights.pop() if weights else None,
            self.load,
            keep=lambda record: self.records.append(record[0].copy()),
            say=lambda felt, played: self.felt.append(felt),
            loading=lambda step: None,
            undisturbed=lambda trial_frame: nullcontext(self.clock.sleep(self.pauses)),
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def clips(self) -> Iterator[Clip]:
        sides = cycle([ClipSide(self.game, 0, "ganondorf")])
        return cut_clips(sides, self.policy.codec, horizon=self.policy.horizon)

    def load(self, weights: Weights) -> Predictor:
        def took() -> Iterator[float]:
            # Warm-up takes nothing.
            for _ in range(30):
                yield 0.0
            yield from self.took
            while True:
                yield self.took[-1]

        runtime = SlowRuntime(self.policy, self.clock, took())
        return Predictor(self.policy, weights=weights.checksum, step=weights.step, runtime=runtime)

    def frames(self) -> list[int]:
        return [int(record["frame_index"]) for record in self.records]


@pytest.fixture
def desk(tiny: Callable[..., Preset], games: list[PackedGame]) -> Callable[..., Desk]:
    def make(took: list[float], pauses: float = 0.0) -> Desk:
        return Desk(preset=tiny(backbone={"kind": "gru"}), game=games[0], took=took, pauses=pauses)

    return make


@pytest.mark.parametrize("slow", [0.02, 0.052, 0.095, 0.505, 3.005])
def test_one_slow_frame_delays_no_later_one(desk: Callable[..., Desk], slow: float) -> None:
    bench = desk([0.004] * 10 + [slow] + [0.004])
    bench.player.play(lambda: False, frames=300)
    # The newest frame when the slow one was answered is played at once; those in between never are.
    newest = 10 + int(slow * RATE)
    assert bench.frames() == [*range(11), *range(newest, newest + 289)]
    late = [float(record["late_ms"]) for record in bench.records]
    assert late[11] == pytest.approx((10 / RATE + slow - newest / RATE) * 1e3, abs=1e-3)
    assert late[11] < 1e3 / RATE
    assert max(late[:11]) == pytest.approx(0, abs=1e-6)
    # One frame after it, all keep to the grid.
    assert max(late[13:]) == pytest.approx(0, abs=1e-6)
    assert not any(record["missed"] for record in bench.records[12:])
    felt = bench.felt[-1]
    skipped = newest - 11
    assert (felt.total_skipped, felt.total_frames) == (skipped, 300 + skipped)
    assert felt.total_missed == skipped + sum(int(record["missed"]) for record in bench.records)


@pytest.mark.parametrize("took", [0.018, 0.021, 0.03, 0.052])
def test_a_policy_slower_than_a_frame_answers_late_and_skips_and_nothing_piles_up(
    desk: Callable[..., Desk], took: float
) -> None:
    bench = desk([took])
    bench.player.play(lambda: False, frames=150)
    assert all(record["missed"] for record in bench.records)
    # Less than a tick after a frame was there it is begun, however long this has gone on.
    assert max(float(record["late_ms"]) for record in bench.records) < 1e3 / RATE
    felt = bench.felt[-1]
    assert felt.total_missed == felt.total_frames == 150 + felt.total_skipped
    assert felt.total_frames / RATE == pytest.approx(150 * took, rel=0.02, abs=2 / RATE)
    assert felt.missed == len(felt.took_ms) + felt.skipped
    assert felt.fields()["p50_ms"] == pytest.approx(took * 1e3)


def test_what_was_skipped_was_never_observed(
    desk: Callable[..., Desk], games: list[PackedGame], tmp_path: Path
) -> None:
    bench = desk([0.004, 0.004, 0.04])
    bench.player.play(lambda: False, frames=120)
    assert bench.frames() != list(range(120))
    run = RunDirectory.create(tmp_path, bench.preset, name="x", dataset=Path("/data"), fingerprint="abc")
    stage = Stage(run=run, preset=bench.preset, games=games, records=bench.records)
    stage.written = {int(bench.records[0]["weights"]): bench.policy.state_dict()}
    assert_each_was_played_with_the_weights_it_names(stage)


def test_a_gap_between_two_clips_is_no_missed_frame(
    desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips_module, "LONGEST_CLIP", CLIP)
    bench = desk([0.004], pauses=2.5)
    bench.player.play(lambda: False, frames=180)
    assert bench.frames() == list(range(180))
    assert (bench.felt[-1].total_missed, bench.felt[-1].total_frames) == (0, 180)


def test_at_the_end_of_the_games_they_are_played_again(desk: Callable[..., Desk]) -> None:
    bench = desk([0.004])
    bench.player.play(lambda: False, frames=FRAMES + 20)
    assert bench.frames() == [*range(FRAMES), *range(20)]
    np.testing.assert_allclose(bench.records[FRAMES + 5]["nll"], bench.records[5]["nll"], equal_nan=True)


def test_what_is_felt_is_told_ten_times_a_second_and_agrees_with_the_records(
    desk: Callable[..., Desk],
) -> None:
    bench = desk([0.005] * 120 + [0.02])
    bench.player.play(lambda: False, frames=180)
    assert len(bench.felt) == 30
    felt = bench.felt[-1]
    assert felt.total_frames == 180 + felt.total_skipped
    assert felt.total_missed == sum(int(record["missed"]) for record in bench.records) + felt.total_skipped
    np.testing.assert_allclose(felt.took_ms, [record["took_ms"] for record in bench.records], rtol=1e-5)
    assert sum(one.recent_missed for one in bench.felt) == felt.total_missed
