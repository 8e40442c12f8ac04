"""Sentences of the advice: what supports the choice, what rules out the others, and what is unknown.

A sentence says no more than its numbers; where they are missing or contradict each other, it says that.
"""

from collections.abc import Iterator, Mapping, Sequence

from exphil_core.advise.advice import About, Candidate, Known, Question, Reason
from exphil_core.advise.candidates import PLAYS_IN, fits
from exphil_core.advise.evidence import Evidence, Ranking, rank_values
from exphil_core.advise.latency_cache import CachedLatency
from exphil_core.advise.strategy import PolicySize
from exphil_core.melee.frames import FRAME_MS
from exphil_core.runs.commands import shell_command
from exphil_core.studies.report_notes import NLL_SENTENCE


def headline(considered: Sequence[Candidate], chosen: Candidate | None, question: Question) -> str:
    """Return the first sentence: what to take, or why there is no choice."""
    measured = [each for each in considered if each.row is not None]
    if chosen is not None:
        assert chosen.row is not None
        return (
            f"Use {chosen.backbone} with a window of {chosen.window_size} frames at the size of {chosen.label}: "
            f"its p99 here is {chosen.row.p99_ms:.1f} of {question.budget_ms:.1f} ms."
        )
    if not measured:
        return (
            f"No advice yet: no latency was measured on this machine's {_place(question)}; "
            f"'{_measuring(question)}' measures it in a few minutes."
        )
    nearest = min(measured, key=_distance)
    return (
        f"Nothing measured here fits {question.budget_ms:.2f} ms; the closest is "
        f"{nearest.backbone} at the size of {nearest.label}: {_late(nearest)}."
    )


def on_latency(
    considered: Sequence[Candidate], chosen: Candidate | None, question: Question
) -> Iterator[Reason]:
    """Yield what fits the budget, what does not, and by how much."""
    if chosen is not None:
        row = chosen.row
        assert row is not None
        sentence = (
            f"{chosen.backbone} at the size of {chosen.label}: p99 {row.p99_ms:.2f} ms and {_missed(row)} in "
            f"{row.runtime} on the {_place(question)}, {question.budget_ms - row.p99_ms:.2f} ms under the budget of "
            f"{question.budget_ms:.2f} ms."
        )
        yield Reason(about="latency", sentence=sentence, basis="bench")
    late = [each for each in considered if each.row is not None and not each.fits]
    for preset in dict.fromkeys(_size_of(each) for each in late):
        mine = [f"{_named(each)} {_late(each)}" for each in late if _size_of(each) == preset]
        sentence = f"Not within the budget at the size of {preset}: {'; '.join(mine)}."
        yield Reason(about="latency", sentence=sentence, basis="bench")
    if disturbed := [_named(each) for each in late if each.disturbed]:
        sentence = (
            f"For {', '.join(disturbed)}, p99 is several times the median: other load on this machine may have "
            f"interfered. '{_measuring(question)}' measures them again; run nothing else meanwhile."
        )
        yield Reason(about="latency", sentence=sentence, basis="bench")
    if chosen is None:
        for each in late:
            quick = {name: row.p99_ms for name, row in each.others.items() if fits(row, question)}
            if quick:
                name = min(quick, key=lambda found: quick[found])
                sentence = (
                    f"{_named(each)} at the size of {each.label} would fit in {name} (p99 {quick[name]:.2f} ms), "
                    f"but policies play in {PLAYS_IN}."
                )
                yield Reason(about="latency", sentence=sentence, basis="bench")


def passed_over(size: PolicySize, candidates: Sequence[Candidate], question: Question) -> Reason:
    """Explain why a size that the data supports is passed over for a smaller one."""
    named = size.label
    if any(each.row is not None for each in candidates):
        sentence = f"Nothing measured at size {named} fits {question.budget_ms:.2f} ms, so a smaller size."
    else:
        sentence = f"Nothing at size {named} was measured here, so a smaller size that was."
    return Reason(about="size", sentence=sentence, basis="bench")


def studied(about: About, ranking: Ranking, names: Mapping[str, str]) -> Iterator[Reason]:
    """Yield what studies show of the candidates that fit."""
    for found in ranking.sentences:
        yield Reason(about=about, sentence=found.sentence, basis="study", source=found.study)
    for low, high in ranking.contradictions:
        sentence = (
            f"These studies contradict each other: one shows a lower loss for {names[low]}, another for "
            f"{names[high]}."
        )
        yield Reason(about=about, sentence=sentence, basis="study")


