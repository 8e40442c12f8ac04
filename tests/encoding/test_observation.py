"""What the observation encoder tells apart, and what its settings do."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from exphil_core.config.encoder import EncoderConfig
from exphil_core.dataset.batches import Batch
from exphil_core.encoding.batch import to_tensors
from exphil_core.encoding.observation import ObservationEncoder
from exphil_core.encoding.players import PLAYER_BITS
from exphil_core.melee.action_states import LAST
from exphil_core.replays.columns import ITEM_SLOTS

Empty = Callable[[int, int], Batch]
Put = Callable[..., None]


def encoder(**settings: object) -> ObservationEncoder:
    torch.manual_seed(0)
    return ObservationEncoder(EncoderConfig.model_validate({"width": 32, **settings})).eval()


def observe(module: ObservationEncoder, host: Batch) -> Tensor:
    batch = to_tensors(host, "cpu")
    return module(batch.columns, batch.frame_id, batch.stage, batch.ego_slot, batch.mirror).detach()


def sees(
    module: ObservationEncoder,
    empty_batch: Empty,
    put: Put,
    first: Mapping[str, object],
    second: Mapping[str, object],
) -> bool:
    seen = []
    for values in (first, second):
        host = empty_batch(1, 1)
        for name, value in values.items():
            put(host, name, value)
        seen.append(observe(module, host))
    return not torch.equal(*seen)


@pytest.mark.parametrize("who", ["p0", "p1"])
@pytest.mark.parametrize(
    ("column", "first", "second"),
    [
        ("internal_id", 19, 7),
        ("internal_id", 19, 255),
        ("action_state", LAST, 65535),
        ("action_state", LAST - 1, LAST),
        ("percent", 0.0, np.nan),
        ("stocks", 0, 255),
        ("airborne", 0, 255),
        ("hurtbox_state", 1, 2),
        ("flags_2", 0x00, 0x08),
        ("flags_5", 0x00, 0x40),
        ("velocity_ground_x", 1.0, -1.0),
        ("state_age", 200.0, 260.0),
    ],
)
def test_both_players_states_are_told_apart(
    empty_batch: Empty, put: Put, who: str, column: str, first: float, second: float
) -> None:
    name = f"{who}.{column}"
    assert sees(encoder(), empty_batch, put, {name: first}, {name: second})


def test_ego_and_opponent_are_not_the_same_to_it(empty_batch: Empty, put: Put) -> None:
    first = {"p0.percent": 10.0, "p1.percent": 90.0}
    assert sees(encoder(), empty_batch, put, first, {"p0.percent": 90.0, "p1.percent": 10.0})


def test_ego_and_opponent_go_through_the_same_weights(empty_batch: Empty, put: Put) -> None:
    host = empty_batch(1, 1)
    for who in ("p0", "p1"):
        for name, value in (
            ("position_x", 12.0),
            ("percent", 40.0),
            ("action_state", 44),
            ("internal_id", 1),
        ):
            put(host, f"{who}.{name}", value)
    module, batch = encoder(), to_tensors(host, "cpu")
    players = module.players(batch.columns, module.scenery.edge_of(batch.stage))
    # A matrix product may round its rows differently, in the last bit.
    torch.testing.assert_close(players[..., 0, :], players[..., 1, :])


def test_hitstun_is_read_only_where_the_flag_says_so(empty_batch: Empty, put: Put) -> None:
    module = encoder()
    outside = {"p0.flags_4": 0x00}
    inside = {"p0.flags_4": 0x02}
    assert not sees(module, empty_batch, put, {**outside, "p0.misc_as": 5.0}, {**outside, "p0.misc_as": 50.0})
    assert sees(module, empty_batch, put, {**inside, "p0.misc_as": 5.0}, {**inside, "p0.misc_as": 50.0})


def test_no_bit_of_a_missing_flag_is_set(empty_batch: Empty) -> None:
    module, batch = encoder(), to_tensors(empty_batch(1, 1), "cpu")
    columns = module.players.bits(batch.columns)[..., : len(PLAYER_BITS)]
    assert (columns == 255).all()
    kept: list[Tensor] = []
    module.players.project.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    module.players(batch.columns, module.scenery.edge_of(batch.stage))
    start = len(module.players.normalise.table) + 16
    assert kept[0][..., start : start + len(PLAYER_BITS)].eq(0).all()


@pytest.mark.parametrize("who", ["n0", "n1"])
def test_a_follower_is_seen_only_where_there_is_one(empty_batch: Empty, put: Put, who: str) -> None:
    module = encoder()
    gone = {f"{who}.percent": 80.0}
    assert not sees(module, empty_batch, put, {}, gone)
    there = {f"{who}.action_state": 14, f"{who}.percent": 20.0}
    assert sees(module, empty_batch, put, there, {**there, **gone})


def item(slot: int, x: float, owner: int = 255, kind: int = 48) -> dict[str, object]:
    values = {"position_x": x, "position_y": 0.0, "type": kind, "owner": owner, "state": 0}
    return {f"item{slot}.{name}": value for name, value in values.items()}


def test_items_are_ordered_by_their_distance_to_the_ego(empty_batch: Empty, put: Put) -> None:
    near, far = 5.0, 60.0
    ego = {"p0.position_x": 0.0, "p0.position_y": 0.0}
    module = encoder(item_slots=2)
    assert not sees(
        module,
        empty_batch,
        put,
        {**ego, **item(0, near), **item(1, far)},
        {**ego, **item(6, near), **item(2, far)},
    )
    alone = encoder(item_slots=1)
    assert not sees(
        alone, empty_batch, put, {**ego, **item(0, near), **item(1, far)}, {**ego, **item(3, near)}
    )


def test_an_items_owner_is_read_from_the_egos_side(empty_batch: Empty, put: Put) -> None:
    module = encoder()
    mine, theirs = empty_batch(1, 1), empty_batch(1, 1)
    for host, owner, slot in ((mine, 0, 0), (theirs, 1, 1)):
        for name, value in item(0, 5.0, owner=owner).items():
            put(host, name, value)
        host.ego_slot[:] = slot
    assert torch.equal(observe(module, mine), observe(module, theirs))
    theirs.ego_slot[:] = 0
    assert not torch.equal(observe(module, mine), observe(module, theirs))


def test_an_empty_item_slot_is_exactly_nothing(empty_batch: Empty) -> None:
    module, batch = encoder(), to_tensors(empty_batch(1, 2), "cpu")
    assert module.items is not None
    assert module.items(batch.columns, batch.ego_slot).eq(0).all()


@pytest.mark.parametrize("slots", [0, 1, ITEM_SLOTS])
def test_any_number_of_item_slots_gives_the_width_asked_for(empty_batch: Empty, slots: int) -> None:
    assert observe(encoder(item_slots=slots, width=48), empty_batch(3, 5)).shape == (3, 5, 48)


def test_randall_is_seen_on_yoshis_story_alone_and_reflected(empty_batch: Empty) -> None:
    module = encoder()
    early, late, mirrored = empty_batch(1, 1), empty_batch(1, 1), empty_batch(1, 1)
    late.frame_id[:] = 300
    mirrored.mirror[:] = True
    assert torch.equal(observe(module, early), observe(module, late))
    assert torch.equal(observe(module, early), observe(module, mirrored))
    for host in (early, late, mirrored):
        host.stage[:] = 8
    assert not torch.equal(observe(module, early), observe(module, late))
    assert not torch.equal(observe(module, early), observe(module, mirrored))


def test_an_unknown_stage_is_a_stage_of_its_own(empty_batch: Empty) -> None:
    unknown, other, known = empty_batch(1, 1), empty_batch(1, 1), empty_batch(1, 1)
    unknown.stage[:], other.stage[:] = 255, 5
    module = encoder()
    assert torch.equal(observe(module, unknown), observe(module, other))
    assert not torch.equal(observe(module, unknown), observe(module, known))


@pytest.mark.parametrize("table", ["players.characters.table", "players.action_states", "scenery.stages"])
def test_every_embedding_learns(empty_batch: Empty, put: Put, table: str) -> None:
    module = encoder()
    host = empty_batch(1, 2)
    put(host, "p0.internal_id", 3)
    put(host, "p0.action_state", 400)
    batch = to_tensors(host, "cpu")
    x = module(batch.columns, batch.frame_id, batch.stage, batch.ego_slot, batch.mirror)
    x.square().mul(torch.arange(x.shape[-1])).sum().backward()
    gradient = module.get_submodule(table).weight.grad
    assert isinstance(gradient, Tensor)
    assert gradient.abs().sum() > 0


def test_one_hot_characters_have_no_table() -> None:
    names = {name for name, _ in encoder(character_mode="one_hot").named_parameters()}
    assert not any("characters" in name for name in names)


def test_dropout_is_off_in_play(empty_batch: Empty) -> None:
    module, host = encoder(dropout=0.5), empty_batch(1, 1)
    assert torch.equal(observe(module, host), observe(module, host))
    module.train()
    assert not torch.equal(observe(module, host), observe(module, host))
