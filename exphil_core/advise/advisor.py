"""Choose backbone, window and size for this machine from latencies, studies and the data.

A study changes the choice only where it shows a difference. A tie keeps the shipped default, and what was not
measured is neither chosen nor ruled out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from exphil_core.advise.advice import About, Advice, Candidate, Known, Question, Reason
from exphil_core.advise.candidates import candidates_of, windows_tried
from exphil_core.advise.evidence import BACKBONE, Evidence, Ranking, rank_values
from exphil_core.advise.strategy import PolicySize, Strategy, strategy_of
from exphil_core.advise.text import headline, notes, on_latency, out_of_reach, passed_over, studied, why
from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import load_preset
from exphil_core.config.schedule import trains_on_all_characters
from exphil_core.config.sizes import size_overrides
from exphil_core.runs.commands import runs_dir_words

_ORDER: tuple[About, ...] = ("latency", "backbone", "window", "data", "size", "strategy")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pick:
    candidate: Candidate
    reasons: tuple[Reason, ...]
    used: tuple[Evidence, ...]
    """Studies that the choice relies on."""
    carried: bool = False
    """Whether a study that tried it carried its state."""


def advise(question: Question, known: Known) -> Advice:
    """Choose the largest size that data and device support and that is fast enough, in its best backbone and
    window.
    """
    strategy = strategy_of(question, known.evidence)
    considered: list[Candidate] = []
    passed: list[Reason] = []
    picked: _Pick | None = None
    for size in strategy.sizes:
        candidates = candidates_of(size, question, known.evidence, known.latencies.rows)
        considered += sorted(candidates, key=_by_latency)
        picked = _pick(size, candidates, known.evidence)
        if picked is not None:
            break
        passed.append(passed_over(size, candidates, question))
    chosen = None if picked is None else picked.candidate
    reasons = [*on_latency(considered, chosen, question), *strategy.reasons]
    if picked is not None:
        reasons += [*passed, *picked.reasons]
    return Advice(
        question=question,
        headline=headline(considered, chosen, question),
        chosen=chosen,
        command=() if picked is None or strategy.untrainable else _command(question, strategy, picked),
        reasons=tuple(sorted(reasons, key=lambda reason: _ORDER.index(reason.about))),
        candidates=tuple(considered),
        missing=tuple(each for each in considered if each.row is None),
        notes=tuple(
            notes(
                question,
                known,
                considered,
                chosen,
                untrainable=strategy.untrainable,
                used=picked.used if picked else (),
            )
        ),
    )


def _by_latency(candidate: Candidate) -> tuple[bool, float]:
    return candidate.row is None, 0.0 if candidate.row is None else candidate.row.p99_ms


def _pick(size: PolicySize, candidates: Sequence[Candidate], evidence: Sequence[Evidence]) -> _Pick | None:
    """Choose the backbone, each in its best window; None where no measured candidate fits."""
    by_kind = {kind: [each for each in candidates if each.backbone == kind] for kind in BACKBONE_KINDS}
    windows = {
        kind: pick
        for kind, mine in by_kind.items()
        if mine and (pick := _window(mine, windows_tried(evidence, kind))) is not None
    }
    if not windows:
        return None
    tried = [each for each in evidence if each.setting == BACKBONE]
    names = {kind: kind for kind in BACKBONE_KINDS}
    ranking = rank_values(tried, list(windows), name=names)
    # The shipped default of this size.
    default = load_preset(size.preset.format("attention"), size_overrides(size.size)).backbone.kind
    kind = _choice(ranking, {name: pick.candidate for name, pick in windows.items()}, default)
    chosen = windows[kind]
    return replace(
        chosen,
        reasons=(
            *studied("backbone", ranking, names),
            why("backbone", kind, default, ranking),
            *out_of_reach("backbone", kind, tried, by_kind, names),
            *chosen.reasons,
        ),
        used=(*ranking.used, *chosen.used),
        carried=any(one.carried for found in ranking.used for one in found.tried if one.value == kind),
    )


def _window(candidates: Sequence[Candidate], tried: Sequence[Evidence]) -> _Pick | None:
    """Choose the window of one backbone; None where no measured candidate fits."""
    by_window = {str(each.window_size): [each] for each in candidates}
    fitting = {str(each.window_size): each for each in candidates if each.fits}
    if not fitting:
        return None
    names = {window: f"{window} frames" for window in by_window}
    ranking = rank_values(tried, list(fitting), name=names)
    first = candidates[0]
    shipped = load_preset(first.preset, {"backbone.kind": first.backbone, **size_overrides(first.size)})
    default = str(shipped.backbone.window_size)
    window = _choice(ranking, fitting, default)
    return _Pick(
        candidate=fitting[window],
        reasons=(
            *studied("window", ranking, names),
            why("window", window, default, ranking),
            *out_of_reach("window", window, tried, by_window, names),
        ),
        used=ranking.used,
    )


def _choice(ranking: Ranking, fitting: Mapping[str, Candidate], default: str) -> str:
    """Return the default, or another value where it does not fit or a study shows a better one."""
    if default in fitting and not ranking.beaten(default):
        return default
    better = [low for low, high in ranking.lower if high == default and not ranking.beaten(low)]
    unbeaten = [name for name in fitting if name in ranking.seen and not ranking.beaten(name)]
    return min(better or unbeaten or fitting, key=lambda name: (_by_latency(fitting[name]), name))


def _command(question: Question, strategy: Strategy, picked: _Pick) -> tuple[str, ...]:
    """Return the words after `exphil`: the preset, and the settings that differ from it."""
    chosen = picked.candidate
    preset = load_preset(chosen.preset, size_overrides(chosen.size))
    words = ["train", "--preset", chosen.preset]
    if chosen.size is not None:
        words += ["--size", chosen.size]
    if question.replays:
        # A word that begins with a dash would be parsed as an option.
        words += ["--replays", *(f"./{path}" if path.startswith("-") else path for path in question.replays)]
    if strategy.characters and set(strategy.characters) != set(preset.data.characters):
        words += ["--character", ",".join(strategy.characters)]
    if strategy.balance is not None and strategy.balance != preset.train.balance_characters:
        words.append("--balance-characters" if strategy.balance else "--no-balance-characters")
    if strategy.mode is not None and strategy.mode != preset.encoder.character_mode:
        words += ["--character-mode", strategy.mode]
    if chosen.backbone != preset.backbone.kind:
        words += ["--backbone", chosen.backbone]
    if chosen.window_size != preset.backbone.window_size:
        words += ["--window-size", str(chosen.window_size)]
    if question.asked_device is not None:
        words += ["--device", question.asked_device]
    words += runs_dir_words(question.runs_dir)
    settings = []
    own = trains_on_all_characters(preset.data.train_on_all_characters, strategy.frames)
    if strategy.together is not None and strategy.together != own:
        settings.append(f"data.train_on_all_characters={str(strategy.together).lower()}")
    if picked.carried and not preset.train.carry_state:
        # As in the study that supports the choice.
        settings.append("train.carry_state=true")
    return (*words, "--set", *settings) if settings else tuple(words)
