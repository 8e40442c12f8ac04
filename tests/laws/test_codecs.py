"""Laws of every codec: buttons are exact, tokens are stable, the stick error is bounded."""

from itertools import product
from pathlib import Path
from typing import get_args

import pytest
import torch

from exphil_core.encoding.codecs import Codec, CodecName, ControllerTensors, build_codec
from exphil_core.melee.controller import BUTTON_BITS, BUTTON_MASK, BUTTONS, DEAD_ZONE
from exphil_core.replays.parse import parse_replay

CODECS = [build_codec(name) for name in get_args(CodecName)]
HUMAN_GAMES = (
    "games/falco_vs_falco_ys_v3.15.0.slp",
    "games/mewtwo_vs_fox_fd_v3.19.1.slp",
    "games/fox_vs_gnw_fod_v3.17.0.slp",
    "games/sheik_vs_fox_fod_v3.17.0.slp",
)

pytestmark = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


def every_grid_position() -> tuple[torch.Tensor, torch.Tensor]:
    axis = torch.arange(-80, 81)
    x, y = torch.cartesian_prod(axis, axis).unbind(-1)
    inside = x.square() + y.square() <= 6400
    reachable = ((x == 0) | (x.abs() >= 23)) & ((y == 0) | (y.abs() >= 23))
    return x[inside & reachable] / 80, y[inside & reachable] / 80


def controllers(count: int, **given: torch.Tensor) -> ControllerTensors:
    neutral = {name: torch.zeros(count) for name in ControllerTensors._fields if name != "buttons"}
    return ControllerTensors(**{**neutral, "buttons": torch.zeros(count, dtype=torch.int32), **given})


