"""Aggregate a study's trials into its report: means, spreads, comparisons and the verdict.

The report covers the trials that have ended so far and is made from the journal alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exphil_core.melee.characters import by_name, low_tier_first
from exphil_core.studies.report import BUDGET_WORDS, Group, Report, ReportRow, group_by_characters
from exphil_core.studies.report_notes import Done, report_notes
from exphil_core.studies.statistics import Spread, spread
from exphil_core.studies.trial_result import CharacterLoss, Measures, measures_of, reached
from exphil_core.studies.trials import Trial
from exphil_core.studies.verdict import VariantComparison, by_pair, compared


def report_of(name: str, described: Mapping[str, Any], trials: Sequence[Trial]) -> Report:
    """Return the report of the trials that have ended so far.

    Args:
        described: what `StudyStorage.describe` stored.
    """
    done = [
        (trial, measures_of(trial.measures))
        for trial in trials
        if trial.state == "complete" and trial.measures
    ]
    against = References(default=described.get("against"), own=described.get("references", {}))
    named = {trial.run: _name(trial) for trial in trials}
    groups = []
    for budget in BUDGET_WORDS:
        mine = [(trial, found) for trial, found in done if trial.budget == budget]
        if mine:
            groups.append(_group(budget, mine, against, named))
    return Report(
        name=name,
        about=described.get("about", ""),
        decides=described.get("decides", ""),
        quick=bool(described.get("quick")),
        data=described.get("data", ""),
        ended=sum(trial.ended for trial in trials),
        of=len(trials),
        groups=tuple(groups),
        lost={trial.run: trial.why for trial in trials if trial.state == "failed"},
        notes=tuple(report_notes(described, trials, done, groups)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """The value that each value is compared with."""

    default: str | None
    own: Mapping[str, str]
    """Value → its own reference, where it has one."""

    @property
    def any(self) -> bool:
        """Whether the study names any reference."""
        return self.default is not None or bool(self.own)

    def of(self, value: str) -> str | None:
        return self.own.get(value, self.default)


def _name(trial: Trial) -> str:
    """Return the name of the trial's variant within its group."""
    return "-".join(trial.values.values())


def _group(budget: str, done: Sequence[Done], against: References, named: Mapping[str, str]) -> Group:
    by_name: dict[str, list[Done]] = {}
    for trial, found in done:
        by_name.setdefault(_name(trial), []).append((trial, found))
    # Losses, and what it takes to reach one, do not compare between runs judged on different characters.
    alike = len({tuple(sorted(found.per_character)) for _, found in done}) == 1
    target = _target([found for _, found in done]) if alike else None
    rows = sorted(
        (_row(each, mine, target, named) for each, mine in by_name.items()), key=lambda row: row.loss.mean
    )
    whole = list(_comparisons(rows, against))
    by_character = list(_character_comparisons(rows, done, against))
    front = tuple(_pareto_front(rows)) if alike else ()
    return Group(
        budget=budget,
        amount=done[0][0].amount / done[0][0].multiple,
        rows=tuple(rows),
        target=target,
        comparisons=tuple(whole),
        by_character=tuple(by_character),
        front=front,
        verdict=tuple(_verdict(rows, whole, by_character, front)),
    )


