"""The sentences of advice: what speaks for a choice, what against the others, and what is not known.

In: what was chosen and from what, and what studies showed. Out: `Reason`s, a headline and notes. What a reader gets
wrong: a sentence says what its figures say; where they are missing or contradict each other, that is the sentence.
"""

from collections.abc import Iterator, Mapping, Sequence

from exphil_core.melee.frames import FRAME_MS
from exphil_core.runs.commands import typed_command
from exphil_core.studies.advice import About, Candidate, Known, Question, Reason
from exphil_core.studies.benched import BenchedRow
from exphil_core.studies.candidates import PLAYS_IN, fits
from exphil_core.studies.caveats import NLL_SENTENCE
from exphil_core.studies.evidence import Evidence, Standing, stand
from exphil_core.studies.strategy import Size


def headline(looked: Sequence[Candidate], chosen: Candidate | None, question: Question) -> str:
    measured = [each for each in looked if each.row is not None]
    if chosen is not None:
        assert chosen.row is not None
        return (
            f"Take {chosen.backbone} with a window of {chosen.window_size} frames at the size of {chosen.label}: "
            f"its p99 here is {chosen.row.p99_ms:.1f} of {question.budget_ms:.1f} ms."
        )
    if not measured:
        return (
            f"Nothing can be advised yet: no latency was measured on this machine's {_place(question)}; "
            f"'{_measuring(question)}' measures what is needed, in a few minutes."
        )
    nearest = min(measured, key=_distance)
    return (
        f"Nothing that was measured here fits {question.budget_ms:.2f} ms; the nearest is "
        f"{nearest.backbone} at the size of {nearest.label}: {_late(nearest)}."
    )


def on_latency(looked: Sequence[Candidate], chosen: Candidate | None, question: Question) -> Iterator[Reason]:
    """What fits, what does not and by how much."""
    if chosen is not None:
        row = chosen.row
        assert row is not None
        sentence = (
            f"{chosen.backbone} at the size of {chosen.label}: p99 {row.p99_ms:.2f} ms and {_missed(row)} in "
            f"{row.runtime} on the {_place(question)}, {question.budget_ms - row.p99_ms:.2f} ms under the budget of "
            f"{question.budget_ms:.2f} ms."
        )
        yield Reason(about="latency", sentence=sentence, basis="bench")
    late = [each for each in looked if each.row is not None and not each.fits]
    for preset in dict.fromkeys(_size_of(each) for each in late):
        mine = [f"{_named(each)} {_late(each)}" for each in late if _size_of(each) == preset]
        sentence = f"Not within the budget at the size of {preset}: {'; '.join(mine)}."
        yield Reason(about="latency", sentence=sentence, basis="bench")
    if disturbed := [_named(each) for each in late if each.disturbed]:
        sentence = (
            f"Of {', '.join(disturbed)}, p99 is several times the median: other work on this machine may have been "
            f"in the way. '{_measuring(question)}' measures such rows again; let nothing else run meanwhile."
        )
        yield Reason(about="latency", sentence=sentence, basis="bench")
    if chosen is None:
        for each in late:
            quick = {name: row.p99_ms for name, row in each.others.items() if fits(row, question)}
            if quick:
                name = min(quick, key=lambda found: quick[found])
                sentence = (
                    f"{_named(each)} at the size of {each.label} would fit in {name} (p99 {quick[name]:.2f} ms), "
                    f"but what plays is {PLAYS_IN}."
                )
                yield Reason(about="latency", sentence=sentence, basis="bench")


def passed_over(size: Size, candidates: Sequence[Candidate], question: Question) -> Reason:
    """Why a smaller size than the data would carry."""
    named = size.label
    if any(each.row is not None for each in candidates):
        sentence = (
            f"Nothing of size {named} that was measured fits {question.budget_ms:.2f} ms: a smaller one."
        )
    else:
        sentence = f"Nothing of size {named} was measured here: a smaller one, which was."
    return Reason(about="size", sentence=sentence, basis="bench")


def studied(about: About, standing: Standing, names: Mapping[str, str]) -> Iterator[Reason]:
    """What studies say of those that fit."""
    for said in standing.said:
        yield Reason(about=about, sentence=said.sentence, basis="study", source=said.study)
    for low, high in standing.against:
        sentence = (
            f"These contradict each other: one shows the loss of {names[low]} to be lower, another that of "
            f"{names[high]}."
        )
        yield Reason(about=about, sentence=sentence, basis="study")