def random_tokens(codec: Codec, count: int = 5000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.stack(
        [torch.randint(component.size, (count,), generator=generator) for component in codec.components],
        dim=-1,
    )


def test_every_combination_of_buttons_survives_exactly(codec: Codec) -> None:
    bits = [sum(chosen) for chosen in product(*((0, BUTTON_BITS[name]) for name in BUTTONS))]
    buttons = torch.tensor(bits, dtype=torch.int32)
    assert len(set(bits)) == 256
    for trigger in (0.0, 1.0):
        held = controllers(256, buttons=buttons, trigger_l=torch.full((256,), trigger))
        assert torch.equal(codec.decode(codec.encode(held)).buttons, buttons.to(torch.int64))


def test_a_click_is_not_the_analogue_trigger(codec: Codec) -> None:
    pressed = controllers(1, trigger_l=torch.ones(1))
    assert codec.decode(codec.encode(pressed)).buttons.item() == 0
    assert codec.decode(codec.encode(pressed)).trigger_l.item() == 1.0


def test_bits_that_are_no_buttons_are_ignored(codec: Codec) -> None:
    start = controllers(1, buttons=torch.tensor([0x1000 | BUTTON_BITS["A"]], dtype=torch.int32))
    assert codec.decode(codec.encode(start)).buttons.item() == BUTTON_BITS["A"]


def test_encoding_what_was_decoded_gives_the_same_tokens(codec: Codec) -> None:
    tokens = random_tokens(codec)
    assert torch.equal(codec.encode(codec.decode(tokens)), tokens)


def test_every_token_of_every_component_is_stable(codec: Codec) -> None:
    neutral = codec.encode(controllers(1))
    for k, component in enumerate(codec.components):
        tokens = neutral.repeat(component.size, 1)
        tokens[:, k] = torch.arange(component.size)
        assert torch.equal(codec.encode(codec.decode(tokens)), tokens), component.name


def test_decoding_gives_the_same_controller_after_a_round_trip(codec: Codec) -> None:
    once = codec.decode(random_tokens(codec))
    twice = codec.decode(codec.encode(once))
    for name, first, second in zip(ControllerTensors._fields, once, twice, strict=True):
        assert torch.equal(first, second), name


def test_stick_error_is_bounded_everywhere_within_the_gate(codec: Codec) -> None:
    x, y = every_grid_position()
    decoded = codec.decode(codec.encode(controllers(len(x), main_x=x, main_y=y)))
    error = torch.hypot(decoded.main_x - x, decoded.main_y - y)
    assert error.max() <= 0.28


def test_the_dead_zone_is_kept(codec: Codec) -> None:
    x, y = every_grid_position()
    decoded = codec.decode(codec.encode(controllers(len(x), main_x=x, main_y=y)))
    for before, after in ((x, decoded.main_x), (y, decoded.main_y)):
        assert torch.equal(before.abs() >= DEAD_ZONE - 1e-6, after.abs() >= DEAD_ZONE - 1e-6)


def test_off_the_grid_beyond_the_gate_and_damage_are_read_sensibly(codec: Codec) -> None:
    x = torch.tensor([0.9999, 1.05, -1.05, 0.0, float("nan"), float("inf"), 0.005])
    y = torch.tensor([0.0, 0.0, 0.0, 1.05, 0.5, 0.0, -0.005])
    decoded = codec.decode(codec.encode(controllers(7, main_x=x, main_y=y, c_x=x, c_y=y)))
    expected = torch.tensor([1.0, 1.0, -1.0, 0.0, 0.0, 1.0, 0.0])
    assert torch.equal(decoded.main_x, expected)
    assert torch.equal(decoded.c_x, expected)
    corner = codec.decode(codec.encode(controllers(1, main_x=torch.ones(1), main_y=-torch.ones(1))))
    assert corner.main_x.item() == pytest.approx(-corner.main_y.item(), abs=0.03)
    assert corner.main_x.item() > 0.6


def test_missing_is_encoded_as_neutral(codec: Codec) -> None:
    nan = torch.full((1,), float("nan"))
    missing = ControllerTensors(nan, nan, nan, nan, nan, nan, torch.tensor([65535], dtype=torch.int32))
    assert torch.equal(codec.encode(missing), codec.encode(controllers(1)))


def test_left_and_right_are_treated_alike(codec: Codec) -> None:
    x, y = every_grid_position()
    for stick in ("main", "c"):
        right = codec.decode(codec.encode(controllers(len(x), **{f"{stick}_x": x, f"{stick}_y": y})))
        left = codec.decode(codec.encode(controllers(len(x), **{f"{stick}_x": -x, f"{stick}_y": y})))
        assert torch.equal(getattr(right, f"{stick}_x"), -getattr(left, f"{stick}_x"))
        assert torch.equal(getattr(right, f"{stick}_y"), getattr(left, f"{stick}_y"))


def test_any_leading_shape_is_kept(codec: Codec) -> None:
    tokens = random_tokens(codec, 12).reshape(3, 2, 2, -1)
    decoded = codec.decode(tokens)
    assert all(field.shape == (3, 2, 2) for field in decoded)
    assert torch.equal(codec.encode(decoded), tokens)
    assert codec.encode(controllers(0)).shape == (0, len(codec.components))


def test_human_play_survives_with_exact_buttons_and_a_small_stick_error(codec: Codec, replays: Path) -> None:
    for name in HUMAN_GAMES:
        for player in parse_replay(replays / name).players:
            leader = {
                field: torch.from_numpy(player.leader[field].copy())
                for field in ControllerTensors._fields[:6]
            }
            buttons = torch.from_numpy(player.leader["buttons"].astype("int32"))
            held = ControllerTensors(**leader, buttons=buttons)
            decoded = codec.decode(codec.encode(held))
            assert torch.equal(decoded.buttons, (buttons & BUTTON_MASK).to(torch.int64))
            error = torch.hypot(decoded.main_x - held.main_x, decoded.main_y - held.main_y)
            assert error.square().mean().sqrt() < 0.04, name
            assert error.max() < 0.3, name
