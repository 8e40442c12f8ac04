"""Character shares of a run's windows: requested, reachable and drawn, and why balance falls short."""

import math
from collections.abc import Collection, Iterator, Mapping

from exphil_core.config.preset import Preset, TrainConfig
from exphil_core.dataset.plan import Plan, drawn_shares
from exphil_core.dataset.sampling import MAX_BALANCE_FACTOR, CharacterShare, SamplingTable, sampling_table
from exphil_core.melee import characters
from exphil_core.training.data import DataWarning, TrainingData

COUNTED_BATCHES, COUNTED_WINDOWS = 1024, 65_536
"""Batches and windows at the start of a run, at most, over which drawn shares are counted."""

SHORT = 0.99
"""A character falls short when its share is below this fraction of the requested one."""

_NAMED = 5
"""Most characters that the warning names."""


def wanted_characters(preset: Preset) -> tuple[int, ...]:
    """Return the external ids of the characters that balance applies to; empty means all."""
    return tuple(characters.by_name(name).external_id for name in preset.data.characters)


def sampling_for(preset: Preset, data: TrainingData, rows: int | None = None) -> SamplingTable:
    """Return the sampling pool of the run's plan.

    Args:
        rows: windows drawn at once; None takes the run's own number.
    """
    config = preset.train
    return sampling_table(
        data.train,
        data.store.index,
        rows=_rows(config) if rows is None else rows,
        balance=config.balance_characters,
        balance_temperature=config.balance_temperature,
        wanted=wanted_characters(preset),
    )


def shares_of(pool: SamplingTable) -> dict[str, dict[str, float]]:
    """Return each character's `asked` and `reachable` share, the low-tier characters first."""
    shares = {
        characters.by_external_id(character).name: {"asked": share.asked, "reachable": share.reachable}
        for character, share in pool.shares.items()
    }
    return dict(sorted(shares.items(), key=lambda item: characters.low_tier_first(item[0])))


def shares_drawn(plan: Plan, data: TrainingData, batches: int | None) -> dict[str, dict[str, float]]:
    """Return `shares_of` the plan plus `drawn`, counted over the run's first windows.

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


def balance_notices(preset: Preset, data: TrainingData, pool: SamplingTable) -> Iterator[DataWarning]:
    """Yield a warning where balance cannot reach a requested share: by how much, why, and what helps."""
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
        if share.reachable > SHORT * MAX_BALANCE_FACTOR * share.unbalanced
    }
    limited = {character: share for character, share in short.items() if character not in repeated}
    why, helps = [], []
    if limited:
        why.append(
            f"{'a step' if preset.train.carry_state else 'a batch'} has {pool.rows} windows and at most one from "
            f"each of {len(pool.game)} game{'s' * (len(pool.game) != 1)}"
        )
        more = [
            f"{math.ceil((share.asked - share.reachable) * pool.rows)} of {name}"
            for name, share in _named(limited)
        ]
        helps.append(f"more training games ({_listed(more)})")
        if smaller := _smaller_batch(preset, data, limited):
            helps.append(smaller)
    if repeated:
        why.append(f"no character is drawn more than {MAX_BALANCE_FACTOR} times as often as without balance")
        helps.append(f"more games of {_listed([name for name, _ in _named(repeated)])}")
    told = _listed(
        [f"{name} {share.reachable:.1%} for {share.asked:.1%}" for name, share in _named(short)],
        more=len(short) - _NAMED,
    )
    yield DataWarning(
        "balance_falls_short",
        f"balance cannot reach every share of the windows that it asks for ({told}): {', and '.join(why)}. "
        f"What helps: {', or '.join(helps)}",
    )


def _falls_short(share: CharacterShare) -> bool:
    return share.reachable < SHORT * share.asked


def _rows(config: TrainConfig) -> int:
    """Return the number of windows that are of different games: a batch, or all streams where state is carried."""
    return config.batch_size * (config.grad_accum_steps if config.carry_state else 1)


def largest_balanced_batch(preset: Preset, data: TrainingData, among: Collection[int] = ()) -> int | None:
    """Return the largest `train.batch_size`, at most the preset's, that reaches the requested shares.

    Args:
        among: external ids of the characters to consider; empty for all that balance applies to.

    Returns:
        None where no batch is small enough.
    """
    config = preset.train
    passes = _rows(config) // config.batch_size

    def enough(batch_size: int) -> bool:
        shares = sampling_for(preset, data, batch_size * passes).shares
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
    """Return the settings that reach these characters' shares; None where there are none."""
    config = preset.train
    batch_size = largest_balanced_batch(preset, data, limited)
    if batch_size is None:
        return None
    if config.carry_state:
        return f"train.batch_size={batch_size}"
    passes = math.ceil(config.batch_size * config.grad_accum_steps / batch_size)
    return f"train.batch_size={batch_size} with train.grad_accum_steps={passes}"


def _named(shares: Mapping[int, CharacterShare]) -> list[tuple[str, CharacterShare]]:
    """Return the first `_NAMED` characters with their names, the largest shortfall first."""
    ordered = sorted(shares.items(), key=lambda item: item[1].reachable - item[1].asked)
    return [(characters.by_external_id(character).name, share) for character, share in ordered[:_NAMED]]


def _listed(words: list[str], *, more: int = 0) -> str:
    if more > 0:
        words = [*words, f"{more} more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
