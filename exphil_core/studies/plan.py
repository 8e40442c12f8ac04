"""Which runs a study is: every variant with every seed, each with the length that its budget gives it.

In: a study. Out: its cells, all variants of one seed before the next, each after the one that it starts from. What a
reader gets wrong: under a budget of FLOPs a child process has to count first, so this may take seconds.
"""

from exphil_core.studies.budget import Budget
from exphil_core.studies.cells import Cell
from exphil_core.studies.children import flops_per_frame
from exphil_core.studies.study import Study, Variant


def cells_of(study: Study) -> list[Cell]:
    """One cell a run. UsageError where a budget cannot be met by every variant."""
    by_flops = [variant for variant in study.variants if variant.budget.kind == "flops"]
    counts = flops_per_frame([variant.preset for variant in by_flops]) if by_flops else []
    flops = {variant.name: count for variant, count in zip(by_flops, counts, strict=True)}
    return [
        _cell(study, variant, variant.budget, seed, flops.get(variant.name))
        for seed in study.seeds
        for variant in study.variants
    ]


def _cell(study: Study, variant: Variant, budget: Budget, seed: int, flops: float | None) -> Cell:
    preset = budget.given_to(variant.preset, flops_per_frame=flops)
    return Cell(
        run=f"{study.name}.{variant.name}.{seed}",
        variant=variant.name,
        seed=seed,
        values=variant.values,
        budget=budget.kind,
        amount=budget.amount,
        multiple=budget.multiple,
        preset=preset.model_copy(update={"train": preset.train.model_copy(update={"seed": seed})}),
        starts_from=None if variant.starts_from is None else f"{study.name}.{variant.starts_from}.{seed}",
    )
