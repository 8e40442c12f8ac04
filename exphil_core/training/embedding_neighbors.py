"""Nearest neighbours of each character in a policy's learned character embedding, by cosine.

Embedding rows start at random, and two random rows of 64 numbers have a cosine of 0 ± 0.125. A character with
few frames stays near that, and its neighbours mean nothing.
"""

from collections.abc import Iterable, Mapping

import torch
from torch.nn import functional

from exphil_core.encoding.players import CharacterEncoding
from exphil_core.melee import characters
from exphil_core.models.policy import Policy

NEAREST = 3


def nearest_characters(
    policy: Policy, external_ids: Iterable[int]
) -> Mapping[str, tuple[tuple[str, float], ...]]:
    """Return the `NEAREST` most similar characters of each character, by cosine.

    Args:
        external_ids: characters in the training data; only these are compared.

    Returns:
        Name → (name, cosine), the nearest first; empty where characters are not embedded.
    """
    [encoding] = [module for module in policy.modules() if isinstance(module, CharacterEncoding)]
    if encoding.table is None:
        return {}
    met = {characters.by_external_id(external_id).name for external_id in external_ids}
    names = sorted(met, key=characters.low_tier_first)
    rows = torch.tensor([characters.by_name(name).internal_id for name in names])
    table = encoding.table.weight.detach().float().cpu()
    units = functional.normalize(table[rows], dim=-1)
    alike = (units @ units.T).fill_diagonal_(-torch.inf)
    found = {}
    for name, row in zip(names, alike, strict=True):
        values, order = row.sort(descending=True)
        count = min(NEAREST, len(names) - 1)
        found[name] = tuple(
            (names[at], value)
            for at, value in zip(order[:count].tolist(), values[:count].tolist(), strict=True)
        )
    return found
