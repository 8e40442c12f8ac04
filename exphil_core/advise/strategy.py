"""Choose from the data how to train: characters, size, together or alone, balance and character mode.

How many frames a policy of some size needs was never measured here. Those sentences are assumptions and say so;
a study on this machine is shown beside them or overrules them.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exphil_core.advise.advice import Question, Reason
from exphil_core.advise.evidence import BALANCE, MODE, WHO, Evidence, rank_values
from exphil_core.config.sizes import SizeName, named_at_size
from exphil_core.dataset.stats import CharacterCounts
from exphil_core.melee import characters
from exphil_core.melee.frames import FRAMES_PER_SECOND
from exphil_core.replays.text import sanitise
from exphil_core.studies.verdict import VariantComparison

UNEVEN = 2.0
"""Ratio of the commonest to the rarest character's frames from which balance is advised."""

MOST_NAMED = 6
"""Most characters that a sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySize:
    """A size of policy, and what it needs."""

    preset: str
    """Name of the preset, or a template for the backbone's kind."""
    size: SizeName | None = None
    """The preset's size; None where it has only one."""
    frames: int
    """Fewest training frames: about as many as it has parameters."""
    needs_gpu: bool

    @property
    def label(self) -> str:
        return named_at_size(self.preset.format("BACKBONE"), self.size)


SIZES = (
    PolicySize(preset="low_tier_unified", size="small", frames=0, needs_gpu=False),
    PolicySize(preset="low_tier_unified", size="production", frames=3_000_000, needs_gpu=True),
    PolicySize(preset="{}_20m", frames=20_000_000, needs_gpu=True),
)
"""The smallest first."""

SIZE_WITHOUT_DATA = 1
"""Index in `SIZES`, on a GPU where no data was named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How to train, with reasons."""

    sizes: tuple[PolicySize, ...]
    """The preferred size, then smaller ones for when nothing of it is fast enough."""
    characters: tuple[str, ...] | None
    """Characters to imitate; None where the data does not tell."""
    together: bool | None
    """Whether to train on all other characters as well; None keeps the preset's setting."""
    balance: bool | None
    mode: str | None
    """`one_hot` or `learned`."""
    reasons: tuple[Reason, ...]
    frames: int = 0
    """Frames of the wanted characters, for training and validation."""
    untrainable: str = ""
    """Why nothing can be learned from this data; empty where something can."""


def strategy_of(question: Question, evidence: Sequence[Evidence]) -> Strategy:
    """Return the strategy that follows from the data, the device and studies."""
    data = question.data
    if data is None:
        size, why = _size(question, None)
        return Strategy(
            sizes=_down_from(size),
            characters=question.characters or None,
            together=None,
            balance=None,
            mode=None,
            reasons=(why,),
        )
    known = {name: found for name, found in data.per_character.items() if _is_character(name)}
    wanted, reasons = _wanted(question, known)
    held = {name: known.get(name, CharacterCounts()) for name in wanted}
    reasons = [*_counted(data.games, held), *reasons]
    unknown = sorted(data.per_character.keys() - known.keys())
    if unknown:
        listed = _listed([sanitise(name, limit=30) for name in unknown])
        reasons.append(
            Reason(
                about="data",
                sentence=f"Unknown characters in this data, ignored: {listed}.",
                basis="data",
            )
        )
    learned = sum(found.usable_frames for found in held.values())
    all_frames = sum(found.usable_frames for found in known.values())
    little = [name for name in wanted if held[name].little and held[name].usable_frames]
    together, whys = _together(little, all_frames - learned, evidence)
    reasons += whys
    frames = all_frames if together else learned
    size, why = _size(question, frames)
    reasons.append(why)
    present = [name for name in wanted if held[name].usable_frames]
    balance, whys = _balance({name: held[name].usable_frames for name in present}, evidence)
    reasons += whys
    mode, whys = _mode(len(present) > 1 or bool(together), evidence)
    reasons += whys
    return Strategy(
        sizes=_down_from(size),
        characters=tuple(present) or wanted,
        together=together,
        balance=balance,
        mode=mode,
        reasons=tuple(reasons),
        frames=learned,
        untrainable=""
        if learned
        else f"this data has no side of {_listed(wanted)} to imitate"
        if wanted
        else "this data has no side to imitate",
    )


