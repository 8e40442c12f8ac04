"""Plan a study's runs: every variant with every seed, with the length that its budget gives it."""

from exphil_core.studies.budget import Budget
from exphil_core.studies.study import Study, Variant
from exphil_core.studies.subprocesses import flops_per_frame
from exphil_core.studies.trials import TrialSpec


def trial_specs(study: Study) -> list[TrialSpec]:
    """Return a study's trials, one per run: all variants of one seed, then the next seed.

    A variant comes after the one that it starts from. With a budget of FLOPs a child process counts them first,
    which may take seconds.

    Raises:
        UsageError: a variant cannot meet its budget evenly.
    """
    by_flops = [variant for variant in study.variants if variant.budget.kind == "flops"]
    counts = flops_per_frame([variant.preset for variant in by_flops]) if by_flops else []
    flops = {variant.name: count for variant, count in zip(by_flops, counts, strict=True)}
    return [
        _cell(study, variant, variant.budget, seed, flops.get(variant.name))
        for seed in study.seeds
        for variant in study.variants
    ]


def _cell(study: Study, variant: Variant, budget: Budget, seed: int, flops: float | None) -> TrialSpec:
    preset = budget.given_to(variant.preset, flops_per_frame=flops)
    return TrialSpec(
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
