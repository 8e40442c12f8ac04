"""A predictor says what every token stands for, draws by nothing but the frame, and knows what is no target."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from exphil_core.encoding.batch import build_targets, to_tensors
from exphil_core.encoding.codecs import ControllerTensors, build_codec
from exphil_core.inference.ego_frames import EgoFrames, build_ego_frames
from exphil_core.inference.predictor import Predictor, layout_of, uniform
from exphil_core.melee.controller import BUTTON_BITS, BUTTONS
from exphil_core.replays.columns import MISSING, POSITION
from exphil_core.replays.pack import PackedGame
from exphil_core.runs.prediction_layout import Who, controller_of
from tests.inference.conftest import MakePolicy


def predictor_of(make_policy: MakePolicy, kind: str = "gru", *, seed: int = 0) -> Predictor:
    policy, _ = make_policy(kind)
    return Predictor(policy, weights=17, step=3, seed=seed)


def records_of(predictor: Predictor, sides: EgoFrames, frames: int) -> np.ndarray:
    seen, _ = predictor.watch(
        sides.stretch(0, frames, since=0),
        predictor.initial_state(len(sides.slots)),
        predictor.uniform(sides, 0, frames),
    )
    return predictor.records(seen, sides, 0, since=0)


def test_tokens_of_clusters_have_points_and_labels_that_a_person_reads() -> None:
    layout = layout_of(build_codec("clusters"), horizon=1)
    main, c, triggers, buttons = layout.components
    assert [part.kind for part in layout.components] == ["stick", "stick", "trigger", "buttons"]
    assert [part.size for part in layout.components] == [79, 9, 25, 256]
    assert main.points is not None
    assert c.points is not None
    assert triggers.points is not None
    assert (main.points[0], main.labels[0]) == ((0.0, 0.0), "–")
    assert (1.0, 0.0) in main.points
    assert main.labels[main.points.index((0.95, -0.2875))] == "+0.95 -0.29"
    assert c.points[1:5] == ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
    assert triggers.points[0] == (0.0, 0.0)
    assert triggers.labels[triggers.points.index((1.0, 0.35))] == "L 1.00 R 0.35"
    assert buttons.points is None
    assert buttons.labels[:4] == ("–", "A", "B", "A+B")
    assert buttons.labels[255] == "A+B+X+Y+Z+L+R+D_UP"


def test_tokens_of_axes_have_their_buckets() -> None:
    layout = layout_of(build_codec("axes"), horizon=1)
    kinds = [part.kind for part in layout.components]
    assert kinds == ["axis"] * 4 + ["trigger"] + ["button"] * 8
    main_x, main_y, _, _, shoulder, a, *_ = layout.components
    assert main_x.points is not None
    assert main_y.points is not None
    assert main_x.points[8] == main_y.points[8] == (0.0, 0.0)
    assert (main_x.points[16], main_y.points[16]) == ((1.0, 0.0), (0.0, 1.0))
    assert (main_x.labels[8], main_x.labels[0], main_y.labels[12]) == ("–", "-1.00", "+0.50")
    assert shoulder.labels == ("–", "0.31", "0.50", "0.75", "1.00")
    assert a.labels == ("–", "A")


@pytest.mark.parametrize("codec_name", ["clusters", "axes"])
def test_labels_and_points_are_one_a_token(codec_name: str) -> None:
    codec = build_codec("clusters" if codec_name == "clusters" else "axes")
    layout = layout_of(codec, horizon=4)
    assert layout.sizes == tuple(component.size for component in codec.components)
    assert layout.horizon == 4
    for part in layout.components:
        assert len(set(part.labels)) == part.size
        assert part.points is None or len(part.points) == part.size


def test_chance_is_a_function_of_the_seed_the_game_the_side_and_the_frame() -> None:
    whole = uniform(1, "ab" * 16, 0, 0, 1000, 4)
    assert whole.shape == (1000, 4)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(uniform(1, "ab" * 16, 0, 400, 410, 4), whole[400:410])
    np.testing.assert_array_equal(uniform(1, "ab" * 16, 0, 0, 1000, 13)[:, :4], whole)
    for other in (
        uniform(2, "ab" * 16, 0, 0, 1000, 4),
        uniform(1, "cd" * 16, 0, 0, 1000, 4),
        uniform(1, "ab" * 16, 1, 0, 1000, 4),
        np.roll(whole, 1, axis=0),
        np.roll(whole, 1, axis=1),
    ):
        assert (other != whole).mean() > 0.99


def test_chance_is_even_and_never_1() -> None:
    drawn = uniform(0, "", 0, 0, 50_000, 4)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert abs(counts / counts.sum() * 20 - 1).max() < 0.05
    assert abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.02
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.02


def test_what_is_drawn_follows_what_is_likely(make_policy: MakePolicy, game: PackedGame) -> None:
    predictor = predictor_of(make_policy)
    frames = 600
    sides = build_ego_frames(game, (0,), predictor.codec, horizon=predictor.policy.horizon)
    found = records_of(predictor, sides, frames)[0]
    # The first component is drawn given nothing: its frequencies are the mean of its probabilities.
    size = predictor.layout.sizes[0]
    expected = found["probabilities"][:, :size].astype(np.float64).mean(axis=0)
    drawn = np.bincount(found["sampled"][:, 0], minlength=size) / frames
    assert np.abs(drawn - expected).max() < 4 * np.sqrt(0.25 / frames)
    assert records_of(predictor, sides, 30).tobytes() == found[None, :30].tobytes()
    other = records_of(predictor_of(make_policy, seed=9), sides, frames)[0]
    assert (other["sampled"] != found["sampled"]).any()
    np.testing.assert_array_equal(other["likeliest"], found["likeliest"])


def test_probabilities_nats_and_presses_of_a_record_belong_together(
    make_policy: MakePolicy, game: PackedGame
) -> None:
    predictor = predictor_of(make_policy)
    sides = build_ego_frames(game, (0, 1), predictor.codec, horizon=predictor.policy.horizon)
    found = records_of(predictor, sides, 300)
    layout = predictor.layout
    targets = sides.mask_BT[:, :300]
    assert targets.any()
    for k, span in enumerate(layout.spans):
        part = found["probabilities"][..., span].astype(np.float64)
        np.testing.assert_allclose(part.sum(axis=-1), 1, atol=2e-3)
        # Rounded to 11 bits, two may be equal that were not.
        likeliest = np.take_along_axis(part, found["likeliest"][..., k : k + 1].astype(np.int64), -1)[..., 0]
        np.testing.assert_array_equal(likeliest, part.max(axis=-1))
        human = np.take_along_axis(part, found["human"][..., k : k + 1].clip(0).astype(np.int64), -1)[..., 0]
        np.testing.assert_allclose(
            human[targets], np.exp(-found["nll"][..., k][targets]), rtol=2e-3, atol=1e-6
        )
    buttons = layout.components[3]
    for k, button in enumerate(BUTTONS):
        holds = [button in label.split("+") for label in buttons.labels]
        expected = found["probabilities"][..., layout.spans[3]][..., holds].astype(np.float64).sum(axis=-1)
        np.testing.assert_allclose(found["presses"][..., k], expected, atol=2e-3)


def test_a_record_decodes_its_tokens(make_policy: MakePolicy, game: PackedGame) -> None:
    predictor = predictor_of(make_policy)
    sides = build_ego_frames(game, (1,), predictor.codec, horizon=predictor.policy.horizon)
    main, _, triggers, buttons = predictor.layout.components
    assert main.points is not None
    assert triggers.points is not None
    named: tuple[tuple[Who, str], ...] = (
        ("human", "human"),
        ("likely", "likeliest"),
        ("sampled", "sampled"),
    )
    for record in records_of(predictor, sides, 200)[0, 90:]:
        for who, tokens in named:
            held = controller_of(record, who)
            assert held is not None
            point, levels = main.points[record[tokens][0]], triggers.points[record[tokens][2]]
            assert (held.main_x, held.main_y) == pytest.approx(point, abs=1e-6)
            assert (held.trigger_l, held.trigger_r) == pytest.approx(levels, abs=1e-6)
            label = "+".join(name for name in BUTTONS if held.buttons & BUTTON_BITS[name]) or "–"
            assert label == buttons.labels[record[tokens][3]]


def test_there_is_no_target_exactly_where_training_has_none(
    make_policy: MakePolicy, game: PackedGame
) -> None:
    predictor = predictor_of(make_policy)
    horizon = predictor.policy.horizon
    assert horizon == 3
    groups = {group: rows[:400].copy() for group, rows in game.groups.items()}
    broken = replace(game, frame_id=game.frame_id[:400], groups=groups)

    def put(slot: int, name: str, frame: int, value: float) -> None:
        group, index = POSITION[f"p{slot}.{name}"]
        groups[group][frame, index] = value

    put(1, "main_y", 200, np.nan)
    put(1, "c_x", 210, np.nan)
    put(1, "buttons", 220, MISSING["u16"])
    put(1, "trigger_l", 230, np.nan)  # a missing trigger is no reason to leave a frame out
    put(1, "stocks", 240, 0)
    put(0, "main_y", 250, np.nan)  # the other player's
    sides = build_ego_frames(broken, (1,), predictor.codec, horizon=horizon)
    (found,) = records_of(predictor, sides, 400)

    unknown = set(np.flatnonzero((found["human"] == -1).all(axis=1)).tolist())
    before_the_game = set(range(84 - horizon))
    past_the_end = set(range(400 - horizon, 400))
    assert unknown == before_the_game | {200 - horizon, 210 - horizon, 220 - horizon, 240} | past_the_end
    assert (found["human"] == -1).any(axis=1).sum() == len(unknown)
    np.testing.assert_array_equal(np.isnan(found["nll"]).any(axis=1), found["human"][:, 0] == -1)
    for record in found:
        assert (controller_of(record, "human") is None) == (record["human"][0] == -1)
        assert controller_of(record, "likely") is not None
        assert np.isfinite(record["presses"]).all()
    whole = to_tensors(sides.live(0, since=0), "cpu")
    assert whole.reset.all()


def test_sides_are_what_the_dataset_would_give(game: PackedGame) -> None:
    codec = build_codec("clusters")
    both = build_ego_frames(game, (0, 1), codec, horizon=1)
    for row, slot in enumerate((0, 1)):
        alone = build_ego_frames(game, (slot,), codec, horizon=1)
        assert torch.equal(alone.tokens_BTK[0], both.tokens_BTK[row])
        for name in ("position_x", "main_x", "action_state"):
            mine, stored = POSITION[f"p0.{name}"], POSITION[f"p{slot}.{name}"]
            np.testing.assert_array_equal(
                both.observed.columns[mine[0]][row, :, mine[1]].numpy(),
                game.groups[stored[0]][:, stored[1]].astype(both.observed.columns[mine[0]].numpy().dtype),
            )
    targets = build_targets(both.observed, codec, horizon=1, chunk_length=game.frames - 1)
    assert torch.equal(targets.tokens_BTK, both.tokens_BTK[:, :-1])
    live, stretch = to_tensors(both.live(77, since=77), "cpu"), both.stretch(70, 80, since=77)
    assert torch.equal(live.reset[:, 0], stretch.reset[:, 7])
    assert stretch.reset.sum() == 2
    for group, column in live.columns.items():
        assert torch.equal(column[:, 0].nan_to_num(9e9), stretch.columns[group][:, 7].nan_to_num(9e9))


def test_a_policy_in_training_is_not_shown(make_policy: MakePolicy) -> None:
    policy, _ = make_policy("gru")
    with pytest.raises(AssertionError, match=r"policy\.eval"):
        Predictor(policy.train(), weights=0, step=0)


def test_the_controller_of_a_frame_is_the_last_one_drawn(make_policy: MakePolicy, game: PackedGame) -> None:
    predictor = predictor_of(make_policy)
    sides = build_ego_frames(game, (0, 1), predictor.codec, horizon=predictor.policy.horizon)
    uniform_BTK = predictor.uniform(sides, 0, 5)
    state, drawn = predictor.initial_state(2), []
    for t in range(5):
        seen, state = predictor.act(sides.stretch(t, t + 1, since=0), state, uniform_BTK[:, t])
        drawn.append(seen)
    at_once, _ = predictor.watch(sides.stretch(0, 5, since=0), predictor.initial_state(2), uniform_BTK)
    last: ControllerTensors = at_once.controllers(predictor.codec)
    for one, two in zip(last, drawn[-1].controllers(predictor.codec), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(torch.cat([seen.sampled_BTK for seen in drawn], dim=1), at_once.sampled_BTK)
