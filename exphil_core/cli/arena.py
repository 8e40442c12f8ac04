"""`exphil arena`: play matches in the dojo and score a policy in them."""

import json
import sys
from dataclasses import asdict, dataclass, replace
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
    from exphil_core.config.preset import Preset
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
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature of policies (default: 1).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed: the same seed plays the same matches.")] = 0,
    at_once: Annotated[int, typer.Option(min=1, help="Matches that each process plays together.")] = 96,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one a core).")] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each match there as a replay.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda (default: cpu).")] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Play matches in the dojo, and score the player against its opponent."""
    from exphil_core.arena.plan import plan_matches
    from exphil_core.arena.roster import DOJO_CHARACTERS, characters_of, load_player, located
    from exphil_core.arena.score import combined
    from exphil_core.arena.workers import Pairing
    from exphil_core.training.device import choose_device

    stages = _stages(stage)
    theirs = _characters("--opponent", opponent) or DOJO_CHARACTERS
    own = _characters("--character", character)
    where, warmth = choose_device(device or "cpu"), 1.0 if temperature is None else temperature
    # A run that still trains may get a better checkpoint while this plays.
    names = located(player, runs_dir=runs_dir), located(against, runs_dir=runs_dir)
    first, preset = load_player(names[0], runs_dir=runs_dir, device=where, temperature=warmth)
    second, theirs_preset = load_player(names[1], runs_dir=runs_dir, device=where, temperature=warmth)
    _refuse_without_policy([preset, theirs_preset], temperature=temperature, device=device)
    planned = plan_matches(games, seed=seed, first=own or characters_of(preset), second=theirs, stages=stages)
    _note_real_replays([(player, preset), (against, theirs_preset)], runs_dir)
    if record is not None:
        _make_folder(record, planned)
    pairing = Pairing(
        players=names,
        runs_dir=runs_dir,
        device=where.type,
        temperature=warmth,
        at_once=at_once,
        record=record,
    )
    processes = workers or core_count()
    scores = _played(pairing, planned, processes, shown=not as_json and sys.stderr.isatty())
    whole, bots_states = combined(scores), None
    if preset is not None:
        bots_states = _on_bots_states(pairing, planned, scores, processes)
    if as_json:
        fields = _fields(scores, whole, first.name, second.name)
        fields["excess_on_bots_states"] = None if bots_states is None else bots_states.fields()
        print(json.dumps(fields, allow_nan=False))
        return
    _print(scores, whole, first.name, second.name, bots_states)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotsStates:
    """A policy's excess in matches that the bot played while it watched, and in the same matches played by itself."""

    games: int
    watched: "Interval"
    played: "Interval"

    def fields(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def _on_bots_states(
    pairing: "Pairing", planned: "Sequence[ArenaMatch]", scores: "Sequence[GameScore]", processes: int
) -> BotsStates | None:
    from exphil_core.arena.score import combined

    # Whole pairs, the first of the plan.
    games = max(2, len(planned) // WATCHED_SHARE // 2 * 2)
    watched = _played(replace(pairing, watched=True, record=None), planned[:games], processes, shown=False)
    found, same = combined(watched).excess, combined(scores[:games]).excess
    return None if found is None or same is None else BotsStates(games=games, watched=found, played=same)


def _refuse_without_policy(
    presets: "Sequence[Preset | None]", *, temperature: float | None, device: str | None
) -> None:
    if any(preset is not None for preset in presets):
        return
    for option, value in (("--temperature", temperature), ("--device", device)):
        if value is not None:
            raise UsageError(f"{option} is for policies, and neither player is one: leave it out")


def _note_real_replays(players: "Sequence[tuple[str, Preset | None]]", runs_dir: Path) -> None:
    from exphil_core.arena.roster import learned_in_dojo

    for name, preset in players:
        if preset is not None and not learned_in_dojo(name, runs_dir=runs_dir):
            print(
                f"note: {name} was not trained on the dojo's replays, and the dojo is not Melee",
                file=sys.stderr,
            )


def _make_folder(record: Path, planned: "Sequence[ArenaMatch]") -> None:
    from exphil_core.arena.workers import recording_name

    if record.exists() and not record.is_dir():
        raise UsageError(f"--record: {record} is a file; expected a folder")
    record.mkdir(parents=True, exist_ok=True)
    there = [name for name in map(recording_name, planned) if (record / name).exists()]
    if there:
        raise UsageError(
            f"--record: {record} already holds {there[0]}"
            + (f" and {counted(len(there) - 1, 'other match')}" if len(there) > 1 else "")
            + "; choose another folder or --seed"
        )


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
    # In the order of the plan, not of their ends.
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
    bots_states: BotsStates | None,
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
        f"\n{net.value:+.2f} net stocks per active minute (95% interval {net.range('+.2f')}); "
        f"{won.value:.0%} won ({won.range('.0%')}). taken, lost, damage and SDs (self-destructs) are "
        "per active minute, min is the mean length of a match."
    )
    if whole.excess is None:
        return
    print(
        f"On-policy excess: {whole.excess.value:.4f} nats per frame above the bots' {whole.bot_entropy:.4f}, on the "
        f"states that {first} reached (95% interval {whole.excess.range('.4f')})."
    )
    if bots_states is not None:
        print(
            f"In the first {counted(bots_states.games, 'match')} {bots_states.played.value:.4f} "
            f"({bots_states.played.range('.4f')}); played by the bot, on the bot's states, "
            f"{bots_states.watched.value:.4f} ({bots_states.watched.range('.4f')})."
        )


def _cells(found: "ArenaScore") -> tuple[str, ...]:
    net = found.net_stocks
    return (
        f"{found.games:,}",
        f"{net.value:+.2f}",
        net.range("+.2f"),
        f"{found.win_rate.value:.0%}",
        f"{found.taken:.2f}",
        f"{found.lost:.2f}",
        f"{found.damage:.0f}",
        f"{found.self_destructs:.2f}",
        f"{found.minutes_a_game:.2f}",
    )
