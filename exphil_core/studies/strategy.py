"""What the data says about how to learn: whose inputs, how large a policy, together or alone, balanced or not.

In: games and frames by character, where the policy learns, and what studies showed. Out: a `Strategy`, each part
with its reason. What a reader gets wrong: how many frames a policy of some size needs was never measured here. Those
lines are assumptions, and say so; what a study on this machine showed stands beside them, or overrules them.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from exphil_core.config.sizes import SizeName, named_at_size
from exphil_core.dataset.contents import CharacterCounts
from exphil_core.melee import characters
from exphil_core.melee.frames import FRAMES_PER_SECOND
from exphil_core.replays.text import sanitise
from exphil_core.studies.advice import Question, Reason
from exphil_core.studies.evidence import BALANCE, MODE, WHO, Evidence, stand
from exphil_core.studies.verdict import Comparison

UNEVEN = 2.0
"""Frames of the commonest over those of the rarest from which characters are balanced."""

MOST_NAMED = 6
"""Characters that a sentence names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    preset: str
    """Its name, or what becomes one with a backbone's kind."""
    size: SizeName | None = None
    """The preset's size; None where it has but one."""
    frames: int
    """To learn from at the least: about as many as it has parameters."""
    needs_gpu: bool

    @property
    def label(self) -> str:
        return named_at_size(self.preset.format("BACKBONE"), self.size)


SIZES = (
    Size(preset="low_tier_unified", size="small", frames=0, needs_gpu=False),
    Size(preset="low_tier_unified", size="production", frames=3_000_000, needs_gpu=True),
    Size(preset="{}_20m", frames=20_000_000, needs_gpu=True),
)
"""From the smallest up."""