def _row(name: str, done: Sequence[Done], target: float | None, named: Mapping[str, str]) -> ReportRow:
    done = sorted(done, key=lambda item: item[0].seed)
    trial = done[0][0]
    measures = [found for _, found in done]
    data = trial.preset.get("data", {})
    hits = [None if target is None else reached(found.curve, target) for found in measures]
    arrived = [point for point in hits if point is not None]
    all_arrived = arrived if len(arrived) == len(measures) else []
    closed = [value for found in measures if (value := _closed(found)) is not None]
    rates = [found.frames_per_s for found in measures if found.frames_per_s is not None]
    return ReportRow(
        name=name,
        values=trial.values,
        learns=() if data.get("train_on_all_characters") is True else tuple(data.get("characters", ())),
        starts_from=None if trial.starts_from is None else named.get(trial.starts_from, trial.starts_from),
        multiple=trial.multiple,
        seeds=tuple(trial.seed for trial, _ in done),
        losses={trial.seed: found.loss for trial, found in done},
        loss=spread([found.loss for found in measures]),
        per_character=_spreads([found.per_character for found in measures]),
        cross=_spreads([found.cross or {} for found in measures]),
        closed=sum(closed) / len(closed) if len(closed) == len(measures) else None,
        steps=_mean([found.steps for found in measures]),
        frames=_mean([found.frames for found in measures]),
        seconds=_mean([found.seconds for found in measures]),
        frames_per_s=_mean(rates) if rates else None,
        parameters=measures[0].parameters,
        latency=next((found.latency for found in measures if found.latency is not None), None),
        reached_frames=spread([float(point.frames) for point in all_arrived]) if all_arrived else None,
        reached_seconds=spread([point.seconds for point in all_arrived]) if all_arrived else None,
        curves={trial.seed: found.curve for trial, found in done},
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spreads(found: Sequence[Mapping[str, CharacterLoss]]) -> dict[str, Spread]:
    """Return the spread of each character's loss, over the runs that were judged on it."""
    names = sorted({name for each in found for name in each}, key=low_tier_first)
    return {name: spread([each[name].loss for each in found if name in each]) for name in names}


def _closed(found: Measures) -> float | None:
    judged = [who for who in found.per_character.values() if who.closed is not None]
    frames = sum(who.frames for who in judged)
    return (
        sum(who.closed * who.frames for who in judged if who.closed is not None) / frames if frames else None
    )


def _target(measures: Sequence[Measures]) -> float | None:
    """Return the lowest loss that every run reached."""
    best = [min((point.loss for point in found.curve), default=None) for found in measures]
    return None if None in best else max(value for value in best if value is not None)


def _pairs(rows: Sequence[ReportRow], against: References) -> list[tuple[str, str]]:
    """Return the pairs to compare: each variant with its reference, or all with the lowest loss."""
    if not against.any:
        lowest = min(rows, key=lambda row: row.loss.mean)
        return [(row.name, lowest.name) for row in rows if row is not lowest]
    found = []
    for row in rows:
        for reference in rows:
            axes = [axis for axis in row.values if row.values[axis] != reference.values.get(axis)]
            if len(axes) == 1 and reference.values.get(axes[0], "") == against.of(row.values[axes[0]]):
                found.append((row.name, reference.name))
    return found


def _comparisons(rows: Sequence[ReportRow], against: References) -> Iterator[VariantComparison]:
    by_name = {row.name: row for row in rows}
    # Losses over different characters do not compare.
    pairs = [
        (ours, theirs)
        for alike in group_by_characters(rows)
        for ours, theirs in _pairs(alike, against)
        if by_name[ours].per_character.keys() == by_name[theirs].per_character.keys()
    ]
    yield from compared({row.name: row.losses for row in rows}, pairs, on="", together=len(pairs))


def _character_comparisons(
    rows: Sequence[ReportRow], done: Sequence[Done], against: References
) -> Iterator[VariantComparison]:
    """Yield comparisons per character, of the variants that have learned it, on the same frames."""
    has_matrix = all(row.cross for row in rows)
    losses: dict[str, dict[str, dict[int, float]]] = {}
    frames: dict[str, dict[str, int]] = {}
    for trial, found in done:
        name = _name(trial)
        for character, who in ((found.cross if has_matrix else found.per_character) or {}).items():
            losses.setdefault(character, {}).setdefault(name, {})[trial.seed] = who.loss
            frames.setdefault(character, {})[name] = who.frames
    plan: list[tuple[str, list[tuple[str, str]]]] = []
    for character in sorted(losses, key=low_tier_first):
        learned = [
            row
            for row in rows
            if (not row.learns or character in row.learns) and row.name in losses[character]
        ]
        if len(learned) > 1:
            seen = frames[character]
            pairs = [pair for pair in _pairs(learned, against) if seen[pair[0]] == seen[pair[1]]]
            plan.append((character, pairs))
    together = sum(len(pairs) for _, pairs in plan)
    for character, pairs in plan:
        yield from compared(losses[character], pairs, on=by_name(character).title, together=together)


def _pareto_front(rows: Sequence[ReportRow]) -> Iterator[str]:
    timed = [(row, row.latency.p99_ms) for row in rows if row.latency is not None]
    for row, late in timed:
        beaten = any(
            other.loss.mean <= row.loss.mean
            and other_late <= late
            and (other.loss.mean, other_late) != (row.loss.mean, late)
            for other, other_late in timed
        )
        if not beaten:
            yield row.name


def _verdict(
    rows: Sequence[ReportRow],
    whole: Sequence[VariantComparison],
    by_character: Sequence[VariantComparison],
    front: Sequence[str],
) -> Iterator[str]:
    single = sorted({row.name for row in rows if row.loss.count == 1})
    if single:
        who = "Every variant" if len(single) == len(rows) else ", ".join(single)
        verb = "has" if len(single) in (1, len(rows)) else "have"
        yield f"{who} {verb} one seed only: without a spread nothing is decided."
    if len(rows) > 1 and len(group_by_characters(rows)) == 1:
        yield _lowest(rows, whole)
    yield from (comparison.sentence for comparison in sorted(whole, key=lambda comparison: comparison.tie))
    yield from by_pair(by_character)
    timed = [row for row in rows if row.latency is not None]
    if timed:
        yield _latency(timed)
    if len(front) > 1:
        yield f"Pareto front of mean loss and p99: {', '.join(front)}."
    elif front and len(timed) > 1:
        yield f"{front[0]} has both the lowest mean loss and the lowest p99."


def _lowest(rows: Sequence[ReportRow], whole: Sequence[VariantComparison]) -> str:
    first = rows[0]
    shown = {
        comparison.ours for comparison in whole if comparison.theirs == first.name and not comparison.tie
    }
    lowest = f"{first.name} has the lowest mean loss, {first.loss.mean:.4f} nats"
    others = {comparison.ours for comparison in whole if comparison.theirs == first.name}
    if not others:
        return f"{lowest}."
    if shown == {row.name for row in rows[1:]}:
        return f"{lowest}, significantly lower than all others."
    if shown:
        return (
            f"{lowest}, significantly lower than {', '.join(row.name for row in rows if row.name in shown)}."
        )
    return f"{lowest}, but not significantly lower than any other."


def _latency(rows: Sequence[ReportRow]) -> str:
    timed = [(row.name, row.latency) for row in rows if row.latency is not None]
    slow, late = ([name for name, found in timed if found.fit == fit] for fit in ("too slow", "late"))
    least, most = min(found.p99_ms for _, found in timed), max(found.p99_ms for _, found in timed)
    budget = timed[0][1].budget_ms
    spanned = f"p99 {least:.1f} ms" if least == most else f"p99 from {least:.1f} to {most:.1f} ms"
    fits = "all are fast enough for 60 FPS" if late else "all fit 60 FPS"
    if slow:
        fits = f"{', '.join(slow)} {'does' if len(slow) == 1 else 'do'} not fit 60 FPS"
    busy = ""
    if late:
        busy = (
            f" {', '.join(late)} missed more than 1 in 100 deadlines anyway: the machine was too busy to start "
            "frames in time, so measure again when it is idle."
        )
    threads = timed[0][1].threads
    on = "one thread" if threads == 1 else f"{threads} threads"
    return f"Played in eager torch with {on}, {fits} ({spanned}, budget {budget:.2f} ms).{busy}"
