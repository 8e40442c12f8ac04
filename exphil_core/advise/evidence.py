"""Evidence of studies on one setting: variants that differ in it, under one budget, judged on the same frames.

`rank_values` combines the evidence on the values in question and compares them anew: a study's own verdict compares
with its lowest loss, which may be of a variant that is too slow here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exphil_core.studies.aggregate import report_of
from exphil_core.studies.report import Group, ReportRow, group_by_characters
from exphil_core.studies.trials import Trial
from exphil_core.studies.verdict import VariantComparison, compared

BACKBONE, WINDOW = "backbone.kind", "backbone.window_size"
MODE, WHO, BALANCE = "encoder.character_mode", "data.characters", "train.balance_characters"

SETTINGS = (BACKBONE, WINDOW, MODE, WHO, BALANCE)
"""Settings that advice covers; variants that differ in several count for the first."""

CARRIED = "train.carry_state"
GAMES = "data.max_games_per_character"

_OF_THE_BUDGET = ("train.seed", "train.max_steps", "train.max_minutes", "train.epochs", "train.batch_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A value of the setting, with its result in a study."""

    value: str
    losses: Mapping[int, float]
    """By seed."""
    mean: float
    backbone: str
    carried: bool
    """Whether its state was carried from window to window."""
    alone: bool
    """Whether it learned a single character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Variants of one study that differ in one setting."""

    study: str
    setting: str
    dojo: bool
    quick: bool
    budget: str
    """In words."""
    parameters: tuple[int, int]
    """Fewest and most."""
    besides: tuple[str, ...]
    """Other settings in which the variants differ."""
    tried: tuple[Tried, ...]
    """One for each value, the lowest mean loss first."""
    by_character: tuple[VariantComparison, ...] = ()

    @property
    def rank(self) -> tuple[bool, bool]:
        """Sort key, the strongest evidence on human games first: replays before the dojo, full before quick."""
        return self.dojo, self.quick

    @property
    def where(self) -> str:
        """Description of the source, for the start of a sentence."""
        data = "on the dojo" if self.dojo else "on replays"
        form = ", quick mode" if self.quick else ""
        least, most = (f"{count / 1e6:.2g}" for count in self.parameters)
        size = least if least == most else f"{least} to {most}"
        also = f"; {', '.join(self.besides)} differ too" if self.besides else ""
        return f"{self.study} ({data}{form}, {self.budget}, {size} million parameters{also})"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySentence:
    """A sentence, and the study that it is from."""

    sentence: str
    study: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What evidence shows of the values in question."""

    seen: frozenset[str]
    """Values that a study tried beside another."""
    lower: frozenset[tuple[str, str]]
    """(lower, higher), where no equally strong study shows the opposite."""
    contradictions: tuple[tuple[str, str], ...]
    """Pairs on which studies contradict each other."""
    sentences: tuple[StudySentence, ...]
    used: tuple[Evidence, ...]

    def beaten(self, value: str) -> bool:
        return any(higher == value for _, higher in self.lower)


def read_evidence(studies: Path) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
    """Read the evidence of every study in a folder.

    Returns:
        The evidence, and a sentence for each study that cannot be read.
    """
    from exphil_core.studies.storage import StudyStorage

    found: list[Evidence] = []
    problems = []
    for folder in sorted(path for path in studies.glob("*") if StudyStorage.exists(path)):
        try:
            storage = StudyStorage(folder)
            found += evidence_of(folder.name, storage.described(), storage.trials())
        except (ValueError, OSError, KeyError, TypeError) as error:
            problems.append(f"The study {folder.name} cannot be read ({error}), so it is ignored.")
    return tuple(found), tuple(problems)


def evidence_of(name: str, described: Mapping[str, Any], trials: Sequence[Trial]) -> Iterator[Evidence]:
    """Yield the evidence of a study's trials that have ended.

    Groups of variants that differ in none of `SETTINGS` are left out.
    """
    report = report_of(name, described, trials)
    presets = {"-".join(trial.values.values()): _settings(trial.preset) for trial in trials}
    floors = any(
        who.get("floor") is not None
        for trial in trials
        for who in (trial.measures or {}).get("per_character", {}).values()
    )
    for group in report.groups:
        for rows in _alike_but_in_one_axis(group.rows, presets):
            differing = _differing([presets[row.name] for row in rows])
            setting = next((each for each in SETTINGS if each in differing), None)
            if setting is None:
                continue
            names = {row.name for row in rows}
            judged = [rows] if setting == WHO else group_by_characters(rows)
            for alike in judged:
                tried = _tried(alike, setting, presets)
                if len(tried) < 2:
                    continue
                counts = [row.parameters for row in alike]
                yield Evidence(
                    study=name,
                    setting=setting,
                    dojo=floors,
                    quick=report.quick,
                    budget=group.title,
                    parameters=(min(counts), max(counts)),
                    besides=tuple(sorted(key for key in differing if _counts(key, setting))),
                    tried=tried,
                    by_character=_of(group, names),
                )


def rank_values(evidence: Sequence[Evidence], among: Sequence[str], *, name: Mapping[str, str]) -> Ranking:
    """Return what the strongest evidence shows of the values in `among`.

    Args:
        name: value → its name in sentences.
    """
    values = set(among)
    relevant = [each for each in evidence if len([t for t in each.tried if t.value in values]) > 1]
    best = min((each.rank for each in relevant), default=None)
    shown: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    sentences = []
    for each in sorted(relevant, key=lambda found: (found.rank, found.study)):
        tried = [found for found in each.tried if found.value in values]
        losses = {found.value: found.losses for found in tried}
        lowest = tried[0].value
        pairs = [(found.value, lowest) for found in tried[1:]]
        comparisons = compared(losses, pairs, on="", together=len(pairs))
        for comparison in comparisons:
            if not comparison.tie:
                low, high = lowest, comparison.ours
                if comparison.difference.mean < 0:
                    low, high = high, low
                shown.setdefault((low, high), []).append(each.rank)
        sentence = f"{each.where}: {_loss_sentence(tried[0], comparisons, name)}"
        sentences.append(StudySentence(sentence=sentence, study=each.study))
    contradictions = tuple(sorted(pair for pair in shown if pair < pair[::-1] and pair[::-1] in shown))
    # Weaker evidence takes part in contradictions but decides nothing.
    opposed = {pair for low, high in contradictions for pair in ((low, high), (high, low))}
    used = tuple(each for each in relevant if each.rank == best)
    decided = {pair for pair, ranks in shown.items() if best in ranks}
    return Ranking(
        seen=frozenset(found.value for each in used for found in each.tried if found.value in values),
        lower=frozenset(decided - {pair for pair in opposed if _opposed_equally(pair, shown, best)}),
        contradictions=contradictions,
        sentences=tuple(sentences),
        used=used,
    )


def _opposed_equally(
    pair: tuple[str, str],
    shown: Mapping[tuple[str, str], Sequence[tuple[bool, bool]]],
    best: tuple[bool, bool] | None,
) -> bool:
    """Return whether equally strong evidence shows the opposite."""
    return best in shown[pair[::-1]]


def _loss_sentence(lowest: Tried, comparisons: Sequence[VariantComparison], name: Mapping[str, str]) -> str:
    single = [each for each in comparisons if each.difference.low is None]
    kinds = (
        ("significantly higher:", [each for each in comparisons if not each.tie]),
        ("tie:", [each for each in comparisons if each.tie and each not in single]),
        ("one seed, undecided:", single),
    )
    parts = [f"{words} {', '.join(_one(each, name) for each in found)}" for words, found in kinds if found]
    count = max((each.difference.count for each in comparisons), default=0)
    seeds = f", {count} seeds" if count > 1 else ""
    first = f"lowest mean loss: {name[lowest.value]} ({lowest.mean:.4f} nats{seeds})"
    return f"{'; '.join((first, *parts))}."


def _one(comparison: VariantComparison, name: Mapping[str, str]) -> str:
    by = comparison.difference
    if by.low is None or by.high is None:
        return f"{name[comparison.ours]} ({by.mean:+.4f})"
    return f"{name[comparison.ours]} ({by.mean:+.4f}, {by.low:+.4f} to {by.high:+.4f})"


def _tried(
    rows: Sequence[ReportRow], setting: str, presets: Mapping[str, Mapping[str, Any]]
) -> tuple[Tried, ...]:
    found: dict[str, Tried] = {}
    for row in sorted(rows, key=lambda row: row.loss.mean):
        settings = presets[row.name]
        value = row.name if setting == WHO else str(settings.get(setting))
        # Of two rows with one value, the lower loss counts.
        if value not in found:
            found[value] = Tried(
                value=value,
                losses=row.losses,
                mean=row.loss.mean,
                backbone=str(settings.get(BACKBONE, "")),
                carried=bool(settings.get(CARRIED)),
                alone=len(row.learns) == 1,
            )
    return tuple(found.values())


def _of(group: Group, names: set[str]) -> tuple[VariantComparison, ...]:
    return tuple(each for each in group.by_character if {each.ours, each.theirs} <= names)


def _alike_but_in_one_axis(
    rows: Sequence[ReportRow], presets: Mapping[str, Mapping[str, Any]]
) -> Iterator[list[ReportRow]]:
    for axis in rows[0].values:
        slices: dict[tuple[object, ...], list[ReportRow]] = {}
        for row in rows:
            # A row that started from other weights has had more training than its budget, and rows with different
            # numbers of games answer another question.
            if row.starts_from is None:
                others = tuple(value for key, value in row.values.items() if key != axis)
                slices.setdefault((others, repr(presets[row.name].get(GAMES))), []).append(row)
        yield from (each for each in slices.values() if len(each) > 1)


def _settings(preset: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset's values by dotted key."""
    return {
        f"{section}.{key}": value
        for section, table in preset.items()
        if isinstance(table, Mapping)
        for key, value in table.items()
    }


def _differing(presets: Sequence[Mapping[str, Any]]) -> set[str]:
    keys = {key for preset in presets for key in preset}
    first = presets[0]
    return {key for key in keys if any(preset.get(key) != first.get(key) for preset in presets)}


def _counts(key: str, setting: str) -> bool:
    """Return whether a difference in `key` matters beside one in `setting`."""
    if key == setting or key in _OF_THE_BUDGET:
        return False
    # Another kind of backbone has settings of its own.
    shared = ("backbone.layers", "backbone.width", WINDOW)
    return not (setting == BACKBONE and key.startswith("backbone.") and key not in shared)