SIZE_WITHOUT_DATA = 1
"""On a GPU, where no data was named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    sizes: tuple[Size, ...]
    """The one to take first, then smaller ones, for where nothing of it is fast enough."""
    characters: tuple[str, ...] | None
    """Whose inputs; None where the data does not tell."""
    together: bool | None
    """Whether to learn from everybody else, too; None as the preset has it."""
    balance: bool | None
    mode: str | None
    """`one_hot` or `learned`."""
    reasons: tuple[Reason, ...]
    frames: int = 0
    """Of the wanted characters, to train on and to hold out."""
    hopeless: str = ""
    """Why nothing can be learned from this data; empty where something can."""


def strategy_of(question: Question, evidence: Sequence[Evidence]) -> Strategy:
    """What follows from the data and the device."""
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
    wanted, reasons = _whose(question, known)
    held = {name: known.get(name, CharacterCounts()) for name in wanted}
    reasons = [*_counted(data.games, held), *reasons]
    strangers = sorted(data.per_character.keys() - known.keys())
    if strangers:
        listed = _listed([sanitise(name, limit=30) for name in strangers])
        reasons.append(
            Reason(
                about="data",
                sentence=f"{listed} in this data is no character that this exphil knows, and is left out.",
                basis="data",
            )
        )
    learned = sum(found.usable_frames for found in held.values())
    everybody = sum(found.usable_frames for found in known.values())
    little = [name for name in wanted if held[name].little and held[name].usable_frames]
    together, whys = _together(little, everybody - learned, evidence)
    reasons += whys
    frames = everybody if together else learned
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
        hopeless=""
        if learned
        else f"there is no side to imitate of {_listed(wanted)} in this data"
        if wanted
        else "there is no side to imitate in this data",
    )


def _whose(question: Question, known: Mapping[str, CharacterCounts]) -> tuple[tuple[str, ...], list[Reason]]:
    if question.characters:
        return question.characters, []
    held = [name for name, found in known.items() if found.usable_frames]
    low = tuple(name for name in characters.LOW_TIER if name in held)
    if low:
        sentence = (
            f"Whose inputs: {_listed(low)}, since exphil puts the low tier first; --character names others."
        )
        return low, [Reason(about="strategy", sentence=sentence, basis="assumption")]
    everybody = tuple(sorted(held))
    sentence = f"Whose inputs: {_listed(everybody)}, everybody that the data has; --character names others."
    return everybody, [Reason(about="strategy", sentence=sentence, basis="data")] if everybody else []


def _counted(games: int, held: Mapping[str, CharacterCounts]) -> Iterator[Reason]:
    each = [
        f"{_title(name)} {_play(found.usable_frames)} in {found.games} game{'s' * (found.games != 1)}"
        for name, found in held.items()
    ]
    if each:
        sentence = f"Of {games:,} games, to imitate: {'; '.join(each[:MOST_NAMED])}{_more(each)}."
        yield Reason(about="data", sentence=sentence, basis="data")


def _size(question: Question, frames: int | None) -> tuple[int, Reason]:
    """Which of `SIZES`, and why."""
    allowed = [k for k, size in enumerate(SIZES) if question.device == "cuda" or not size.needs_gpu]
    if frames is None:
        size = min(SIZE_WITHOUT_DATA, allowed[-1])
        why = "no data was named, and this is the size of exphil's presets for a " + (
            "GPU" if question.device == "cuda" else "CPU"
        )
    else:
        carried = max(k for k, each in enumerate(SIZES) if frames >= each.frames)
        size = min(carried, allowed[-1])
        if size < carried:
            why = f"{frames:,} frames would carry a larger one, but the larger presets want a GPU to learn on"
        elif size == 0:
            why = (
                f"{frames:,} frames are fewer than the parameters of any larger one, and few games are soon known "
                "by heart"
            )
        else:
            why = f"{frames:,} frames are at least as many as its parameters"
    sentence = f"Size {SIZES[size].label}: {why}."
    return size, Reason(about="size", sentence=sentence, basis="assumption")


def _down_from(size: int) -> tuple[Size, ...]:
    return tuple(reversed(SIZES[: size + 1]))


def _together(
    little: Sequence[str], others: int, evidence: Sequence[Evidence]
) -> tuple[bool | None, list[Reason]]:
    """Whether everybody else's sides are learned from, too."""
    if not others:
        return None, []
    if not little:
        sentence = (
            "Every character to imitate has an hour of play or more, so the others' sides are left out."
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
            f"{_listed(little)} {verb} less than an hour of play, where exphil would learn from everybody's sides; "
            "but a study here showed a lower loss for characters that were learned alone, so it is left out."
        )
        return False, [
            *reasons,
            Reason(about="strategy", sentence=sentence, basis="study", source=shown[0][0]),
        ]
    sentence = (
        f"{_listed(little)} {verb} less than an hour of play: learn from everybody else's sides, too "
        "(data.train_on_all_characters), for what all characters share."
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
    """(study, sentences, which came out lower by character: `alone`, `together`, or empty for a tie)."""
    speaking = [each for each in evidence if each.setting == WHO and each.by_character]
    for each in sorted(speaking, key=lambda found: (found.rank, found.study)):
        alone = {tried.value for tried in each.tried if tried.alone}
        said = [found for found in each.by_character if (found.ours in alone) != (found.theirs in alone)]
        if said:
            sentences = " ".join(comparison.sentence for comparison in said)
            yield each.study, f"{each.where}: {sentences}", frozenset(_lower(found, alone) for found in said)


def _lower(comparison: Comparison, alone: Collection[str]) -> str:
    if comparison.tie:
        return ""
    lower = comparison.ours if comparison.difference.mean < 0 else comparison.theirs
    return "alone" if lower in alone else "together"


def _balance(frames: Mapping[str, int], evidence: Sequence[Evidence]) -> tuple[bool | None, list[Reason]]:
    if len(frames) < 2:
        return None, []
    rarest, commonest = min(frames, key=lambda name: frames[name]), max(frames, key=lambda name: frames[name])
    ratio = frames[commonest] / frames[rarest]
    said = _tried_here(evidence, BALANCE, {"True": "balanced", "False": "unbalanced"})
    how = f"{_title(commonest)} has {ratio:.1f} times the frames of {_title(rarest)}"
    if ratio < UNEVEN:
        sentence = f"{how}: even enough to do without balancing."
    else:
        sentence = f"{how}: draw rare characters more often (--balance-characters)."
    return ratio >= UNEVEN, [*said, Reason(about="strategy", sentence=sentence, basis="assumption")]


def _mode(several: bool, evidence: Sequence[Evidence]) -> tuple[str | None, list[Reason]]:
    if not several:
        return None, []
    names = {"one_hot": "one_hot", "learned": "learned"}
    said = _tried_here(evidence, MODE, names)
    standing = stand([each for each in evidence if each.setting == MODE], list(names), name=names)
    if standing.beaten("learned") or standing.beaten("one_hot"):
        mode = "one_hot" if standing.beaten("learned") else "learned"
        sentence = f"Characters as {mode}, as the study showed."
        source = standing.used[0].study
        return mode, [*said, Reason(about="strategy", sentence=sentence, basis="study", source=source)]
    sentence = "Characters as a learned embedding, so that they can share what they have in common."
    return "learned", [*said, Reason(about="strategy", sentence=sentence, basis="assumption")]


def _tried_here(evidence: Sequence[Evidence], setting: str, name: Mapping[str, str]) -> list[Reason]:
    standing = stand([each for each in evidence if each.setting == setting], list(name), name=name)
    return [
        Reason(about="strategy", sentence=said.sentence, basis="study", source=said.study)
        for said in standing.said
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
