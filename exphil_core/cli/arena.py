"""`exphil arena`: play matches in the dojo and score a policy in them."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exphil_core.cli.format import console, counted, table
from exphil_core.cli.options import RunsDir
from exphil_core.cpu import core_count
from exphil_core.errors import UsageError
from exphil_core.runs.commands import DEFAULT_RUNS_DIR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exphil_core.arena.plan import ArenaMatch
    from exphil_core.arena.score import ArenaScore, GameScore, Interval
    from exphil_core.arena.workers import Pairing
    from exphil_core.melee.stages import Stage


WATCHED_SHARE = 4
"""One of so many matches is played a second time by the bot, for the excess on the bot's states."""


def arena_command(
    player: Annotated[str, typer.Argument(help="A run, a checkpoint directory, bot, oracle or neutral.")],
    against: Annotated[
        str, typer.Option(help="The opponent: a run, a checkpoint, bot, oracle or neutral.")
    ] = "bot",
    games: Annotated[int, typer.Option(min=1, help="Matches, rounded up to whole mirrored pairs.")] = 96,
    character: Annotated[
        str | None, typer.Option(help="Characters of the player: mewtwo,link,… (default: the policy's).")
    ] = None,
    opponent: Annotated[
        str | None, typer.Option(help="Characters of the opponent (default: those of the dojo).")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Stages (default: those of the dojo).")] = None,
    temperature: Annotated[float, typer.Option(help="Sampling temperature of policies.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed: the same seed plays the same matches.")] = 0,
    at_once: Annotated[int, typer.Option(min=1, help="Matches in play together.")] = 96,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one a core).")] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each match there as a replay.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Play matches in the dojo, and score the player against its opponent."""
    from exphil_core.arena.plan import plan_matches
    from exphil_core.arena.roster import DOJO_CHARACTERS, characters_of, learned_in_dojo, load_player
    from exphil_core.arena.score import combined
    from exphil_core.arena.workers import Pairing
    from exphil_core.training.device import choose_device

    stages = _stages(stage)
    theirs = _characters("--opponent", opponent) or DOJO_CHARACTERS
    own = _characters("--character", character)
    where = choose_device(device)
    first, preset = load_player(player, runs_dir=runs_dir, device=where, temperature=temperature)
    second, theirs_preset = load_player(against, runs_dir=runs_dir, device=where, temperature=temperature)
    planned = plan_matches(games, seed=seed, first=own or characters_of(preset), second=theirs, stages=stages)
    for name, loaded in ((player, preset), (against, theirs_preset)):
        if loaded is not None and not learned_in_dojo(name, runs_dir=runs_dir):
            print(
                f"note: {name} was not trained on the dojo's replays, and the dojo is not Melee",
                file=sys.stderr,
            )
    if record is not None:
        record.mkdir(parents=True, exist_ok=True)

    pairing = Pairing(
        players=(player, against),
        runs_dir=runs_dir,
        device=device,
        temperature=temperature,
        at_once=at_once,
        record=record,
    )
    processes = workers or core_count()
    scores = _played(pairing, planned, processes, shown=not as_json and sys.stderr.isatty())
    whole = combined(scores)
    watched: list[GameScore] = []
    if preset is not None:
        # The first of the same matches, played by the bot while the policy watches.
        part = planned[: max(2, len(planned) // WATCHED_SHARE)]
        watched = _played(replace(pairing, watched=True, record=None), part, processes, shown=False)
    on_bots_states = combined(watched).excess if watched else None
    if as_json:
        fields = _fields(scores, whole, first.name, second.name)
        fields["excess_on_bots_states"] = None if on_bots_states is None else asdict(on_bots_states)
        print(json.dumps(fields, allow_nan=False))
        return
    _print(scores, whole, first.name, second.name, on_bots_states=on_bots_states, watched=len(watched))


def _played(
    pairing: "Pairing", planned: "Sequence[ArenaMatch]", processes: int, *, shown: bool
) -> "list[GameScore]":
    from exphil_core.arena.workers import play_pairing

    scores: list[GameScore] = []
    for score in play_pairing(pairing, planned, workers=processes):
        scores.append(score)
        if shown:
            print(
                f"\r{len(scores)} of {counted(len(planned), 'match')} ", end="", file=sys.stderr, flush=True
            )
    if shown:
        print(file=sys.stderr)
    # In the order of the plan, not of their ends: sums do not depend on how many were in play together.
    return sorted(scores, key=lambda each: each.number)


def _characters(option: str, text: str | None) -> tuple[int, ...]:
    from exphil_core.arena.roster import DOJO_CHARACTERS
    from exphil_core.cli.choices import chosen_characters
    from exphil_core.melee import characters

    if text is None:
        return ()
    chosen = tuple(characters.by_name(name).external_id for name in chosen_characters(option, text))
    if missing := [one for one in chosen if one not in DOJO_CHARACTERS]:
        there = ", ".join(characters.by_external_id(one).name for one in DOJO_CHARACTERS)
        name = characters.by_external_id(missing[0]).title
        raise UsageError(f"{option}: the dojo does not have {name}; expected some of {there}")
    return chosen


def _stages(text: str | None) -> "tuple[Stage, ...]":
    from exphil_core.dojo.world import DOJO_STAGES
    from exphil_core.suggest import suggestion

    if text is None:
        return DOJO_STAGES
    known = {stage.name: stage for stage in DOJO_STAGES}
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UsageError(f"--stage: the dojo has no stage '{name}'; {suggestion(name, list(known))}")
    if not names:
        raise UsageError(f"--stage names no stage; expected some of {', '.join(known)}")
    return tuple(known[name] for name in names)


def _fields(scores: "list[GameScore]", whole: "ArenaScore", first: str, second: str) -> dict[str, Any]:
    from exphil_core.arena.score import by

    return {
        "player": first,
        "against": second,
        **whole.fields(),
        "per_character": {key[0]: found.fields() for key, found in by(scores, "character").items()},
        "per_matchup": [
            {"character": key[0], "opponent": key[1], **found.fields()}
            for key, found in by(scores, "character", "opponent").items()
        ],
        "per_stage": {key[0]: found.fields() for key, found in by(scores, "stage").items()},
    }


_NUMBERS = ("matches", "net stocks/min", "95% interval", "won", "taken", "lost", "damage", "SDs", "min")


def _print(
    scores: "list[GameScore]",
    whole: "ArenaScore",
    first: str,
    second: str,
    *,
    on_bots_states: "Interval | None",
    watched: int,
) -> None:
    from exphil_core.arena.score import by
    from exphil_core.melee import characters

    out = console()
    listed = table(("character",), right=_NUMBERS, title=f"{first} against {second}")
    for (name,), found in by(scores, "character").items():
        listed.add_row(characters.by_name(name).title, *_cells(found))
    listed.add_row("all", *_cells(whole))
    out.print(listed)
    won, net = whole.win_rate, whole.net_stocks
    print(
        f"\n{net.value:+.2f} net stocks per active minute (95% interval {net.low:+.2f} to {net.high:+.2f}); "
        f"{won.value:.0%} won ({won.low:.0%} to {won.high:.0%}). taken, lost, damage and SDs (self-destructs) are "
        "per active minute, min is the mean length of a match."
    )
    if whole.excess is not None:
        on_policy = whole.excess
        print(
            f"On-policy excess: {on_policy.value:.4f} nats per frame above the bots' {whole.bot_entropy:.4f}, on the "
            f"states that {first} reached (95% interval {on_policy.low:.4f} to {on_policy.high:.4f})"
            + (
                "."
                if on_bots_states is None
                else f"; {on_bots_states.value:.4f} on the bot's states ({on_bots_states.low:.4f} to "
                f"{on_bots_states.high:.4f}, {counted(watched, 'match')})."
            )
        )


def _cells(found: "ArenaScore") -> tuple[str, ...]:
    net = found.net_stocks
    return (
        f"{found.games:,}",
        f"{net.value:+.2f}",
        f"{net.low:+.2f} to {net.high:+.2f}",
        f"{found.win_rate.value:.0%}",
        f"{found.taken:.2f}",
        f"{found.lost:.2f}",
        f"{found.damage:.0f}",
        f"{found.self_destructs:.2f}",
        f"{found.minutes_a_game:.2f}",
    )
