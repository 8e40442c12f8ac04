"""A policy that plays a real game frame by frame says what its training pass says of the whole game."""

from pathlib import Path

import pytest
import torch

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.preset import Preset
from exphil_core.encoding.batch import TensorBatch
from exphil_core.models.policy import build_policy, slice_frames
from exphil_core.replays.pack import pack_game
from exphil_core.replays.parse import parse_replay

GAME = "games/gnw_vs_fox_fd_v3.12.0.slp"
WINDOW = 30
WHOLE_GAME = ("attention", "gru", "mamba")


@pytest.fixture(scope="module")
def whole_game(replays: Path) -> TensorBatch:
    """One real game with player 0 as the ego."""
    packed = pack_game(parse_replay(replays / GAME))
    reset = torch.zeros(1, packed.frames, dtype=torch.bool)
    reset[:, 0] = True
    return TensorBatch(
        columns={
            "f32": torch.from_numpy(packed.groups["f32"])[None],
            "u16": torch.from_numpy(packed.groups["u16"].astype("int32"))[None],
            "u8": torch.from_numpy(packed.groups["u8"])[None],
        },
        frame_id=torch.tensor(packed.frame_id)[None],
        valid=torch.ones(1, packed.frames, dtype=torch.bool),
        reset=reset,
        ego_slot=torch.zeros(1, dtype=torch.uint8),
        external_id=torch.tensor([packed.sides[0].external_id], dtype=torch.uint8),
        stage=torch.tensor([packed.external_stage_id], dtype=torch.uint8),
        mirror=torch.zeros(1, dtype=torch.bool),
    )


@pytest.mark.parametrize(
    ("kind", "codec", "prediction"),
    [(kind, codec, "dense") for kind in BACKBONE_KINDS for codec in ("clusters", "axes")]
    + [(kind, "clusters", "interleaved") for kind in BACKBONE_KINDS if kind != "mlp"],
)
@torch.no_grad()
def test_a_game_frame_by_frame_equals_the_game_at_once(
    kind: str, codec: str, prediction: str, whole_game: TensorBatch
) -> None:
    torch.manual_seed(0)
    policy = build_policy(
        Preset.model_validate(
            {
                "name": "streamed",
                "encoder": {"width": 64},
                "backbone": {"kind": kind, "width": 64, "window_size": WINDOW},
                "policy": {"codec": codec, "head_width": 32, "delay": 1, "prediction": prediction},
                "train": {"max_steps": 1},
            }
        )
    ).eval()
    for parameter in policy.head.components[0].parameters():
        parameter.mul_(3)  # a head that has learned something is less forgiving than a fresh one
    at_once, targets, _ = policy.nll(whole_game)
    assert at_once.isfinite().all()
    assert targets.mask_BT.sum() > 1000

    # The whole game with one backbone of each family, twenty windows and more with the others, thirteen with other
    # codecs and modes.
    frames = targets.mask_BT.shape[1]
    if (codec, prediction) != ("clusters", "dense"):
        frames = 400
    elif kind not in WHOLE_GAME:
        frames = 700
    state, streamed = policy.initial_state(1), []
    for t in range(frames):
        frame = slice_frames(whole_game, t, t + 1)
        y_BD, state = policy.step_features(frame, frame.reset[:, 0], state)
        streamed.append(
            policy.head.nll(
                y_BD[:, None], targets.previous_BTK[:, t : t + 1], targets.tokens_BTK[:, t : t + 1]
            )
        )
    torch.testing.assert_close(torch.cat(streamed, dim=1), at_once[:, :frames], rtol=0, atol=2e-5)


@torch.no_grad()
def test_step_samples_from_what_step_has_seen(whole_game: TensorBatch) -> None:
    torch.manual_seed(0)
    policy = build_policy(
        Preset.model_validate(
            {"name": "sampled", "backbone": {"kind": "gru"}, "policy": {}, "train": {"max_steps": 1}}
        )
    ).eval()
    _, targets, _ = policy.nll(whole_game)
    y_BTD, _ = policy.forward_features(slice_frames(whole_game, 0, 5))
    uniform_TBK = torch.rand(5, 1, len(policy.codec.components))
    temperature = torch.tensor(1.0)
    state = policy.initial_state(1)
    for t in range(5):
        frame = slice_frames(whole_game, t, t + 1)
        tokens, state = policy.step(frame, frame.reset[:, 0], state, uniform_TBK[t], temperature)
        expected = policy.head.sample(y_BTD[:, t], targets.previous_BTK[:, t], uniform_TBK[t], temperature)
        assert torch.equal(tokens, expected)
