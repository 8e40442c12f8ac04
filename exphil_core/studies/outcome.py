"""From a study's trials to its report: means and spreads, who is compared with whom, and the verdict.

In: what the study is about, and its trials. Out: a `Report`. What a reader gets wrong: the report is of what has
ended so far, and is made from the journal alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exphil_core.melee.characters import by_name, low_tier_first
from exphil_core.studies.caveats import Done, caveats
from exphil_core.studies.cells import Trial
from exphil_core.studies.measures import Judged, Measures, measures_of, reached
from exphil_core.studies.report import BUDGET_WORDS, Group, Report, Row, judged_alike
from exphil_core.studies.spread import Spread, spread
from exphil_core.studies.verdict import Comparison, by_pair, compared


def report_of(name: str, described: Mapping[str, Any], trials: Sequence[Trial]) -> Report:
    """The report of what has ended so far."""
    done = [
        (trial, measures_of(trial.measures))
        for trial in trials
        if trial.state == "complete" and trial.measures
    ]
    against = Against(everyone=described.get("against"), own=described.get("references", {}))
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
        notes=tuple(caveats(described, trials, done, groups)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Which value each is compared with."""

    everyone: str | None
    own: Mapping[str, str]
    """By value, where it is another."""

    @property
    def anybody(self) -> bool:
        """Whether the study says so at all."""
        return self.everyone is not None or bool(self.own)

    def of(self, value: str) -> str | None:
        return self.own.get(value, self.everyone)


def _name(trial: Trial) -> str:
    """Of its variant within its group."""
    return "-".join(trial.values.values())


def _group(budget: str, done: Sequence[Done], against: Against, named: Mapping[str, str]) -> Group:
    by_name: dict[str, list[Done]] = {}
    for trial, found in done:
        by_name.setdefault(_name(trial), []).append((trial, found))
    # Of runs that are judged on other characters, neither losses nor what it takes to a loss stand side by side.
    alike = len({tuple(sorted(found.per_character)) for _, found in done}) == 1
    target = _target([found for _, found in done]) if alike else None
    rows = sorted(
        (_row(each, mine, target, named) for each, mine in by_name.items()), key=lambda row: row.loss.mean
    )
    whole = list(_comparisons(rows, against))
    by_character = list(_character_comparisons(rows, done, against))
    front = tuple(_front(rows)) if alike else ()
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