def why(about: About, value: str, default: str, ranking: Ranking) -> Reason:
    """Explain why this value was chosen among those that fit."""
    named = f"{about.capitalize()} {value}"
    if value in ranking.seen:
        if value == default:
            explanation = "the shipped default, and no other that fits has a significantly lower loss"
        elif (value, default) in ranking.lower:
            explanation = f"its loss is significantly lower than that of the shipped default, {default}"
        else:
            explanation = f"the shipped default, {default}, does not fit, and no loss is significantly lower"
        source = ranking.used[0].study
        return Reason(about=about, sentence=f"{named}: {explanation}.", basis="study", source=source)
    if value == default:
        explanation = "the shipped default, and no study here compares it with others that fit"
        return Reason(about=about, sentence=f"{named}: {explanation}.", basis="assumption")
    explanation = (
        f"the fastest that fits; the shipped default, {default}, does not fit, and no study here "
        "compares them"
    )
    return Reason(about=about, sentence=f"{named}: {explanation}.", basis="assumption")


def out_of_reach(
    about: About,
    value: str,
    tried: Sequence[Evidence],
    candidates: Mapping[str, Sequence[Candidate]],
    names: Mapping[str, str],
) -> Iterator[Reason]:
    """Yield what studies show to be better than the choice, but is too slow here or was not measured."""
    ranking = rank_values(tried, list(candidates), name=names)
    for each in sorted(low for low, high in ranking.lower if high == value):
        mine = candidates[each]
        if any(found.fits for found in mine):
            continue
        explanation = "is too slow here" if any(found.row for found in mine) else "was not measured here"
        source = ranking.used[0].study
        sentence = f"{names[each]} had a lower loss than {names[value]} in {source}, but {explanation}."
        yield Reason(about=about, sentence=sentence, basis="study", source=source)


def notes(
    question: Question,
    known: Known,
    considered: Sequence[Candidate],
    chosen: Candidate | None,
    *,
    untrainable: str,
    used: Sequence[Evidence],
) -> Iterator[str]:
    """Yield general notes on the advice."""
    if untrainable:
        yield f"Training is not possible: {untrainable}."
    if question.data is None:
        yield (
            "No data was given, so the advice does not consider it: --replays PATH gives some, also to the command."
        )
    if question.budget_ms > FRAME_MS:
        yield (
            f"The budget is more than a frame's {FRAME_MS:.2f} ms: deadlines are still those of 60 FPS, and a "
            "policy that misses more than 1 in 100 does not fit."
        )
    if known.latencies.note:
        yield f"{known.latencies.note}."
    missing = [each for each in considered if each.row is None]
    if chosen is not None and missing:
        listed = ", ".join(f"{_named(each)} ({each.label})" for each in missing)
        yield f"Not measured here, so neither chosen nor ruled out: {listed}; '{_measuring(question)}' measures them."
    other = {row.threads for row in known.latencies.rows} - {question.threads}
    if missing and other:
        yield (
            f"Latencies measured with {' or '.join(map(str, sorted(other)))} threads do not count: a policy plays "
            f"with {question.threads}."
        )
    if any(each.dojo for each in used):
        yield (
            "Studies on the dojo apply to its bots, which need less memory than human play: the same study on your "
            "own replays "
            f"('{_typed(question, 'study', 'run', 'NAME', '--replays', 'PATH')}') is stronger evidence."
        )
    if not known.evidence:
        yield (
            "No study in this folder has results, so no loss supports any backbone: "
            f"'{_typed(question, 'study', 'run', 'backbones', '--quick')}' runs one."
        )
    yield from known.problems
    yield NLL_SENTENCE


def _measuring(question: Question) -> str:
    return _typed(question, "advise", "--measure")


def _typed(question: Question, *words: str) -> str:
    return shell_command(question.runs_dir, *words)


def _named(candidate: Candidate) -> str:
    return f"{candidate.backbone} with {candidate.window_size} frames"


def _size_of(candidate: Candidate) -> str:
    """Return the label of a size, which is the same for all backbones."""
    return candidate.label.removeprefix(f"{candidate.backbone}_")


def _late(candidate: Candidate) -> str:
    assert candidate.row is not None
    if candidate.over_ms is None:
        return _missed(candidate.row)
    return f"{candidate.over_ms:.2f} ms over"


def _missed(row: CachedLatency) -> str:
    return f"{row.missed} of {row.frames} deadlines missed"


def _place(question: Question) -> str:
    if question.device == "cuda":
        return "GPU"
    return f"CPU ({question.threads} thread{'s' * (question.threads != 1)})"


def _distance(candidate: Candidate) -> tuple[float, float]:
    assert candidate.row is not None
    return candidate.over_ms or 0.0, candidate.row.p99_ms
