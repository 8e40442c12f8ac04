"""What studies say of one setting: variants that differ in it, under one budget and judged on the same frames.

In: a study's journal. Out: `Evidence`, and what several of them together show of the values that are in question
(`stand`). What a reader gets wrong: the values are compared anew among those in question, since a study's own verdict
sets them against its lowest, which may be one that is too slow here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exphil_core.studies.cells import Trial
from exphil_core.studies.outcome import report_of
from exphil_core.studies.report import Group, Row, judged_alike
from exphil_core.studies.verdict import Comparison, compared

BACKBONE, WINDOW = "backbone.kind", "backbone.window_size"
MODE, WHO, BALANCE = "encoder.character_mode", "data.characters", "train.balance_characters"

SETTINGS = (BACKBONE, WINDOW, MODE, WHO, BALANCE)
"""That advice is about. Where variants differ in several, they are about the first."""

CARRIED = "train.carry_state"
GAMES = "data.most_games"

_OF_THE_BUDGET = ("train.seed", "train.max_steps", "train.max_minutes", "train.epochs", "train.batch_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A value of the setting, as it was tried."""

    value: str
    losses: Mapping[int, float]
    """By seed."""
    mean: float
    backbone: str
    carried: bool
    """Whether its state was carried over from window to window."""
    alone: bool
    """Whether it learned one character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    study: str
    setting: str
    dojo: bool
    quick: bool
    budget: str
    """As a sentence has it."""
    parameters: tuple[int, int]
    """The least and the most."""
    besides: tuple[str, ...]
    """Other settings in which the variants differ."""
    tried: tuple[Tried, ...]
    """The lowest mean loss first; one for each value."""
    by_character: tuple[Comparison, ...] = ()

    @property
    def rank(self) -> tuple[bool, bool]:
        """The lower, the more it says of people's games: real before the dojo, whole before quick."""
        return self.dojo, self.quick

    @property
    def where(self) -> str:
        """What it is of, for the beginning of a sentence."""
        data = "on the dojo" if self.dojo else "on replays"
        form = ", quick form" if self.quick else ""
        least, most = (f"{count / 1e6:.2g}" for count in self.parameters)
        size = least if least == most else f"{least} to {most}"
        also = f"; {', '.join(self.besides)} differ too" if self.besides else ""
        return f"{self.study} ({data}{form}, {self.budget}, {size} million parameters{also})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    sentence: str
    study: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is shown of the values in question."""

    seen: frozenset[str]
    """Those that any study tried beside another."""
    lower: frozenset[tuple[str, str]]
    """(lower, higher), where no study shows the opposite."""
    against: tuple[tuple[str, str], ...]
    """Pairs of which one study shows the opposite of another."""
    said: tuple[Said, ...]
    used: tuple[Evidence, ...]

    def beaten(self, value: str) -> bool:
        return any(higher == value for _, higher in self.lower)


def read_evidence(studies: Path) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
    """Of every study in the folder, and a sentence for each that cannot be read."""
    from exphil_core.studies.storage import StudyStorage

    found: list[Evidence] = []
    problems = []
    for folder in sorted(path for path in studies.glob("*") if StudyStorage.exists(path)):
        try:
            storage = StudyStorage(folder)
            found += evidence_of(folder.name, storage.described(), storage.trials())
        except (ValueError, OSError, KeyError, TypeError) as error:
            problems.append(f"The study {folder.name} cannot be read ({error}), so it says nothing here.")
    return tuple(found), tuple(problems)


def evidence_of(name: str, described: Mapping[str, Any], trials: Sequence[Trial]) -> Iterator[Evidence]:
    """What has ended so far. Groups of variants that differ in no setting that advice is about are left out."""
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
            judged = [rows] if setting == WHO else judged_alike(rows)
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


def stand(evidence: Sequence[Evidence], among: Sequence[str], *, name: Mapping[str, str]) -> Standing:
    """What the evidence that says most shows of the values in `among`, each called by its `name`."""
    asked = set(among)
    speaking = [each for each in evidence if len([t for t in each.tried if t.value in asked]) > 1]
    best = min((each.rank for each in speaking), default=None)
    shown: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    said = []
    for each in sorted(speaking, key=lambda found: (found.rank, found.study)):
        tried = [found for found in each.tried if found.value in asked]
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
        sentence = f"{each.where}: {_told(tried[0], comparisons, name)}"
        said.append(Said(sentence=sentence, study=each.study))
    against = tuple(sorted(pair for pair in shown if pair < pair[::-1] and pair[::-1] in shown))
    # Evidence of a lower rank takes part in contradictions, and decides nothing.
    opposed = {pair for low, high in against for pair in ((low, high), (high, low))}
    used = tuple(each for each in speaking if each.rank == best)
    decided = {pair for pair, ranks in shown.items() if best in ranks}
    return Standing(
        seen=frozenset(found.value for each in used for found in each.tried if found.value in asked),
        lower=frozenset(decided - {pair for pair in opposed if _undone(pair, shown, best)}),
        against=against,
        said=tuple(said),
        used=used,
    )


def _undone(
    pair: tuple[str, str],
    shown: Mapping[tuple[str, str], Sequence[tuple[bool, bool]]],
    best: tuple[bool, bool] | None,
) -> bool:
    """Whether what says the opposite says as much."""
    return best in shown[pair[::-1]]


def _told(lowest: Tried, comparisons: Sequence[Comparison], name: Mapping[str, str]) -> str:
    single = [each for each in comparisons if each.difference.low is None]
    kinds = (
        ("higher is shown for", [each for each in comparisons if not each.tie]),
        ("a tie with", [each for each in comparisons if each.tie and each not in single]),
        ("one seed, which decides nothing, for", single),
    )
    parts = [f"{words} {', '.join(_one(each, name) for each in found)}" for words, found in kinds if found]
    count = max((each.difference.count for each in comparisons), default=0)
    seeds = f", {count} seeds" if count > 1 else ""
    first = f"the lowest mean loss is that of {name[lowest.value]} ({lowest.mean:.4f} nats{seeds})"
    return f"{'; '.join((first, *parts))}."


def _one(comparison: Comparison, name: Mapping[str, str]) -> str:
    by = comparison.difference
    if by.low is None or by.high is None:
        return f"{name[comparison.ours]} ({by.mean:+.4f})"
    return f"{name[comparison.ours]} ({by.mean:+.4f}, {by.low:+.4f} to {by.high:+.4f})"


def _tried(rows: Sequence[Row], setting: str, presets: Mapping[str, Mapping[str, Any]]) -> tuple[Tried, ...]:
    found: dict[str, Tried] = {}
    for row in sorted(rows, key=lambda row: row.loss.mean):
        said = presets[row.name]
        value = row.name if setting == WHO else str(said.get(setting))
        # Of two rows of one value, the one with the lower loss stands for it.
        if value not in found:
            found[value] = Tried(
                value=value,
                losses=row.losses,
                mean=row.loss.mean,
                backbone=str(said.get(BACKBONE, "")),
                carried=bool(said.get(CARRIED)),
                alone=len(row.learns) == 1,
            )
    return tuple(found.values())


def _of(group: Group, names: set[str]) -> tuple[Comparison, ...]:
    return tuple(each for each in group.by_character if {each.ours, each.theirs} <= names)


def _alike_but_in_one_axis(
    rows: Sequence[Row], presets: Mapping[str, Mapping[str, Any]]
) -> Iterator[list[Row]]:
    for axis in rows[0].values:
        slices: dict[tuple[object, ...], list[Row]] = {}
        for row in rows:
            # What began elsewhere knows more than its budget taught it, and fewer games are another question.
            if row.starts_from is None:
                others = tuple(value for key, value in row.values.items() if key != axis)
                slices.setdefault((others, repr(presets[row.name].get(GAMES))), []).append(row)
        yield from (each for each in slices.values() if len(each) > 1)


def _settings(preset: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted key."""
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
    """Whether a difference in `key` is one beside that in `setting`."""
    if key == setting or key in _OF_THE_BUDGET:
        return False
    # Another kind has other settings of its own.
    shared = ("backbone.layers", "backbone.width", WINDOW)
    return not (setting == BACKBONE and key.startswith("backbone.") and key not in shared)
