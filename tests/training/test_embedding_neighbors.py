"""Who lies near whom in a learned embedding, among those that were met."""

from collections.abc import Callable

import pytest
import torch

from exphil_core.config.preset import Preset
from exphil_core.encoding.players import CharacterEncoding
from exphil_core.melee import characters
from exphil_core.models.policy import Policy, build_policy
from exphil_core.training.embedding_neighbors import nearest_characters


def _place(policy: Policy, places: dict[str, tuple[float, float]]) -> None:
    [encoding] = [module for module in policy.modules() if isinstance(module, CharacterEncoding)]
    assert encoding.table is not None
    with torch.no_grad():
        encoding.table.weight.zero_()
        for name, place in places.items():
            encoding.table.weight[characters.by_name(name).internal_id, :2] = torch.tensor(place)


def _external(*names: str) -> list[int]:
    return [characters.by_name(name).external_id for name in names]


@pytest.mark.parametrize("prediction", ["dense", "interleaved"])
def test_the_nearest_come_first_and_only_those_that_were_met(
    prediction: str, tiny: Callable[..., Preset]
) -> None:
    policy = build_policy(tiny(policy={"head_width": 32, "prediction": prediction}))
    _place(
        policy, {"mewtwo": (1, 0), "jigglypuff": (3, 0.3), "samus": (1, 1), "fox": (-1, 0.2), "falco": (1, 0)}
    )
    found = nearest_characters(policy, _external("fox", "mewtwo", "jigglypuff", "samus"))
    assert list(found) == ["mewtwo", "fox", "jigglypuff", "samus"]
    assert [name for name, _ in found["mewtwo"]] == ["jigglypuff", "samus", "fox"]
    assert found["mewtwo"][1][1] == pytest.approx(0.5**0.5)


def test_a_zelda_that_never_transforms_meets_no_sheik(tiny: Callable[..., Preset]) -> None:
    found = nearest_characters(build_policy(tiny()), _external("zelda", "fox"))
    assert set(found) == {"zelda", "fox"}


def test_one_hot_characters_have_no_neighbours(tiny: Callable[..., Preset]) -> None:
    policy = build_policy(tiny(encoder={"character_mode": "one_hot", "width": 32}))
    assert nearest_characters(policy, _external("zelda", "fox")) == {}