def why(about: About, value: str, default: str, standing: Standing) -> Reason:
    """Why it is this one of those that fit."""
    named = f"{about.capitalize()} {value}"
    if value in standing.seen:
        if value == default:
            said = "exphil ships it, and no other that fits is shown to have a lower loss"
        elif (value, default) in standing.lower:
            said = f"its loss is shown to be lower than that of {default}, which exphil ships"
        else:
            said = f"{default}, which exphil ships, is not among those that fit, and no loss is shown to be lower"
        source = standing.used[0].study
        return Reason(about=about, sentence=f"{named}: {said}.", basis="study", source=source)
    if value == default:
        said = "exphil ships it, and no study here tried it beside others that fit"
        return Reason(about=about, sentence=f"{named}: {said}.", basis="assumption")
    said = (
        f"the quickest of those that fit; {default}, which exphil ships, is not among them, and no study here "
        "compares them"
    )
    return Reason(about=about, sentence=f"{named}: {said}.", basis="assumption")


def out_of_reach(
    about: About,
    value: str,
    tried: Sequence[Evidence],
    candidates: Mapping[str, Sequence[Candidate]],
    names: Mapping[str, str],
) -> Iterator[Reason]:
    """What studies show to be better than the choice, but is too slow here or was not measured."""
    standing = stand(tried, list(candidates), name=names)
    for each in sorted(low for low, high in standing.lower if high == value):
        mine = candidates[each]
        if any(found.fits for found in mine):
            continue
        said = "is too slow here" if any(found.row for found in mine) else "was not measured here"
        source = standing.used[0].study
        sentence = f"{names[each]} came out lower than {names[value]} in {source}, but {said}."
        yield Reason(about=about, sentence=sentence, basis="study", source=source)


def notes(
    question: Question,
    known: Known,
    looked: Sequence[Candidate],
    chosen: Candidate | None,
    *,
    hopeless: str,
    used: Sequence[Evidence],
) -> Iterator[str]:
    """What to keep in mind of all of it."""
    if hopeless:
        yield f"Nothing can be learned as it stands: {hopeless}."
    if question.data is None:
        yield (
            "No data was named, so the advice does not go by its games: --replays PATH names some, and then stands "
            "in the command, too."
        )
    if question.budget_ms > FRAME_MS:
        yield (
            f"The budget is more than a frame's {FRAME_MS:.2f} ms: deadlines are still those of 60 FPS, and what "
            "misses more than one in a hundred does not fit."
        )
    if known.benched.note:
        yield f"{known.benched.note}."
    missing = [each for each in looked if each.row is None]
    if chosen is not None and missing:
        listed = ", ".join(f"{_named(each)} ({each.label})" for each in missing)
        yield f"Not measured here, so neither taken nor ruled out: {listed}; '{_measuring(question)}' measures them."
    other = {row.threads for row in known.benched.rows} - {question.threads}
    if missing and other:
        yield (
            f"What was measured with {' or '.join(map(str, sorted(other)))} threads does not count: a policy plays "
            f"with {question.threads}."
        )
    if any(each.dojo for each in used):
        yield (
            "What a study shows on the dojo holds for its bots, which ask for less memory than people do: the same "
            "study on your own replays "
            f"('{_typed(question, 'study', 'run', 'NAME', '--replays', 'PATH')}') says more."
        )
    if not known.evidence:
        yield (
            "No study has come out in this folder, so no loss speaks for any backbone: "
            f"'{_typed(question, 'study', 'run', 'backbones', '--quick')}' is one that would."
        )
    yield from known.problems
    yield NLL_SENTENCE


def _measuring(question: Question) -> str:
    return _typed(question, "advise", "--measure")


def _typed(question: Question, *words: str) -> str:
    return typed_command(question.runs_dir, *words)


def _named(candidate: Candidate) -> str:
    return f"{candidate.backbone} with {candidate.window_size} frames"


def _size_of(candidate: Candidate) -> str:
    """The same for all backbones of one size."""
    return candidate.label.removeprefix(f"{candidate.backbone}_")


def _late(candidate: Candidate) -> str:
    assert candidate.row is not None
    if candidate.over_ms is None:
        return _missed(candidate.row)
    return f"{candidate.over_ms:.2f} ms over"


def _missed(row: BenchedRow) -> str:
    return f"{row.missed} of {row.frames} deadlines missed"


def _place(question: Question) -> str:
    if question.device == "cuda":
        return "GPU"
    return f"CPU ({question.threads} thread{'s' * (question.threads != 1)})"


def _distance(candidate: Candidate) -> tuple[float, float]:
    assert candidate.row is not None
    return candidate.over_ms or 0.0, candidate.row.p99_ms
