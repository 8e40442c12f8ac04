"""`exphil advise`: recommend a backbone, window and size for a latency budget on this machine.

Only figures measured on this machine count. Missing ones are reported as missing, and measured only with --measure.
"""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from exphil_core.cli.choices import chosen_characters
from exphil_core.cli.format import console, table
from exphil_core.cli.options import RunsDir
from exphil_core.cpu import core_count
from exphil_core.errors import ExphilError, UsageError
from exphil_core.melee.frames import FRAME_MS
from exphil_core.runs.commands import DEFAULT_RUNS_DIR

if TYPE_CHECKING:
    from exphil_core.advise.advice import Advice, Candidate, Data, Known, Question, Reason

QUICK_FRAMES = 300
"""Frames that --measure times for each candidate: five seconds at 60 FPS."""

_RESTS_ON = {
    "bench": "measured here",
    "study": "study",
    "data": "counted",
    "assumption": "assumption, not measured here",
}


def advise_command(
    budget_ms: Annotated[
        float, typer.Option(help="Milliseconds that 99 of 100 frames may take at most.")
    ] = FRAME_MS,
    replays: Annotated[
        list[str] | None,
        typer.Option(help="What to learn from: files, folders, archives, or one built dataset."),
    ] = None,
    character: Annotated[
        str | None, typer.Option(help="Whose inputs are to be imitated (default: by the data).")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where the policy is to learn and play: auto, cpu or cuda.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure missing latencies first, briefly.")
    ] = False,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Recommend a backbone and window for this machine, from measured latencies and study results."""
    if not (budget_ms > 0 and math.isfinite(budget_ms)):
        raise UsageError(f"--budget-ms {budget_ms}: expected milliseconds above 0, such as 16.67")
    wanted = () if character is None else chosen_characters("--character", character)
    data = _data(replays or [], quiet=as_json)

    from exphil_core.advise.advice import Question
    from exphil_core.advise.advisor import advise
    from exphil_core.cli.latency import PLAY_THREADS
    from exphil_core.cli.machine import machine
    from exphil_core.inference.latency import MISSED_SHARE
    from exphil_core.training.device import choose_device

    where = choose_device(device or "auto").type
    cores = core_count()
    here = machine(cores)
    question = Question(
        device="cuda" if where == "cuda" else "cpu",
        threads=min(PLAY_THREADS, cores),
        budget_ms=budget_ms,
        missed_share=MISSED_SHARE,
        characters=wanted,
        data=data,
        replays=tuple(replays or ()),
        asked_device=device,
        runs_dir=runs_dir,
    )
    known = _known(here, runs_dir)
    advice = advise(question, known)
    if measure:
        advice = _after_measuring(question, known, here, advice)
    if as_json:
        print(json.dumps(_object(advice, here), allow_nan=False))
    else:
        _print(advice)


def _data(replays: Sequence[str], *, quiet: bool) -> "Data | None":
    if not replays:
        return None
    from exphil_core.advise.advice import Data
    from exphil_core.cli.options import dataset_of
    from exphil_core.config.preset import DataConfig
    from exphil_core.dataset.stats import dataset_stats

    workers = core_count()
    path = dataset_of(replays, min_frames=DataConfig().min_frames, workers=workers, quiet=quiet)
    contents = dataset_stats(path)
    return Data(games=contents.games, per_character=contents.per_character)


def _known(here: dict[str, object], runs_dir: Path) -> "Known":
    from exphil_core.advise.advice import Known
    from exphil_core.advise.evidence import read_evidence
    from exphil_core.advise.latency_cache import read_latency_cache

    evidence, problems = read_evidence(runs_dir / "studies")
    return Known(latencies=read_latency_cache(here), evidence=evidence, problems=problems)


def _after_measuring(
    question: "Question", known: "Known", here: dict[str, object], advice: "Advice"
) -> "Advice":
    """Benchmark the candidates without a row or with a disturbed one, each once, and return the new advice.

    The preferred size is measured first; the advice is recomputed after each size and may need no smaller one.
    """
    from dataclasses import replace

    from exphil_core.advise.advisor import advise
    from exphil_core.advise.latency_cache import read_latency_cache

    tried: set[tuple[str, str, int]] = set()
    while left := [
        each for each in advice.candidates if (each.row is None or each.disturbed) and _key(each) not in tried
    ]:
        size = _size_words(left[0])
        together = [each for each in left if _size_words(each) == size]
        tried |= {_key(each) for each in together}
        for window in sorted({each.window_size for each in together}):
            kinds = [each.backbone for each in together if each.window_size == window]
            _bench(*size, "--backbone", ",".join(kinds), "--window", str(window), question=question)
        advice = advise(question, replace(known, latencies=read_latency_cache(here)))
    return advice


def _key(candidate: "Candidate") -> tuple[str, str, int]:
    return candidate.label, candidate.backbone, candidate.window_size


def _size_words(candidate: "Candidate") -> tuple[str, ...]:
    """Return the `exphil bench latency` options that select the candidate's preset and size."""
    if candidate.preset == f"{candidate.backbone}_20m":
        return "--size", "20m"
    return "--preset", candidate.preset, *(() if candidate.size is None else ("--size", candidate.size))


def _bench(*words: str, question: "Question") -> None:
    """Run `exphil bench latency` in a subprocess, which may pin cores and raise its priority. It inherits stderr."""
    options = ("--runtime", "eager", "--frames", str(QUICK_FRAMES), "--threads", str(question.threads))
    arguments = ("bench", "latency", *words, *options, "--json")
    start = "import sys; from exphil_core.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", start, *arguments], stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise ExphilError(
            f"measuring failed: 'exphil {' '.join(arguments)}' ended with exit code {done.returncode}"
        )


