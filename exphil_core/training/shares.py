"""How often each character comes in a run's windows: what is asked, reachable and drawn, and why it falls short."""

import math
from collections.abc import Collection, Iterator, Mapping

from exphil_core.config.preset import Preset, TrainConfig
from exphil_core.dataset.plan import Plan, drawn_shares
from exphil_core.dataset.pool import MOST_REPEATED, CharacterShare, Pool, pool_of
from exphil_core.melee import characters
from exphil_core.training.data import Notice, TrainingData

COUNTED_BATCHES, COUNTED_WINDOWS = 1024, 65_536
"""Batches at the start of a run that its drawn shares are counted over, at most, and their windows."""

SHORT = 0.99
"""A character falls short where it comes less often than so much of what is asked."""

_NAMED = 5
"""Characters that the warning names at most."""


def wanted_characters(preset: Preset) -> tuple[int, ...]:
    """External ids of the characters that balance is about; none named: all."""
    return tuple(characters.by_name(name).external_id for name in preset.data.characters)


def pool_for(preset: Preset, data: TrainingData, rows: int | None = None) -> Pool:
    """The pool that the run's plan draws from, or the one for another number of rows at once."""
    config = preset.train
    return pool_of(
        data.train,
        data.store.index,
        rows=_rows(config) if rows is None else rows,
        balance=config.balance_characters,
        balance_temperature=config.balance_temperature,
        wanted=wanted_characters(preset),
    )


def shares_of(pool: Pool) -> dict[str, dict[str, float]]:
    """Character → `asked` and `reachable`, the five low-tier characters first."""
    shares = {
        characters.by_external_id(character).name: {"asked": share.asked, "reachable": share.reachable}
        for character, share in pool.shares.items()
    }
    return dict(sorted(shares.items(), key=lambda item: characters.low_tier_first(item[0])))


def shares_drawn(plan: Plan, data: TrainingData, batches: int | None) -> dict[str, dict[str, float]]:
    """`shares_of` the plan, and `drawn`: counted over the run's first windows.

    Args:
        batches: in the whole run; None where only time limits it.
    """
    counted = min(COUNTED_BATCHES, max(1, COUNTED_WINDOWS // plan.batch_size))
    if batches is not None:
        counted = min(counted, batches)
    drawn = drawn_shares(plan, data.store.index, counted)
    return {
        name: share | {"drawn": drawn.get(characters.by_name(name).external_id, 0.0)}
        for name, share in shares_of(plan.pool).items()
    }


def balance_notices(preset: Preset, data: TrainingData, pool: Pool) -> Iterator[Notice]:
    """A warning where balance cannot give a character the share that it asks for: by how much, why, what helps."""
    if not preset.train.balance_characters:
        return
    wanted = wanted_characters(preset) or tuple(pool.shares)
    short = {
        character: pool.shares[character]
        for character in wanted
        if character in pool.shares and _falls_short(pool.shares[character])
    }
    if not short:
        return
    repeated = {
        character: share
        for character, share in short.items()
        if share.reachable > SHORT * MOST_REPEATED * share.unbalanced
    }
    limited = {character: share for character, share in short.items() if character not in repeated}
    why, helps = [], []
    if limited:
        why.append(
            f"{'a step' if preset.train.carry_state else 'a batch'} has {pool.rows} windows and at most one from "
            f"each of {len(pool.game)} games"
        )
        more = [
            f"{math.ceil((share.asked - share.reachable) * pool.rows)} of {name}"
            for name, share in _named(limited)
        ]
        helps.append(f"more games to learn from ({_listed(more)})")
        if smaller := _smaller_batch(preset, data, limited):
            helps.append(smaller)
    if repeated:
        why.append(f"no character is drawn more than {MOST_REPEATED} times as often as without balance")
        helps.append(f"more games of {_listed([name for name, _ in _named(repeated)])}")
    told = _listed(
        [f"{name} {share.reachable:.1%} for {share.asked:.1%}" for name, share in _named(short)],
        more=len(short) - _NAMED,
    )
    yield Notice(
        "balance_falls_short",
        f"balance cannot reach every share of the windows that it asks for ({told}): {', and '.join(why)}. "
        f"What helps: {', or '.join(helps)}",
    )


def _falls_short(share: CharacterShare) -> bool:
    return share.reachable < SHORT * share.asked


def _rows(config: TrainConfig) -> int:
    """Windows among which a game comes once: of a batch, or of all lanes where state is carried."""
    return config.batch_size * (config.accumulation if config.carry_state else 1)


def largest_balanced_batch(preset: Preset, data: TrainingData, among: Collection[int] = ()) -> int | None:
    """The largest `train.batch_size`, at most the preset's, with which characters get the shares asked for them.

    Args:
        among: external ids of these characters; empty: of all that balance is about.

    Returns:
        None where no batch is small enough.
    """
    config = preset.train
    passes = _rows(config) // config.batch_size

    def enough(batch_size: int) -> bool:
        shares = pool_for(preset, data, batch_size * passes).shares
        asked_for = among or wanted_characters(preset) or tuple(shares)
        return not any(_falls_short(shares[character]) for character in asked_for if character in shares)

    if enough(config.batch_size):
        return config.batch_size
    if not enough(1):
        return None
    low, high = 1, config.batch_size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def _smaller_batch(preset: Preset, data: TrainingData, limited: Collection[int]) -> str | None:
    """The settings with which these characters get their shares, if there are any."""
    config = preset.train
    batch_size = largest_balanced_batch(preset, data, limited)
    if batch_size is None:
        return None
    if config.carry_state:
        return f"train.batch_size={batch_size}"
    passes = math.ceil(config.batch_size * config.accumulation / batch_size)
    return f"train.batch_size={batch_size} with train.accumulation={passes}"


def _named(shares: Mapping[int, CharacterShare]) -> list[tuple[str, CharacterShare]]:
    """The first few by name, those that miss most first."""
    ordered = sorted(shares.items(), key=lambda item: item[1].reachable - item[1].asked)
    return [(characters.by_external_id(character).name, share) for character, share in ordered[:_NAMED]]


def _listed(words: list[str], *, more: int = 0) -> str:
    if more > 0:
        words = [*words, f"{more} more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