def _row(name: str, done: Sequence[Done], target: float | None, named: Mapping[str, str]) -> Row:
    done = sorted(done, key=lambda item: item[0].seed)
    trial = done[0][0]
    measures = [found for _, found in done]
    data = trial.preset.get("data", {})
    hits = [None if target is None else reached(found.curve, target) for found in measures]
    arrived = [point for point in hits if point is not None]
    everyone = arrived if len(arrived) == len(measures) else []
    closed = [value for found in measures if (value := _closed(found)) is not None]
    rates = [found.frames_per_s for found in measures if found.frames_per_s is not None]
    return Row(
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
        reached_frames=spread([float(point.frames) for point in everyone]) if everyone else None,
        reached_seconds=spread([point.seconds for point in everyone]) if everyone else None,
        curves={trial.seed: found.curve for trial, found in done},
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spreads(found: Sequence[Mapping[str, Judged]]) -> dict[str, Spread]:
    """By character, of the runs that were judged on it."""
    names = sorted({name for each in found for name in each}, key=low_tier_first)
    return {name: spread([each[name].loss for each in found if name in each]) for name in names}


def _closed(found: Measures) -> float | None:
    judged = [who for who in found.per_character.values() if who.closed is not None]
    frames = sum(who.frames for who in judged)
    return (
        sum(who.closed * who.frames for who in judged if who.closed is not None) / frames if frames else None
    )


def _target(measures: Sequence[Measures]) -> float | None:
    """The lowest loss that every run reached."""
    best = [min((point.loss for point in found.curve), default=None) for found in measures]
    return None if None in best else max(value for value in best if value is not None)


def _pairs(rows: Sequence[Row], against: Against) -> list[tuple[str, str]]:
    """Which variants are set against which: each against its reference, or all against the lowest."""
    if not against.anybody:
        lowest = min(rows, key=lambda row: row.loss.mean)
        return [(row.name, lowest.name) for row in rows if row is not lowest]
    found = []
    for row in rows:
        for reference in rows:
            axes = [axis for axis in row.values if row.values[axis] != reference.values.get(axis)]
            if len(axes) == 1 and reference.values.get(axes[0], "") == against.of(row.values[axes[0]]):
                found.append((row.name, reference.name))
    return found


def _comparisons(rows: Sequence[Row], against: Against) -> Iterator[Comparison]:
    by_name = {row.name: row for row in rows}
    # A loss over other characters is another number.
    pairs = [
        (ours, theirs)
        for alike in judged_alike(rows)
        for ours, theirs in _pairs(alike, against)
        if by_name[ours].per_character.keys() == by_name[theirs].per_character.keys()
    ]
    yield from compared({row.name: row.losses for row in rows}, pairs, on="", together=len(pairs))


def _character_comparisons(
    rows: Sequence[Row], done: Sequence[Done], against: Against
) -> Iterator[Comparison]:
    """On each character, among the variants that have learned it and were judged on the same frames."""
    crossed = all(row.cross for row in rows)
    losses: dict[str, dict[str, dict[int, float]]] = {}
    frames: dict[str, dict[str, int]] = {}
    for trial, found in done:
        name = _name(trial)
        for character, who in ((found.cross if crossed else found.per_character) or {}).items():
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


def _front(rows: Sequence[Row]) -> Iterator[str]:
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
    rows: Sequence[Row], whole: Sequence[Comparison], by_character: Sequence[Comparison], front: Sequence[str]
) -> Iterator[str]:
    single = sorted({row.name for row in rows if row.loss.count == 1})
    if single:
        who = "Every variant has" if len(single) == len(rows) else f"{', '.join(single)} have"
        yield f"{who} one seed only: without a spread nothing is decided about them."
    if len(rows) > 1 and len(judged_alike(rows)) == 1:
        yield _lowest(rows, whole)
    yield from (comparison.sentence for comparison in sorted(whole, key=lambda comparison: comparison.tie))
    yield from by_pair(by_character)
    timed = [row for row in rows if row.latency is not None]
    if timed:
        yield _latency(timed)
    if len(front) > 1:
        yield f"No variant beats {' or '.join(front)} in both mean loss and p99."
    elif front and len(timed) > 1:
        yield f"{front[0]} has both the lowest mean loss and the lowest p99."


def _lowest(rows: Sequence[Row], whole: Sequence[Comparison]) -> str:
    first = rows[0]
    shown = {
        comparison.ours for comparison in whole if comparison.theirs == first.name and not comparison.tie
    }
    said = f"{first.name} has the lowest mean loss, {first.loss.mean:.4f} nats"
    others = {comparison.ours for comparison in whole if comparison.theirs == first.name}
    if not others:
        return f"{said}."
    if shown == {row.name for row in rows[1:]}:
        return f"{said}, and lower than every other's is shown."
    if shown:
        return f"{said}; lower than those of {', '.join(row.name for row in rows if row.name in shown)} is shown."
    return f"{said}, but lower than any other's is not shown."


def _latency(rows: Sequence[Row]) -> str:
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
            f" {', '.join(late)} met fewer than 99 of 100 deadlines all the same: the machine was too busy to begin "
            "frames in time, so measure again when it is not."
        )
    threads = timed[0][1].threads
    on = "one thread" if threads == 1 else f"{threads} threads"
    return f"Played in eager torch with {on}, {fits} ({spanned}, budget {budget:.2f} ms).{busy}"