def _object(advice: "Advice", here: dict[str, object]) -> dict[str, Any]:
    from exphil_core.advise.advice import VERSION
    from exphil_core.advise.candidates import PLAYS_IN

    question, chosen = advice.question, advice.chosen
    return {
        "v": VERSION,
        "headline": advice.headline,
        "device": question.device,
        "runtime": PLAYS_IN,
        "threads": question.threads,
        "budget_ms": question.budget_ms,
        "machine": here,
        "backbone": None if chosen is None else chosen.backbone,
        "window_size": None if chosen is None else chosen.window_size,
        "preset": None if chosen is None else chosen.preset,
        "size": None if chosen is None else chosen.size,
        "command": list(advice.command),
        "command_line": advice.command_line,
        "reasons": [_reason(reason) for reason in advice.reasons],
        "candidates": [_candidate(each, question) for each in advice.candidates],
        "notes": list(advice.notes),
    }


def _reason(reason: "Reason") -> dict[str, Any]:
    return {
        "about": reason.about,
        "sentence": reason.sentence,
        "basis": reason.basis,
        "source": reason.source or None,
    }


def _candidate(each: "Candidate", question: "Question") -> dict[str, Any]:
    row = each.row
    found: dict[str, Any] = {
        "backbone": each.backbone,
        "window_size": each.window_size,
        "preset": each.preset,
        "size": each.size,
        "measured": row is not None,
        "fits": each.fits if row is not None else None,
        "over_ms": each.over_ms,
        "other_runtimes": {name: other.p99_ms for name, other in each.others.items()},
    }
    if row is not None:
        found |= {
            "parameters": row.parameters,
            "p50_ms": row.p50_ms,
            "p99_ms": row.p99_ms,
            "max_ms": row.max_ms,
            "missed": row.missed,
            "frames": row.frames,
            "headroom_ms": question.budget_ms - row.p99_ms,
            "measured_at": row.measured,
        }
    return found


def _print(advice: "Advice") -> None:
    out = console()
    out.print(Text(advice.headline, style="bold"))
    if advice.command:
        # No wrapping: a command with a line break cannot be pasted into a shell.
        out.print(Text(f"\n  {advice.command_line}\n"), soft_wrap=True)
    elif advice.reasons:
        out.print()
    for reason in advice.reasons:
        rests_on = reason.source or _RESTS_ON[reason.basis]
        out.print(Text.assemble("• ", reason.sentence, (f"  [{rests_on}]", "dim")))
    if any(each.row is not None for each in advice.candidates):
        out.print()
        out.print(_table(advice))
    out.print()
    for note in advice.notes:
        out.print(Text(note, style="dim"))


def _table(advice: "Advice") -> RenderableType:
    found = table(
        ("backbone", "window", "size"),
        right=("parameters", "p50", "p99", "missed", ""),
        title=f"Milliseconds a frame in play, budget {advice.question.budget_ms:.2f}",
    )
    for each in advice.candidates:
        row = each.row
        if row is None:
            continue
        mark = "taken" if each is advice.chosen else "" if each.fits else "too slow"
        found.add_row(
            each.backbone,
            str(each.window_size),
            each.label,
            f"{row.parameters:,}",
            f"{row.p50_ms:.2f}",
            Text(f"{row.p99_ms:.2f}", style="" if each.fits else "bold red"),
            f"{row.missed}/{row.frames}",
            Text(mark, style="bold" if each is advice.chosen else ""),
        )
    return found