def _wanted(question: Question, known: Mapping[str, CharacterCounts]) -> tuple[tuple[str, ...], list[Reason]]:
    if question.characters:
        return question.characters, []
    held = [name for name, found in known.items() if found.usable_frames]
    low = tuple(name for name in characters.LOW_TIER if name in held)
    if low:
        sentence = f"Characters to imitate: {_listed(low)}, the low tier first; --character chooses others."
        return low, [Reason(about="strategy", sentence=sentence, basis="assumption")]
    all_held = tuple(sorted(held))
    sentence = (
        f"Characters to imitate: {_listed(all_held)}, all characters in the data; --character chooses others."
    )
    return all_held, [Reason(about="strategy", sentence=sentence, basis="data")] if all_held else []


def _counted(games: int, held: Mapping[str, CharacterCounts]) -> Iterator[Reason]:
    each = [
        f"{_title(name)} {_play(found.usable_frames)} in {found.games} game{'s' * (found.games != 1)}"
        for name, found in held.items()
    ]
    if each:
        sentence = f"To imitate, in {games:,} games: {'; '.join(each[:MOST_NAMED])}{_more(each)}."
        yield Reason(about="data", sentence=sentence, basis="data")


def _size(question: Question, frames: int | None) -> tuple[int, Reason]:
    """Return the index in `SIZES`, and why."""
    allowed = [k for k, size in enumerate(SIZES) if question.device == "cuda" or not size.needs_gpu]
    if frames is None:
        size = min(SIZE_WITHOUT_DATA, allowed[-1])
        why = "no data was given, and this is the size of exphil's presets for a " + (
            "GPU" if question.device == "cuda" else "CPU"
        )
    else:
        supported = max(k for k, each in enumerate(SIZES) if frames >= each.frames)
        size = min(supported, allowed[-1])
        if size < supported:
            why = f"{frames:,} frames would support a larger one, but the larger presets need a GPU for training"
        elif size == 0:
            why = (
                f"{frames:,} frames are fewer than the parameters of any larger one, and few games are soon "
                "overfitted"
            )
        else:
            why = f"{frames:,} frames are at least as many as its parameters"
    sentence = f"Size {SIZES[size].label}: {why}."
    return size, Reason(about="size", sentence=sentence, basis="assumption")


def _down_from(size: int) -> tuple[PolicySize, ...]:
    return tuple(reversed(SIZES[: size + 1]))


def _together(
    little: Sequence[str], others: int, evidence: Sequence[Evidence]
) -> tuple[bool | None, list[Reason]]:
    """Return whether to train on all other characters as well, and why."""
    if not others:
        return None, []
    if not little:
        sentence = (
            "Every character to imitate has an hour of play or more, so other characters' sides are not used."
        )
        return False, [Reason(about="strategy", sentence=sentence, basis="assumption")]
    verb = "have" if len(little) > 1 else "has"
    shown = list(_alone_or_together(evidence))
    reasons = [
        Reason(about="strategy", sentence=sentence, basis="study", source=study)
        for study, sentence, _ in shown
    ]
    sides = {side for _, _, found in shown for side in found}
    if sides == {"alone"}:
        sentence = (
            f"{_listed(little)} {verb} less than an hour of play, where exphil would train on all characters; "
            "a study here showed a lower loss for characters trained alone, so it does not."
        )
        return False, [
            *reasons,
            Reason(about="strategy", sentence=sentence, basis="study", source=shown[0][0]),
        ]
    sentence = (
        f"{_listed(little)} {verb} less than an hour of play: train on all other characters' sides as "
        "well (data.train_on_all_characters), for what all characters share."
    )
    if sides == {"alone", "together"}:
        sentence += " Studies here contradict each other on this, so it stays an assumption."
    basis = "study" if sides == {"together"} else "assumption"
    source = shown[0][0] if basis == "study" else ""
    return True, [
        *reasons,
        Reason(about="strategy", sentence=sentence, basis="study", source=source)
        if basis == "study"
        else Reason(about="strategy", sentence=sentence, basis="assumption"),
    ]


