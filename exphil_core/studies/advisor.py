"""Which backbone, which window and which size to take here: from latencies, studies and the data, and nothing else.

In: a question, this machine's latencies, what studies showed. Out: `Advice`. What a reader gets wrong: a study moves
the choice only where it shows something. A tie leaves the shipped default where it is, and what was not measured is
neither chosen nor ruled out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from exphil_core.config.backbones import BACKBONE_KINDS
from exphil_core.config.loader import load_preset
from exphil_core.config.schedule import trains_on_all_characters
from exphil_core.config.sizes import size_overrides
from exphil_core.runs.commands import runs_dir_words
from exphil_core.studies.advice import About, Advice, Candidate, Known, Question, Reason
from exphil_core.studies.candidates import candidates_of, windows_tried
from exphil_core.studies.evidence import BACKBONE, Evidence, Standing, stand
from exphil_core.studies.grounds import headline, notes, on_latency, out_of_reach, passed_over, studied, why
from exphil_core.studies.strategy import Size, Strategy, strategy_of

_ORDER: tuple[About, ...] = ("latency", "backbone", "window", "data", "size", "strategy")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pick:
    candidate: Candidate
    reasons: tuple[Reason, ...]
    used: tuple[Evidence, ...]
    """The studies that have a part in it."""
    carried: bool = False
    """Whether a study that tried it carried its state over."""


def advise(question: Question, known: Known) -> Advice:
    """The largest size that data and device carry and that is fast enough, in its best backbone and window."""
    strategy = strategy_of(question, known.evidence)
    looked: list[Candidate] = []
    passed: list[Reason] = []
    picked: _Pick | None = None
    for size in strategy.sizes:
        candidates = candidates_of(size, question, known.evidence, known.benched.rows)
        looked += sorted(candidates, key=_by_latency)
        picked = _pick(size, candidates, known.evidence)
        if picked is not None:
            break
        passed.append(passed_over(size, candidates, question))
    chosen = None if picked is None else picked.candidate
    reasons = [*on_latency(looked, chosen, question), *strategy.reasons]
    if picked is not None:
        reasons += [*passed, *picked.reasons]
    return Advice(
        question=question,
        headline=headline(looked, chosen, question),
        chosen=chosen,
        command=() if picked is None or strategy.hopeless else _command(question, strategy, picked),
        reasons=tuple(sorted(reasons, key=lambda reason: _ORDER.index(reason.about))),
        candidates=tuple(looked),
        missing=tuple(each for each in looked if each.row is None),
        notes=tuple(
            notes(
                question,
                known,
                looked,
                chosen,
                hopeless=strategy.hopeless,
                used=picked.used if picked else (),
            )
        ),
    )


def _by_latency(candidate: Candidate) -> tuple[bool, float]:
    return candidate.row is None, 0.0 if candidate.row is None else candidate.row.p99_ms


def _pick(size: Size, candidates: Sequence[Candidate], evidence: Sequence[Evidence]) -> _Pick | None:
    """The backbone, each in its best window; None where nothing that was measured fits."""
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
    standing = stand(tried, list(windows), name=names)
    # What the size ships with.
    default = load_preset(size.preset.format("attention"), size_overrides(size.size)).backbone.kind
    kind = _choice(standing, {name: pick.candidate for name, pick in windows.items()}, default)
    chosen = windows[kind]
    return replace(
        chosen,
        reasons=(
            *studied("backbone", standing, names),
            why("backbone", kind, default, standing),
            *out_of_reach("backbone", kind, tried, by_kind, names),
            *chosen.reasons,
        ),
        used=(*standing.used, *chosen.used),
        carried=any(one.carried for found in standing.used for one in found.tried if one.value == kind),
    )


def _window(candidates: Sequence[Candidate], tried: Sequence[Evidence]) -> _Pick | None:
    """The window of one backbone; None where none that was measured fits."""
    by_window = {str(each.window_size): [each] for each in candidates}
    fitting = {str(each.window_size): each for each in candidates if each.fits}
    if not fitting:
        return None
    names = {window: f"{window} frames" for window in by_window}
    standing = stand(tried, list(fitting), name=names)
    first = candidates[0]
    shipped = load_preset(first.preset, {"backbone.kind": first.backbone, **size_overrides(first.size)})
    default = str(shipped.backbone.window_size)
    window = _choice(standing, fitting, default)
    return _Pick(
        candidate=fitting[window],
        reasons=(
            *studied("window", standing, names),
            why("window", window, default, standing),
            *out_of_reach("window", window, tried, by_window, names),
        ),
        used=standing.used,
    )


def _choice(standing: Standing, fitting: Mapping[str, Candidate], default: str) -> str:
    """The default, unless it does not fit or a study's lowest is shown to be better: then that."""
    if default in fitting and not standing.beaten(default):
        return default
    better = [low for low, high in standing.lower if high == default and not standing.beaten(low)]
    unbeaten = [name for name in fitting if name in standing.seen and not standing.beaten(name)]
    return min(better or unbeaten or fitting, key=lambda name: (_by_latency(fitting[name]), name))


def _command(question: Question, strategy: Strategy, picked: _Pick) -> tuple[str, ...]:
    """The words after `exphil`: the preset, and what differs from it."""
    chosen = picked.candidate
    preset = load_preset(chosen.preset, size_overrides(chosen.size))
    words = ["train", "--preset", chosen.preset]
    if chosen.size is not None:
        words += ["--size", chosen.size]
    if question.replays:
        # A word that begins with a dash would be taken for an option.
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
        # As the study trained what it speaks for.
        settings.append("train.carry_state=true")
    return (*words, "--set", *settings) if settings else tuple(words)