def _alone_or_together(evidence: Sequence[Evidence]) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Yield (study, sentences, results); results hold `alone`, `together`, or an empty string for a tie."""
    speaking = [each for each in evidence if each.setting == WHO and each.by_character]
    for each in sorted(speaking, key=lambda found: (found.rank, found.study)):
        alone = {tried.value for tried in each.tried if tried.alone}
        mixed = [found for found in each.by_character if (found.ours in alone) != (found.theirs in alone)]
        if mixed:
            sentences = " ".join(comparison.sentence for comparison in mixed)
            yield each.study, f"{each.where}: {sentences}", frozenset(_lower(found, alone) for found in mixed)


def _lower(comparison: VariantComparison, alone: Collection[str]) -> str:
    if comparison.tie:
        return ""
    lower = comparison.ours if comparison.difference.mean < 0 else comparison.theirs
    return "alone" if lower in alone else "together"


def _balance(frames: Mapping[str, int], evidence: Sequence[Evidence]) -> tuple[bool | None, list[Reason]]:
    if len(frames) < 2:
        return None, []
    rarest, commonest = min(frames, key=lambda name: frames[name]), max(frames, key=lambda name: frames[name])
    ratio = frames[commonest] / frames[rarest]
    studied = _tried_here(evidence, BALANCE, {"True": "balanced", "False": "unbalanced"})
    how = f"{_title(commonest)} has {ratio:.1f} times the frames of {_title(rarest)}"
    if ratio < UNEVEN:
        sentence = f"{how}: even enough to do without balancing."
    else:
        sentence = f"{how}: draw rare characters more often (--balance-characters)."
    return ratio >= UNEVEN, [*studied, Reason(about="strategy", sentence=sentence, basis="assumption")]


def _mode(several: bool, evidence: Sequence[Evidence]) -> tuple[str | None, list[Reason]]:
    if not several:
        return None, []
    names = {"one_hot": "one_hot", "learned": "learned"}
    studied = _tried_here(evidence, MODE, names)
    ranking = rank_values([each for each in evidence if each.setting == MODE], list(names), name=names)
    if ranking.beaten("learned") or ranking.beaten("one_hot"):
        mode = "one_hot" if ranking.beaten("learned") else "learned"
        sentence = f"Characters as {mode}, as the study showed."
        source = ranking.used[0].study
        return mode, [*studied, Reason(about="strategy", sentence=sentence, basis="study", source=source)]
    sentence = "Characters as a learned embedding, so that they can share what they have in common."
    return "learned", [*studied, Reason(about="strategy", sentence=sentence, basis="assumption")]


def _tried_here(evidence: Sequence[Evidence], setting: str, name: Mapping[str, str]) -> list[Reason]:
    ranking = rank_values([each for each in evidence if each.setting == setting], list(name), name=name)
    return [
        Reason(about="strategy", sentence=found.sentence, basis="study", source=found.study)
        for found in ranking.sentences
    ]


def _is_character(name: str) -> bool:
    try:
        characters.by_name(name)
    except ValueError:
        return False
    return True


def _title(name: str) -> str:
    return characters.by_name(name).title if _is_character(name) else name


def _listed(names: Sequence[str]) -> str:
    titles = [_title(name) for name in names]
    return ", ".join(titles[:MOST_NAMED]) + _more(titles)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""


def _play(frames: int) -> str:
    minutes = frames / FRAMES_PER_SECOND / 60
    if minutes >= 100:
        return f"{minutes / 60:,.0f} h"
    return f"{minutes:.0f} min" if minutes >= 1 or not frames else "less than a minute"
